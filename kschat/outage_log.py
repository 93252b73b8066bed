"""Logs the reasons of an outage: each reason once, until the part can be used again."""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger, LogLevel

from kschat.repeated_log import RepeatedLog

#: Reasons that are logged in one outage.
MAX_REASONS: Final = 20


class OutageLog:
    """One outage after the other.

    Something may have several parts (the two connections of a store, say). It can be used when all of them can.

    Args:
        log: the owner's.
        level: of what is logged.
        name: what it is about; ``{name}`` in the lines.
        repeated: gathers the lines of something that strangers can make fail again and again; None for nothing like it.
    """

    def __init__(
        self, log: Logger, level: Any = LogLevel.error, name: str = "", *, repeated: RepeatedLog | None = None
    ) -> None:
        self.name = name
        self._repeated = repeated
        self._log = log
        self._level = level
        self._logged: dict[str, None] = {}
        self._down: set[object] = set()

    @property
    def is_open(self) -> bool:
        """Whether a reason was logged, and ``up`` was not called since."""
        return bool(self._logged)

    def begin(self, part: object) -> None:
        """A part can't be used yet, for no reason that is worth a line."""
        self._down.add(part)

    def down(self, text: str, reason: str, part: object = None, **fields: object) -> None:
        """Something, or a part of it, can't be used.

        Args:
            text: the line, as a format with ``{reason}``, ``{name}`` and the names in ``fields``.
            reason: why; where it was logged in this outage, nothing is.
            part: what can't be used.
        """
        self._down.add(part)
        if reason not in self._logged and len(self._logged) < MAX_REASONS:
            self._logged[reason] = None
            self._emit(self._level, text, reason=reason, name=self.name, **fields)

    def back(self, text: str, **fields: object) -> None:
        """It can be used. If a reason was logged, ``text`` is the line that says so, with ``{name}`` and ``fields``."""
        if self.is_open:
            self._emit(LogLevel.info, text, name=self.name, **fields)
        self.up()

    def _emit(self, level: Any, text: str, **fields: Any) -> None:
        if self._repeated is None:
            self._log.emit(level, text, **fields)
        else:
            self._repeated.emit(self._log, text, level=level, **fields)

    def up(self, part: object = None) -> bool:
        """Something, or a part of it, can be used. Whether all of it can; then the reasons are forgotten.

        Look at ``is_open`` before, for whether it is back.
        """
        self._down.discard(part)
        if self._down:
            return False
        self._logged.clear()
        return True
