"""Who is told that somebody came or went, and that it is told once, and truly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryStore
from kschat.chat import presence
from kschat.chat.interfaces import RETRY_WAIT, RouterUnavailable
from kschat.rates import RateSettings
from tests.chat.daemon import NOW
from tests.chat.peers import Client, Daemon
from tests.chat.stores import AskedStore

MS = int(NOW * 1000)


class PresenceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = AskedStore(MemoryStore(1000, 1_000_000))
        self.daemon = Daemon(self.store)
        self.router = self.daemon.router
        self.watcher = self.daemon.joined("eve")

    def watch(self, *users: str | int, client: Client | None = None) -> Any:
        return (client or self.watcher).ask("Presence", {"ids": list(users)})

    def told(self, client: Client | None = None) -> list[tuple[str, bool, int | None]]:
        events = (client or self.watcher).events("RESPPRESENCE")
        return [(one["id"], one["online"], one["lastSeen"]) for one in events]


class TestPresence(PresenceTestCase):
    def test_who_is_online_and_when_the_others_were_seen(self) -> None:
        self.daemon.joined("ann")
        self.daemon.joined("ben").drop()
        self.assertEqual(
            self.watch("ann", "ben", "cem"),
            {
                "ann": {"online": True, "lastSeen": None},
                "ben": {"online": False, "lastSeen": MS},
                "cem": {"online": False, "lastSeen": None},
            },
        )

    def test_last_seen_comes_from_the_store_once_it_was_told(self) -> None:
        self.daemon.joined("ben").drop()
        self.daemon.clock.advance(1)
        self.assertIsNone(self.daemon.hub.write_behind.seen("ben"))
        self.assertEqual(self.watch("ben"), {"ben": {"online": False, "lastSeen": MS}})

    def test_an_id_written_twice_or_as_a_number_is_one(self) -> None:
        self.assertEqual(self.watch(7, "7", 7), {"7": {"online": False, "lastSeen": None}})
        self.daemon.joined("7")
        self.assertEqual(self.told(), [("7", True, None)])

    def test_each_coming_and_going_is_told_once_however_many_sockets(self) -> None:
        self.watch("ann")
        first, second = self.daemon.joined("ann"), self.daemon.joined("ann")
        first.drop()
        self.assertEqual(self.told(), [("ann", True, None)])
        self.daemon.clock.advance(5)
        second.leave()
        self.assertEqual(self.told(), [("ann", True, None), ("ann", False, MS + 5000)])

    def test_a_new_list_takes_the_place_of_the_old_one(self) -> None:
        self.watch("ann")
        self.watch("ben")
        self.daemon.joined("ann")
        self.daemon.joined("ben")
        self.assertEqual(self.told(), [("ben", True, None)])

    def test_an_empty_list_ends_it(self) -> None:
        self.watch("ann")
        self.assertEqual(self.watch(), {})
        self.daemon.joined("ann")
        self.assertEqual(self.told(), [])
        self.assertEqual(self.daemon.chat.context.presence._watchers, {})

    def test_one_who_watches_itself_is_told_of_its_other_sockets_never(self) -> None:
        self.watch("eve")
        self.daemon.joined("eve").drop()
        self.assertEqual(self.told(), [])

    def test_a_watcher_that_is_gone_is_forgotten(self) -> None:
        self.watch("ann", "ben")
        self.watcher.drop()
        self.assertEqual(self.daemon.chat.context.presence._watchers, {})
        self.daemon.joined("ann")

    def test_who_does_not_keep_up_is_told_when_it_does(self) -> None:
        """Found by the simulation: the change was dropped, and the watcher saw the user offline until the next one."""
        other = self.daemon.joined("fay")
        self.watch("ann")
        self.watch("ann", client=other)
        self.watcher.pipe.congested = True
        self.daemon.joined("ann")
        self.assertEqual((self.told(), self.told(other)), ([], [("ann", True, None)]))
        for _ in range(3):
            self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.told(), [])
        self.watcher.pipe.congested = False
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual((self.told(), self.told(other)), ([("ann", True, None)], [("ann", True, None)]))
        self.daemon.clock.advance(10 * RETRY_WAIT)
        self.assertEqual(len(self.told()), 1)

    def test_a_watcher_that_ends_while_it_is_told_costs_the_others_nothing(self) -> None:
        other = self.daemon.joined("fay")
        self.watch("ann")
        self.watch("ann", client=other)
        pipe = self.watcher.pipe
        send = pipe.send

        def overflow(payload: bytes, binary: bool = False) -> None:
            send(payload, binary)
            self.watcher.drop()

        self.patch(pipe, "send", overflow)
        self.daemon.joined("ann")
        self.assertEqual(self.told(other), [("ann", True, None)])

    def test_the_answer_tells_what_is_true_when_it_is_given(self) -> None:
        self.store.held = True
        number = self.watcher.emit("Presence", {"ids": ["ann"]})
        (asked,) = self.store.pending("last_seen")
        ann = self.daemon.joined("ann")
        self.store.pending("inbox")[0].answer()
        asked.answer()
        self.assertEqual(self.watcher.answer(number), {"ann": {"online": True, "lastSeen": None}})
        self.assertEqual(self.told(), [("ann", True, None)])
        self.assertTrue(ann.alive)

    def test_a_store_that_breaks_its_word_is_an_answer_and_nothing_stays_behind(self) -> None:
        self.store.held = True
        number = self.watcher.emit("Presence", {"ids": ["ann"]})
        (asked,) = self.store.pending("last_seen")
        asked.refuse(ZeroDivisionError("a bug of the store"))
        self.assertEqual(self.watcher.answer(number)["ER"], 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.daemon.chat.context.presence._heard, [])


class TestNotLetInYet(PresenceTestCase):
    """A socket that is being bound is not there yet."""

    def setUp(self) -> None:
        super().setUp()
        self.watch("ann")
        self.router.held = True

    def test_who_was_never_let_in_never_was_there(self) -> None:
        ann = self.daemon.joined("ann")
        self.assertEqual(self.watch("ann"), {"ann": {"online": False, "lastSeen": None}})
        ann.drop()
        self.assertEqual(self.told(), [])
        self.assertEqual(self.watch("ann"), {"ann": {"online": False, "lastSeen": None}})

    def test_who_could_not_be_bound_is_there(self) -> None:
        self.daemon.joined("ann")
        self.router.binding.pop().errback(RouterUnavailable("the test took it away"))
        self.assertEqual(self.told(), [("ann", True, None)])

    def test_the_first_that_is_let_in_is_told_of_though_another_came_before(self) -> None:
        first = self.daemon.joined("ann")
        second = self.daemon.joined("ann")
        first.drop()
        self.router.binding[1].callback(None)
        self.assertTrue(second.alive)
        self.assertEqual(self.told(), [("ann", True, None)])

    def test_the_last_one_that_goes_is_told_of_though_another_was_not_let_in_yet(self) -> None:
        first = self.daemon.joined("ann")
        self.router.binding.pop().callback(None)
        self.daemon.joined("ann")
        first.drop()
        self.router.binding.pop().errback(ZeroDivisionError("a bug of the router"))
        self.assertEqual(self.told(), [("ann", True, None), ("ann", False, MS)])


class TestGathered(PresenceTestCase):
    """Changes are gathered for 100 ms: small in, a little out."""

    def setUp(self) -> None:
        self.store = AskedStore(MemoryStore(1000, 1_000_000))
        self.daemon = Daemon(self.store, rates=RateSettings(presence_interval=0.1))
        self.router = self.daemon.router
        self.watcher = self.daemon.joined("eve")
        self.moves: list[tuple[str, str]] = []
        bus = self.daemon.bus
        for name in ("here", "gone"):
            self.patch(bus, name, self.noting(name, getattr(bus, name)))

    def noting(self, name: str, do: Callable[..., None]) -> Callable[..., None]:
        def noted(user: str, *args: int) -> None:
            self.moves.append((name, user))
            do(user, *args)

        return noted

    def test_a_change_is_told_after_the_interval(self) -> None:
        self.watch("ann")
        ann = self.daemon.joined("ann")
        self.daemon.clock.advance(0.09)
        self.assertEqual(self.told(), [])
        self.daemon.clock.advance(0.02)
        self.assertEqual(self.told(), [("ann", True, None)])
        self.daemon.clock.advance(9.89)
        ann.drop()
        self.daemon.clock.advance(0.11)
        # When it left, and not when that was told.
        self.assertEqual(self.told()[1:], [("ann", False, MS + 10_000)])

    def test_one_who_comes_and_goes_all_the_time_is_told_of_once_an_interval(self) -> None:
        watchers = [self.daemon.joined(f"w{number}") for number in range(5)]
        self.daemon.clock.advance(1)
        self.moves.clear()
        for watcher in watchers:
            self.watch("ann", client=watcher)
        for _ in range(10):
            for _ in range(20):
                self.daemon.joined("ann").drop()
            ann = self.daemon.joined("ann")
            self.daemon.clock.advance(0.11)
            ann.drop()
            self.daemon.clock.advance(0.11)
        for watcher in watchers:
            self.assertEqual([online for _, online, _ in self.told(watcher)], [True, False] * 10)
        self.assertEqual(self.moves, [("here", "ann"), ("gone", "ann")] * 10)

    def test_what_cancels_out_is_not_told_to_anybody(self) -> None:
        self.watch("ann")
        ann = self.daemon.joined("ann")
        self.daemon.clock.advance(1)
        self.moves.clear()
        ann.drop()
        ann = self.daemon.joined("ann")
        self.daemon.joined("ben").drop()
        self.daemon.clock.advance(1)
        self.assertEqual(self.told(), [("ann", True, None)])
        self.assertEqual(self.moves, [("here", "ben"), ("gone", "ben")])

    def test_an_answer_knows_what_is_not_told_yet(self) -> None:
        ann = self.daemon.joined("ann")
        self.assertEqual(self.watch("ann"), {"ann": {"online": True, "lastSeen": None}})
        self.daemon.clock.advance(1)
        ann.drop()
        self.assertEqual(self.watch("ann", "ben")["ann"], {"online": False, "lastSeen": MS + 1000})
        self.daemon.joined("ben")
        self.daemon.clock.advance(0.11)
        self.assertEqual(self.told(), [("ben", True, None)])

    def test_changes_on_other_daemons_are_gathered_too(self) -> None:
        self.watch("ann", "ben")
        for _ in range(10):
            self.daemon.context.operations.on_presence("ann", True, None)
            self.daemon.context.operations.on_presence("ben", True, None)
            self.daemon.context.operations.on_presence("ben", False, MS)
        self.daemon.clock.advance(0.11)
        self.assertEqual(self.told(), [("ann", True, None)])

    def test_very_many_changes_are_told_in_several_turns(self) -> None:
        self.patch(presence, "MAX_WRITES", 10)
        users = [f"u{number}" for number in range(25)]
        self.watch(*users)
        for user in users:
            self.daemon.joined(user)
        told: list[int] = []
        it = self.daemon.context.presence
        tell = it._tell_changes

        def turn() -> None:
            tell()
            told.append(len(self.told()))

        self.patch(it, "_tell_changes", turn)
        self.daemon.clock.advance(0.11)
        self.assertEqual(told, [10, 20, 25])

    def test_what_was_gathered_is_told_at_the_end(self) -> None:
        self.watch("ann")
        self.daemon.joined("ann")
        self.daemon.context.presence.stop()
        self.assertEqual(self.told(), [("ann", True, None)])
        self.daemon.context.presence.stop()
        self.daemon.clock.advance(1)
        self.assertEqual(len(self.told()), 1)
