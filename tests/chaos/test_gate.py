"""The gate before a server holds the bytes between the two sides of a partition, and loses none."""

from __future__ import annotations

from typing import cast

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.trial import unittest

from chaos.gate import Gate, address, number_of
from chaos.proxy import Link
from tests.chaos.test_proxy import Made, Peer
from tests.support.launch import free_port
from tests.support.waiting import real_reactor


class Echo(Peer):
    """Answers what it reads."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.write(data)


class GateTests(unittest.TestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        reactor, port = real_reactor(), free_port()
        self.cut: set[int] = set()
        self.peers: list[Peer] = []
        listening = await TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(Made(self.echo))
        self.addCleanup(cast("IListeningPort", listening).stopListening)
        self.gate = Gate(reactor, 0, port, whose=_whose, severed=lambda one, other: bool({one, other} & self.cut))
        await self.gate.start()
        self.addCleanup(self.gate.stop)

    def echo(self) -> Peer:
        peer = Echo()
        self.peers.append(peer)
        return peer

    async def connected(self, number: int | None) -> Peer:
        """A connection of a server, or of somebody else."""
        endpoint = TCP4ClientEndpoint(
            real_reactor(),
            address(0),
            self.gate.port,
            bindAddress=("127.0.0.1" if number is None else address(number), 0),
        )
        peer = Peer()
        await endpoint.connect(Made(lambda: peer))
        return peer

    async def test_what_passes_is_held_and_goes_on(self) -> None:
        one = await self.connected(1)
        one.write(b"first")
        await one.read(b"first")
        self.cut = {0}
        self.gate.hold()
        late, other = await self.connected(2), await self.connected(None)
        one.write(b"second")
        late.write(b"late")
        other.write(b"other")
        await other.read(b"other")  # a client that is not a server is on no side
        self.assertEqual((one.data, late.data, len(self.peers)), (b"first", b"", 2))
        self.cut = set()
        self.gate.hold()
        await one.read(b"second")
        await late.read(b"late")

    def test_a_server_is_known_by_its_address(self) -> None:
        self.assertEqual([number_of(address(number)) for number in (0, 1, 7)], [0, 1, 7])
        self.assertIsNone(number_of("127.0.0.1"))


def _whose(_: bytes, link: Link) -> int | None:
    return number_of(link.client.transport.getPeer().host)
