"""Gathers lines of the log that repeat: a flood of bad requests must not become a flood of lines.

Writing a line costs about as much as answering a small request, and a disk that is full of lines costs more.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

#: Lines of one kind that are logged as they are in each period.
LINES: Final = 10

#: Seconds of a period.
PERIOD: Final = 10.0

#: Kinds that are told apart in one period. Lines of others are gathered as one.
MAX_KINDS: Final = 100


class _Kind:
    """What became of the lines of one kind in this period."""

    __slots__ = ("count", "level", "log")

    def __init__(self, log: Logger, level: Any) -> None:
        self.count = 0
        self.level = level
        self.log = log


class RepeatedLog:
    """The first lines of a kind are logged as they are; the rest of a period is counted, and logged as one line.

    One a daemon, or one an owner: all kinds share one timer, which runs only while lines are being counted.

    Args:
        clock: the reactor, or a test's clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        self._until = 0.0
        self._call: IDelayedCall | None = None

    def info(self, log: Logger, text: str, *, kind: str = "", **fields: object) -> None:
        """Log a line at the level info, or count it; see ``emit``."""
        self.emit(log, text, kind=kind, level=LogLevel.info, **fields)

    def emit(self, log: Logger, text: str, *, kind: str = "", level: Any = LogLevel.info, **fields: object) -> None:
        """Log a line, or count it.

        Args:
            log: the owner's.
            text: the line, as a format with the names in ``fields``.
            kind: lines of one kind are gathered; "" for ``text`` itself. It is shown in the line that counts them, so
                it must come from a fixed set, and hold nothing that a client sends.
            level: of the line, and of the one that counts.
        """
        now = self._clock.seconds()
        if now >= self._until:
            self.flush()
            self._until = now + PERIOD
        kind = kind or text
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= MAX_KINDS:
                kind = "other lines"
            found = self._kinds.setdefault(kind, _Kind(log, level))
        found.count += 1
        if found.count <= LINES:
            log.emit(level, text, **fields)
        elif self._call is None:
            self._call = self._clock.callLater(self._until - now, self._timed_out)

    def flush(self) -> None:
        """Log what was counted, and begin a period. To be called when the owner stops."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        kinds, self._kinds = self._kinds, {}
        self._until = 0.0
        for kind, found in kinds.items():
            if found.count > LINES:
                found.log.emit(
                    found.level,
                    "{count} more like this in the last {seconds:.0f} s: {kind}",
                    count=found.count - LINES,
                    seconds=PERIOD,
                    kind=kind,
                )

    def _timed_out(self) -> None:
        self._call = None
        self.flush()
