"""``Marks``: who came and went is told to the store, also at the end, and nothing is left then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.interfaces import RETRY_WAIT, StoreUnavailable
from kschat.counters import Counters
from kschat.hooks import marks
from kschat.hooks.marks import GATHER, Marks


class Outbox:
    """Keeps what is marked; ``answer`` makes the answer to each call."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.answer: Any = lambda: succeed(None)

    def mark(self, users: Sequence[str]) -> Deferred[None]:
        self.told.append(list(users))
        answer: Deferred[None] = self.answer()
        return answer


class MarksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(marks, "MAX_TOLD", 2)
        self.clock = Clock()
        self.outbox = Outbox()
        self.counters = Counters()
        self.marks = Marks(self.outbox, self.clock, self.counters)  # type: ignore[arg-type]
        self.marks.on = True

    def add(self, *users: str) -> None:
        for user in users:
            self.marks.add(user)

    def test_users_are_gathered_and_told_once(self) -> None:
        self.add("a", "b", "a", "c")
        self.assertEqual([], self.outbox.told)
        self.clock.pump([GATHER, 0])
        self.assertEqual([["a", "b"], ["c"]], self.outbox.told)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_the_store_is_told_when_it_is_back(self) -> None:
        self.outbox.answer = lambda: fail(StoreUnavailable("away"))
        self.add("a")
        self.clock.pump([GATHER, RETRY_WAIT])
        self.outbox.answer = lambda: succeed(None)
        self.clock.advance(RETRY_WAIT)
        self.assertEqual([["a"]] * 3, self.outbox.told)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_at_the_end_all_are_told_and_nobody_after_that(self) -> None:
        self.add("a", "b", "c", "d", "e")
        self.successResultOf(self.marks.stop())
        self.assertEqual([["a", "b"], ["c", "d"], ["e"]], self.outbox.told)
        self.add("f")
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_the_end_waits_for_what_is_being_told(self) -> None:
        answers: list[Deferred[None]] = []

        def later() -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        self.outbox.answer = later
        self.add("a", "b", "c")
        self.clock.advance(GATHER)
        stopped = self.marks.stop()
        for nth in range(2):
            self.assertNoResult(stopped)
            answers[nth].callback(None)
        self.successResultOf(stopped)
        self.assertEqual([["a", "b"], ["c"]], self.outbox.told)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_store_that_is_away_at_the_end_is_asked_once_and_leaves_no_timer(self) -> None:
        self.outbox.answer = lambda: fail(StoreUnavailable("away"))
        self.add("a", "b", "c")
        self.successResultOf(self.marks.stop())
        self.assertEqual([["a", "b"]], self.outbox.told)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_beyond_the_bound_a_user_is_dropped_and_counted(self) -> None:
        self.patch(marks, "MAX_MARKS", 2)
        self.add("a", "b", "c", "a")
        self.assertEqual({"marks": 1}, self.counters.hook_dropped)
        with capturedLogs() as events:
            self.successResultOf(self.marks.stop())
        lines = [formatEvent(one) for one in events]
        self.assertEqual(["1 users came or went without a hook: too many waited for the store"], lines)
