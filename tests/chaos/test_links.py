"""The way between daemons and a service: what passes while something is wrong, and that nothing is lost."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.trial import unittest

from chaos.links import ServiceProxy
from tests.chaos.test_proxy import Made, Peer, soon
from tests.support.launch import free_port
from tests.support.waiting import real_reactor


class ServiceProxyTests(unittest.TestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        reactor, port = real_reactor(), free_port()
        self.service = Peer()
        listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(Made(lambda: self.service))
        self.addCleanup(cast("IListeningPort", listening).stopListening)
        self.proxy = ServiceProxy(reactor, port)
        await self.proxy.start()
        self.addCleanup(self.proxy.stop)
        self.daemon = Peer()

    async def connect(self) -> None:
        endpoint = TCP4ClientEndpoint(real_reactor(), "127.0.0.1", self.proxy.port)
        await endpoint.connect(Made(lambda: self.daemon))
        await soon(self.service.made, "the service's side")

    def befall(self, kind: str) -> Deferred[None]:
        """Something is wrong until this is cancelled."""
        return Deferred.fromCoroutine(self.proxy.befall(kind, 1e6)).addErrback(
            lambda reason: reason.trap(CancelledError)
        )

    async def test_daemons_that_hear_nothing_are_heard(self) -> None:
        await self.connect()
        wrong = self.befall("unheard")
        self.daemon.write(b"question")
        await self.service.read(b"question")
        self.service.write(b"answer")
        self.daemon.write(b", again")
        await self.service.read(b", again")
        self.assertEqual(self.daemon.data, b"")
        wrong.cancel()
        await self.daemon.read(b"answer")

    async def test_a_service_that_hears_nothing_is_heard(self) -> None:
        await self.connect()
        wrong = self.befall("unreached")
        self.daemon.write(b"question")
        self.service.write(b"news")
        await self.daemon.read(b"news")
        self.assertEqual(self.service.data, b"")
        wrong.cancel()
        await self.service.read(b"question")

    async def test_who_connects_meanwhile_is_accepted_and_hears_nothing(self) -> None:
        wrong = self.befall("cut off")
        await self.connect()
        self.service.write(b"welcome")
        self.daemon.write(b"hello")
        wrong.cancel()
        await self.daemon.read(b"welcome")
        await self.service.read(b"hello")

    async def test_a_slow_way_carries_all(self) -> None:
        await self.connect()
        wrong = self.befall("slowed")
        for number in range(5):
            self.daemon.write(b"%d" % number)
        await self.service.read(b"01234")
        wrong.cancel()
