"""Which events are made, when, and that a crash at any moment loses none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryStore
from kschat.chat.interfaces import Progress, StoreUnavailable
from kschat.chat.message import Message
from kschat.chat.outbox import Backlog, Commit
from kschat.hooks.consumer import Later
from kschat.hooks.deriver import MAX_COUNTED, MAX_EVENTS, REST
from kschat.hooks.engine import LEASE, LOOK_EVERY, RECONCILE_AFTER, HooksSettings
from kschat.hooks.events import CONNECTED, DISCONNECTED, JOINED, STORED, UNDELIVERED
from tests.contracts.made import message
from tests.contracts.updates import edit
from tests.hooks.consumers import NOW, HookedDaemon, Receiver

#: Until two looks have passed, and what they made was delivered.
TWO_LOOKS = 2 * LOOK_EVERY + 0.5


class EngineTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store: Any = MemoryStore(10_000, 10**8, wall=self.clock.seconds, hooks=True)

    def started(self, *types: str, **settings: Any) -> HookedDaemon:
        """A daemon whose consumer wants these events."""
        daemon = HookedDaemon(self.store, Receiver(types), clock=self.clock, **settings)
        daemon.hooks.start()
        self.addCleanup(lambda: self.stop(daemon))
        return daemon

    def stop(self, daemon: HookedDaemon) -> None:
        stopped = daemon.hooks.stop()
        daemon.clock.pump([0.5] * 10)
        self.successResultOf(stopped)

    def crash(self, daemon: HookedDaemon) -> None:
        """The process ends: nothing of it runs any more, and its lease expires."""
        if daemon.hooks._timer is not None:
            daemon.hooks._timer.cancel()
            daemon.hooks._timer = None
        daemon.hooks._running = False
        daemon.hooks._dispatchers.clear()
        self.store.outbox._lease.holder = None

    def send(self, *recipients: str, sender: str = "ann", **changes: Any) -> list[Message]:
        """Messages that are stored now."""
        now = int(self.clock.seconds() * 1000)
        batch = [message(sender, recipient, time=now, **changes) for recipient in recipients]
        stored = self.successResultOf(self.store.append(batch))
        return [one.message for one in stored]

    def confirm(self, user: str, offset: int) -> None:
        self.successResultOf(self.store.save_progress(Progress({user: offset}, {})))


class TestStoredForAbsent(EngineTestCase):
    def test_a_message_to_an_absent_user_is_told_once(self) -> None:
        daemon = self.started(STORED)
        (sent,) = self.send("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(STORED, "ben")])
        expected = {"user": "ben", "from": "ann", "to": "ben", "mid": sent.mid, "time": sent.time}
        self.assertEqual(daemon.receiver.data(), expected)
        daemon.run(60)
        self.assertEqual(len(daemon.receiver.got), 1)
        self.assertEqual(daemon.counters.hook_events, {STORED: 1})

    def test_nothing_holds_the_text_of_a_message(self) -> None:
        daemon = self.started(STORED, UNDELIVERED, after=1)
        self.send("ben")
        daemon.run(10)
        self.assertEqual(len(daemon.receiver.got), 2)
        for delivery in daemon.receiver.got:
            self.assertNotIn(b"message ", bytes(delivery.event.data))

    def test_who_is_online_or_has_got_it_meanwhile_is_not_absent(self) -> None:
        daemon = self.started(STORED)
        daemon.comes("ben")
        self.send("ben", "cem")
        self.confirm("cem", 1)
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.got, [])

    def test_who_may_be_absent_counts_as_absent(self) -> None:
        daemon = self.started(STORED)
        daemon.online = None
        self.send("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(STORED, "ben")])

    def test_each_absent_member_of_a_room_is_told_of(self) -> None:
        for user in ("ann", "ben", "cem", "dan"):
            self.store.join("#r", user, 10)
        daemon = self.started(STORED)
        daemon.comes("cem")
        self.send("#r")
        daemon.run(TWO_LOOKS)
        self.assertEqual(sorted(daemon.receiver.told), [(STORED, "ben"), (STORED, "dan")])
        self.assertEqual(daemon.receiver.data()["to"], "#r")

    def test_an_update_is_no_message(self) -> None:
        daemon = self.started(STORED)
        (sent,) = self.send("ben")
        daemon.run(TWO_LOOKS)
        self.successResultOf(self.store.change(edit(sent)))
        daemon.run(TWO_LOOKS)
        self.assertEqual(len(daemon.receiver.got), 1)

    def test_what_was_stored_before_the_hooks_were_on_is_not_told(self) -> None:
        self.send("ben")
        self.store.outbox.__init__(self.store._logged, lambda: self.store._number, self.store._cursors)
        daemon = self.started(STORED)
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.got, [])

    def test_so_many_that_several_commits_are_needed(self) -> None:
        for number in range(MAX_EVENTS + 20):
            self.store.join("#r", f"user {number}", 1000)
        self.store.join("#r", "ann", 1000)
        daemon = self.started(STORED)
        self.send("#r", "#r", "#r")
        daemon.run(TWO_LOOKS + 30)
        self.assertEqual(len(daemon.receiver.got), 3 * (MAX_EVENTS + 20))
        self.assertEqual(len(set(daemon.receiver.ids)), 3 * (MAX_EVENTS + 20))

    def test_what_is_sent_to_a_large_room_is_made_in_parts_with_time_for_others_in_between(self) -> None:
        for number in range(3 * MAX_EVENTS):
            self.store.join("#r", f"user {number}", 1000)
        self.store.join("#r", "ann", 1000)
        self.started(STORED)
        commits: list[tuple[float, int]] = []
        commit = self.store.outbox.commit

        def slow(holder: str, what: Commit) -> Any:
            commits.append((self.clock.seconds(), sum(map(len, what.events.values()))))
            self.clock.rightNow += 0.01
            return commit(holder, what)

        self.store.outbox.commit = slow
        self.send("#r")
        self.clock.pump([0.001] * 2500)
        with_events = [(at, count) for at, count in commits if count]
        self.assertEqual([count for _, count in with_events], [MAX_EVENTS] * 3)
        times = [at for at, _ in with_events]
        self.assertTrue(all(after - before >= 0.01 * (1 + REST) for before, after in pairwise(times)), times)


class TestUndelivered(EngineTestCase):
    def test_it_is_told_after_the_time_and_gathers_what_there_is(self) -> None:
        daemon = self.started(UNDELIVERED, after=30, every=100)
        self.store.join("#r", "ben", 10)
        self.store.join("#r", "dan", 10)
        (first,) = self.send("ben")
        daemon.run(20)
        (newest,) = self.send("#r", sender="dan")
        daemon.run(5)
        self.assertEqual(daemon.receiver.got, [])
        daemon.run(10)
        self.assertEqual(daemon.receiver.told, [(UNDELIVERED, "ben")])
        expected = {
            "user": "ben",
            "count": 2,
            "more": False,
            "since": first.time,
            "newest": newest.mid,
            "senders": ["ann", "dan"],
            "rooms": ["#r"],
            "conversations": ["ann", "#r"],
        }
        self.assertEqual(daemon.receiver.data(), expected)

    def test_at_most_one_a_user_and_period_and_only_if_there_is_something_new(self) -> None:
        daemon = self.started(UNDELIVERED, after=10, every=100)
        self.send("ben")
        daemon.run(15)
        self.assertEqual(len(daemon.receiver.got), 1)
        for _ in range(5):
            self.send("ben")
            daemon.run(10)
        self.assertEqual(len(daemon.receiver.got), 1)
        daemon.run(60)
        self.assertEqual(len(daemon.receiver.got), 2)
        self.assertEqual(daemon.receiver.data()["count"], 6)
        daemon.run(500)
        self.assertEqual(len(daemon.receiver.got), 2)
        self.send("ben")
        daemon.run(15)
        self.assertEqual(len(daemon.receiver.got), 3)
        self.assertEqual(len(set(daemon.receiver.ids)), 3)

    def test_who_has_got_them_in_time_is_not_told_of(self) -> None:
        daemon = self.started(UNDELIVERED, after=10)
        self.send("ben", "ben")
        daemon.run(5)
        self.confirm("ben", 2)
        daemon.run(30)
        self.assertEqual(daemon.receiver.got, [])
        self.assertEqual(self.successResultOf(self.store.outbox.waiting(10**15, 10)), [])

    def test_only_what_is_old_enough_counts_if_the_older_was_delivered(self) -> None:
        daemon = self.started(UNDELIVERED, after=10)
        self.send("ben")
        daemon.run(8)
        self.confirm("ben", 1)
        self.send("ben")
        daemon.run(8)
        self.assertEqual(daemon.receiver.got, [])
        daemon.run(5)
        self.assertEqual(daemon.receiver.data()["count"], 1)

    def test_a_user_whose_socket_reads_nothing_is_told_of_although_online(self) -> None:
        daemon = self.started(UNDELIVERED, after=10)
        daemon.comes("ben")
        self.send("ben")
        daemon.run(15)
        self.assertEqual(daemon.receiver.told, [(UNDELIVERED, "ben")])

    def test_updates_alone_are_nothing_new_and_do_not_count(self) -> None:
        daemon = self.started(UNDELIVERED, after=10, every=20)
        (sent,) = self.send("ben")
        self.successResultOf(self.store.change(edit(sent)))
        daemon.run(15)
        self.assertEqual(daemon.receiver.data()["count"], 1)
        self.successResultOf(self.store.change(edit(sent, b'"again"')))
        daemon.run(100)
        self.assertEqual(len(daemon.receiver.got), 1)

    def test_more_than_are_counted(self) -> None:
        daemon = self.started(UNDELIVERED, after=10, every=20)
        self.send(*["ben"] * (MAX_COUNTED + 5))
        daemon.run(15)
        self.assertEqual((daemon.receiver.data()["count"], daemon.receiver.data()["more"]), (MAX_COUNTED, True))
        self.send("ben")
        daemon.run(50)
        self.assertEqual(len(set(daemon.receiver.ids)), 2)

    def test_other_times_hold_after_a_reload(self) -> None:
        daemon = self.started(UNDELIVERED, after=10)
        settings = daemon.hooks._settings
        daemon.hooks.use(replace(settings, deriver=replace(settings.deriver, after=100)))
        self.send("ben")
        daemon.run(50)
        self.assertEqual(daemon.receiver.got, [])
        daemon.run(60)
        self.assertEqual(len(daemon.receiver.got), 1)


class TestPresence(EngineTestCase):
    def test_a_user_connects_and_disconnects(self) -> None:
        daemon = self.started(CONNECTED, DISCONNECTED)
        daemon.comes("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(CONNECTED, "ben")])
        self.assertEqual(daemon.receiver.data(), {"user": "ben"})
        daemon.goes("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told[1:], [(DISCONNECTED, "ben")])
        self.assertEqual(daemon.receiver.data(), {"user": "ben", "lastSeen": 123})

    def test_who_comes_back_at_once_never_left(self) -> None:
        daemon = self.started(CONNECTED, DISCONNECTED)
        daemon.comes("ben")
        daemon.run(TWO_LOOKS)
        daemon.goes("ben")
        daemon.comes("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(CONNECTED, "ben")])

    def test_nothing_is_told_while_it_is_not_known_and_all_is_told_then(self) -> None:
        daemon = self.started(CONNECTED, DISCONNECTED)
        daemon.comes("ben")
        online, daemon.online = daemon.online, None
        daemon.run(10)
        self.assertEqual(daemon.receiver.got, [])
        daemon.online = online
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(CONNECTED, "ben")])

    def test_after_a_crash_those_who_do_not_come_back_are_told_of_and_no_others(self) -> None:
        daemon = self.started(CONNECTED, DISCONNECTED)
        daemon.comes("ben", "cem")
        daemon.run(TWO_LOOKS)
        self.crash(daemon)
        self.store.outbox._marks = type(self.store.outbox._marks)()
        after = self.started(CONNECTED, DISCONNECTED)
        after.run(5)
        after.comes("cem")
        after.run(RECONCILE_AFTER + 5)
        self.assertEqual(after.receiver.told, [(DISCONNECTED, "ben")])

    def test_nobody_is_marked_if_nobody_wants_to_know(self) -> None:
        daemon = self.started(STORED)
        daemon.comes("ben")
        daemon.run(TWO_LOOKS)
        self.assertEqual(self.successResultOf(self.store.outbox.marks(10)), [])
        daemon.receiver.types = frozenset({CONNECTED})
        self.assertTrue(daemon.hooks.use(daemon.hooks._settings))
        self.assertFalse(daemon.hooks.use(daemon.hooks._settings))


class TestJoined(EngineTestCase):
    def test_a_user_joins_a_room(self) -> None:
        daemon = self.started(JOINED)
        self.store.join("#r", "ben", 10)
        self.store.join("#r", "ben", 10)
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.receiver.told, [(JOINED, "ben")])
        self.assertEqual(daemon.receiver.data(), {"user": "ben", "room": "#r"})

    def test_what_nobody_wants_is_not_kept_for_later(self) -> None:
        daemon = self.started(STORED)
        self.store.join("#r", "ben", 10)
        daemon.run(TWO_LOOKS)
        self.assertEqual(self.successResultOf(self.store.outbox.joins(10)), [])
        self.assertEqual(daemon.receiver.got, [])


class TestConsumers(EngineTestCase):
    def test_each_gets_what_it_wants(self) -> None:
        webhook, push = Receiver([STORED]), Receiver([STORED, UNDELIVERED])
        push.name = "push"
        daemon = HookedDaemon(self.store, webhook, push, clock=self.clock, after=5)
        daemon.hooks.start()
        self.addCleanup(lambda: self.stop(daemon))
        self.send("ben")
        daemon.run(10)
        self.assertEqual(webhook.told, [(STORED, "ben")])
        self.assertEqual(sorted(push.told), [(STORED, "ben"), (UNDELIVERED, "ben")])
        self.assertEqual(webhook.ids, push.ids[:1])


class TestCrashes(EngineTestCase):
    """A store whose calls fail at any one, before or after it has done what it was asked."""

    class Fails(Exception):
        """The process ends here."""

    def test_after_a_crash_at_any_call_each_event_is_told_with_one_id(self) -> None:
        for late in (False, True):
            count = 0
            while True:
                self.setUp()
                told, calls = self.played(count, late)
                # (Who was connected is known from the presence: it is not asked for here.)
                self.assertEqual(
                    {one[:2] for one in told}, {(STORED, "ben"), (UNDELIVERED, "ben"), (JOINED, "cem")}, count
                )
                self.assertEqual(len({one[2] for one in told}), 3, (count, late))
                if calls <= count:
                    break
                count += 1
            self.assertGreater(count, 20)

    def played(self, crash_at: int, late: bool) -> tuple[list[tuple[str, str, str]], int]:
        """Play a story whose first daemon crashes at a call to the outbox: what was told, how many calls were made."""
        calls = 0
        real = self.store.outbox
        test = self

        class Outbox:
            def __getattr__(self, name: str) -> Any:
                method: Callable[..., Deferred[Any]] = getattr(real, name)

                def call(*arguments: Any) -> Deferred[Any]:
                    nonlocal calls
                    calls += 1
                    if calls <= crash_at:
                        return method(*arguments)
                    if calls == crash_at + 1 and late:
                        method(*arguments)
                    return Deferred()  # nothing comes of it any more

                return call

        self.store.outbox = Outbox()
        first = HookedDaemon(self.store, clock=self.clock, after=2)
        self.store.outbox = real
        first.hooks.start()
        self.send("ben")
        self.store.join("#r", "cem", 10)
        self.clock.pump([0.25] * 30)
        self.crash(first)
        second = test.started(STORED, UNDELIVERED, JOINED, after=2)
        second.run(LEASE)
        told = [(one.event.type, one.event.user, one.event.id) for one in (*first.receiver.got, *second.receiver.got)]
        return [one for one in told if one[0] not in (CONNECTED, DISCONNECTED)], calls


class TestTheStoreIsAway(EngineTestCase):
    def test_it_goes_on_when_the_store_is_back(self) -> None:
        daemon = self.started(STORED)
        outbox = self.store.outbox
        acquire = outbox.acquire
        daemon.run(3)
        outbox.acquire = lambda *_: fail(StoreUnavailable("away"))
        self.send("ben")
        daemon.run(20)
        self.assertEqual(daemon.receiver.got, [])
        outbox.acquire = acquire
        daemon.run(TWO_LOOKS)
        self.assertEqual(len(daemon.receiver.got), 1)


class TestOneDaemonAtATime(EngineTestCase):
    def test_the_other_begins_when_the_first_has_ended(self) -> None:
        first, second = self.started(STORED), self.started(STORED)
        self.send("ben")
        self.clock.pump([0.25] * 20)
        self.assertEqual((len(first.receiver.got), len(second.receiver.got)), (1, 0))
        self.assertEqual((first.hooks.is_leading, second.hooks.is_leading), (True, False))
        self.stop(first)
        self.assertEqual((first.receiver.stopped, second.receiver.stopped), (True, False))
        self.send("ben")
        self.clock.pump([0.25] * 20)
        self.assertEqual((len(first.receiver.got), len(second.receiver.got)), (1, 1))

    def test_who_stood_still_does_nothing_with_a_lease_that_is_another_s(self) -> None:
        first, second = self.started(STORED), self.started(STORED)
        self.clock.pump([0.25] * 8)
        self.assertTrue(first.hooks.is_leading)
        self.store.outbox._lease.holder = second.hooks._holder
        self.send("ben")
        self.clock.pump([0.25] * 20)
        self.assertFalse(first.hooks.is_leading)
        self.assertEqual((len(first.receiver.got), len(second.receiver.got)), (0, 1))


class TestUpkeep(EngineTestCase):
    def test_events_that_are_too_old_are_dropped_and_counted(self) -> None:
        daemon = self.started(STORED, max_age=100)
        daemon.receiver.outcome = Later(reason="down", everything=True, wait=10.0)
        self.send("ben")
        daemon.run(150)
        self.assertEqual(daemon.counters.hook_dropped, {"age": 1})
        self.assertEqual((daemon.hooks.waiting, daemon.hooks.oldest), (0, None))

    def test_how_much_waits_is_known(self) -> None:
        daemon = self.started(STORED)
        daemon.receiver.outcome = Later(reason="down", everything=True)
        (sent,) = self.send("ben")
        daemon.run(20)
        self.assertEqual((daemon.hooks.waiting, daemon.hooks.oldest), (1, sent.time))

    def test_beyond_the_bound_the_oldest_are_dropped_and_counted(self) -> None:
        daemon = self.started(STORED, most=3)
        daemon.receiver.outcome = Later(reason="down", everything=True, wait=5.0)
        self.send(*(f"user {number}" for number in range(5)))
        daemon.run(TWO_LOOKS)
        self.assertEqual(daemon.counters.hook_dropped, {"full": 2})

    def test_what_was_not_logged_is_counted_and_the_log_says_so(self) -> None:
        lost = [Backlog(lost=3, lost_joins=2, lost_marks=1)]
        self.store.outbox.backlog = lambda: succeed(lost.pop() if lost else Backlog())
        daemon = self.started(STORED)
        with capturedLogs() as events:
            daemon.run(25)
        self.assertEqual(daemon.counters.hook_dropped, {"log": 3, "joins": 2, "marks": 1})
        lines = [formatEvent(one) for one in events if one["log_level"] is LogLevel.error]
        self.assertEqual(
            lines,
            [
                "3 messages were stored without a hook: too many waited",
                "2 joins were dropped without a hook: too many waited",
                "1 users came or went without a hook: too many waited",
            ],
        )

    def test_settings_are_used(self) -> None:
        daemon = self.started(STORED)
        daemon.hooks.use(HooksSettings(max_age=100))
        self.assertEqual(daemon.hooks._dispatchers[0].max_age, 100)
