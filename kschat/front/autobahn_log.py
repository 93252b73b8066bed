"""What Autobahn says, quieter."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger


class AutobahnLog:
    """Takes what Autobahn says of each connection. What matters of it, reasons of ends, the chat logs itself."""

    _log = Logger(namespace="autobahn")

    def debug(self, *args: Any, **fields: Any) -> None:
        """What peers do wrong, which Autobahn warns of in several lines each, is debugging here."""

    info = warn = trace = debug

    def error(self, format: str = "", **fields: Any) -> None:  # noqa: A002 - Autobahn's name
        """Something is wrong with us."""
        self._log.error(format, **fields)

    def failure(self, format: str = "", **fields: Any) -> None:  # noqa: A002
        """An exception went through Autobahn."""
        self._log.failure(format, **fields)

    critical = error
