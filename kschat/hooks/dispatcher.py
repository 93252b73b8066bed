"""``Dispatcher``: passes the queued events of one consumer to it, and tries again what failed.

Events are taken from the store and go back there with what became of them. While the receiver as a whole is down, one
event is tried now and then; the others wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.interfaces import RETRY_WAIT, StoreUnavailable
from kschat.chat.outbox import MAX_NOTE, IOutbox, Queued, Retry
from kschat.counters import Counters
from kschat.hooks.consumer import Consumer, Delivery, Dropped, Later, Outcome

#: Seconds until an event is tried again: twice as long each time, from the first up to the second number.
FIRST_RETRY: Final = 5.0
LAST_RETRY: Final = 3600.0

#: The same while the receiver as a whole is down, for one event at a time.
FIRST_HOLD: Final = 1.0
LAST_HOLD: Final = 60.0

#: Waits vary by up to this part, so that events that failed together are not tried together.
SPREAD: Final = 0.2

#: Seconds for which outcomes of events are gathered before the store is told.
SETTLE_WAIT: Final = 0.1

#: Deliveries are begun one by one: after each the reactor is free for this many times as long as it took to begin, so
#: that clients of the daemon do not wait for many of them. The answers come one by one, too.
REST: Final = 5.0

#: Seconds of the longest such rest: a process may have stood still meanwhile.
MAX_REST: Final = 0.02

#: Seconds by which deliveries may be behind. What is missed beyond is not made up for.
MAX_BEHIND: Final = 0.001

#: Events that are taken from the store at once.
MAX_TAKEN: Final = 100

#: Events whose outcome the store does not know yet. Beyond it no delivery begins.
MAX_UNSETTLED: Final = 1000


class Dispatcher:
    """The queue of one consumer.

    Args:
        consumer: is given the events.
        outbox: has the queue.
        clock: the reactor.
        wall: the time of day.
        counters: count what became of events.
        uniform: gives a random number between two others.

    Attributes:
        max_age: seconds after which an event is not tried any more.
    """

    log = Logger()

    def __init__(
        self,
        consumer: Consumer,
        outbox: IOutbox,
        *,
        clock: IReactorTime,
        wall: WallClock,
        counters: Counters,
        uniform: Callable[[float, float], float],
        max_age: float,
    ) -> None:
        self.consumer = consumer
        self.max_age = max_age
        self._outbox = outbox
        self._clock = clock
        self._wall = wall
        self._counters = counters
        self._uniform = uniform
        self._active = False
        self._ready: deque[Queued] = deque()
        self._taking = self._pumping = False
        # By number: what was taken and is not settled; and what is being delivered.
        self._busy: set[int] = set()
        # What was settled since the store was asked for events: its answer may still have it.
        self._gone: set[int] = set()
        self._in_flight: dict[int, Deferred[Any]] = {}
        self._done: list[int] = []
        self._again: list[Retry] = []
        self._settling: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        # When the next delivery may begin.
        self._next_at = 0.0
        self._next: IDelayedCall | None = None
        # While the receiver is down: how often it was found to be, and until when nothing is tried.
        self._holds = 0
        self._hold_until = 0.0

    def look(self) -> None:
        """Deliver what is due. To be called again and again: what becomes due later is found by the next call."""
        self._active = True
        self._pump()

    def resume(self) -> None:
        """Try now, whatever the receiver has said."""
        self._hold_until = 0.0
        if self._active:
            self._pump()

    def pause(self) -> None:
        """Begin nothing more, until ``look``."""
        self._active = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._busy.difference_update(one.number for one in self._ready)
        self._ready.clear()

    def drained(self) -> Deferred[None]:
        """Fires when no delivery is under way, and the store knows all outcomes, or can't be told."""
        return Deferred.fromCoroutine(self._drain())

    def cancel(self) -> None:
        """Give up what is being delivered: it comes again, later."""
        for delivering in list(self._in_flight.values()):
            delivering.cancel()

    async def _drain(self) -> None:
        for number in list(self._in_flight):
            if (delivering := self._in_flight.get(number)) is not None:
                await _end_of(delivering)
        if self._settling is not None:
            await self._settled()
        if self._timer is not None:
            self._timer.cancel()
            self._settle()
            await self._settled()
        if self._timer is not None:
            # The store can't be told: these come again.
            self._timer.cancel()
            self._timer = None

    def _settled(self) -> Deferred[None]:
        return succeed(None) if self._settling is None else _end_of(self._settling)

    def _pump(self) -> None:
        if self._pumping:
            return  # a consumer, or a store, has answered at once
        self._pumping = True
        try:
            while self._may_begin:
                if not self._ready:
                    self._take()
                if not self._ready:
                    return  # until they are there
                rest = self._next_at - self._clock.seconds()
                if rest > 0:
                    self._pump_in(rest)
                    return
                self._begin(self._ready.popleft())
        finally:
            self._pumping = False

    def _pump_in(self, seconds: float) -> None:
        if self._next is None:
            self._next = self._clock.callLater(seconds, self._rested)

    def _rested(self) -> None:
        self._next = None
        self._pump()

    @property
    def _may_begin(self) -> bool:
        """Whether another event may be tried now."""
        # While the receiver may be down, one tries for all.
        most = 1 if self._holds else self.consumer.max_in_flight
        return (
            self._active
            and len(self._in_flight) < most
            and len(self._busy) - len(self._ready) < MAX_UNSETTLED
            and self._clock.seconds() >= self._hold_until
        )

    def _take(self) -> None:
        if self._taking:
            return
        self._taking = True
        self._gone.clear()
        # What is not settled is still in the queue.
        limit = MAX_TAKEN + len(self._busy)
        taken = self._outbox.queued(self.consumer.name, milliseconds(self._wall), limit)
        taken.addCallback(self._taken).addErrback(self._not_taken)

    def _taken(self, found: list[Queued]) -> None:
        self._taking = False
        if not self._active:
            return
        fresh = [one for one in found if one.number not in self._busy and one.number not in self._gone]
        self._ready.extend(fresh)
        self._busy.update(one.number for one in fresh)
        if fresh:
            self._pump()

    def _not_taken(self, failure: Failure) -> None:
        self._taking = False
        if failure.check(StoreUnavailable) is None:
            self.log.failure("events of hooks could not be read", failure)

    def _begin(self, queued: Queued) -> None:
        event = queued.event
        if milliseconds(self._wall) - event.at > self.max_age * 1000:
            self._settle_later(queued, Dropped("age"))
            return
        began = self._clock.seconds()
        try:
            delivering = self.consumer.deliver(Delivery(event, queued.attempts, queued.note))
        except Exception:  # noqa: BLE001 - no consumer may, but the event must not be lost
            delivering = fail()
        took = self._clock.seconds() - began
        self._next_at = max(self._next_at, began - MAX_BEHIND) + took + min(took * REST, MAX_REST)
        self._in_flight[queued.number] = delivering
        delivering.addErrback(self._bug).addCallback(self._delivered, queued).addErrback(self._failed)

    def _bug(self, failure: Failure) -> Outcome:
        if failure.check(CancelledError) is None:
            self.log.failure("an event of hooks could not be delivered", failure)
        return Later(reason="error")

    def _delivered(self, outcome: Outcome, queued: Queued) -> None:
        self._in_flight.pop(queued.number, None)
        if isinstance(outcome, Later) and outcome.everything:
            self._hold(outcome.wait)
        else:
            self._holds = 0
        self._settle_later(queued, outcome)
        self._pump()

    def _hold(self, wait: float | None) -> None:
        now = self._clock.seconds()
        if wait is None:
            # Those that were begun together fail together, and count once.
            if now < self._hold_until:
                return
            wait = self._spread(min(FIRST_HOLD * 2.0**self._holds, LAST_HOLD))
        self._holds = min(self._holds + 1, 30)
        self._hold_until = max(self._hold_until, now + wait)

    def _spread(self, wait: float) -> float:
        return wait * self._uniform(1 - SPREAD, 1 + SPREAD)

    def _settle_later(self, queued: Queued, outcome: Outcome) -> None:
        counts = self._counters.hook_deliveries
        name = self.consumer.name
        if isinstance(outcome, Later):
            counts[name, outcome.reason] += 1
            wait = outcome.wait
            if outcome.everything:
                # It is tried as soon as anything is: ``_hold_until`` says when, and ``resume`` may end that.
                wait = 0.0
            elif wait is None:
                wait = self._spread(min(FIRST_RETRY * 2.0 ** min(queued.attempts, 30), LAST_RETRY))
            due = milliseconds(self._wall) + int(wait * 1000)
            note = outcome.note[:MAX_NOTE]
            self._again.append(Retry(queued.number, due, queued.attempts + 1, note))
        else:
            reason = outcome.reason if isinstance(outcome, Dropped) else "delivered"
            counts[name, reason] += 1
            if isinstance(outcome, Dropped):
                self._counters.hook_dropped["age" if reason == "age" else "refused"] += 1
            self._done.append(queued.number)
        self._later(SETTLE_WAIT)

    def _later(self, wait: float) -> None:
        if self._timer is None and self._settling is None:
            self._timer = self._clock.callLater(wait, self._settle)

    def _settle(self) -> None:
        self._timer = None
        done, self._done = self._done, []
        again, self._again = self._again, []
        try:
            settling = self._outbox.settle(self.consumer.name, done, again)
        except Exception:  # noqa: BLE001 - no store may, but what became of events must not be forgotten
            settling = fail()
        self._settling = settling
        settling.addCallbacks(
            self._was_settled, self._not_settled, callbackArgs=(done, again), errbackArgs=(done, again)
        )
        settling.addErrback(self._failed)

    def _was_settled(self, _: None, done: list[int], again: list[Retry]) -> None:
        self._settling = None
        settled = {*done, *[one.number for one in again]}
        self._busy -= settled
        if self._taking:
            self._gone |= settled
        if self._done or self._again:
            self._later(SETTLE_WAIT)
        self._pump()

    def _not_settled(self, failure: Failure, done: list[int], again: list[Retry]) -> None:
        self._settling = None
        if failure.check(StoreUnavailable) is None:
            self._failed(failure)
        self._done[:0] = done
        self._again[:0] = again
        self._later(RETRY_WAIT)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("what became of events of hooks could not be noted", failure)


def _end_of(deferred: Deferred[Any]) -> Deferred[None]:
    """Fires when another one has, whose errors are handled."""
    ended: Deferred[None] = Deferred()

    def end(result: object) -> object:
        ended.callback(None)
        return result

    deferred.addBoth(end)
    return ended
