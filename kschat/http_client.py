"""``HttpClient``: requests to the servers of others, bounded in time and bytes.

Certificates and their names are verified, no redirect is followed, no cookie is kept, and nothing is inflated.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from kschat.tls import refusal, roots

#: Seconds for which a connection that is not used is kept: less than most servers keep one, so that few requests are
#: written to a connection that is about to be closed.
KEEP_SECONDS: Final = 2.0


class HttpError(Exception):
    """A request failed; the text is the end of a sentence.

    Attributes:
        kind: ``connect`` (nobody answers there), ``timeout``, ``tls``, ``large``, ``compressed``, or ``answer``: none
            came, or it was no HTTP.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Answer(msgspec.Struct, frozen=True):
    """An answer to a request.

    Attributes:
        status: the code.
        headers: the last value of each, by its name in lower case.
        body: what was read of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


def check_url(url: str, example: str) -> None:
    """That a request may go to a URL: ``https``, or ``http`` on this machine, since nobody may read or change it.

    Args:
        url: what an operator gave.
        example: what it should be like.

    Raises:
        ValueError: it may not; the text ends a sentence that begins with the URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"can't be read: {error}") from None
    if parts.scheme not in ("https", "http") or not host or any(character.isspace() for character in url):
        raise ValueError(f"is not like {example}")
    if parts.username is not None or parts.fragment:
        raise ValueError("has a user, a password or a fragment, which is not supported")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("is not protected on its way: use https, or http on this machine (127.0.0.1) only")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpClient:
    """Sends requests.

    Args:
        reactor: Twisted's.
        ca: file with the certificates that servers are trusted by; empty for the system's.
        setting: what the setting of that file begins with.
        timeout: seconds that a request may take until its answer was read, name look-up and TLS included.
        max_answer: bytes of an answer's body that are read.
        cut: whether an answer with a larger body is taken without the rest of it; else it is an error.
        connections: to one host that are kept for the next request; 0 for none.

    Raises:
        AddressError: the file of certificates can't be used.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        ca: str = "",
        setting: str,
        timeout: float,
        max_answer: int,
        cut: bool = False,
        connections: int = 0,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._timeout = timeout
        self._max_answer = max_answer
        self._cut = cut
        self._pool = HTTPConnectionPool(reactor, persistent=connections > 0)
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = KEEP_SECONDS  # type: ignore[assignment] # it is passed to callLater
        policy = _Policy(roots(ca, setting))
        self._agent = _PlainAgent(Agent(reactor, policy, connectTimeout=timeout, pool=self._pool), any_coding=cut)

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Deferred[Answer]:
        """Send a request, and read its answer. Fails with HttpError, soon; a request that is cancelled is ended."""
        asked = Deferred.fromCoroutine(self._request(method, url, headers, body))
        return asked.addTimeout(self._timeout, self._clock, _too_late).addErrback(self._failed)

    def close(self) -> Deferred[Any]:
        """End the connections that are kept."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        given = Headers({name: [value] for name, value in headers.items()})
        # One for each request: treq's client keeps the cookies of the answers.
        response: Any = await HTTPClient(self._agent).request(
            method, url, headers=given, data=body, allow_redirects=False, unbuffered=True
        )
        named = response.headers.getAllRawHeaders()
        found = {name.decode("latin-1").lower(): values[-1].decode("latin-1") for name, values in named}
        return Answer(response.code, found, await self._body(response))

    def _body(self, response: Any) -> Deferred[bytes]:
        body = _Body(self._max_answer, self._cut)
        response.deliverBody(body)
        if response.length is not UNKNOWN_LENGTH and response.length > self._max_answer:
            body.end()
        return body.whole

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, HttpError | CancelledError):
            return failure
        return Failure(_error_of(error))


def _too_late(_: object, timeout: float) -> NoReturn:
    # Whatever a request that is cancelled fails with: of some, that no answer was received.
    raise HttpError("timeout", f"no answer within {timeout:g} seconds")


def _error_of(error: Any) -> HttpError:
    """Why a request failed, in words for an operator."""
    for inner in getattr(error, "reasons", None) or ():
        value: Any = inner.value if isinstance(inner, Failure) else inner
        if isinstance(value, HttpError):
            return value
        if why := refusal(value):
            return HttpError("tls", why)
        error = value
    if why := refusal(error):
        return HttpError("tls", why)
    kind = "connect" if isinstance(error, (ConnectError, DNSLookupError)) else "answer"
    return HttpError(kind, " ".join(str(error).split()).rstrip(".") or type(error).__name__)


@implementer(IPolicyForHTTPS)
class _Policy:
    """Verifies certificate and name."""

    def __init__(self, trusted: Any) -> None:
        self._trusted = trusted

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return optionsForClientTLS(hostname.decode("ascii"), self._trusted)


@implementer(IAgent)
class _PlainAgent:
    """Asks for an answer as it is: treq would take a compressed one, which is bounded only after it was inflated.

    Args:
        inner: asks.
        any_coding: whether a compressed one is taken all the same, as bytes; else it is an error.
    """

    def __init__(self, inner: Agent, *, any_coding: bool) -> None:
        self._inner = inner
        self._take = _as_bytes if any_coding else _uncompressed

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        if headers is not None:
            headers.removeHeader(b"accept-encoding")
        return self._inner.request(method, uri, headers, bodyProducer).addCallback(self._take)


def _as_bytes(response: Any) -> Any:
    response.headers.removeHeader(b"content-encoding")
    return response


def _uncompressed(response: Any) -> Any:
    if response.headers.hasHeader(b"content-encoding"):
        raise HttpError("compressed", "the answer is compressed, which it was not asked to be")
    return response


class _Body(Protocol):
    """Collects an answer, and ends the connection of one that is too large."""

    def __init__(self, most: int, cut: bool) -> None:
        self.whole: Deferred[bytes] = Deferred(self._give_up)
        self._most = most
        self._cut = cut
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._most:
            self.end()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        whole = self.whole
        if whole.called:
            return
        if self._cut or reason.check(ResponseDone, PotentialDataLoss) is not None:
            whole.callback(b"".join(self._parts))
        else:
            whole.errback(reason)

    def end(self) -> None:
        """It is too large: read no more of it."""
        if not self.whole.called:
            body = b"".join(self._parts)[: self._most]
            self._parts.clear()
            if self._cut:
                self.whole.callback(body)
            else:
                self.whole.errback(HttpError("large", f"the answer is larger than {self._most} bytes"))
            self._abort()

    def _give_up(self, _: object) -> None:
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
