"""The proxy between two plain TCP peers: what each sees of a stall, a cut, a half-close."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial import unittest
from zope.interface import implementer

from chaos.proxy import Link, Proxy
from tests.support import within
from tests.support.waiting import real_reactor


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """Either end. It gathers what it reads, and says when it has read something or was told of an end."""

    def __init__(self) -> None:
        self.made: defer.Deferred[None] = defer.Deferred()
        self.ended: defer.Deferred[None] = defer.Deferred()
        self.lost: defer.Deferred[None] = defer.Deferred()
        self.reason = connectionDone
        self.data = b""
        self._until: list[tuple[bytes, defer.Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        for until in list(self._until):
            if self.data.endswith(until[0]):
                self._until.remove(until)
                until[1].callback(None)

    def readConnectionLost(self) -> None:
        self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        """What a peer does itself needs no telling."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.lost.callback(None)

    def write(self, data: bytes) -> None:
        """To the other end."""
        assert self.transport is not None
        self.transport.write(data)

    def abort(self) -> defer.Deferred[None]:
        """Reset the connection, and wait for its end."""
        cast("ITCPTransport", self.transport).abortConnection()
        return soon(self.lost, "the end of a peer")

    def read(self, end: bytes) -> defer.Deferred[None]:
        """Fires when all that was read ends so."""
        if self.data.endswith(end):
            return defer.succeed(None)
        waited: defer.Deferred[None] = defer.Deferred()
        self._until.append((end, waited))
        return soon(waited, f"{end!r} to be read")


class Made(Factory):
    """Makes the peers that it was given."""

    noisy = False

    def __init__(self, make: Callable[[], Peer]) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> Peer:
        return self._make()


def soon(waited: defer.Deferred[None], what: str) -> defer.Deferred[None]:
    """A bounded wait."""
    return within(waited, what, lambda: "")


class ProxyTests(unittest.TestCase):
    """Each with a server of its own behind the proxy."""

    timeout = 30

    async def pair(self) -> tuple[Peer, Peer, Link]:
        """A client and the server's end of its connection, through a proxy."""
        server = Peer()
        listening = await TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1").listen(Made(lambda: server))
        self.addCleanup(listening.stopListening)
        self.proxy = Proxy(real_reactor(), listening.getHost().port)
        self.addCleanup(self.proxy.stop)
        await self.proxy.start()
        client = Peer()
        await TCP4ClientEndpoint(real_reactor(), "127.0.0.1", self.proxy.port).connect(Made(lambda: client))
        await soon(server.made, "the server's end")
        for peer in (client, server):
            self.addCleanup(peer.abort)
        (link,) = self.proxy.links
        return client, server, link

    async def test_bytes_go_both_ways_unchanged(self) -> None:
        client, server, link = await self.pair()
        client.write(b"x" * 1_000_000 + b"1")
        server.write(b"y" * 1_000_000 + b"2")
        await server.read(b"1")
        await client.read(b"2")
        self.assertEqual((1_000_001, 1_000_001), (len(server.data), len(client.data)))
        self.assertTrue(link.whole)

    async def test_what_is_stalled_one_way_arrives_when_it_is_resumed(self) -> None:
        client, server, link = await self.pair()
        link.stall(to_server=False)
        server.write(b"held")
        client.write(b"ask")
        await server.read(b"ask")
        self.assertEqual(b"", client.data)
        link.resume()
        await client.read(b"held")

    async def test_what_is_stalled_and_then_cut_is_never_read(self) -> None:
        client, server, link = await self.pair()
        link.stall(to_server=False)
        server.write(b"never read")
        client.write(b"ask")
        await server.read(b"ask")
        link.cut()
        await soon(client.lost, "the client to be cut")
        await soon(server.lost, "the server to be cut")
        self.assertEqual(b"", client.data)
        self.assertEqual([], self.proxy.links)

    async def test_a_ghost_is_gone_for_the_client_and_there_for_the_server(self) -> None:
        client, server, link = await self.pair()
        link.haunt()
        await soon(client.lost, "the client to be cut")
        self.assertFalse(server.lost.called)
        self.assertEqual([link], self.proxy.links)
        link.cut()
        await soon(server.lost, "the server to be cut")

    async def test_a_half_close_ends_one_direction_and_leaves_the_other(self) -> None:
        client, server, link = await self.pair()
        link.half_close(to_client=True)
        await soon(client.ended, "the client to be told")
        client.write(b"still heard")
        await server.read(b"still heard")
        self.assertFalse(server.ended.called)

    async def test_an_orderly_end_of_one_side_ends_the_other_in_order(self) -> None:
        client, server, _ = await self.pair()
        client.write(b"last words")
        assert client.transport is not None
        client.transport.loseConnection()
        await soon(server.ended, "the server to be told")
        self.assertEqual(b"last words", server.data)
        assert server.transport is not None
        server.transport.loseConnection()
        await soon(server.lost, "the server's end to be gone")
        self.assertTrue(server.reason.check(ConnectionDone), server.reason)

    async def test_a_client_is_cut_when_nobody_listens_behind(self) -> None:
        listening = await TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1").listen(Made(Peer))
        port = listening.getHost().port
        await listening.stopListening()
        proxy = Proxy(real_reactor(), port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        client = Peer()
        await TCP4ClientEndpoint(real_reactor(), "127.0.0.1", proxy.port).connect(Made(lambda: client))
        await soon(client.lost, "the client to be cut")
