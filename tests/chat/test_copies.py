"""What is written to many sockets is spread over turns, by its bytes, and keeps its order."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import copies, delivery, hub, outgoing
from kschat.chat.copies import COPY_BYTES, copies_of
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message
from tests.chat.house import Guest, House
from tests.front.test_turns import turn

#: Copies a turn, in the place of more; and a message of which that is two.
FEW = 50
HALF = "x" * (FEW * COPY_BYTES // 2 - COPY_BYTES)


class CopiesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.hub = self.house.hub
        self.patch(hub, "MAX_WRITES", FEW)
        self.patch(copies, "MAX_WRITES", FEW)

    def turn(self) -> None:
        """One turn of the reactor, and none of those that it brings about."""
        turn(self.house.clock)

    def got(self, guests: list[Guest], name: str) -> list[int]:
        """How many events of this name each has got since the last time."""
        return [len(guest.events(name)) for guest in guests]


class Messages(CopiesTests):
    def test_a_large_message_is_written_to_few_sockets_a_turn(self) -> None:
        ann = self.house.guest("ann")
        guests = [self.house.guest("ben") for _ in range(5)]
        ann.send("ann", "ben", HALF)
        self.turn()
        found = [sum(self.got(guests, "RESPRECEIVER"))]
        while self.hub.is_behind:
            self.turn()
            found.append(sum(self.got(guests, "RESPRECEIVER")))
        self.assertEqual(found, [2, 2, 1])

    def test_what_comes_meanwhile_comes_behind_it_on_each_socket(self) -> None:
        ann = self.house.guest("ann")
        guests = [self.house.guest("ben") for _ in range(5)]
        ann.send("ann", "ben", HALF)
        ann.send("ann", "ben", "small")
        self.turn()
        # One that comes meanwhile reads the store.
        late = self.house.stranger().join({"token": self.house.token("ben")})
        for _ in range(10):
            self.turn()
        for guest in (*guests, late):
            self.assertEqual([one["MSG"][0]["offset"] for one in guest.events("RESPRECEIVER")], [1, 2])
        self.assertFalse(self.hub.is_behind)

    def test_a_socket_that_closes_meanwhile_costs_the_others_nothing(self) -> None:
        ann = self.house.guest("ann")
        guests = [self.house.guest("ben") for _ in range(5)]
        ann.send("ann", "ben", HALF)
        self.turn()
        for guest in guests[2:4]:
            guest.leave()
        self.house.turn()
        self.assertEqual(self.got(guests, "RESPRECEIVER"), [1, 1, 0, 0, 1])

    def test_all_sockets_of_the_user_may_close_meanwhile(self) -> None:
        ann = self.house.guest("ann")
        guests = [self.house.guest("ben") for _ in range(5)]
        ann.send("ann", "ben", HALF)
        self.turn()
        for guest in guests:
            guest.leave()
        self.house.turn()
        self.assertFalse(self.hub.is_behind)

    def test_without_a_store_too(self) -> None:
        self.house.store.keeps = False
        ann = self.house.guest("ann")
        guests = [self.house.guest("ben") for _ in range(5)]
        for msg in (HALF, "small"):
            ann.send("ann", "ben", msg)
        for _ in range(10):
            self.turn()
        for guest in guests:
            self.assertEqual([len(one["MSG"][0]["msg"]) for one in guest.events("RESPRECEIVER")], [len(HALF), 5])

    def test_a_small_message_goes_to_all_sockets_of_a_user_at_once(self) -> None:
        self.patch(hub, "MAX_WRITES", 2)
        guests = [self.house.guest("ben") for _ in range(5)]
        self.house.guest("ann").send("ann", "ben")
        self.turn()
        self.assertEqual(self.got(guests, "RESPRECEIVER"), [1] * 5)


class Batches(CopiesTests):
    def test_a_batch_has_so_many_bytes_or_one_message(self) -> None:
        ann = self.house.guest("ann")
        sizes: list[int] = []
        append = self.house.store.append

        def appended(messages: Sequence[Message]) -> Deferred[list[Stored]]:
            sizes.append(len(messages))
            return append(messages)

        self.patch(self.house.store, "append", appended)
        large = "x" * (delivery.MAX_BATCH_BYTES * 2 // 5)
        for _ in range(7):
            ann.send("ann", "ben", large)
        ann.send("ann", "ben", "x" * 10)
        for expected in ([3], [3, 3], [3, 3, 2]):
            self.turn()
            self.assertEqual(sizes, expected)
        self.assertEqual(len(ann.acks()), 8)


class Events(CopiesTests):
    def emit(self, size: int, name: str = "x") -> None:
        self.house.context.operations.emit_to_users(["ben"], outgoing.event(name, "x" * size))

    def test_a_large_event_is_written_to_few_sockets_a_turn(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        self.emit(1)
        counts = []
        for _ in range(4):
            self.turn()
            counts.append(self.got(guests, "x"))
        self.assertEqual(counts, [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 1, 2], [0] * 5])

    def test_a_small_one_is_written_at_once(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(1)
        self.assertEqual(self.got(guests, "x"), [1] * 5)

    def test_carbons_are_spread_too_and_count_by_their_bytes(self) -> None:
        sender, *others = [self.house.guest("ann", carbons="1") for _ in range(6)]
        sender.send("ann", "ben", HALF)
        self.turn()
        self.turn()
        self.assertEqual(sum(self.got(others, "RESPCARBON")), 2)
        for _ in range(3):
            self.turn()
        self.assertEqual(sum(self.got(others, "RESPCARBON")), 3)

    def test_who_is_disconnected_gets_what_was_emitted_before(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        self.house.context.operations.disconnect("ben", "kicked")
        self.assertFalse(any(guest.line.closed for guest in guests))
        self.house.turn()
        self.assertEqual([[one.kind for one in guest.heard()] for guest in guests], [["event", "disconnect"]] * 5)

    def test_one_that_closes_meanwhile_is_passed_over(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        guests[0].leave()
        guests[3].leave()
        self.house.turn()
        self.assertEqual(self.got(guests, "x"), [0, 1, 1, 0, 1])

    def test_beyond_so_many_they_are_dropped_and_counted(self) -> None:
        self.patch(copies, "MAX_LATE", 2)
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        self.emit(1)
        self.emit(1)
        self.house.turn()
        self.assertEqual(self.got(guests, "x"), [2] * 5)
        self.assertEqual(self.house.counters.full["copies"], 5)

    def test_what_a_copy_counts(self) -> None:
        self.assertEqual([copies_of(size) for size in (0, COPY_BYTES - 1, COPY_BYTES, 10 * COPY_BYTES)], [1, 1, 2, 11])
