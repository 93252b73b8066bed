"""What a connection leaves behind when it ends is freed at once: it is in no cycle, which Python would have to find.

Whoever looks for cycles looks through everything, and nobody is served meanwhile (``kschat.garbage``).
"""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.channel import BoundedRequest, Channel
from kschat.front.polling import SECOND_REQUEST_TIMEOUT, Polling
from kschat.front.pool import Place
from kschat.front.tls_endpoint import GatheringTLSTransport, TlsEndpoint
from kschat.front.turns import PACKETS
from kschat.front.websocket import EngineProtocol
from kschat.wire.connection import Connection, Socket
from kschat.wire.session import EngineSession
from tests.chat.house import House
from tests.front.daemon import V3, V4, Daemon, handshake
from tests.front.frames import client_frame, close_frame
from tests.front.wires import Wire
from tests.support.certificates import Authority

#: What connections and sessions consist of.
PARTS = (
    Channel,
    BoundedRequest,
    Polling,
    Place,
    EngineProtocol,
    EngineSession,
    Connection,
    Socket,
    GatheringTLSTransport,
    ssl.SSLObject,
)

POLL = "/socket.io/?EIO=4&transport=polling"


def http(line: str, body: bytes = b"") -> bytes:
    """A request."""
    return f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Leftovers(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon()
        self.house: House | None = None

    def chat(self) -> House:
        """A daemon with a chat."""
        self.house = House()
        self.daemon = Daemon(house=self.house)
        return self.house

    def ends(self, wire: Wire) -> None:
        """TCP ends, if it has not; and all that is due until the daemon forgets the client is done."""
        if not wire.lost:
            wire.finish()
        for _ in range(3):
            self.daemon.clock.advance(SECOND_REQUEST_TIMEOUT * 4)
        # As Twisted's own connections do.
        wire.protocol = None

    def leaves_nothing(self, do: Callable[[], None]) -> None:
        """``do`` begins and ends connections. It is done once before: what is made for good is no leftover."""
        self.forget(do)
        gc.disable()
        # What there is now is no leftover, and looking through it takes long.
        gc.freeze()
        try:
            gc.set_debug(gc.DEBUG_SAVEALL)
            self.forget(do)
            gc.collect()
            left = sorted({type(one).__name__ for one in gc.garbage if isinstance(one, PARTS)})
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.unfreeze()
            gc.enable()
        self.assertEqual(left, [])

    def forget(self, do: Callable[[], None]) -> None:
        """Do it, and keep nothing of it for the test."""
        do()
        self.daemon._wires.clear()
        self.daemon.recorder.log.clear()
        self.daemon.recorder.sockets.clear()

    def test_http_connections(self) -> None:
        for data in (
            b"",
            http("GET /"),
            http("GET /nothing"),
            http("GET /socket.io/?EIO=9"),
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nx",
            b"nonsense\r\n\r\n",
        ):

            def do(data: bytes = data) -> None:
                wire = self.daemon.connect()
                wire.arrive(data)
                self.daemon.take_turns()
                self.ends(wire)

            self.leaves_nothing(do)

    def test_one_that_gives_way(self) -> None:
        def do() -> None:
            wire = self.daemon.connect()
            protocol: Any = wire.protocol
            protocol.give_way()
            self.ends(wire)

        self.leaves_nothing(do)

    def test_polling_sessions(self) -> None:
        def do(joins: bool) -> None:
            wire = self.daemon.connect()
            wire.arrive(http(f"GET {POLL}"))
            self.daemon.take_turns()
            sid = bytes(wire.taken).partition(b'"sid":"')[2].partition(b'"')[0].decode()
            if joins:
                wire.arrive(http(f"POST {POLL}&sid={sid}", b"40/kschat,"))
                self.daemon.take_turns()
                for _ in range(2):  # the second is parked
                    wire.arrive(http(f"GET {POLL}&sid={sid}"))
                    self.daemon.take_turns()
            self.ends(wire)
            self.assertEqual(len(self.daemon.sessions), 0)

        for joins in (False, True):
            self.leaves_nothing(lambda joins=joins: do(joins))  # type: ignore[misc]

    def test_a_session_whose_connection_has_ended_keeps_nothing_of_that(self) -> None:
        wire = self.daemon.connect()
        wire.arrive(http(f"GET {POLL}"))
        self.daemon.take_turns()
        channel = ref(wire.protocol)
        self.daemon._wires.clear()
        wire.hang_up()
        wire.protocol = None
        del wire
        self.assertEqual(len(self.daemon.sessions), 1)
        self.assertIsNone(channel())

    def test_who_leaves_while_the_handshake_waits(self) -> None:
        self.daemon = Daemon(handshakes=1.0)
        self.daemon.connect().arrive(http(f"GET {POLL}"))

        def do() -> None:
            wire = self.daemon.connect()
            wire.arrive(http(f"GET {POLL}"))
            self.assertEqual(len(self.daemon.engine.queue), 1)
            wire.hang_up()
            self.assertEqual(len(self.daemon.engine.queue), 0)
            wire.protocol = None

        self.leaves_nothing(do)

    def test_websockets(self) -> None:
        for query in (V3, V4):
            for data in (
                b"",
                client_frame(b"40/kschat,"),
                client_frame(b"40/kschat,") + client_frame(b"4" + b"x" * 500)[:-9],
                close_frame(1000),
                client_frame(b"9"),
                b"\x81\x01x",
            ):

                def do(query: str = query, data: bytes = data) -> None:
                    peer = self.daemon.websocket(query)
                    peer.arrive(data)
                    peer.frames()
                    self.ends(peer.wire)

                self.leaves_nothing(do)

    def test_a_handshake_that_is_refused(self) -> None:
        def do() -> None:
            wire = self.daemon.upgrade(Sec_WebSocket_Version="99")
            self.daemon.take_turns()
            self.ends(wire)

        self.leaves_nothing(do)

    def test_sockets_of_the_chat(self) -> None:
        for last in ("", "41/kschat,", '42/kschat,9["Logout",{}]', "9"):

            def do(last: str = last) -> None:
                assert self.house is not None
                peers = []
                for user in ("ann", "ben"):
                    peer = self.daemon.websocket()
                    peer.send(f'40/kschat,{{"token":"{self.house.token(user)}"}}')
                    peers.append(peer)
                self.house.turn()
                for packet in (
                    '1["Send",{"uId":"ann","pId":"ben","msg":"x"}]',
                    '2["History",{"pId":"ben"}]',
                    '3["Presence",{"ids":["ben"]}]',
                    '4["Typing",{"pId":"ben"}]',
                ):
                    peers[0].send(f"42/kschat,{packet}")
                    self.house.turn()
                    self.house.turn()
                self.assertIn(b"RESPRECEIVER", b"".join(frame.payload for frame in peers[1].frames()))
                if last:
                    peers[0].send(last)
                for peer in peers:
                    self.ends(peer.wire)

            self.chat()
            self.leaves_nothing(do)

    def test_tls(self) -> None:
        certificate, key = Authority(Path(self.mktemp_directory()), "leftovers").sign("127.0.0.1")
        files = f"privateKey={key}:certKey={certificate}"
        endpoint = TlsEndpoint(None, f"ssl:0:{files}:interface=127.0.0.1")
        factory = TLSMemoryBIOFactory(endpoint, False, self.daemon.site, self.daemon.clock)
        factory.protocol = GatheringTLSTransport

        def connected() -> Wire:
            wire = Wire(self.daemon.clock)
            protocol = factory.buildProtocol(wire.getPeer())
            assert protocol is not None
            wire.protocol = protocol
            protocol.makeConnection(wire)
            return wire

        def half(data: bytes) -> None:
            wire = connected()
            wire.arrive(data)
            self.ends(wire)

        def whole(data: bytes, close: bool = False) -> None:
            wire = connected()
            client = TlsClient(wire)
            client.send(data)
            self.daemon.take_turns()
            self.daemon.clock.advance(0)
            wire.pump()
            client.read()
            if close:
                client.close()
            self.ends(wire)

        for data in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01", http("GET /")):
            self.leaves_nothing(lambda data=data: half(data))  # type: ignore[misc]
        for data in (http("GET /"), handshake()):
            for close in (False, True):
                self.leaves_nothing(lambda data=data, close=close: whole(data, close))  # type: ignore[misc]

    def mktemp_directory(self) -> str:
        """A new directory."""
        place = Path(self.mktemp())
        place.mkdir(parents=True)
        return str(place)


class TlsClient:
    """The client's side of TLS on a wire."""

    def __init__(self, wire: Wire) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._into, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._into, self._out)
        self._wire = wire
        self._taken = 0
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._wire.arrive(self._out.read())
                self._take()
        self._wire.arrive(self._out.read())

    def _take(self) -> None:
        self._into.write(bytes(self._wire.taken[self._taken :]))
        self._taken = len(self._wire.taken)

    def send(self, *records: bytes) -> None:
        """Each of these in a record of its own, all at once."""
        for record in records:
            self._tls.write(record)
        self._wire.arrive(self._out.read())

    def read(self) -> bytes:
        """What has come since the last time."""
        self._take()
        found = b""
        try:
            while part := self._tls.read(65536):
                found += part
        except ssl.SSLWantReadError:
            pass
        return found

    def close(self) -> None:
        """Say farewell."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._wire.arrive(self._out.read())


class SmallRecords(SynchronousTestCase):
    """What arrives in one read, by many records, is bounded as one read is."""

    def test_packets_of_small_records_wait_for_other_turns(self) -> None:
        daemon = Daemon()
        place = Path(self.mktemp())
        place.mkdir(parents=True)
        certificate, key = Authority(place, "records").sign("127.0.0.1")
        endpoint = TlsEndpoint(None, f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1")
        factory = TLSMemoryBIOFactory(endpoint, False, daemon.site, daemon.clock)
        factory.protocol = GatheringTLSTransport
        wire = Wire(daemon.clock)
        protocol = factory.buildProtocol(wire.getPeer())
        assert protocol is not None
        wire.protocol = protocol
        protocol.makeConnection(wire)
        self.assertEqual(wire.bufferSize, 8_192)
        client = TlsClient(wire)
        client.send(handshake())
        client.send(client_frame(b"40/kschat,"))
        daemon.take_turns()
        event = client_frame(b'42/kschat,["x"]')
        client.send(*[event * 10] * 40)
        self.assertEqual(len(daemon.recorder.of("event")), PACKETS)
        daemon.take_turns()
        self.assertEqual(len(daemon.recorder.of("event")), 400)
