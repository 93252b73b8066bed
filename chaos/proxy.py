"""TCP between clients and the daemon, on 127.0.0.1, which breaks connections as networks do.

A stalled direction is not read: what the one side wrote waits in the kernel's buffers, and
a cut takes it away. So it is proved that something was written and never read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds that the daemon's side may take to accept.
CONNECT_TIMEOUT = 5


@implementer(IPushProducer, IHalfCloseableProtocol)
class Side(Protocol):
    """One of a link's two connections. What it reads, the other one writes.

    It is the other's producer: it is read only while the other keeps up and it is not stalled.
    """

    transport: Any
    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self.other: Side = self
        self.alive = False
        self._held: list[bytes] = []
        self._stalled = False
        self._congested = False
        self._read_ended = False
        self._write_ended = False

    def connectionMade(self) -> None:
        self.alive = True
        self.transport.setTcpNoDelay(True)
        if not self.other.alive:
            return
        for one in (self, self.other):
            one.transport.registerProducer(one.other, True)
            held, one._held = one._held, []
            one.other.transport.writeSequence(held)
            one._read_or_not()

    def dataReceived(self, data: bytes) -> None:
        if self.other.alive:
            self.other.transport.write(data)
            return
        self._held.append(data)  # the other side is still being connected
        self._link.begun(data)

    def readConnectionLost(self) -> None:
        """The peer writes no more: nor do we to the other side."""
        self._read_ended = True
        self.other.end_write()
        self._end_if_both()

    def writeConnectionLost(self) -> None:
        """Our own half-close is done."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.alive = False
        self._link.lost(self)

    def pauseProducing(self) -> None:
        self._congested = True
        self._read_or_not()

    def resumeProducing(self) -> None:
        self._congested = False
        self._read_or_not()

    def stopProducing(self) -> None:
        """The other side ends; ``connectionLost`` is what counts."""

    def end_write(self) -> None:
        """Tell the peer that no more comes, once all that was written has left."""
        if self.alive and not self._write_ended:
            self._write_ended = True
            self.transport.loseWriteConnection()
            self._end_if_both()

    def end(self) -> None:
        """Close both directions, once all that was written has left."""
        if self.alive:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _end_if_both(self) -> None:
        # Twisted leaves a connection open of which each half was closed by itself.
        if self._read_ended and self._write_ended:
            self.end()

    def stall(self, stalled: bool) -> None:
        """Read no more of this side, or go on."""
        self._stalled = stalled
        self._read_or_not()

    def abort(self) -> None:
        """Reset the connection."""
        if self.alive:
            self.transport.abortConnection()

    def _read_or_not(self) -> None:
        if self.alive:
            if self._stalled or self._congested:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()


class Link:
    """One client's connection, and the one to the daemon that was made for it.

    Attributes:
        heard: fires with the first that the client wrote.
        gone: fires when both sides have ended.
    """

    def __init__(self, ended: Callable[[Link], None]) -> None:
        self.client = Side(self)
        self.server = Side(self)
        self.client.other, self.server.other = self.server, self.client
        self.gone: Deferred[None] = Deferred()
        self.heard: Deferred[bytes] = Deferred()
        self._ended = ended
        self._is_ghost = False

    @property
    def whole(self) -> bool:
        """Whether both sides stand."""
        return self.client.alive and self.server.alive

    def stall(self, to_client: bool = True, to_server: bool = True) -> None:
        """Carry nothing more, in the directions that are named."""
        if to_client:
            self.server.stall(True)
        if to_server:
            self.client.stall(True)

    def resume(self) -> None:
        """Carry again what was stalled."""
        self.server.stall(False)
        self.client.stall(False)

    def cut(self) -> None:
        """Reset both sides. What was stalled is never read."""
        self._is_ghost = False
        self.client.abort()
        self.server.abort()

    def haunt(self) -> None:
        """Reset the client's side, and let the daemon believe that it is still there."""
        self._is_ghost = True
        self.server.stall(True)
        self.client.abort()

    def half_close(self, to_client: bool) -> None:
        """Tell one side that no more comes, and leave the other direction open."""
        (self.client if to_client else self.server).end_write()

    def begun(self, data: bytes) -> None:
        """The client has written, and is not connected to a daemon yet."""
        if not self.heard.called:
            self.heard.callback(data)

    def lost(self, side: Side) -> None:
        """One of the sides is gone."""
        if side.other.alive:
            if not (self._is_ghost and side is self.client):
                side.other.end()
        elif not self.gone.called:
            self._ended(self)
            self.gone.callback(None)


class Proxy:
    """Listens on a free port, and carries each connection to the daemon's.

    Args:
        reactor: the real one.
        target: the port of 127.0.0.1 that connections are carried to.
        interface: the address of the loopback where it listens.

    Attributes:
        port: where clients connect to.
        links: those that stand, the oldest first.
    """

    def __init__(self, reactor: Any, target: int, interface: str = "127.0.0.1") -> None:
        self._reactor = reactor
        self._target = target
        self._interface = interface
        self._listening: IListeningPort | None = None
        self.port = 0
        self.links: list[Link] = []

    async def start(self) -> None:
        """Listen; after ``stop`` on the same port again."""
        endpoint = TCP4ServerEndpoint(self._reactor, self.port, interface=self._interface)
        self._listening = await endpoint.listen(_Sides(self._accept))
        address = self._listening.getHost()
        assert isinstance(address, IPv4Address)
        self.port = address.port

    async def stop(self) -> None:
        """Listen no more, and cut what stands."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        links = list(self.links)
        for link in links:
            link.cut()
        await gatherResults([link.gone for link in links])

    def _accept(self) -> Side:
        link = Link(self.links.remove)
        self.links.append(link)
        self.begin(link)
        return link.client

    def begin(self, link: Link) -> None:
        """A client has connected: connect it to the daemon."""
        self.connect(link, self._target)

    def connect(self, link: Link, target: int) -> None:
        """Make a link's other side."""
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", target, timeout=CONNECT_TIMEOUT)
        connected = endpoint.connect(_Sides(lambda: link.server))
        connected.addCallbacks(lambda _: self._connected(link), lambda _: link.client.abort())

    @staticmethod
    def _connected(link: Link) -> None:
        if not link.client.alive:
            link.server.abort()


class _Sides(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Side]) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> Side:
        return self._make()
