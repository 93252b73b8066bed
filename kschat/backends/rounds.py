"""Rounds of upkeep in a store: one at a time, in small steps with rests between them.

What a step does delays everything else that the server does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.backends.ticker import Ticker
from kschat.chat.interfaces import StoreUnavailable

#: Seconds between two rounds.
ROUND_INTERVAL: Final = 60.0

#: Seconds between two steps, at the least.
STEP_PAUSE: Final = 0.005

#: A rest is so many times as long as the step before it took, as its sender saw it: on a busy machine it is longer.
REST: Final = 3.0


def rest(clock: IReactorTime, took: float, *, times: float = REST, least: float = STEP_PAUSE) -> Deferred[None]:
    """The rest after a step.

    Args:
        clock: the reactor.
        took: seconds that the step took.
        times: how many times as long the rest is.
        least: seconds of a rest, at the least.
    """
    return deferLater(clock, max(times * took, least), _rested)


def _rested() -> None:
    """The next step may begin."""


class Rounds:
    """The rounds of one daemon for one purpose: at intervals, and when one is asked for.

    Args:
        clock: the reactor.
        work: does one round. It may fail with StoreUnavailable.
        failure: what the log says of any other failure.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, work: Callable[[], Coroutine[Any, Any, None]], failure: str) -> None:
        self._work = work
        self._failure = failure
        self._loop = Ticker(clock, ROUND_INTERVAL, self.begin, failure)
        self._round: Deferred[None] = succeed(None)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> Deferred[None]:
        """End, also amid a round: the next one goes on."""
        self._loop.stop()
        self._round.cancel()
        return self._round

    def begin(self) -> Deferred[None]:
        """Begin a round, unless one is under way. Fires at its end; never fails."""
        if self._round.called:
            self._round = Deferred.fromCoroutine(self._work()).addErrback(self._failed)
        return self._round

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable, CancelledError) is None:
            self.log.failure("{what}", failure, what=self._failure)
