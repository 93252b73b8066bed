"""Batches that wait a moment for company: when they do, and that nothing is delivered otherwise than without it."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.confirmations import MAX_GATHER_SECONDS
from kschat.chat.delivery import ENOUGH, LARGE, PROMPT, RECENT, Bounds
from tests.chat.house import Guest, Heard, House

LINGER = 0.001
SENDERS = 100


class Lingering(SynchronousTestCase):
    def setUp(self, linger: float = LINGER) -> None:
        self.house = House(linger=linger, gathers=linger > 0)
        self.store = self.house.store
        self.guests = [self.house.guest(f"u{number}") for number in range(SENDERS)]
        self.next = 0

    def send(self, msg: object = "hi") -> None:
        """The next sender sends to the one after it."""
        number, self.next = self.next, (self.next + 1) % SENDERS
        self.guests[number].send(f"u{number}", f"u{(number + 1) % SENDERS}", msg)

    def make_busy(self) -> None:
        """Many senders have sent in quick succession, and all was answered."""
        for _ in range(RECENT):
            self.send()
            self.house.clock.advance(LINGER / 4)
        self.house.clock.advance(2 * LINGER)
        self.store.batches.clear()

    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.store.batches]

    def test_an_idle_daemon_waits_for_nothing(self) -> None:
        for number in range(1, 3 * RECENT):
            self.send()
            self.house.turn()
            self.assertEqual(self.sizes(), [1] * number)
            self.house.clock.advance(5 * LINGER)

    def test_when_messages_come_close_together_a_batch_waits_for_others(self) -> None:
        self.make_busy()
        for _ in range(3):
            self.send()
            self.house.turn()
            self.assertEqual(self.sizes(), [])
            self.house.clock.advance(LINGER / 4)
        self.house.clock.advance(LINGER / 4)
        self.assertEqual(self.sizes(), [3])

    def test_it_waits_no_longer_than_its_bound(self) -> None:
        self.make_busy()
        self.send()
        self.house.clock.advance(LINGER)
        self.assertEqual(self.sizes(), [1])

    def test_a_batch_of_enough_messages_waits_no_longer(self) -> None:
        self.make_busy()
        for _ in range(ENOUGH - 1):
            self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [])
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [ENOUGH])

    def test_a_sender_that_was_answered_a_moment_ago_makes_nothing_wait(self) -> None:
        self.make_busy()
        self.next = 0
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [1])

    def test_nor_what_waits_already(self) -> None:
        self.make_busy()
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [])
        self.next = 0
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [2])

    def test_a_closed_loop_is_made_to_wait_by_nothing(self) -> None:
        """Few clients of which each sends when it is answered: no time passes but theirs."""
        for _ in range(200):
            for number in range(4):
                self.guests[number].send(f"u{number}", "u9")
            self.house.turn()
            for number in range(4):
                self.assertEqual(len(self.guests[number].acks()), 1)
            self.house.clock.advance(LINGER / 10)
        self.assertEqual(self.sizes(), [4] * 200)

    def test_a_sender_that_was_answered_long_ago_may_wait(self) -> None:
        self.send()
        self.house.turn()
        self.house.clock.advance(PROMPT * LINGER * 2)
        self.make_busy()
        self.next = 0
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [])

    def test_a_large_message_makes_nothing_wait(self) -> None:
        self.make_busy()
        self.send()
        self.send("x" * LARGE)
        self.house.turn()
        self.assertEqual(sorted(self.sizes()), [1, 1])

    def test_a_program_s_message_makes_nothing_wait(self) -> None:
        self.make_busy()
        delivery = self.house.delivery
        self.send()
        (waiting,) = delivery._waiting
        delivery.submit(replace(waiting, origin=None))
        self.house.turn()
        self.assertEqual(self.sizes(), [2])

    def test_the_end_of_the_daemon_waits_for_nothing(self) -> None:
        self.make_busy()
        self.send()
        self.house.chat.close()
        self.house.turn()
        self.assertEqual(self.sizes(), [1])
        self.successResultOf(self.house.delivery.drained())

    def test_it_can_be_switched_off_and_on(self) -> None:
        self.make_busy()
        self.house.delivery.use(Bounds())
        self.make_busy()
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [1])
        self.house.delivery.use(Bounds(linger=LINGER, gathers=True))
        self.make_busy()
        self.send()
        self.house.turn()
        self.assertEqual(self.sizes(), [])

    def played(self, rate: float, linger: float, count: int = 2000) -> tuple[float, float]:
        """Messages a batch, and the mean wait until the ack, of a Poisson stream."""
        self.setUp(linger)
        gap = Random(7).expovariate
        clock = self.house.clock
        due = clock.seconds()
        for _ in range(count):
            due += gap(rate)
            for call in clock.getDelayedCalls():
                if clock.seconds() < call.getTime() < due:
                    clock.advance(call.getTime() - clock.seconds() + 1e-6)
            clock.advance(due - clock.seconds())
            self.send()
            self.house.turn()
        clock.advance(LINGER)
        took = self.house.counters.message_seconds["acknowledged"]
        sizes = self.sizes()
        self.assertEqual(sum(sizes), count)
        return count / len(sizes), took.sum / count

    def test_at_200_a_second_next_to_nothing_waits_and_at_2000_batches_have_company(self) -> None:
        company, wait = self.played(200, LINGER)
        self.assertLess(company, 1.02)
        self.assertLess(wait, LINGER / 50)
        company, wait = self.played(2000, LINGER)
        self.assertGreater(company, 2)
        self.assertLess(wait, LINGER * 1.01)
        self.assertEqual(self.played(2000, 0.0)[0], 1)


#: What happens next: whose message to whom, whose pong, or so much time.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.integers(0, 4)),
        st.tuples(st.just("pong"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from((0, 1, 3, 10, 300)), st.just(0)),
    ),
    max_size=60,
)


class Equal(SynchronousTestCase):
    """With and without lingering the same is stored, answered, delivered and confirmed, in the same order."""

    def play(self, linger: float, steps: list[tuple[str, int, int]]) -> dict[str, Any]:
        """What came of some steps, by user."""
        house = House(linger=linger, gathers=linger > 0)
        guests = [house.guest(f"u{number}", receipts="1") for number in range(4)]
        heard: list[list[Heard]] = [[] for _ in guests]

        def pong(guest: Guest) -> None:
            if guest.connection.confirming is not None:
                guest.session.confirmed(guest.line.pings[-1])

        def settle() -> None:
            """All is written, confirmed and told."""
            for _ in range(10):
                house.clock.advance(MAX_GATHER_SECONDS)
                for guest in guests:
                    pong(guest)

        for text, (what, one, other) in enumerate(steps):
            if what == "send":
                guests[one].send(f"u{one}", f"u{other}", text)
            elif what == "pong":
                pong(guests[one])
            elif what == "cut":
                house.clock.advance(LINGER)  # what was sent is answered
                heard[one] += guests[one].heard()
                guests[one].leave()
                guests[one] = house.stranger(receipts="1")
                guests[one].join({"token": house.token(f"u{one}")})
            else:
                house.clock.advance(one * LINGER / 2)
            house.turn()
        settle()
        self.assertEqual(len(house.hub.confirmations), 0)
        self.successResultOf(house.delivery.drained())
        found: dict[str, Any] = {}
        whole = all(what != "cut" for what, _, _ in steps)
        for number, guest in enumerate(guests):
            heard[number] += guest.heard()
            inbox = house.hub.inbox(f"u{number}")
            assert inbox is not None
            found[f"u{number}"] = (
                inbox.cursor,
                # A message that was not confirmed when the connection broke comes twice.
                list(dict.fromkeys((one["offset"], one["msg"]) for one in _of("RESPRECEIVER", "MSG", heard[number]))),
                _of("RESPSEND", "RANDOMNO", heard[number]),
                # A socket that is gone is told nothing.
                whole and {(told["mid"], told["STATUS"]) for told in _of("RESPSTATUS", "", heard[number])},
            )
        return found

    @settings(max_examples=50, deadline=None)
    @given(STEPS)
    def test_the_same_is_delivered_with_and_without_it(self, steps: list[tuple[str, int, int]]) -> None:
        self.assertEqual(self.play(LINGER, steps), self.play(0.0, steps))


def _of(name: str, field: str, heard: list[Heard]) -> list[Any]:
    """What events of this name carried, in this field."""
    found: list[Any] = []
    for one in heard:
        if one.kind == "event" and one.name == name:
            value = one.body[field] if field else one.body
            found += value if isinstance(value, list) else [value]
    return found
