"""``Breaker``: a circuit breaker. A server that does not answer gets no requests for a while.

    closed --FAILURES in a row--> open --the pause is over--> trying --an answer--> closed
                                   ^                            |
                                   +-- no answer: a pause twice as long, MAX_PAUSE at the most

While it is open, nobody waits for the server. While it is trying, one request is sent, and all others are treated as if
it were open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Requests in a row without an answer after which the breaker opens.
FAILURES: Final = 5

#: Seconds of the first pause, and of the longest.
PAUSE: Final = 1.0
MAX_PAUSE: Final = 30.0


class Breaker:
    """The breaker of one server.

    Args:
        seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._failures = 0
        self._pause = PAUSE
        # When the pause is over; None while it is closed.
        self._until: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the server gets no requests, or one that tries whether it answers again."""
        return self._until is not None

    def allows(self) -> bool:
        """Whether a request may be sent. If so, the caller must call one of the next three methods afterwards."""
        if self._until is None:
            return True
        if self._trying or self._seconds() < self._until:
            return False
        self._trying = True
        return True

    def answered(self) -> None:
        """There was an answer."""
        self._failures, self._pause, self._until, self._trying = 0, PAUSE, None, False

    def failed(self) -> None:
        """There was none in time."""
        if self._until is not None:
            if self._trying:
                self._pause = min(2 * self._pause, MAX_PAUSE)
                self._open()
            return
        self._failures += 1
        if self._failures >= FAILURES:
            self._open()

    def not_sent(self) -> None:
        """The request was given up before it was sent, or before there could be an answer."""
        self._trying = False

    def _open(self) -> None:
        self._trying = False
        self._until = self._seconds() + self._pause
