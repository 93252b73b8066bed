"""What every bus must do. A backend's own tests mix these in and say how some are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from kschat.chat.bus import BusEvent, IBus, Wants
from kschat.chat.cluster_commands import (
    Buckets,
    Carbon,
    ClusterCommand,
    CursorRequest,
    CursorWritten,
    DaemonStatus,
    Disconnect,
    Emit,
    Erased,
    OnlineListed,
    OnlineRequest,
    Receipt,
    Replaced,
    SocketInfo,
    SocketsListed,
    SocketsRequest,
    StatusRequest,
    StatusTold,
    Typing,
)

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

#: One of each kind, with what is odd in it.
COMMANDS: Sequence[ClusterCommand] = (
    Typing("ann"),
    Typing("a\0b é 😀 \x7f"),
    Receipt("9" * 128, True, "0" * 24, 2),
    Receipt("ben", False, "f" * 24, 3),
    Carbon(b'["RESPCARBON",{"a":"\xc3\xa9"}]', (b"", bytes(range(256)), b"\xff" * 70_000)),
    Emit(b'["Any name",' + b"1" * 100_000 + b"]"),
    Disconnect("logout"),
    Replaced("0123456789abcdef.xyz", "socket"),
    CursorRequest("q"),
    CursorWritten("q"),
    SocketsRequest("q"),
    SocketsListed("q", (SocketInfo("id", "192.0.2.7:1", 4, 1.5),)),
    Erased(),
    StatusRequest("q"),
    StatusTold(
        "q",
        DaemonStatus(
            "h:1",
            "0",
            1.5,
            1,
            2,
            3,
            {"sent": 2**40},
            {},
            {"store": True},
            {"store": Buckets((0.5,), (0, 1))},
            {"messages_waiting": 1},
            {"limited": {"user_sends": 2}},
        ),
    ),
    OnlineRequest("q", "é", 1000),
    OnlineListed("q", ("ann", "😀")),
)

#: Users' ids that others use for patterns, keys and the like.
ODD_USERS = ("*", "ben", "ben*", "b?n", "[b]en", "Ben", "ben ", "be\0n", "é", "e\N{COMBINING ACUTE ACCENT}", "😀" * 128)


class Ears:
    """Takes what a bus hears."""

    def __init__(self) -> None:
        self.commands: list[tuple[str | None, ClusterCommand]] = []
        self.changes: list[tuple[str, bool | None, int | None]] = []
        self.dead: list[tuple[str, int]] = []
        self.wants = Wants.NOTHING
        self.events: list[BusEvent] = []

    def on_commands(self, user: str | None, commands: Sequence[ClusterCommand]) -> None:
        self.commands += [(user, command) for command in commands]

    def on_presence(self, user: str, online: bool | None, last_seen: int | None) -> None:
        self.changes.append((user, online, last_seen))

    def on_daemon_lost(self, users: Sequence[str], last_seen: int) -> None:
        self.dead += [(user, last_seen) for user in users]

    def on_wants(self, wants: Wants) -> None:
        self.wants = wants

    def on_bus_event(self, event: BusEvent) -> None:
        self.events.append(event)

    def of(self, user: str) -> list[tuple[bool | None, int | None]]:
        """How often ``user`` changed; what came twice in a row counts once."""
        states: list[tuple[bool | None, int | None]] = []
        for name, online, seen in self.changes:
            if name == user and (not states or states[-1][0] is not online):
                states.append((online, seen))
        return states


class BusContract(TestCase):
    """Mixed into a ``TestCase``: what a bus does for the daemon that it is of."""

    async def make_buses(self, count: int) -> list[IBus]:
        """Buses of so many daemons that act as one; to none anything is attached. Who makes them cleans up."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Fires when all that was told is heard."""

    async def together(self, count: int) -> list[tuple[IBus, Ears]]:
        """Buses that are up, and what each hears."""
        found = []
        for bus in await self.make_buses(count):
            ears = Ears()
            bus.attach(ears)
            bus.start()
            found.append((bus, ears))
        await self.all_up([bus for bus, _ in found])
        return found

    async def all_up(self, buses: Sequence[IBus]) -> None:
        """Fires when all are up, and each knows of the others."""

    async def test_it_provides_the_interface(self) -> None:
        (bus,) = await self.make_buses(1)
        self.assertTrue(verifyObject(IBus, bus))

    async def test_who_is_here_is_online_and_who_is_gone_is_not(self) -> None:
        ((bus, _),) = await self.together(1)
        bus.here("ann")
        bus.here("ben")
        bus.gone("ben", 5)
        self.assertEqual(await bus.online(["ann", "ben", "cem"]), {"ann": True, "ben": False, "cem": False})
        self.assertEqual(await bus.online([]), {})

    async def test_who_is_watched_is_heard_to_come_and_to_go(self) -> None:
        ((bus, ears),) = await self.together(1)
        bus.watch("ann")
        self.assertEqual(await bus.online(["ann"]), {"ann": False})
        bus.here("ann")
        await self.settle()
        bus.gone("ann", 1_700_000_000_123)
        await self.settle()
        bus.here("ann")
        await self.settle()
        self.assertEqual(ears.of("ann"), [(True, None), (False, 1_700_000_000_123), (True, None)])

    async def test_its_own_words_it_does_not_hear(self) -> None:
        ((bus, ears),) = await self.together(1)
        bus.here("ann")
        await self.settle()
        bus.publish(["ann", "ben"], Typing("ben"))
        bus.publish_all(Emit(b"[1]"))
        bus.want(Wants.RECEIPTS)
        await self.settle()
        self.assertEqual((ears.commands, ears.wants), ([], Wants.NOTHING))

    async def test_what_is_not_there_can_be_taken_away(self) -> None:
        ((bus, _),) = await self.together(1)
        bus.gone("nobody", 1)
        bus.watch("ann")
        bus.unwatch("ann")
        bus.publish([], Typing("ben"))
        await self.settle()
        self.assertEqual(await bus.online(["nobody", "ann"]), {"nobody": False, "ann": False})

    async def test_it_knows_that_there_is_one_daemon(self) -> None:
        ((bus, _),) = await self.together(1)
        self.assertEqual(await bus.daemons(), 1)


class BusesContract(BusContract):
    """For buses that connect several daemons."""

    async def comes_true(self, right: Callable[[], bool]) -> None:
        """Fires when something holds that daemons learn now and then."""
        self.assertTrue(right())

    async def two(self, *users: str) -> tuple[IBus, Ears, IBus, Ears]:
        """Two daemons; ``users`` are on the second."""
        (one, heard_by_one), (other, heard_by_other) = await self.together(2)
        for user in users:
            other.here(user)
            await other.listen(user)
        await self.settle()
        return one, heard_by_one, other, heard_by_other

    async def test_a_word_is_heard_where_its_user_is(self) -> None:
        one, heard, other, heard_there = await self.two("ann", "ben")
        for command in COMMANDS:
            one.publish(["ann"], command)
        await self.settle()
        self.assertEqual(heard_there.commands, [("ann", command) for command in COMMANDS])
        self.assertEqual(heard.commands, [])
        other.publish(["ann"], Typing("x"))
        await self.settle()
        self.assertEqual(heard.commands, [])

    async def test_a_word_to_many_is_heard_for_each_of_them(self) -> None:
        users = [f"user {number}" for number in range(300)]
        one, _, _, heard = await self.two(*users[::2])
        one.publish(users, Emit(b'["hello"]'))
        await self.settle()
        self.assertEqual(sorted(heard.commands), sorted((user, Emit(b'["hello"]')) for user in users[::2]))

    async def test_a_word_to_all_keeps_its_place_among_those_to_a_user(self) -> None:
        one, _, _, heard = await self.two("ann", "ben")
        told: list[tuple[str | None, ClusterCommand]] = [
            ("ann", Typing("1")),
            (None, Emit(b"[2]")),
            ("ann", Typing("3")),
            (None, Emit(b"[4]")),
            ("ben", Typing("5")),
        ]
        for user, command in told:
            if user is None:
                one.publish_all(command)
            else:
                one.publish([user], command)
        await self.settle()
        self.assertEqual(heard.commands, told)

    async def test_it_knows_how_many_daemons_there_are(self) -> None:
        found = await self.together(3)
        self.assertEqual([await bus.daemons() for bus, _ in found], [3, 3, 3])

    async def test_a_word_to_all_is_heard_by_all_others(self) -> None:
        daemons = await self.together(3)
        for command in COMMANDS:
            daemons[0][0].publish_all(command)
        await self.settle()
        self.assertEqual([ears.commands for _, ears in daemons], [[], *[[(None, command) for command in COMMANDS]] * 2])

    async def test_who_is_gone_hears_nothing_more_and_who_is_back_does(self) -> None:
        one, _, other, heard = await self.two("ann")
        other.unlisten("ann")
        await self.settle()
        one.publish(["ann"], Typing("lost"))
        await self.settle()
        await other.listen("ann")
        one.publish(["ann"], Typing("heard"))
        await self.settle()
        self.assertEqual(heard.commands, [("ann", Typing("heard"))])

    async def test_whatever_is_told_once_a_user_is_listened_to_is_heard(self) -> None:
        one, _, other, heard = await self.two()
        users = [f"user {number}" for number in range(20)]
        for user in users:
            await other.listen(user)
            one.publish([user], Typing(user))
        await self.settle()
        self.assertEqual(heard.commands, [(user, Typing(user)) for user in users])

    async def test_what_a_daemon_wants_is_known_to_the_others_once_it_listens(self) -> None:
        one, heard, other, heard_there = await self.two()
        for wants in (Wants.CARBONS, Wants.CARBONS | Wants.RECEIPTS):
            other.want(wants)
            await other.listen("ann")
            # What is published once that was answered is heard behind it.
            await one.listen("ben")
            other.publish(["ben"], Typing("ann"))
            await self.comes_true(lambda: bool(heard.commands))
            self.assertEqual(heard.wants, wants)
            heard.commands.clear()
        self.assertEqual(heard_there.commands, [])

    async def test_a_question_is_heard_by_the_daemons_that_it_says_and_by_no_other(self) -> None:
        daemons = await self.together(4)
        for bus, _ in daemons[:3]:
            bus.here("ann")
            await bus.listen("ann")
        await self.settle()
        self.assertEqual(await daemons[0][0].ask("ann", CursorRequest("q")), 2)
        self.assertEqual(await daemons[0][0].ask("ben", CursorRequest("r")), 0)
        await self.settle()
        asked = [("ann", CursorRequest("q"))]
        self.assertEqual([ears.commands for _, ears in daemons], [[], asked, asked, []])
        # One that has no socket of the user may ask, too.
        self.assertEqual(await daemons[3][0].ask("ann", CursorRequest("s")), 3)

    async def test_a_word_with_an_echo_is_heard_by_all_in_one_order(self) -> None:
        daemons = await self.together(3)
        for bus, _ in daemons:
            await bus.listen("ann")
        for number in range(20):
            for place, (bus, _) in enumerate(daemons):
                bus.publish(["ann"], Replaced("pid", f"{number} of {place}"), echo=True)
            if number % 3 == 0:
                await self.settle()
        await self.settle()
        orders = [ears.commands for _, ears in daemons]
        self.assertEqual(len(orders[0]), 60)
        self.assertEqual(orders, [orders[0]] * 3)

    async def test_what_was_told_before_a_flush_is_published_when_it_fires(self) -> None:
        one, _, other, heard = await self.two("ann")
        for number in range(3):
            one.publish(["ann"], Typing(str(number)))
            await one.flush()
            # A user's channel is in the order of what was published.
            other.publish(["ann"], Replaced("pid", str(number)), echo=True)
            await other.flush()
        await self.settle()
        self.assertEqual(
            [command for _, command in heard.commands],
            [command for number in "012" for command in (Typing(number), Replaced("pid", number))],
        )

    async def test_no_user_s_id_means_another_s(self) -> None:
        one, _, _, heard = await self.two(*ODD_USERS)
        for user in ODD_USERS:
            one.publish([user], Typing(user))
        await self.settle()
        self.assertEqual(sorted(heard.commands), sorted((user, Typing(user)) for user in ODD_USERS))
        self.assertEqual(await one.online([*ODD_USERS, "b"]), {**dict.fromkeys(ODD_USERS, True), "b": False})

    async def test_who_is_elsewhere_is_online(self) -> None:
        one, _, other, _ = await self.two("ann")
        self.assertEqual(await one.online(["ann", "ben"]), {"ann": True, "ben": False})
        other.gone("ann", 1)
        await self.settle()
        self.assertEqual(await one.online(["ann"]), {"ann": False})

    async def test_who_is_on_two_daemons_is_online_until_it_is_gone_from_both(self) -> None:
        one, heard, other, _ = await self.two()
        one.watch("ann")
        await one.online(["ann"])
        for step in (lambda: other.here("ann"), lambda: one.here("ann"), lambda: other.gone("ann", 7)):
            step()
            await self.settle()
        self.assertEqual(await one.online(["ann"]), {"ann": True})
        self.assertEqual(heard.of("ann"), [(True, None)])
        one.gone("ann", 9)
        await self.settle()
        self.assertEqual(heard.of("ann"), [(True, None), (False, 9)])
        self.assertEqual(await other.online(["ann"]), {"ann": False})

    async def test_who_left_two_daemons_was_last_seen_at_the_later_of_both_times(self) -> None:
        one, heard, other, _ = await self.two("ann")
        one.watch("ann")
        await one.online(["ann"])
        one.here("ann")
        await self.settle()
        one.gone("ann", 1_700_000_000_009)
        await self.settle()
        other.gone("ann", 1_700_000_000_007)
        await self.settle()
        other.here("ann")
        await self.settle()
        other.gone("ann", 1_700_000_000_008)
        await self.settle()
        seen = [state for state in heard.of("ann") if not state[0]]
        self.assertEqual(seen, [(False, 1_700_000_000_009), (False, 1_700_000_000_008)])

    async def test_all_who_watch_hear_of_a_change_anywhere(self) -> None:
        daemons = await self.together(3)
        for bus, _ in daemons:
            bus.watch("ann")
            await bus.online(["ann"])
        daemons[1][0].here("ann")
        await self.settle()
        daemons[1][0].gone("ann", 5)
        await self.settle()
        self.assertEqual([ears.of("ann") for _, ears in daemons], [[(True, None), (False, 5)]] * 3)

    async def test_who_is_watched_no_more_is_not_heard_of(self) -> None:
        one, heard, other, _ = await self.two()
        one.watch("ann")
        one.watch("ben")
        await one.online(["ann"])
        one.unwatch("ann")
        await self.settle()
        other.here("ann")
        other.here("ben")
        await self.settle()
        self.assertEqual((heard.of("ann"), heard.of("ben")), ([], [(True, None)]))

    async def test_what_is_wanted_anywhere_is_known_everywhere_else(self) -> None:
        (one, heard), (other, heard_there), (_, third) = await self.together(3)
        one.want(Wants.RECEIPTS)
        await self.settle()
        self.assertEqual((heard.wants, heard_there.wants, third.wants), (Wants.NOTHING, *[Wants.RECEIPTS] * 2))
        other.want(Wants.CARBONS)
        await self.settle()
        self.assertEqual((heard.wants, third.wants), (Wants.CARBONS, Wants.CARBONS | Wants.RECEIPTS))
        one.want(Wants.NOTHING)
        await self.settle()
        expected = (Wants.CARBONS, Wants.NOTHING, Wants.CARBONS)
        await self.comes_true(lambda: (heard.wants, heard_there.wants, third.wants) == expected)

    async def test_one_that_begins_later_knows_what_is_wanted_and_who_is_there(self) -> None:
        buses = await self.make_buses(2)
        ears = [Ears(), Ears()]
        for bus, listener in zip(buses, ears, strict=True):
            bus.attach(listener)
        buses[0].start()
        buses[0].here("ann")
        buses[0].want(Wants.CARBONS)
        await self.all_up(buses[:1])
        await self.settle()
        buses[1].start()
        await self.all_up(buses)
        self.assertEqual(ears[1].wants, Wants.CARBONS)
        self.assertEqual(await buses[1].online(["ann"]), {"ann": True})

    async def test_who_was_on_a_daemon_that_ends_in_order_is_gone_at_once(self) -> None:
        one, heard, other, _ = await self.two("ann", "ben")
        one.here("ben")
        other.want(Wants.RECEIPTS)
        for user in ("ann", "ben"):
            one.watch(user)
        self.assertEqual(await one.online(["ann", "ben"]), {"ann": True, "ben": True})
        await other.stop()
        await self.settle()
        self.assertEqual(await one.online(["ann", "ben"]), {"ann": False, "ben": True})
        (gone,) = [state for state in heard.of("ann") if not state[0]]
        self.assertIsNotNone(gone[1])
        self.assertNotIn(False, [online for online, _ in heard.of("ben")])
