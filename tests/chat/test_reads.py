"""The queue of what users ask of the store: one at a time for each user, in turns, and only so much at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import reads
from kschat.chat.interfaces import PAGE_BYTES, StoreUnavailable
from kschat.chat.message import Error, Refused
from kschat.chat.reads import MAX_READ_BYTES, MAX_WAITING, SLOW_WAIT, SMALL_READ, TURN_SECONDS, ReadQueue

#: Pages that are read at once.
PAGES = MAX_READ_BYTES // PAGE_BYTES


class FakeSocket:
    """A socket that is open, and keeps up."""

    def __init__(self) -> None:
        self.closed = False
        self.congested = False


class ReadQueueTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reads = ReadQueue(self.clock)
        # What the store was asked and did not answer, in order.
        self.asked: list[tuple[str, Deferred[Any]]] = []

    def begin(self, name: str) -> Callable[[], Deferred[str]]:
        def begin() -> Deferred[str]:
            answer: Deferred[str] = Deferred()
            self.asked.append((name, answer))
            return answer

        return begin

    def ask(self, user: str, name: str = "", **more: Any) -> Deferred[str]:
        return self.reads.ask(user, self.begin(name or user), **more)

    def answer(self, name: str) -> None:
        """Answer what was asked under a name, and let the turn of the reactor pass."""
        ((at, answer),) = [(at, one[1]) for at, one in enumerate(self.asked) if one[0] == name]
        del self.asked[at]
        answer.callback(f"the answer to {name}")
        self.clock.advance(0)

    def assertAsked(self, *names: str) -> None:
        self.assertEqual([name for name, _ in self.asked], list(names))

    def assertIdle(self) -> None:
        self.clock.advance(0)
        self.assertEqual((self.reads.waiting, self.reads.in_flight, self.reads.expected), (0, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(vars(self.reads)["_users"], {})


class OrderTests(ReadQueueTestCase):
    def test_the_first_request_is_made_at_once(self) -> None:
        answer = self.ask("ann")
        self.assertAsked("ann")
        self.assertNoResult(answer)
        self.answer("ann")
        self.assertEqual(self.successResultOf(answer), "the answer to ann")
        self.assertIdle()

    def test_a_user_has_one_request_at_a_time(self) -> None:
        answers = [self.ask("ann", name) for name in ("first", "second", "third")]
        self.assertEqual((self.reads.in_flight, self.reads.waiting), (1, 2))
        self.assertAsked("first")
        self.answer("first")
        self.assertAsked("second")
        self.answer("second")
        self.answer("third")
        self.assertEqual(
            [self.successResultOf(one) for one in answers],
            ["the answer to first", "the answer to second", "the answer to third"],
        )
        self.assertIdle()

    def test_users_take_turns_whoever_asks_more(self) -> None:
        for number in range(PAGES - 1):
            self.ask(f"busy {number}")
        for number in range(20):
            self.ask("ann", f"ann {number}", backlog=True)
        self.ask("ben", "ben 0")
        self.ask("ben", "ben 1")
        self.ask("eve", "eve 0")
        del self.asked[: PAGES - 1]
        self.assertAsked("ann 0")
        self.answer("ann 0")
        self.assertAsked("ben 0")
        self.answer("ben 0")
        self.assertAsked("eve 0")
        self.answer("eve 0")
        self.assertAsked("ann 1")
        self.answer("ann 1")
        self.assertAsked("ben 1")

    def test_a_store_that_answers_at_once_is_asked_for_some_time_and_then_in_the_next_turn(self) -> None:
        turns: list[Callable[[], None]] = []

        def later(_: float, turn: Callable[[], None]) -> object:
            turns.append(turn)
            return object()

        def slow() -> Deferred[int]:
            self.clock.rightNow += TURN_SECONDS / 2 + 0.0001
            return succeed(1)

        self.patch(self.clock, "callLater", later)
        answers = [self.reads.ask("ann", slow) for _ in range(6)]
        counts = [len(self._results(answers))]
        while turns:
            turns.pop()()
            counts.append(len(self._results(answers)))
        self.assertEqual(counts, [2, 4, 6, 6])

    def test_a_failure_is_the_answer_and_the_next_one_is_asked(self) -> None:
        def broken() -> Deferred[str]:
            raise StoreUnavailable("away")

        first, second = self.reads.ask("ann", broken), self.ask("ann")
        self.failureResultOf(first, StoreUnavailable)
        self.answer("ann")
        self.successResultOf(second)
        self.assertIdle()

    def _results(self, answers: list[Deferred[int]]) -> list[object]:
        return [one.result for one in answers if one.called]


class BoundTests(ReadQueueTestCase):
    def test_only_so_many_bytes_are_expected_at_once(self) -> None:
        for number in range(PAGES + 3):
            self.ask(f"user {number}")
        self.assertEqual((len(self.asked), self.reads.waiting), (PAGES, 3))
        self.assertLessEqual(self.reads.expected, MAX_READ_BYTES)
        self.answer("user 3")
        self.assertEqual((len(self.asked), self.reads.waiting), (PAGES, 2))
        self.assertEqual(self.asked[-1][0], f"user {PAGES}")

    def test_a_small_answer_needs_little_room(self) -> None:
        for number in range(MAX_READ_BYTES // SMALL_READ):
            self.ask(f"user {number}", expected=SMALL_READ)
        self.assertEqual(self.reads.waiting, 0)
        self.ask("one more", expected=SMALL_READ)
        self.assertEqual(self.reads.waiting, 1)

    def test_one_that_is_larger_than_all_may_be_is_asked_alone(self) -> None:
        answer = self.ask("ann", expected=MAX_READ_BYTES + 1)
        other = self.ask("ben")
        self.assertAsked("ann")
        self.answer("ann")
        self.answer("ben")
        self.successResultOf(answer)
        self.successResultOf(other)

    def test_a_user_s_requests_wait_in_bounds(self) -> None:
        for _ in range(MAX_WAITING + 1):
            self.ask("ann")
        refused = self.failureResultOf(self.ask("ann"), Refused).value
        self.assertEqual(refused.error, Error.BUSY)
        self.ask("ben", expected=SMALL_READ)
        self.assertAsked("ann", "ben")

    def test_pages_of_a_backlog_are_not_refused_and_count_for_nothing(self) -> None:
        for _ in range(2 * MAX_WAITING):
            self.assertNoResult(self.ask("ann", backlog=True))
        self.assertNoResult(self.ask("ann"))


class SocketTests(ReadQueueTestCase):
    def test_what_waits_for_a_socket_that_is_gone_is_dropped(self) -> None:
        gone, other = FakeSocket(), FakeSocket()
        first = self.ask("ann", "first", reader=gone)
        second = self.ask("ann", "second", reader=gone)
        third = self.ask("ann", "third", reader=other)
        gone.closed = True
        self.reads.forget("ann", gone)
        self.failureResultOf(second, CancelledError)
        self.assertNoResult(first)
        self.answer("first")
        self.failureResultOf(first, CancelledError)
        self.answer("third")
        self.successResultOf(third)
        self.assertIdle()

    def test_a_user_without_requests_is_forgotten(self) -> None:
        for number in range(PAGES):
            self.ask(f"busy {number}")
        socket = FakeSocket()
        answer = self.ask("ann", reader=socket)
        self.reads.forget("ann", socket)
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reads.waiting, 0)
        again = self.ask("ann")
        for number in range(PAGES):
            self.answer(f"busy {number}")
        self.answer("ann")
        self.successResultOf(again)
        self.reads.forget("ann", socket)
        self.assertIdle()

    def test_a_socket_that_reads_slowly_is_not_read_for(self) -> None:
        slow, other = FakeSocket(), FakeSocket()
        slow.congested = True
        first = self.ask("ann", "first", reader=slow)
        self.clock.advance(0)
        self.assertAsked()
        self.clock.advance(SLOW_WAIT)
        self.assertAsked()
        slow.congested = False
        self.clock.pump([SLOW_WAIT, 0])
        self.answer("first")
        self.successResultOf(first)
        self.successResultOf(self.reads.ask("ben", lambda: succeed(1), reader=other))
        self.assertIdle()

    def test_very_many_slow_sockets_take_no_long_turn(self) -> None:
        self.patch(reads, "TURN_SECONDS", -1.0)
        go_on = self.reads._go_on
        looked: list[int] = []

        def counted() -> None:
            looked.append(len(self.reads._slow))
            go_on()

        self.patch(self.reads, "_go_on", counted)
        sockets = [FakeSocket() for _ in range(5)]
        for number, socket in enumerate(sockets):
            socket.congested = True
            self.ask(f"user {number}", reader=socket).addErrback(lambda failure: failure.trap(CancelledError))
        self.clock.advance(0)
        self.assertEqual(looked, [0, 1, 2, 3, 4])
        for number, socket in enumerate(sockets):
            self.reads.forget(f"user {number}", socket)
        self.assertIdle()

    def test_another_socket_of_the_same_user_does_not_wait_behind_it(self) -> None:
        slow, other = FakeSocket(), FakeSocket()
        slow.congested = True
        self.ask("ann", "slow", reader=slow)
        self.ask("ann", "other", reader=other)
        self.clock.advance(0)
        self.assertAsked("other")

    def test_a_slow_socket_that_closes_leaves_nothing_behind(self) -> None:
        slow = FakeSocket()
        slow.congested = True
        answer = self.ask("ann", reader=slow)
        self.clock.advance(0)
        self.reads.forget("ann", slow)
        self.failureResultOf(answer, CancelledError)
        self.assertIdle()
