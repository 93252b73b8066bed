"""How events are passed to a consumer that is down, slow, wrong, or answers late."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryStore
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.outbox import Commit, Event, Retry
from kschat.counters import Counters
from kschat.hooks.consumer import Delivered, Dropped, Later
from kschat.hooks.dispatcher import (
    FIRST_HOLD,
    FIRST_RETRY,
    LAST_HOLD,
    LAST_RETRY,
    MAX_REST,
    MAX_UNSETTLED,
    REST,
    SETTLE_WAIT,
    Dispatcher,
)
from kschat.hooks.events import STORED
from tests.hooks.consumers import NOW, Receiver


class DispatcherTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        store: Any = MemoryStore(1000, 10**7, hooks=True)
        self.outbox: Any = store.outbox
        self.outbox.acquire("me", 60)
        self.counters = Counters()
        self.receiver: Any = Receiver(max_in_flight=4, clock=self.clock)
        self.dispatcher = self.made()
        self.made_events = 0

    def made(self) -> Dispatcher:
        return Dispatcher(
            self.receiver,
            self.outbox,
            clock=self.clock,
            wall=self.clock.seconds,
            counters=self.counters,
            uniform=lambda least, most: (least + most) / 2,
            max_age=86_400,
        )

    def queue(self, count: int) -> list[str]:
        """Events that are queued now; their ids."""
        made = []
        for _ in range(count):
            self.made_events += 1
            made.append(Event(f"msg_{self.made_events}", STORED, "ben", int(self.clock.seconds() * 1000), Raw(b"{}")))
        self.successResultOf(self.outbox.commit("me", Commit(events={"webhook": made})))
        return [one.id for one in made]

    def run_for(self, seconds: float) -> None:
        """Look every second, as the engine does."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            if self.clock.seconds() % 1 == 0:
                self.dispatcher.look()

    @property
    def left(self) -> int:
        """Events in the queue."""
        return int(self.successResultOf(self.outbox.backlog()).events)


class TestDelivering(DispatcherTestCase):
    def test_events_are_delivered_once_and_are_gone_then(self) -> None:
        ids = self.queue(10)
        self.run_for(3)
        self.assertEqual(self.receiver.ids, ids)
        self.assertEqual(self.left, 0)
        self.assertEqual(self.counters.hook_deliveries, {("webhook", "delivered"): 10})

    def test_so_many_at_once_and_no_more(self) -> None:
        self.receiver.outcome = None
        ids = self.queue(10)
        self.run_for(30)
        self.assertEqual(self.receiver.ids, ids[:4])
        self.receiver.answer(Delivered())
        self.assertEqual(self.receiver.ids, ids[:5])
        while self.receiver.pending:
            self.receiver.answer(Delivered())
        self.run_for(2)
        self.assertEqual((self.receiver.ids, self.left), (ids, 0))

    def test_an_answer_that_comes_late_is_taken_and_nothing_is_sent_twice_meanwhile(self) -> None:
        self.receiver.outcome = None
        self.queue(1)
        self.run_for(300)
        self.assertEqual(len(self.receiver.got), 1)
        self.receiver.answer(Delivered())
        self.run_for(300)
        self.assertEqual((len(self.receiver.got), self.left), (1, 0))

    def test_a_large_queue_is_emptied(self) -> None:
        ids = self.queue(450)
        self.run_for(30)
        self.assertEqual((self.receiver.ids, self.left), (ids, 0))

    def test_one_begins_after_another_with_time_for_others_in_between(self) -> None:
        self.receiver.max_in_flight = 100
        self.receiver.outcome = None
        self.receiver.takes = 0.001
        self.queue(20)
        self.clock.advance(1)
        self.dispatcher.look()
        begun = []
        for _ in range(200):
            before = len(self.receiver.got)
            self.clock.advance(0.0005)
            begun.append(len(self.receiver.got) - before)
        self.assertEqual(len(self.receiver.got), 20)
        self.assertEqual(max(begun), 1)
        self.assertGreaterEqual(self.receiver.times[-1] - self.receiver.times[0], 19 * 0.001 * REST)

    def test_a_process_that_stood_still_neither_waits_long_nor_begins_many(self) -> None:
        self.receiver.max_in_flight = 100
        self.receiver.outcome = None
        self.receiver.takes = 3600.0
        self.queue(20)
        self.clock.advance(1)
        self.dispatcher.look()
        self.receiver.takes = 0.001
        self.assertEqual(len(self.receiver.got), 1)
        self.clock.advance(MAX_REST)
        self.assertEqual(len(self.receiver.got), 2)
        self.clock.advance(3600)
        self.assertEqual(len(self.receiver.got), 3)

    def test_what_is_settled_while_the_store_is_asked_is_not_delivered_again(self) -> None:
        queued = self.outbox.queued
        answers: list[Any] = []

        def slow(*arguments: Any) -> Any:
            answers.append((Deferred(), queued(*arguments)))
            return answers[-1][0]

        self.outbox.queued = slow
        ids = self.queue(3)
        self.dispatcher.look()
        answer, found = answers.pop(0)
        found.chainDeferred(answer)
        # It is asked for more before it knows what became of these, and answers when it does.
        self.assertEqual((self.receiver.ids, len(answers)), (ids, 1))
        self.clock.advance(SETTLE_WAIT)
        self.assertEqual(self.left, 0)
        answer, found = answers.pop(0)
        found.chainDeferred(answer)
        self.assertEqual(self.receiver.ids, ids)

    def test_nothing_begins_after_a_pause(self) -> None:
        self.receiver.max_in_flight = 100
        self.receiver.takes = 0.001
        self.queue(20)
        self.dispatcher.look()
        self.dispatcher.pause()
        self.clock.advance(1)
        self.assertEqual(len(self.receiver.got), 1)


class TestTryingAgain(DispatcherTestCase):
    def waits(self, seconds: int) -> list[float]:
        """When tries are made, from the first one on, rounded to full looks."""
        times: list[float] = []
        for _ in range(seconds):
            before = len(self.receiver.got)
            self.run_for(1)
            times += [self.clock.seconds()] * (len(self.receiver.got) - before)
        return [time - times[0] for time in times]

    def test_one_that_fails_is_tried_again_later_each_time_and_others_are_delivered(self) -> None:
        (bad,) = self.queue(1)
        self.receiver.outcome = Later(reason="status")
        self.run_for(1)
        self.receiver.outcome = Delivered()
        good = self.queue(5)
        self.run_for(2)
        self.assertEqual(self.receiver.ids, [bad, *good])
        self.run_for(FIRST_RETRY)
        self.assertEqual(self.receiver.ids, [bad, *good, bad])
        self.assertEqual(self.receiver.got[-1].attempts, 1)
        self.assertEqual(self.left, 0)

    def test_the_wait_doubles_up_to_a_bound(self) -> None:
        self.queue(1)
        self.receiver.outcome = Later(reason="status")
        times = self.waits(3 * 3600)
        gaps = [after - before for before, after in pairwise(times)]
        for nth, gap in enumerate(gaps):
            self.assertLessEqual(abs(gap - min(FIRST_RETRY * 2**nth, LAST_RETRY)), 2)
        self.assertGreater(len(gaps), 9)

    def test_a_note_comes_back_with_the_next_try(self) -> None:
        self.queue(1)
        self.receiver.outcome = Later(reason="partly", note=b"\xff1,2", wait=3)
        self.run_for(6)
        self.assertEqual([one.note for one in self.receiver.got[:2]], [b"", b"\xff1,2"])

    def test_what_the_consumer_refuses_is_dropped(self) -> None:
        self.queue(1)
        self.receiver.outcome = Dropped("gone")
        self.run_for(3)
        self.assertEqual((len(self.receiver.got), self.left), (1, 0))
        self.assertEqual(self.counters.hook_dropped, {"refused": 1})

    def test_a_bug_of_a_consumer_loses_nothing(self) -> None:
        def deliver(_: object) -> Any:
            raise ZeroDivisionError

        def fails(_: object) -> Any:
            return fail(ZeroDivisionError())

        self.queue(2)
        for broken in (deliver, fails):
            self.receiver.deliver = broken
            self.run_for(60)
            self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        del self.receiver.deliver
        self.run_for(300)
        self.assertEqual((len(self.receiver.got), self.left), (2, 0))


class TestTheReceiverIsDown(DispatcherTestCase):
    def test_one_event_tries_for_all_later_each_time(self) -> None:
        self.queue(50)
        self.receiver.outcome = Later(reason="connect", everything=True)
        self.run_for(600)
        # The first ones were begun together.
        tries = len(self.receiver.got)
        self.assertLess(tries, 4 + 7 + 600 / LAST_HOLD + 2)
        self.assertGreater(tries, 4)
        self.receiver.outcome = Delivered()
        self.run_for(LAST_HOLD + 20)
        self.assertEqual(self.left, 0)
        delivered = {one.event.id for one in self.receiver.got[tries:]}
        self.assertEqual(len(delivered), 50)

    def test_it_says_when_it_is_back(self) -> None:
        self.queue(5)
        self.receiver.outcome = Later(reason="busy", wait=100.0, everything=True)
        self.run_for(95)
        tries = len(self.receiver.got)
        self.assertLessEqual(tries, 4)
        self.receiver.outcome = Delivered()
        self.run_for(10)
        self.assertEqual(self.left, 0)

    def test_an_operator_who_reloads_has_it_tried_at_once(self) -> None:
        self.queue(5)
        self.receiver.max_in_flight = 1
        self.receiver.outcome = Later(reason="gone", wait=3600.0, everything=True)
        self.run_for(10)
        self.assertEqual(len(self.receiver.got), 1)
        self.receiver.outcome = Delivered()
        self.dispatcher.resume()
        self.run_for(3)
        self.assertEqual((len(self.receiver.got), len(set(self.receiver.ids)), self.left), (6, 5, 0))

    def test_the_first_hold_is_short(self) -> None:
        self.queue(1)
        self.receiver.outcome = Later(reason="connect", everything=True)
        self.run_for(1)
        self.receiver.outcome = Delivered()
        self.run_for(FIRST_HOLD + 2)
        self.assertEqual(self.left, 0)


class TestTheStoreIsAway(DispatcherTestCase):
    def test_what_became_of_events_is_told_when_it_is_back(self) -> None:
        settle = self.outbox.settle
        asked: list[tuple[Sequence[int], Sequence[Retry]]] = []

        def away(consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
            asked.append((done, again))
            return fail(StoreUnavailable("away"))

        self.outbox.settle = away
        self.queue(2)
        self.run_for(10)
        self.assertEqual(len(self.receiver.got), 2)
        self.assertGreater(len(asked), 2)
        self.outbox.settle = settle
        self.run_for(3)
        self.assertEqual((len(self.receiver.got), self.left), (2, 0))

    def test_not_without_bound(self) -> None:
        self.outbox.settle = lambda *_: fail(StoreUnavailable("away"))
        self.queue(MAX_UNSETTLED + 50)
        self.run_for(60)
        self.assertEqual(len(self.receiver.got), MAX_UNSETTLED)
        self.assertEqual(len(set(self.receiver.ids)), MAX_UNSETTLED)

    def test_a_queue_that_can_t_be_read_is_read_later(self) -> None:
        queued = self.outbox.queued
        self.outbox.queued = lambda *_: fail(StoreUnavailable("away"))
        self.queue(1)
        self.run_for(5)
        self.outbox.queued = queued
        self.run_for(2)
        self.assertEqual(self.left, 0)


class TestTheEnd(DispatcherTestCase):
    def test_what_is_being_delivered_is_waited_for(self) -> None:
        self.receiver.outcome = None
        self.queue(2)
        self.run_for(1)
        self.dispatcher.pause()
        drained = self.dispatcher.drained()
        self.receiver.answer(Delivered())
        self.assertNoResult(drained)
        self.receiver.answer(Delivered())
        self.successResultOf(drained)
        self.assertEqual(self.left, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_takes_too_long_is_given_up_and_comes_again(self) -> None:
        self.receiver.outcome = None
        ids = self.queue(2)
        self.run_for(1)
        self.dispatcher.pause()
        drained = self.dispatcher.drained()
        self.dispatcher.cancel()
        self.successResultOf(drained)
        self.assertEqual(self.left, 2)
        self.receiver.outcome = Delivered()
        self.dispatcher = self.made()
        self.run_for(10)
        self.assertEqual(self.receiver.ids, ids * 2)

    def test_a_store_that_is_away_holds_nobody_up(self) -> None:
        self.outbox.settle = lambda *_: fail(StoreUnavailable("away"))
        self.queue(1)
        self.run_for(0.25)
        self.dispatcher.look()
        self.dispatcher.pause()
        self.successResultOf(self.dispatcher.drained())
        self.assertEqual(self.clock.getDelayedCalls(), [])
