"""Makes Autobahn's log quieter."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger


class AutobahnLog:
    """Receives Autobahn's log lines for each connection. What matters, why a session ended, is logged elsewhere."""

    _log = Logger(namespace="autobahn")

    def debug(self, *args: Any, **fields: Any) -> None:
        """Clients' faults, for which Autobahn writes several warnings each, are debug messages here."""

    info = warn = trace = debug

    def error(self, format: str = "", **fields: Any) -> None:  # noqa: A002 - Autobahn's name
        """A fault of ours."""
        self._log.error(format, **fields)

    def failure(self, format: str = "", **fields: Any) -> None:  # noqa: A002
        """An exception passed through Autobahn."""
        self._log.failure(format, **fields)

    critical = error
