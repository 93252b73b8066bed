"""Endpoints on real sockets: TLS with a chain of certificates, the PROXY protocol, connections that are too many."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource

from kschat.budget import MAX_BUFFERED, Budget
from kschat.counters import Counters
from kschat.front.channel import BoundedSite, ChannelBounds, ConnectionCount
from kschat.front.clients import ClientAddresses
from kschat.front.endpoints import QUIET, server_endpoint
from kschat.front.pool import Pool
from kschat.front.timers import TimerWheel
from kschat.front.turns import Turns
from kschat.repeated_log import RepeatedLog
from tests.front.wires import Wire
from tests.support.certificates import Authority
from tests.support.waiting import PATIENCE, real_reactor, within

HOST = "chat.example"
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Peer(Resource):
    """Says where a request comes from."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return f"from {request.getClientAddress().host}".encode()


def site(reactor: Any, **bounds: Any) -> BoundedSite:
    counters = Counters()
    channel_bounds = ChannelBounds(**bounds)
    # Time stands still: a timer that is left over would count as a leak.
    timers = TimerWheel(Clock())
    return BoundedSite(
        Peer(),
        reactor,
        bounds=channel_bounds,
        timers=timers,
        turns=Turns(reactor),
        counters=counters,
        addresses=ClientAddresses(),
        repeated=RepeatedLog(Clock()),
        budget=Budget(MAX_BUFFERED, counters.evicted),
        connections=ConnectionCount(
            Pool(
                "connections",
                limit=channel_bounds.max_connections,
                limit_per_address=channel_bounds.max_connections_per_address,
                full=counters.full,
                evicted=counters.evicted,
            )
        ),
        access_log=False,
    )


def talk(port: int, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What a client hears that sends ``data``, until the connection ends, in good order or not. Blocks."""
    heard = b""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
            connection = raw if context is None else context.wrap_socket(raw, server_hostname=HOST)
            with connection:
                connection.sendall(data)
                while piece := connection.recv(65536):
                    heard += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return heard


class Case(TestCase):
    async def listening(self, description: str, **bounds: Any) -> int:
        """The port where a site listens, until the test's end."""
        factory = site(real_reactor(), **bounds)
        port: Any = await server_endpoint(real_reactor(), description).listen(factory)
        self.addCleanup(factory.connections.emptied)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def asked(self, port: int, data: bytes, context: ssl.SSLContext | None = None) -> defer.Deferred[bytes]:
        return within(deferToThread(talk, port, data, context), "an answer", lambda: "nothing")


class Tls(Case):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.root = Authority(self.directory, "root")
        self.between = self.root.intermediate("between")
        self.lowest = self.between.intermediate("lowest")
        self.certificate, self.key = self.lowest.sign(HOST)

    def file(self, *parts: Path) -> Path:
        made = self.directory / "made.pem"
        made.write_bytes(b"".join(part.read_bytes() for part in parts))
        return made

    def trusting(self, authority: Authority) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(authority.ca))

    async def assertServes(self, description: str) -> None:
        port = await self.listening(f"ssl:0:interface=127.0.0.1:{description}")
        heard = await self.asked(port, GET % b"", self.trusting(self.root))
        self.assertTrue(heard.endswith(b"from 127.0.0.1"), heard)

    async def test_a_file_with_its_chain_is_verified_by_who_knows_the_root_alone(self) -> None:
        chain = self.file(self.certificate, self.lowest.ca, self.between.ca)
        await self.assertServes(f"privateKey={self.key}:certKey={chain}")

    async def test_key_certificate_and_chain_may_be_one_file(self) -> None:
        everything = self.file(self.key, self.certificate, self.lowest.ca, self.between.ca, self.root.ca)
        await self.assertServes(f"privateKey={everything}")
        await self.assertServes(f"privateKey={everything}:certKey={everything}")

    async def test_the_order_of_the_file_does_not_count(self) -> None:
        chain = self.file(self.root.ca, self.between.ca, self.lowest.ca, self.certificate)
        await self.assertServes(f"privateKey={self.key}:certKey={chain}")

    async def test_lines_may_end_as_on_windows_and_names_hold_colons(self) -> None:
        chain = self.file(self.certificate, self.lowest.ca, self.between.ca)
        odd = self.directory / "full:chain=1.pem"
        odd.write_bytes(b"a comment\r\n" + chain.read_bytes().replace(b"\n", b"\r\n"))
        name = str(odd).replace(":", "\\:").replace("=", "\\=")
        await self.assertServes(f"privateKey={self.key}:certKey={name}")

    async def test_positional_arguments_are_read_as_twisted_does(self) -> None:
        chain = self.file(self.certificate, self.lowest.ca, self.between.ca)
        port = await self.listening(f"ssl:0:{self.key}:{chain}:interface=127.0.0.1")
        self.assertIn(b"from", await self.asked(port, GET % b"", self.trusting(self.root)))

    async def test_a_chain_of_its_own_file_is_served_as_before(self) -> None:
        chain = self.file(self.lowest.ca, self.between.ca)
        await self.assertServes(f"privateKey={self.key}:certKey={self.certificate}:extraCertChain={chain}")

    async def test_one_certificate_alone_is_served_as_before(self) -> None:
        certificate, key = self.root.sign(HOST)
        await self.assertServes(f"privateKey={key}:certKey={certificate}")

    async def test_what_openssl_says_of_it(self) -> None:
        if shutil.which("openssl") is None:
            return
        chain = self.file(self.certificate, self.lowest.ca, self.between.ca)
        port = await self.listening(f"ssl:0:interface=127.0.0.1:privateKey={self.key}:certKey={chain}")
        import subprocess

        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(self.root.ca), "-brief"]
        ended = await deferToThread(subprocess.run, command, input=GET % b"", capture_output=True, timeout=PATIENCE)
        self.assertIn(b"Verification: OK", ended.stdout + ended.stderr)

    def test_a_file_that_cannot_be_used_is_refused_as_before(self) -> None:
        other, _ = self.root.sign("other.example")
        for certificate in (self.directory / "none.pem", self.key, self.file(other, self.root.ca)):
            with self.assertRaises(Exception):  # noqa: B017 - Twisted's own
                server_endpoint(real_reactor(), f"ssl:0:privateKey={self.key}:certKey={certificate}")

    async def test_connections_that_are_too_many_are_closed_and_log_nothing(self) -> None:
        certificate, key = self.root.sign(HOST)
        tls = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        for description in (tls, f"haproxy:{tls}", "haproxy:tcp:0:interface=127.0.0.1"):
            port = await self.listening(description, max_connections=0)
            self.assertEqual(await self.asked(port, b"PROXY UNKNOWN\r\n" + GET % b""), b"")
        self.assertEqual(self.flushLoggedErrors(), [])


class Proxied(Case):
    async def test_the_client_s_address_is_the_header_s(self) -> None:
        port = await self.listening("haproxy:tcp:0:interface=127.0.0.1")
        for header in (
            b"PROXY TCP4 192.0.2.9 127.0.0.1 5000 80\r\n",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes((192, 0, 2, 9, 127, 0, 0, 1)) + b"\x13\x88\x00\x50",
        ):
            self.assertTrue((await self.asked(port, header + GET % b"")).endswith(b"from 192.0.2.9"))

    async def test_a_peer_without_the_header_is_closed_and_the_log_says_why(self) -> None:
        port = await self.listening("haproxy:tcp:0:interface=127.0.0.1")
        with capturedLogs() as events:
            self.assertEqual(await self.asked(port, GET % b"?token=secret"), b"")
        (line,) = [formatEvent(event) for event in events if "PROXY" in (formatEvent(event) or "")]
        assert line is not None
        self.assertIn("127.0.0.1", line)
        self.assertIn("haproxy:tcp:0:interface=127.0.0.1", line)
        self.assertNotIn("secret", line)


class Endpoint:
    """Keeps the factory that shall listen."""

    def listenTCP(self, port: int, factory: Any, *_: Any, **__: Any) -> Any:
        self.factory = factory

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds


class ProxiedLog(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        reactor: Any = Endpoint(self.clock)
        server_endpoint(reactor, "haproxy:tcp:3000").listen(site(self.clock))
        self.factory = reactor.factory

    def connect(self, *pieces: bytes) -> Wire:
        wire = Wire(self.clock)
        wire.protocol = self.factory.buildProtocol(wire.getPeer())
        wire.protocol.makeConnection(wire)
        for piece in pieces:
            if wire.lost is None:
                wire.arrive(piece)
        return wire

    def lines(self, *connections: tuple[bytes, ...]) -> list[str]:
        with capturedLogs() as events:
            for pieces in connections:
                self.connect(*pieces)
        return [line for line in map(formatEvent, events) if line and "PROXY" in line]

    def test_many_are_gathered(self) -> None:
        stranger = (GET % b"",)
        self.assertEqual(len(self.lines(*[stranger] * 50)), 1)
        self.clock.advance(QUIET - 1)
        self.assertEqual(self.lines(*[stranger] * 50), [])
        self.clock.advance(1)
        (line,) = self.lines(stranger, stranger)
        self.assertIn("(99 more", line)

    def test_a_header_that_breaks_off_is_one_too(self) -> None:
        self.assertEqual(len(self.lines((b"PROXY TCP4 192.0.2.9 nonsense\r\n",))), 1)

    def test_addresses_and_ports_that_are_none_are_one_too(self) -> None:
        headers = (b"TCP4 192.0.2.9 127.0.0.1 5000 x", b"TCP4 192.0.2.9 127.0.0.1 \xff 80", b"TCP6 \xff ::1 5000 80")
        with capturedLogs() as events:
            for header in headers:
                self.assertIsNotNone(self.connect(b"PROXY " + header + b"\r\n").lost)
        self.assertEqual([event for event in events if "log_failure" in event], [])

    def test_what_is_wrong_behind_the_header_is_no_stranger(self) -> None:
        header = b"PROXY TCP4 192.0.2.9 127.0.0.1 5000 80\r\n"
        self.assertEqual(self.lines((header + b"nonsense\r\n\r\n",), (header, b"nonsense\r\n\r\n"), ()), [])

    def test_a_connection_that_is_let_go_before_its_header_is_no_stranger(self) -> None:
        with capturedLogs() as events:
            wire = self.connect()
            self.factory.doStop()
            self.factory.wrappedFactory.wrappedFactory.stopFactory()
            wire.pump()
        self.assertIsNotNone(wire.lost)
        self.assertFalse([event for event in events if "PROXY" in (formatEvent(event) or "")])
