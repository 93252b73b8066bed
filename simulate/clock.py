"""The virtual time of a world, and each daemon's own view of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class VirtualClock:
    """Time that passes from one call to the next. Calls of the same time come in the order in which they were set.

    Args:
        now: where it begins, in seconds.

    Attributes:
        steps: calls that were made.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._numbers = count()
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self.steps = 0

    def seconds(self) -> float:
        """The time."""
        return self._now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002
        *args: Any,
        **kw: Any,
    ) -> DelayedCall:
        """See ``IReactorTime``."""
        assert delay >= 0, delay
        call = DelayedCall(self._now + delay, callable, args, kw, _nothing, self._put, self.seconds)
        self._put(call)
        return call

    def getDelayedCalls(self) -> Sequence[DelayedCall]:
        """See ``IReactorTime``."""
        return [call for _, _, call in sorted(self._heap, key=lambda one: one[:2]) if call.active()]

    def step(self, until: float) -> bool:
        """Make the next call, if there is one up to ``until``. Whether there was."""
        heap = self._heap
        while heap:
            time, _, call = heap[0]
            if time > until:
                break
            heappop(heap)
            if not call.active():
                continue
            due = call.getTime()
            if due > time:
                self._put(call)  # it was delayed
                continue
            self._now = max(self._now, due)
            self.steps += 1
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        self._now = max(self._now, until)
        return False

    def _put(self, call: DelayedCall) -> None:
        heappush(self._heap, (call.getTime(), next(self._numbers), call))


def _nothing(call: DelayedCall) -> None:
    """One that was cancelled is passed over."""


@implementer(IReactorTime)
class ProcessClock:
    """The time as one process has it: when it is killed none of its calls is made, and none while it stands still.

    Args:
        clock: the world's.
        enter: makes a call within the process.

    Attributes:
        skew: seconds by which the process's time of day is ahead of the world's.
    """

    def __init__(self, clock: VirtualClock, enter: Callable[[Callable[[], object]], None]) -> None:
        self._clock = clock
        self._enter = enter
        self._calls: dict[DelayedCall, DelayedCall] = {}
        self.skew = 0.0

    def seconds(self) -> float:
        """The monotonic time."""
        return self._clock.seconds()

    def wall(self) -> float:
        """The time of day."""
        return self._clock.seconds() + self.skew

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002
        *args: Any,
        **kw: Any,
    ) -> DelayedCall:
        """See ``IReactorTime``."""

        call = DelayedCall(self.seconds() + delay, callable, args, kw, self._forget, self._wait, self.seconds)
        self._wait(call)
        return call

    def _wait(self, call: DelayedCall) -> None:
        """Come back to a call at its time, which may have been changed."""
        before = self._calls.get(call)
        if before is not None and before.active():
            before.cancel()
        self._calls[call] = self._clock.callLater(
            max(call.getTime() - self.seconds(), 0.0), lambda: self._enter(lambda: self._due(call))
        )

    def _due(self, call: DelayedCall) -> None:
        # A process that stood still may find that it was delayed or cancelled by what came before.
        if call.active():
            if call.getTime() > self.seconds():
                self._wait(call)
                return
            self._calls.pop(call, None)
            call.called = 1
            call.func(*call.args, **call.kw)

    def _forget(self, call: DelayedCall) -> None:
        waits = self._calls.pop(call, None)
        if waits is not None and waits.active():
            waits.cancel()

    def getDelayedCalls(self) -> Sequence[DelayedCall]:
        """See ``IReactorTime``."""
        return list(self._calls)

    def names(self) -> list[str]:
        """What waits, for a report."""
        return sorted(repr(call.func) for call in self.getDelayedCalls())

    def stop(self) -> None:
        """None of its calls is made any more."""
        for waits in self._calls.values():
            if waits.active():
                waits.cancel()
        self._calls.clear()
