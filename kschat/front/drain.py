"""The drain: closes sessions evenly over a time, so that their clients do not all connect to other daemons at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004 - it is not Python's
from twisted.internet.interfaces import IReactorTime

from kschat.front.registry import SessionRegistry
from kschat.wire.errors import Reason

#: Seconds between two slices of sessions that end.
SLICE_SECONDS: Final = 0.1

#: Seconds that a slice may wait until all that was accepted is answered. Under load there may be no such moment.
SETTLE_SECONDS: Final = 0.5


class Drain:
    """The waits at the end of a daemon; ``hurry`` cuts them short.

    Args:
        sessions: those that are open.
        clock: the reactor.
        settled: fires when all that was accepted is answered; a session that ends then loses no ack.

    Attributes:
        hurried: whether ``hurry`` was called.
    """

    def __init__(
        self, sessions: SessionRegistry, *, clock: IReactorTime, settled: Callable[[], Deferred[None]]
    ) -> None:
        self.hurried = False
        self._sessions = sessions
        self._clock = clock
        self._settled = settled
        self._waiting: Deferred[None] | None = None

    def hurry(self) -> None:
        """End the current wait, and skip all others."""
        self.hurried = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def wait(self, seconds: float) -> None:
        """Wait; return early after ``hurry``."""
        await self._wait_for(Deferred(), seconds)

    async def close_evenly(self, seconds: float) -> None:
        """Close all sessions over ``seconds`` (more than 0), the oldest first.

        After ``hurry`` the remaining ones stay open.
        """
        began, total = self._clock.seconds(), len(self._sessions)
        while len(self._sessions) and not self.hurried:
            await self.wait(SLICE_SECONDS)
            await self._wait_for(self._settled(), SETTLE_SECONDS)
            left = self._sessions.values()
            # By the time that has passed, not by slices: a few sessions are spread as well as many. Sessions that ended
            # by themselves count.
            part = min((self._clock.seconds() - began) / seconds, 1.0)
            for connection in left[: max(0, len(left) - int(total * (1 - part)))]:
                connection.session.close(Reason.SHUTTING_DOWN)

    async def last_words(self, seconds: float) -> None:
        """Wait until clients that poll have fetched their last words, ``seconds`` at the most."""
        end = self._clock.seconds() + seconds
        while self._sessions.lingering and not self.hurried and self._clock.seconds() < end:
            await self.wait(SLICE_SECONDS)

    async def _wait_for(self, fires: Deferred[None], seconds: float) -> None:
        if self.hurried:
            return
        self._waiting = fires.addTimeout(seconds, self._clock)
        try:
            await self._waiting
        except (TimeoutError, CancelledError):
            pass
        finally:
            self._waiting = None
