"""Logs when a part that the daemon needs (store, router, bus) cannot be used, and when it can again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Seconds that a start may take: connections to RabbitMQ and Redis take some hundredths.
START_PATIENCE: Final = 3.0

#: Seconds between two looks, once it was said that something is missing.
LOOK_EVERY: Final = 1.0


class ReadyNotice(Service):
    """Looks once after the start; then until all can be used, and is silent after that.

    Each part says itself why it can't be used; this says what it means, where "serving" was the last word.

    Args:
        parts: whether each can be used; called for each look.
        clock: the reactor.
    """

    log = Logger()

    def __init__(self, parts: Callable[[], Mapping[str, bool]], clock: IReactorTime) -> None:
        self._parts = parts
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._told = False

    def startService(self) -> None:
        """Begin to wait."""
        super().startService()
        self._call = self._clock.callLater(START_PATIENCE, self._look)

    def stopService(self) -> Any:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        return super().stopService()

    def _look(self) -> None:
        self._call = None
        missing = [name for name, up in self._parts().items() if not up]
        if missing:
            if not self._told:
                self._told = True
                self.log.error(
                    "not ready: {missing} can't be used. Requests that need it are refused, and the daemon retries; "
                    "`kschat check-config --connect` with the same settings shows the reason",
                    missing=" and ".join(missing),
                )
            self._call = self._clock.callLater(LOOK_EVERY, self._look)
        elif self._told:
            self.log.info("ready: all parts of this daemon can be used")
