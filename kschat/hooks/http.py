"""``HookClient``: sends signed requests to one URL. ``payload``: what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kschat import __version__, http_client
from kschat.chat.clocks import WallClock
from kschat.hooks.signing import Signer
from kschat.http_answers import HttpAnswer
from kschat.http_client import HttpClient
from kschat.tracing.spans import Span, Tracer

#: How a URL of a hook looks.
EXAMPLE: Final = "https://app.example.org/chat-hook"


class _Payload(msgspec.Struct, frozen=True):
    type: str
    timestamp: str
    data: object


_HEADERS: Final = {b"Content-Type": b"application/json", b"User-Agent": f"kschat/{__version__}".encode()}

_encode: Final = msgspec.json.Encoder().encode


def payload(type_: str, at: float, data: object) -> bytes:
    """The body of a request, as the Standard Webhooks specification recommends it.

    Args:
        type_: of the event or question.
        at: when it happened, in seconds since 1970.
        data: what msgspec writes as a JSON object.
    """
    timestamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encode(_Payload(type_, timestamp, data))


def _ended(result: HttpAnswer | Failure, span: Span) -> Any:
    if isinstance(result, Failure):
        span.end(error=getattr(result.value, "kind", type(result.value).__name__))
    else:
        span.end(status=result.status, error=str(result.status) if result.status >= 400 else "")
    return result


def check_url(url: str) -> None:
    """That a hook may have a URL. Raises ValueError; the text ends a sentence that begins with the URL."""
    http_client.check_url(url, EXAMPLE)


class HookClient:
    """Sends JSON to a URL.

    Args:
        url: see ``check_url``.
        signer: signs each request.
        reactor: Twisted's.
        wall: the time of day, for signatures.
        timeout: seconds that a request may take in all.
        connections: that are kept, to be used again.
        max_body: bytes of the body of an answer.
        ca: file with the certificates that the server's is trusted by; empty for the system's.
        tracer: makes spans of requests, which then say so to the server; None if there are none.
        name: of those spans.

    Attributes:
        timeout: see above; it may change.

    Raises:
        AddressError: the file can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        signer: Signer,
        reactor: Any,
        wall: WallClock,
        timeout: float,
        connections: int,
        max_body: int,
        ca: str = "",
        tracer: Tracer | None = None,
        name: str = "hook",
    ) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._tracer = tracer
        self._name = name
        self._signer = signer
        self._wall = wall
        self.timeout = timeout
        self._client = HttpClient(reactor, max_body=max_body, connections=connections, ca=ca, setting="hooks")

    def keep(self, connections: int) -> None:
        """Keep up to so many connections from now on."""
        self._client.keep(connections)

    def post(self, id: str, body: bytes, *, timeout: float | None = None) -> Deferred[HttpAnswer]:  # noqa: A002
        """Send a body of JSON, signed.

        Args:
            id: see ``Signer.headers``.
            body: JSON.
            timeout: seconds, if fewer than all requests may take.

        Returns:
            The answer, whatever its status. Fails with HttpFault, or CancelledError after ``stop``.
        """
        headers = {**_HEADERS, **self._signer.headers(id, int(self._wall()), body)}
        span = None if self._tracer is None else self._tracer.call(self._name, self._host)
        if span is not None:
            headers |= {name.encode(): value.encode() for name, value in span.headers().items()}
        answered = self._client.request(
            b"POST", self._url, headers, body, timeout=self.timeout if timeout is None else timeout
        )
        return answered if span is None else answered.addBoth(_ended, span)

    def stop(self) -> Deferred[Any]:
        """Cancel all requests, and close all connections."""
        return self._client.stop()
