"""``HttpClient``: requests to HTTP servers of others, whose answers are bounded in time and in bytes.

A server that is slow, endless, or not an HTTP server costs what it was allowed, and no more: the time of a request is
bounded in all (look-up of the name and TLS included), and so are the bytes of an answer, its head among them, where
they arrive. An answer is taken as it is: it is not inflated, and a redirection is not followed.

Twisted's ``Agent`` takes twice as long for a request: with hooks, clients of the daemon waited for that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.http import stringToDatetime

from kschat.http_answers import AnswerReader, Headers, HttpAnswer, HttpFault
from kschat.log_text import shown
from kschat.tls import refusal, roots

#: Seconds for which a connection is kept that nobody uses. Many servers close theirs after 5.
KEEP: Final = 4

#: The longest wait that a server can ask for, in seconds.
MAX_RETRY_AFTER: Final = 86400.0

#: Characters of why there is no answer.
MAX_REASON: Final = 200

_PORTS: Final = {"http": 80, "https": 443}

#: Makes the endpoint of a host and a port.
Connect: TypeAlias = Callable[[str, int], IStreamClientEndpoint]


def check_url(url: str, example: str) -> None:
    """That requests can be sent to a URL.

    Args:
        url: ``http:`` or ``https:``.
        example: how one looks.

    Raises:
        ValueError: they cannot; the text ends a sentence that begins with the URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"can't be read: {error}") from None
    # Nothing in it may end a line in the head of a request.
    if parts.scheme not in ("https", "http") or not host or any(one.isspace() or not one.isprintable() for one in url):
        raise ValueError(f"is not like {example}")
    if not url.isascii():
        raise ValueError("holds characters that are not ASCII: write its host as xn--…, and its path as %…")
    if parts.username is not None or parts.fragment:
        raise ValueError("has a user, a password or a fragment, which is not supported")


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds after which a server wants to be asked again (RFC 9110, section 10.2.3); None if it does not say.

    Args:
        headers: of an answer.
        now: the time of day, in seconds since 1970.

    Returns:
        ``MAX_RETRY_AFTER`` at the most.
    """
    for value in headers.get(b"retry-after", ()):
        text = value.strip()
        if text.isdigit():
            # More digits than that are more than the bound, whatever they say.
            return min(float(int(text[:10])), MAX_RETRY_AFTER)
        try:
            seconds: float = stringToDatetime(text) - now
        except (ValueError, KeyError, IndexError, OverflowError):
            continue
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)
    return None


def is_protected(url: str) -> bool:
    """Whether nobody can read or change what goes to a URL: it is ``https:``, or on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Target(NamedTuple):
    """What a URL says."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @classmethod
    def of(cls, url: str) -> _Target:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or _PORTS[parts.scheme]
        shown_host = f"[{host}]" if ":" in host else host
        authority = shown_host if port == _PORTS[parts.scheme] else f"{shown_host}:{port}"
        return cls(parts.scheme, host, port, authority, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")


class HttpClient:
    """Sends requests.

    Args:
        reactor: Twisted's.
        max_body: bytes of the body of an answer.
        connections: that are kept for each host, to be used again.
        ca: file with the certificates that servers' are trusted by; empty for the system's.
        setting: what the setting with that file begins with: ``jwks`` of ``jwks_ca``.
        connect: makes the endpoints; TLS comes on top of them.

    Raises:
        AddressError: the file can't be used.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        max_body: int,
        connections: int = 0,
        ca: str = "",
        setting: str = "",
        connect: Connect | None = None,
    ) -> None:
        self._reactor = reactor
        self._max_body = max_body
        self._connections = connections
        by_name: Connect = lambda host, port: HostnameEndpoint(reactor, host, port)  # noqa: E731
        self._endpoint = connect or by_name
        self._trusted = roots(ca, setting)
        # Requests that are unanswered, and why each is ended from here, if it is.
        self._requests: dict[Deferred[HttpAnswer], Exception | None] = {}
        self._open: set[_Connection] = set()
        # Those that are kept, by place, the one that was used last at the end.
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}
        self._sweep_timer: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None

    def keep(self, connections: int) -> None:
        """Keep up to so many connections for each host from now on. There was at least one before."""
        self._connections = max(connections, 1)

    def request(
        self,
        method: bytes,
        url: str,
        headers: Mapping[bytes, bytes],
        body: bytes | None = None,
        *,
        timeout: float,
    ) -> Deferred[HttpAnswer]:
        """Send a request. It is sent twice if the server closes a kept connection at that moment.

        Args:
            method: ``GET``, say.
            url: see ``check_url``.
            headers: beside ``Host``, ``Connection`` and ``Content-Length``.
            body: of the request; None for none.
            timeout: seconds that all of it may take.

        Returns:
            The answer. Fails with HttpFault; with CancelledError if it was cancelled.
        """
        whole = Deferred.fromCoroutine(self._exchange(method, _Target.of(url), headers, body))
        if whole.called:
            return whole.addErrback(_as_fault)  # it could not even be written
        too_late = HttpFault("timeout", f"no answer within {timeout:g} seconds")
        call = self._reactor.callLater(timeout, self._end, whole, too_late)
        self._requests[whole] = None

        def ended(result: Any) -> Any:
            if call.active():
                call.cancel()
            # A request that is cancelled fails in many ways: by where it was.
            why = self._requests.pop(whole)
            if why is not None:
                return Failure(why)
            return _as_fault(result) if isinstance(result, Failure) else result

        return whole.addBoth(ended)

    def stop(self) -> Deferred[Any]:
        """Cancel all requests, and close all connections; fires when they are closed."""
        for request in list(self._requests):
            self._end(request, CancelledError())
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._idle.clear()
        if not self._open:
            return succeed(None)
        if self._closed is None:
            self._closed = Deferred()
        for connection in list(self._open):
            connection.abort()
        closed: Deferred[Any] = Deferred()
        self._closed.chainDeferred(closed)
        return closed

    def _end(self, request: Deferred[HttpAnswer], why: Exception) -> None:
        self._requests[request] = why
        request.cancel()

    async def _exchange(
        self, method: bytes, target: _Target, headers: Mapping[bytes, bytes], body: bytes | None
    ) -> HttpAnswer:
        request = _written(method, target, headers, body, keep=self._connections > 0)
        idle = self._idle.get(target[:3])
        connection = idle.pop() if idle else await self._connect(target)
        try:
            return await connection.exchange(request)
        except _NoAnswer:
            if not self._connections:
                raise
        return await (await self._connect(target)).exchange(request)

    def _connect(self, target: _Target) -> Deferred[_Connection]:
        endpoint = self._endpoint(target.host, target.port)
        if target.scheme == "https":
            endpoint = wrapClientTLS(optionsForClientTLS(target.host, self._trusted), endpoint)
        connected: Deferred[Any] = endpoint.connect(_Connections(self, target, self._max_body))
        return connected

    # Called by connections.

    def opened(self, connection: _Connection) -> None:
        """It is connected."""
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        """It has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.place, ())
        if connection in idle:
            self._forget(connection)
        if self._closed is not None and not self._open:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def released(self, connection: _Connection) -> None:
        """It may be used again."""
        idle = self._idle.setdefault(connection.place, [])
        if len(idle) >= self._connections:
            self._prune(connection.place)
            connection.abort()
            return
        connection.idle_since = self._reactor.seconds()
        idle.append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self._reactor.callLater(KEEP, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that nobody has used for ``KEEP`` seconds."""
        self._sweep_timer = None
        now = self._reactor.seconds()
        kept = [one for idle in self._idle.values() for one in idle]
        for connection in kept:
            if connection.idle_since + KEEP <= now:
                self._forget(connection)
                connection.abort()
        rest = [one.idle_since for idle in self._idle.values() for one in idle]
        if rest:
            self._sweep_timer = self._reactor.callLater(max(min(rest) + KEEP - now, 0.0), self._sweep)

    def _forget(self, connection: _Connection) -> None:
        self._idle[connection.place].remove(connection)
        self._prune(connection.place)

    def _prune(self, place: tuple[str, str, int]) -> None:
        if not self._idle[place]:
            del self._idle[place]


class _NoAnswer(HttpFault):
    """The server has closed the connection before it sent anything."""


class _Connection(Protocol):
    """One connection, with one request at a time.

    Attributes:
        place: where it leads.
        idle_since: since when nobody uses it.
    """

    def __init__(self, client: HttpClient, target: _Target, max_body: int) -> None:
        self.place = target[:3]
        self.idle_since = 0.0
        self._client = client
        self._max_body = max_body
        self._reader: AnswerReader | None = None
        self._answer: Deferred[HttpAnswer] = Deferred()
        self._fault: HttpFault | None = None

    def exchange(self, request: bytes) -> Deferred[HttpAnswer]:
        """Send a request. Fails with HttpFault, or with what ended the connection."""
        transport: Any = self.transport
        self._reader = AnswerReader(self._max_body)
        self._answer = Deferred(self._cancel)
        transport.write(request)
        return self._answer

    def abort(self) -> None:
        """End it. (By TLS, another end that never says goodbye would keep one open that is closed in good order.)"""
        transport: Any = self.transport
        transport.abortConnection()

    def _cancel(self, _: object) -> None:
        self._reader = self._fault = None
        self.abort()

    def connectionMade(self) -> None:
        self._client.opened(self)

    def dataReceived(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            self.abort()  # it belongs to no request, or to one that has failed
            return
        try:
            reader.feed(data)
        except HttpFault as fault:
            self._reader, self._fault = None, fault
            self.abort()
            return
        if reader.answer is not None:
            self._reader = None
            if reader.reusable:
                self._client.released(self)
            else:
                self.abort()
            self._answer.callback(reader.answer)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._client.lost(self)
        reader, self._reader = self._reader, None
        if self._fault is not None:
            self._answer.errback(self._fault)
        elif reader is not None:
            self._lost(reader, reason)

    def _lost(self, reader: AnswerReader, reason: Failure) -> None:
        if reason.check(error.ConnectionDone, error.ConnectionLost) is None:
            self._answer.errback(reason)
            return
        try:
            reader.end()
        except HttpFault as fault:
            self._answer.errback(fault if reader.began else _NoAnswer(fault.kind, str(fault)))
            return
        assert reader.answer is not None
        self._answer.callback(reader.answer)


class _Connections(Factory):
    """Makes them. (Else each that begins and ends is a line of the log.)"""

    noisy = False

    def __init__(self, client: HttpClient, target: _Target, max_body: int) -> None:
        self._made = (client, target, max_body)

    def buildProtocol(self, addr: Any) -> _Connection:
        return _Connection(*self._made)


def _written(
    method: bytes, target: _Target, headers: Mapping[bytes, bytes], body: bytes | None, *, keep: bool
) -> bytes:
    """A request as it is sent. Raises ValueError: something in it would end its line."""
    lines = [b"%s %s HTTP/1.1" % (method, target.path.encode("ascii")), b"Host: " + target.authority.encode("ascii")]
    lines += [b"%s: %s" % header for header in headers.items()]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    if not keep:
        lines.append(b"Connection: close")
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise ValueError("a header has the end of a line in it")
    return b"\r\n".join((*lines, b"", body or b""))


def _as_fault(failure: Failure) -> Failure:
    """What a request failed with, as a HttpFault; or as a CancelledError, if it was cancelled."""
    found: Any = failure.value
    if isinstance(found, HttpFault):
        return failure
    if isinstance(found, CancelledError | error.ConnectingCancelledError):
        return Failure(CancelledError())
    if why := refusal(found):
        return Failure(HttpFault("tls", why))
    # It may show what the server has sent.
    text = shown(" ".join(str(found).split()))[:MAX_REASON].rstrip(".") or type(found).__name__
    return Failure(HttpFault("unreachable" if isinstance(found, error.ConnectError | OSError) else "broken", text))
