"""Counts and logs refused requests, and answers bad WebSocket handshakes."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from twisted.logger import Logger
from twisted.web.server import Request

from kschat.counters import Counters
from kschat.front.engine_request import client_of
from kschat.front.handshake import BAD_REQUEST, Refusal
from kschat.repeated_log import RepeatedLog

#: Statuses of what is refused since there is too much of it, not since it is wrong.
_TURNED_AWAY: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


class RefusalLog:
    """The one place where refused requests are counted and logged.

    Args:
        counters: counts.
        repeated: gathers lines.
    """

    log = Logger()

    def __init__(self, counters: Counters, repeated: RepeatedLog) -> None:
        self._counters = counters
        self._repeated = repeated

    def refused(self, refusal: Refusal, request: Request) -> None:
        """Count and log a request that was refused."""
        if refusal.status in _TURNED_AWAY:
            self._counters.turned_away += 1
        else:
            self._counters.rejected[refusal.code] += 1
        self._repeated.info(
            self.log,
            "a request from {peer} was refused: {why}",
            kind=f"requests that were refused, code {refusal.code}",
            peer=str(client_of(request)),
            why=refusal.message,
        )

    def bad_handshake(self, status: int, headers: Iterable[tuple[str, str]] | None) -> bytes:
        """Count a handshake that RFC 6455 forbids.

        Args:
            status: of the HTTP response.
            headers: for it, beside those of every response.

        Returns:
            The HTTP response, with Engine.IO's JSON.
        """
        self._counters.rejected[BAD_REQUEST.code] += 1
        body = BAD_REQUEST.body
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers or ()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
