"""A session stays with its daemon, and the next one goes to another."""

from __future__ import annotations

import random

from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.trial import unittest

from chaos.balancer import Balancer
from tests.chaos.test_proxy import Made, Peer, soon
from tests.support.waiting import real_reactor

NEW = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n"
MORE = b"GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\n\r\n"


class BalancerTests(unittest.TestCase):
    """Three servers, of which each names itself to whoever connects."""

    timeout = 30

    async def begin(self, sticky: bool = True) -> Balancer:
        """A balancer before three."""
        ports = []
        for number in range(3):
            listening = await TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1").listen(
                Made(lambda number=number: _Named(number))  # type: ignore[misc]
            )
            self.addCleanup(listening.stopListening)
            ports.append(listening.getHost().port)
        balancer = Balancer(real_reactor(), ports, random.Random(1), sticky)
        self.addCleanup(balancer.stop)
        await balancer.start()
        return balancer

    async def ask(self, balancer: Balancer, request: bytes) -> bytes:
        """Which server answers a request, on a connection of its own."""
        client = Peer()
        await TCP4ClientEndpoint(real_reactor(), "127.0.0.1", balancer.port).connect(Made(lambda: client))
        client.write(request)
        await client.read(b"!")
        await client.abort()
        return client.data

    async def test_a_new_session_goes_elsewhere_and_what_belongs_to_one_stays(self) -> None:
        balancer = await self.begin()
        last = b""
        for _ in range(6):
            new = await self.ask(balancer, NEW)
            self.assertNotEqual(last, new)
            self.assertEqual([new, new], [await self.ask(balancer, MORE) for _ in range(2)])
            last = new

    async def test_without_sticky_sessions_what_belongs_to_one_goes_anywhere(self) -> None:
        balancer = await self.begin(sticky=False)
        await self.ask(balancer, NEW)
        self.assertEqual({b"0!", b"1!", b"2!"}, {await self.ask(balancer, MORE) for _ in range(20)})

    async def test_a_client_that_leaves_before_it_says_anything_leaves_nothing(self) -> None:
        balancer = await self.begin()
        client = Peer()
        await TCP4ClientEndpoint(real_reactor(), "127.0.0.1", balancer.port).connect(Made(lambda: client))
        while not balancer.links:
            await _turn()
        gone = balancer.links[0].gone
        await client.abort()
        await soon(gone, "the link to be gone")
        self.assertEqual([], balancer.links)


class _Named(Peer):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def connectionMade(self) -> None:
        super().connectionMade()
        self.write(b"%d!" % self._number)


def _turn() -> defer.Deferred[None]:
    waited: defer.Deferred[None] = defer.Deferred()
    real_reactor().callLater(0, waited.callback, None)
    return waited
