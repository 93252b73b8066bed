"""Server endpoints from their descriptions, with fixes for some of Twisted's.

- ``ssl:``      see ``tls_endpoint``: a file with the whole chain, and files that can be read again.
- ``haproxy:``  a connection without the PROXY protocol's header is closed, with a line in the log.
- both          a factory may refuse a connection (its ``buildProtocol`` returns None), which Twisted's wrappers do not
  expect.
- any           as many connections may wait to be accepted as the system allows (see ``backlog``).

All other descriptions are Twisted's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from zope.interface import implementer

from kschat.front.backlog import system_backlog, with_backlog
from kschat.front.compat_twisted import HAProxyProtocolWrapper, HAProxyWrappingFactory, has_proxy_header
from kschat.front.tls_endpoint import TlsEndpoint

#: Seconds between two lines about connections without the PROXY protocol's header; those in between are counted.
QUIET: Final = 60.0


def server_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """The endpoint that ``description`` means.

    Args:
        reactor: Twisted's.
        description: as for ``twisted.internet.endpoints.serverFromString``.

    Raises:
        Exception: whatever the kind of endpoint raises, where it is none or its files can't be used.
    """
    description = with_backlog(description, system_backlog())
    kind, colon, rest = description.partition(":")
    if kind == "haproxy" and colon:
        return _ProxiedEndpoint(server_endpoint(reactor, rest), rest, reactor.seconds)
    if kind == "ssl" and colon:
        return _GuardedEndpoint(TlsEndpoint(reactor, description))
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


def tls_of(endpoint: IStreamServerEndpoint) -> TlsEndpoint | None:
    """The part of an endpoint of ``server_endpoint`` that has certificate files; None where it has none."""
    while isinstance(endpoint, _GuardedEndpoint | _ProxiedEndpoint):
        endpoint = endpoint.inner
    return endpoint if isinstance(endpoint, TlsEndpoint) else None


class _TurnedAway(Protocol):
    """Ends its connection unanswered."""

    transport: Any

    def connectionMade(self) -> None:
        """There are too many."""
        self.transport.abortConnection()


class _Guard(WrappingFactory):
    """A factory below a wrapper that needs a protocol for each connection.

    ``knows_client``: whether a connection's address is the client's.
    """

    def __init__(self, wrapped: IProtocolFactory, knows_client: bool = True) -> None:
        super().__init__(wrapped)
        self._knows_client = knows_client

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """The factory's protocol, or one that ends the connection."""
        protocol: IProtocol | None = self.wrappedFactory.buildProtocol(addr if self._knows_client else None)
        return _TurnedAway() if protocol is None else protocol


@implementer(IStreamServerEndpoint)
class _GuardedEndpoint:
    """An endpoint whose wrapper is Twisted's (TLS)."""

    def __init__(self, inner: IStreamServerEndpoint) -> None:
        self.inner = inner

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self.inner.listen(_Guard(protocolFactory))


class _ProxiedConnection(HAProxyProtocolWrapper):
    """One connection that has to begin with the PROXY protocol's header."""

    factory: _ProxiedFactory
    _reading = False

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived."""
        self._reading = True
        try:
            super().dataReceived(data)
        except ValueError:
            # Twisted expects none of a port that is no number, or of an address that is no text.
            if has_proxy_header(self):
                raise
            self.loseConnection()
        finally:
            self._reading = False

    def loseConnection(self) -> None:
        """Either side ends it: here, while the header is read, because it is none."""
        if self._reading and not has_proxy_header(self):
            self.factory.refused(self.getPeer())
        super().loseConnection()


class _ProxiedFactory(HAProxyWrappingFactory):
    """Makes them, and says in the log which were refused: once in ``QUIET`` seconds, with how many there were.

    Args:
        wrapped: speaks behind the header.
        description: of the endpoint, for the log.
        seconds: the clock.
    """

    log = Logger()
    protocol: type[HAProxyProtocolWrapper] = _ProxiedConnection

    def __init__(self, wrapped: IProtocolFactory, description: str, seconds: Callable[[], float]) -> None:
        # Before the header arrives, the address is the proxy's.
        super().__init__(_Guard(wrapped, knows_client=False))
        self._description = description
        self._seconds = seconds
        self._said: float | None = None
        self._unsaid = 0

    def refused(self, peer: IAddress) -> None:
        """A connection did not begin as it has to."""
        now = self._seconds()
        if self._said is not None and now - self._said < QUIET:
            self._unsaid += 1
            return
        self._said, unsaid, self._unsaid = now, self._unsaid, 0
        self.log.warn(
            "a connection from {peer} to haproxy:{description} was closed: it has no PROXY protocol header{more}",
            peer=getattr(peer, "host", "unix"),
            description=self._description,
            more=f" ({unsaid} more since the last such line)" if unsaid else "",
        )


@implementer(IStreamServerEndpoint)
class _ProxiedEndpoint:
    """An endpoint whose connections begin with the PROXY protocol's header, which has the client's address."""

    def __init__(self, inner: IStreamServerEndpoint, description: str, seconds: Callable[[], float]) -> None:
        self.inner = inner
        self._description = description
        self._seconds = seconds

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self.inner.listen(_ProxiedFactory(protocolFactory, self._description, self._seconds))
