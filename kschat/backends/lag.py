"""How far behind a service is: probes that it answers in the order of everything else, and are timed."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime


class Lag:
    """Times probes. Each answers those before it: what a service does not answer, it does later, or never.

    Args:
        clock: the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # When the oldest probe without an answer was sent, and the newest one; how long the last answer took.
        self._since: float | None = None
        self._newest = 0.0
        self._last: float | None = None

    @property
    def waits(self) -> bool:
        """Whether a probe has no answer yet."""
        return self._since is not None

    @property
    def seconds(self) -> float | None:
        """How long the last answer took, or for how long one has been missing, if that is longer; None if unknown."""
        if self._since is None:
            return self._last
        return max(self._last or 0.0, self._clock.seconds() - self._since)

    def ask(self) -> float:
        """A probe is sent. Returns what ``answered`` is to be called with."""
        self._newest = now = self._clock.seconds()
        if self._since is None:
            self._since = now
        return now

    def answered(self, asked: float) -> None:
        """A probe was answered. ``asked``: what ``ask`` has returned for it."""
        if self._since is not None and asked >= self._since:
            self._last = self._clock.seconds() - asked
            self._since = self._newest if self._newest > asked else None

    def lost(self) -> None:
        """The connection has ended, and nothing that was sent is answered any more."""
        self._since = self._last = None
