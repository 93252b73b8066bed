"""Repeats a call even if it raises. A ``LoopingCall`` stops for good at the first exception."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Ticker:
    """Calls a function every so many seconds, the first time after that many.

    Args:
        clock: the reactor.
        seconds: between two calls.
        tick: the function. What it raises is logged.
        what: what it does, as the log's sentence says it: "the check of RabbitMQ failed".
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float, tick: Callable[[], object], what: str) -> None:
        self._seconds = seconds
        self._tick = tick
        self._what = what
        self._loop = LoopingCall(self._call)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin."""
        # It never fails, and so needs no errback.
        self._loop.start(self._seconds, now=False)

    def stop(self) -> None:
        """End; where it was not begun: nothing."""
        if self._loop.running:
            self._loop.stop()

    def _call(self) -> None:
        try:
            self._tick()
        except Exception:  # noqa: BLE001 - whatever it is, the next tick must come
            self.log.failure("{what}", what=self._what)
