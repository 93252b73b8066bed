"""``HttpClient``: requests to HTTP servers of others, whose answers are bounded in time and in bytes.

A server that is slow, endless, or not an HTTP server costs what it was allowed, and no more: the time of a request is
bounded in all (look-up of the name and TLS included), and so are the bytes of an answer, its head among them, where
they arrive. An answer is taken as it is: it is not inflated, and a redirection is not followed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss, stringToDatetime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from kschat.log_text import shown
from kschat.tls import refusal, roots

#: Bytes of the head of an answer.
MAX_HEAD: Final = 32_768

#: Seconds for which a connection is kept that nobody uses. Many servers close theirs after 5.
KEEP: Final = 4

#: The longest wait that a server can ask for, in seconds.
MAX_RETRY_AFTER: Final = 86400.0

#: Characters of why there is no answer.
MAX_REASON: Final = 200

#: Why there is no answer: the label of a metric.
Kind: TypeAlias = Literal["timeout", "unreachable", "tls", "too_large", "broken"]

#: Makes the endpoint of a host and a port.
Connect: TypeAlias = Callable[[str, int], IStreamClientEndpoint]


class HttpFault(Exception):
    """There is no answer; the text says why, in words.

    Attributes:
        kind: why, as one of a few words.
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind


class HttpAnswer(msgspec.Struct, frozen=True):
    """An answer, whatever its status."""

    status: int
    headers: Headers
    body: bytes


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
    for value in headers.getRawHeaders(b"retry-after") or ():
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
        by_name: Connect = lambda host, port: HostnameEndpoint(reactor, host, port)  # noqa: E731
        endpoints = _Endpoints(connect or by_name, roots(ca, setting), MAX_HEAD + max_body)
        self._pool = HTTPConnectionPool(reactor, persistent=connections > 0)
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = KEEP
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)
        single = HTTPConnectionPool(reactor, persistent=False)
        self._fresh = Agent.usingEndpointFactory(reactor, endpoints, single) if connections else None
        # Those that are unanswered, and why each is ended from here, if it is.
        self._requests: dict[Deferred[HttpAnswer], Exception | None] = {}

    def keep(self, connections: int) -> None:
        """Keep up to so many connections for each host from now on. There was at least one before."""
        self._pool.maxPersistentPerHost = max(connections, 1)

    def request(
        self, method: bytes, url: str, headers: Headers, body: bytes | None = None, *, timeout: float
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
        whole = Deferred.fromCoroutine(self._exchange(method, url.encode("ascii"), headers, body))
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
        """Cancel all requests, and close all connections."""
        for request in list(self._requests):
            self._end(request, CancelledError())
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed

    def _end(self, request: Deferred[HttpAnswer], why: Exception) -> None:
        self._requests[request] = why
        request.cancel()

    async def _exchange(self, method: bytes, url: bytes, headers: Headers, body: bytes | None) -> HttpAnswer:
        try:
            response = await self._send(self._agent, method, url, headers=headers, body=body)
        except ResponseNeverReceived as never:
            if self._fresh is None or not all(_is_closed(reason) for reason in never.reasons):
                raise
            response = await self._send(self._fresh, method, url, headers=headers, body=body)
        return HttpAnswer(response.code, response.headers, await _read(response, self._max_body))

    def _send(
        self, agent: Agent, method: bytes, url: bytes, *, headers: Headers, body: bytes | None
    ) -> Deferred[IResponse]:
        # A copy: the agent adds to what it is given.
        sent: Deferred[IResponse] = agent.request(
            method, url, headers.copy(), None if body is None else _BytesProducer(body)
        )
        return sent


def _is_closed(reason: Failure) -> bool:
    """Whether the other end has closed the connection, and not this one."""
    closed = reason.check(error.ConnectionDone, error.ConnectionLost) is not None
    return closed and reason.check(error.ConnectionAborted) is None


def _read(response: Any, most: int) -> Deferred[bytes]:
    """The body of an answer. Fails with HttpFault if it is compressed, or larger than ``most``."""
    body = _Body(most)
    if response.headers.hasHeader(b"content-encoding"):
        body.fault = HttpFault("broken", "the answer is compressed, which it was not asked to be")
    elif isinstance(response.length, int) and response.length > most:
        body.fault = body.too_large
    response.deliverBody(body)
    return body.whole


def _as_fault(failure: Failure) -> Failure:
    """What a request failed with, as a HttpFault; or as a CancelledError, if it was cancelled."""
    value: Any = failure.value
    reasons = [inner.value if isinstance(inner, Failure) else inner for inner in getattr(value, "reasons", None) or ()]
    for found in (value, *reasons):
        if isinstance(found, HttpFault):
            return Failure(found)
        if isinstance(found, CancelledError | error.ConnectingCancelledError):
            return Failure(CancelledError())
        if why := refusal(found):
            return Failure(HttpFault("tls", why))
    last = reasons[-1] if reasons else value
    # It may show what the server has sent.
    text = shown(" ".join(str(last).split()))[:MAX_REASON].rstrip(".") or type(last).__name__
    return Failure(HttpFault("unreachable" if isinstance(last, error.ConnectError | OSError) else "broken", text))


class _Body(Protocol):
    """Collects the body of an answer, and ends the connection of one that is not wanted.

    Attributes:
        fault: why it is not wanted; None if it is.
    """

    def __init__(self, most: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._abort())
        self.too_large = HttpFault("too_large", f"the answer is larger than {most} bytes")
        self.fault: HttpFault | None = None
        self._parts: list[bytes] = []
        self._left = most

    def connectionMade(self) -> None:
        if self.fault is not None:
            self._abort()

    def dataReceived(self, data: bytes) -> None:
        if self.fault is not None:
            return
        self._parts.append(data)
        self._left -= len(data)
        if self._left < 0:
            self._parts.clear()
            self.fault = self.too_large
            self._abort()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self.whole.called:
            return
        if self.fault is not None:
            # Not before: the caller may then close the kept connections, and this one would be kept after that.
            self.whole.errback(self.fault)
        elif reason.check(ResponseDone, PotentialDataLoss) is not None:
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


@implementer(IBodyProducer)
class _BytesProducer:
    """The body of a request, which is there."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is all written."""

    def resumeProducing(self) -> None:
        """It is all written."""

    def stopProducing(self) -> None:
        """It is all written."""


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Endpoints of URLs, whose connections are ended after ``most`` bytes of an answer."""

    def __init__(self, connect: Connect, trusted: Any, most: int) -> None:
        self._connect = connect
        self._trusted = trusted
        self._most = most

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        endpoint = self._connect(host, uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(optionsForClientTLS(host, self._trusted), endpoint)
        return _BoundedEndpoint(endpoint, self._most)


@implementer(IStreamClientEndpoint)
class _BoundedEndpoint:
    """Another endpoint, whose connections are ended after so many bytes of an answer."""

    def __init__(self, inner: IStreamClientEndpoint, most: int) -> None:
        self._inner = inner
        self._most = most

    def connect(self, protocolFactory: Any) -> Any:
        # Else each connection that begins and ends is a line of the log.
        protocolFactory.noisy = False
        factory = _BoundedFactory(protocolFactory)
        factory.most = self._most
        connecting: Deferred[Any] = self._inner.connect(factory)
        return connecting.addCallback(lambda bounded: bounded.wrappedProtocol)


class _Bounded(ProtocolWrapper):
    """One connection. Its client closes it when it wants no more of it."""

    def __init__(self, factory: Any, wrappedProtocol: Any) -> None:
        super().__init__(factory, wrappedProtocol)
        self._received = 0
        self._fault: HttpFault | None = None

    def write(self, data: bytes) -> None:
        self._received = 0
        super().write(data)

    def writeSequence(self, data: Any) -> None:
        self._received = 0
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        if self._fault is not None:
            return
        self._received += len(data)
        if self._received > self.factory.most:
            self._fault = HttpFault("too_large", "the answer is larger than it may be")
            self.abortConnection()
        else:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        # By TLS, another end that never says goodbye would keep a connection open that is closed in good order.
        self.disconnecting = True
        self.abortConnection()

    def abortConnection(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason if self._fault is None else Failure(self._fault))


class _BoundedFactory(WrappingFactory):
    """Makes them.

    Attributes:
        most: bytes that an answer may have.
    """

    noisy = False
    protocol = _Bounded
    most = 0
