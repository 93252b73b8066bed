"""What is written to many sockets is spread over turns, by its bytes, and keeps its order."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import copies, delivery, hub, outgoing
from kschat.chat.cluster_commands import Emit
from kschat.chat.copies import COPY_BYTES, copies_of
from kschat.chat.interfaces import Stored
from kschat.chat.message import Error, Message, Refused
from tests.chat.house import Guest, House
from tests.contracts.made import message
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
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.house.guest("ann")
        self.guests = [self.house.guest("ben") for _ in range(5)]

    def offsets(self, guest: Guest) -> list[int]:
        return [one["MSG"][0]["offset"] for one in guest.events("RESPRECEIVER")]

    def test_a_large_message_is_written_to_few_sockets_a_turn(self) -> None:
        self.ann.send("ann", "ben", HALF)
        found = []
        for _ in range(5):
            self.turn()
            found.append(sum(self.got(self.guests, "RESPRECEIVER")))
        self.assertEqual(found, [0, 2, 2, 1, 0])

    def test_others_do_not_wait_for_it(self) -> None:
        cem = self.house.guest("cem")
        self.ann.send("ann", "ben", HALF)
        self.ann.send("ann", "cem", "small")
        self.turn()
        self.assertEqual(self.got([*self.guests, cem], "RESPRECEIVER"), [0] * 5 + [1])
        self.assertFalse(self.hub.is_behind)

    def test_what_comes_meanwhile_comes_behind_it_on_each_socket(self) -> None:
        self.ann.send("ann", "ben", HALF)
        self.ann.send("ann", "ben", "small")
        self.turn()
        # One that comes meanwhile reads the store.
        late = self.house.stranger().join({"token": self.house.token("ben")})
        self.turn()
        self.ann.send("ann", "ben", "smaller")
        for _ in range(10):
            self.turn()
        for guest in (*self.guests, late):
            self.assertEqual(self.offsets(guest), [1, 2, 3])
        self.ann.send("ann", "ben", "at once")
        self.turn()
        self.assertEqual([self.offsets(guest) for guest in self.guests], [[4]] * 5)

    def test_without_a_store_too(self) -> None:
        self.house.store.keeps = False
        for msg in (HALF, "small"):
            self.ann.send("ann", "ben", msg)
        for _ in range(10):
            self.turn()
        for guest in self.guests:
            self.assertEqual([len(one["MSG"][0]["msg"]) for one in guest.events("RESPRECEIVER")], [len(HALF), 5])

    def test_a_socket_that_closes_meanwhile_costs_the_others_nothing(self) -> None:
        self.ann.send("ann", "ben", HALF)
        self.turn()
        self.turn()
        for guest in self.guests[2:4]:
            guest.leave()
        self.house.turn()
        self.assertEqual(self.got(self.guests, "RESPRECEIVER"), [1, 1, 0, 0, 1])

    def test_all_sockets_of_the_user_may_close_meanwhile(self) -> None:
        self.ann.send("ann", "ben", HALF)
        self.turn()
        for guest in self.guests:
            guest.leave()
        self.house.turn()
        self.assertEqual(len(self.hub._spread), 0)
        self.assertEqual(self.offsets(self.house.stranger().join({"token": self.house.token("ben")})), [1])

    def test_a_small_message_goes_to_all_sockets_of_a_user_at_once(self) -> None:
        self.patch(hub, "MAX_WRITES", 5)
        self.ann.send("ann", "ben")
        self.turn()
        self.assertEqual(self.got(self.guests, "RESPRECEIVER"), [1] * 5)

    def test_while_too_much_waits_no_other_large_one_is_stored(self) -> None:
        self.patch(copies, "MAX_LATE_BYTES", len(HALF) - 1)
        self.ann.send("ann", "ben", HALF)
        self.turn()
        self.assertEqual((self.hub.is_full, self.hub.is_behind), (True, False))
        cem = self.house.guest("cem")
        self.ann.acks()
        cem.send("cem", "ann", HALF)
        self.ann.send("ann", "cem", "small")
        self.turn()
        self.assertEqual(len(self.ann.acks()), 1)
        self.assertEqual([one.kind for one in cem.heard()], ["event"])
        self.house.turn()
        self.assertFalse(self.hub.is_full)
        self.assertEqual(len(cem.acks()), 1)

    def test_copies_that_wait_count_too_and_not_bytes_alone(self) -> None:
        self.patch(copies, "MAX_LATE_COPIES", 2 * copies_of(len(HALF)))
        self.ann.send("ann", "ben", HALF)
        self.turn()
        self.assertTrue(self.hub.is_full)
        cem = self.house.guest("cem")
        self.ann.acks()
        cem.send("cem", "ann", HALF)
        self.turn()
        self.assertEqual((self.house.delivery.waiting, self.hub.is_full), (1, True), "three of five wait")
        self.house.turn()
        self.assertEqual((self.house.delivery.waiting, len(cem.acks())), (0, 1))
        self.assertEqual((self.hub._spread.copies, self.hub._spread.size, self.hub._spread._waiting), (0, 0, {}))

    def test_where_batches_wait_for_their_turn_what_is_spread_is_not_written_at_once(self) -> None:
        self.patch(hub, "MAX_UNDELIVERED", 0)
        self.ann.send("ann", "ben", HALF)
        self.turn()
        stored = Stored(message("ann", "cem"), (("cem", 1),))
        self.hub._undelivered.append(([stored], None))
        self.hub.deliver([stored])
        self.assertFalse(self.hub.is_behind)
        self.assertEqual(self.got(self.guests, "RESPRECEIVER"), [0] * 5)

    def test_where_too_much_waits_the_sockets_read_the_store(self) -> None:
        self.patch(copies, "MAX_LATE", 0)
        self.ann.send("ann", "ben", HALF)
        self.ann.send("ann", "ben", "small")
        for _ in range(20):
            self.turn()
        self.house.clock.advance(1)
        self.assertEqual([self.offsets(guest) for guest in self.guests], [[1, 2]] * 5)

    def test_at_the_end_all_is_written(self) -> None:
        self.ann.send("ann", "ben", HALF)
        self.turn()
        self.hub.deliver_rest()
        self.assertEqual(self.got(self.guests, "RESPRECEIVER"), [1] * 5)

    def test_copies_count_by_their_bytes(self) -> None:
        charged: list[int] = []
        self.patch(self.hub._limiter, "copied_by", lambda user, count: charged.append(count))
        self.guests += [self.house.guest("ben") for _ in range(hub.FREE_COPIES)]
        self.ann.send("ann", "ben", HALF)
        self.ann.send("ann", "ben", "x")
        self.turn()
        self.assertEqual(charged, [len(self.guests) * copies_of(len(HALF)), len(self.guests)])


class Rooms(CopiesTests):
    """A large message to many users, who have one socket each: as if one user had all of them."""

    def setUp(self) -> None:
        super().setUp()
        self.users = [f"m{number}" for number in range(5)]
        self.members = [self.house.guest(user) for user in self.users]
        self.ann = self.house.guest("ann")
        for user in ("ann", *self.users):
            self.successResultOf(self.house.store.join("#r", user, 100))

    def texts(self, guest: Guest) -> list[int]:
        return [len(one["MSG"][0]["msg"]) for one in guest.events("RESPRECEIVER")]

    def test_a_large_message_is_written_to_few_members_a_turn_and_others_do_not_wait(self) -> None:
        cem = self.house.guest("cem")
        self.ann.send("ann", "#r", HALF)
        found = []
        for user, member in zip(self.users, self.members, strict=True):
            member.send(user, "cem", "small")
            self.turn()
            found.append(sum(self.got(self.members, "RESPRECEIVER")))
            self.assertEqual(self.got([cem], "RESPRECEIVER"), [1])
            self.assertFalse(self.hub.is_behind)
        self.assertEqual(found, [0, 2, 2, 1, 0])

    def test_what_comes_meanwhile_comes_behind_it(self) -> None:
        self.ann.send("ann", "#r", HALF)
        self.ann.send("ann", "#r", "small")
        self.ann.send("ann", "m4", "sm")
        for _ in range(10):
            self.turn()
        self.assertEqual([self.texts(one) for one in self.members], [[len(HALF), 5]] * 4 + [[len(HALF), 5, 2]])

    def test_without_a_store_too(self) -> None:
        large = message("ann", "#r", msg=Raw(b'"%b"' % HALF.encode()))
        self.house.store.keeps = False
        self.hub.deliver([Stored(large, tuple((user, 0) for user in self.users))])
        self.assertEqual([self.texts(one) for one in self.members], [[]] * 5)
        for _ in range(5):
            self.turn()
        self.assertEqual([self.texts(one) for one in self.members], [[len(HALF)]] * 5)

    def test_it_counts_by_its_bytes_for_each_member_who_is_here(self) -> None:
        charged: list[int] = []
        self.patch(self.hub._limiter, "copied_by", lambda user, count: charged.append(count))
        self.successResultOf(self.house.store.join("#r", "away", 100))
        self.ann.send("ann", "#r", HALF)
        self.turn()
        self.assertEqual(sum(charged), len(self.members) * copies_of(len(HALF)))


class Batches(CopiesTests):
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.house.guest("ann")
        self.ben = self.house.guest("ben")
        self.sizes: list[int] = []
        append = self.house.store.append

        def appended(messages: Sequence[Message]) -> Deferred[list[Stored]]:
            self.sizes.append(len(messages))
            return append(messages)

        self.patch(self.house.store, "append", appended)

    def test_a_batch_has_so_many_bytes(self) -> None:
        size = delivery.LARGE - 100
        fits = -(-delivery.MAX_BATCH_BYTES // size)
        for _ in range(2 * fits + 1):
            self.ann.send("ann", "cem", "x" * size)
        for expected in ([fits], [fits, fits], [fits, fits, 1]):
            self.turn()
            self.assertEqual(self.sizes, expected)
        self.assertEqual(len(self.ann.acks()), 2 * fits + 1)

    def test_large_messages_have_batches_of_their_own_one_at_a_time(self) -> None:
        self.house.store.answers.held = True
        for _ in range(5):
            self.ann.send("ann", "cem", "x" * (delivery.MAX_LARGE_BYTES // 2 - 10))
        for number in range(3):
            self.ben.send("ben", "cem", number)
        self.turn()
        self.assertEqual(self.sizes, [2, 3])
        self.ben.send("ben", "cem", "more")
        self.turn()
        self.assertEqual(self.sizes, [2, 3, 1])
        self.assertEqual(self.house.delivery.waiting, 3)
        self.house.store.answers.held = False
        self.house.store.answers.give()
        self.house.turn()
        self.assertEqual(self.sizes, [2, 3, 1, 2, 1])
        self.assertEqual((len(self.ann.acks()), len(self.ben.acks()), self.house.delivery.waiting), (5, 4, 0))
        self.assertEqual(self.house.delivery._large_senders, {})

    def test_one_that_is_larger_than_a_batch_is_a_batch(self) -> None:
        for _ in range(2):
            self.ann.send("ann", "cem", "x" * (delivery.MAX_LARGE_BYTES + 1))
        self.turn()
        self.turn()
        self.assertEqual(self.sizes, [1, 1])

    def test_what_a_sender_sends_behind_a_large_message_stays_behind_it(self) -> None:
        cem = self.house.guest("cem")
        for msg in ("first", "x" * delivery.LARGE, "last"):
            self.ann.send("ann", "cem", msg)
        self.house.turn()
        found = [one["MSG"][0]["msg"][:5] for one in cem.events("RESPRECEIVER")]
        self.assertEqual(found, ["first", "xxxxx", "last"])

    def test_neither_kind_waits_for_ever_where_one_batch_is_in_flight(self) -> None:
        self.house = House(max_in_flight=1)
        self.hub = self.house.hub
        self.setUp_guests()
        for number in range(4):
            self.ann.send("ann", "cem", "x" * delivery.MAX_LARGE_BYTES)
            self.ben.send("ben", "cem", number)
        self.turn()
        self.turn()
        self.assertEqual((len(self.ann.acks()), len(self.ben.acks())), (2, 4))
        self.turn()
        self.turn()
        self.assertEqual(len(self.ann.acks()), 2)

    def setUp_guests(self) -> None:
        """Guests of another house."""
        self.ann, self.ben = self.house.guest("ann"), self.house.guest("ben")

    def test_a_batch_of_large_ones_is_followed_by_a_rest_as_long(self) -> None:
        for took, rest in ((0.02, 0.02), (1.0, delivery.MAX_LARGE_REST)):
            self.house.store.answers.held = True
            self.sizes.clear()
            for _ in range(2):
                self.ann.send("ann", "cem", "x" * delivery.MAX_LARGE_BYTES)
            self.turn()
            self.house.clock.advance(took)
            self.house.store.answers.held = False
            self.house.store.answers.give()
            self.house.clock.advance(rest * 0.9)
            self.ben.send("ben", "cem", 1)
            self.house.turn()
            self.assertEqual((self.sizes, self.house.delivery.waiting), ([1, 1], 1), "others do not rest")
            self.house.clock.advance(rest * 0.2)
            self.house.turn()
            self.assertEqual((self.sizes, self.house.delivery.waiting), ([1, 1, 1], 0))
            self.house.clock.advance(1)

    def test_while_too_many_bytes_wait_it_says_so(self) -> None:
        self.house.store.answers.held = True
        count = delivery.MAX_LARGE_WAITING // delivery.LARGE + 2
        for _ in range(count):
            self.ann.send("ann", "cem", "x" * delivery.LARGE)
        self.assertTrue(self.house.delivery.is_full)
        self.turn()
        self.assertFalse(self.house.delivery.is_full, "some of them are on their way")
        self.house.store.answers.held = False
        self.house.store.answers.give()
        self.house.turn()
        self.assertEqual((self.house.delivery.waiting, self.house.delivery._large_size), (0, 0))

    def test_too_many_are_refused(self) -> None:
        self.house = House(max_waiting=2)
        self.setUp_guests()
        for _ in range(3):
            self.ann.send("ann", "cem", "x" * delivery.LARGE)
        self.assertEqual([ack["ER"] for ack in self.ann.acks().values()], [8])


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

    def test_a_large_event_to_many_users_is_spread_as_one_to_many_sockets(self) -> None:
        users = [f"m{number}" for number in range(5)]
        guests = [self.house.guest(user) for user in users]
        self.house.context.operations.emit_to_users(users, outgoing.event("x", HALF))
        counts = [sum(self.got(guests, "x"))]
        for _ in range(3):
            self.turn()
            counts.append(sum(self.got(guests, "x")))
        self.assertEqual(counts, [0, 2, 2, 1])

    def test_while_too_much_waits_a_large_one_is_refused_and_a_small_one_is_not(self) -> None:
        self.patch(copies, "MAX_LATE_BYTES", len(HALF) - 1)
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        operations = self.house.context.operations
        large = outgoing.event("x", HALF)
        self.assertEqual(self.assertRaises(Refused, self.emit, len(HALF)).error, Error.BUSY)
        self.assertEqual(self.assertRaises(Refused, operations.emit_to_all, large).error, Error.BUSY)
        self.assertEqual(self.failureResultOf(operations.emit_to_room("#r", large), Refused).value.error, Error.BUSY)
        self.assertEqual(self.house.counters.refused[Error.BUSY], 3)
        self.emit(1)
        self.house.turn()
        self.assertEqual(self.got(guests, "x"), [2] * 5)
        self.emit(len(HALF))

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

    def test_many_small_ones_are_spread_too(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        for number in range(30):
            self.emit(1, f"x{number}")
        counts = [sum(len(guest.heard()) for guest in guests)]
        for _ in range(3):
            self.turn()
            counts.append(sum(len(guest.heard()) for guest in guests))
        self.assertEqual(counts, [50, 50, 50, 0])
        self.emit(1)
        self.assertEqual(self.got(guests, "x"), [1] * 5)

    def test_they_keep_their_order_on_each_socket(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        for number in range(30):
            self.emit(len(HALF) if number == 12 else 1, f"x{number}")
        self.house.turn()
        for guest in guests:
            self.assertEqual([one.name for one in guest.heard()], [f"x{number}" for number in range(30)])

    def test_what_other_daemons_send_is_spread_as_well(self) -> None:
        guests = [self.house.guest(f"m{number}") for number in range(5)]
        event = Emit(outgoing.event("x", HALF))
        operations = self.house.context.operations
        for number in range(5):
            operations.on_commands(f"m{number}", [event])
        operations.on_commands(None, [Emit(outgoing.event("x", 1))] * 4)
        counts = [sum(self.got(guests, "x"))]
        for _ in range(4):
            self.turn()
            counts.append(sum(self.got(guests, "x")))
        # Two of the large ones, two, and the last one with all small ones, which wait behind it.
        self.assertEqual(counts, [2, 2, 21, 0, 0])

    def test_who_waits_for_nothing_gets_what_is_small_at_once(self) -> None:
        guests = [self.house.guest("ben") for _ in range(5)]
        cem = self.house.guest("cem")
        self.emit(len(HALF))
        self.house.context.operations.emit_to_users(["ben", "cem"], outgoing.event("x", 1))
        self.assertEqual(self.got([*guests, cem], "x"), [0] * 5 + [1])
        self.house.turn()
        self.assertEqual(self.got([*guests, cem], "x"), [2] * 5 + [0])

    def test_while_too_much_waits_one_to_many_users_is_refused(self) -> None:
        self.patch(copies, "MAX_LATE_COPIES", 10)
        for _ in range(5):
            self.house.guest("ben")
        self.emit(len(HALF))
        users = [f"u{number}" for number in range(copies.MANY_USERS + 1)]
        emit = self.house.context.operations.emit_to_users
        emit(users[1:], outgoing.event("x", 1))
        self.assertEqual(self.assertRaises(Refused, emit, users, outgoing.event("x", 1)).error, Error.BUSY)
        self.house.turn()
        emit(users, outgoing.event("x", 1))

    def test_a_disconnection_is_never_dropped(self) -> None:
        self.patch(copies, "MAX_LATE", 0)
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        self.emit(1)
        self.assertEqual(self.house.counters.full["copies"], 5)
        self.house.context.operations.disconnect("ben", "kicked")
        self.house.turn()
        self.assertEqual([[one.kind for one in guest.heard()] for guest in guests], [["event", "disconnect"]] * 5)

    def test_beyond_so_many_they_are_dropped_and_counted(self) -> None:
        self.patch(copies, "MAX_LATE", 1)
        self.patch(copies, "MOST_TIMES", 1)
        guests = [self.house.guest("ben") for _ in range(5)]
        self.emit(len(HALF))
        self.emit(1)
        self.emit(1)
        self.house.turn()
        self.assertEqual(self.got(guests, "x"), [2] * 5)
        self.assertEqual(self.house.counters.full["copies"], 5)

    def test_what_a_copy_counts(self) -> None:
        self.assertEqual([copies_of(size) for size in (0, COPY_BYTES - 1, COPY_BYTES, 10 * COPY_BYTES)], [1, 1, 2, 11])
