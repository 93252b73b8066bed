"""A ``Server`` of one's own on a port: where it is, who may come, what is known of who comes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.static import Data

from kschat.front.engine import EngineSettings
from kschat.front.standalone import SocketIOService
from kschat.server import Refused, Server, Socket
from kschat.wire.connection import Handshake
from tests.front.daemon import V4, Response, handshake
from tests.front.pollers import request
from tests.front.wires import Wire

POLL = request("GET", "EIO=4&transport=polling&a=1", b"", "X-Mine: one", "X-Mine: two", "Origin: https://chat.example")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.server = Server(self.reactor)
        self.room = self.server.of()

    def service(self, **options: Any) -> SocketIOService:
        return SocketIOService("tcp:3000", self.server, self.reactor, **options)

    def sent(self, service: SocketIOService, data: bytes) -> Wire:
        """A connection that has sent ``data``."""
        wire = Wire(self.reactor)
        wire.protocol = service.site.buildProtocol(wire.getPeer())
        assert wire.protocol is not None
        wire.protocol.makeConnection(wire)
        wire.arrive(data)
        return wire

    def status(self, service: SocketIOService, data: bytes) -> int:
        return Response(bytes(self.sent(service, data).taken)).status


class Paths(Case):
    def test_clients_find_it_at_its_path_alone(self) -> None:
        for path in ("/my/socket.io/", "my/socket.io", "/realtime"):
            service = self.service(path=path)
            ours = b"/" + path.strip("/").encode() + b"/"
            for data, status in ((POLL, 200), (handshake(V4), 101)):
                self.assertEqual(self.status(service, data.replace(b"/socket.io/", ours)), status)
                self.assertEqual(self.status(service, data.replace(b"/socket.io/", b"/" + ours)), status)
                self.assertEqual(self.status(service, data), 404)

    def test_it_goes_into_a_site_beside_what_is_there(self) -> None:
        root, api = Resource(), Resource()
        root.putChild(b"api", api)
        api.putChild(b"other", Data(b"x", "text/plain"))
        service = self.service(root=root, path="/api/live/")
        self.assertEqual(self.status(service, b"GET /api/other HTTP/1.1\r\nHost: x\r\n\r\n"), 200)
        self.assertEqual(self.status(service, POLL.replace(b"/socket.io/", b"/api/live/")), 200)

    def test_it_needs_one(self) -> None:
        with self.assertRaises(ValueError):
            self.service(path="/")


class Allowed(Case):
    def test_each_request_that_would_begin_a_session_is_asked_about(self) -> None:
        asked: list[Handshake] = []
        service = self.service(allow=asked.append)
        self.assertEqual(self.status(service, POLL), 200)
        (sid,) = service.engine.sessions
        self.assertEqual(self.status(service, request("POST", f"EIO=4&transport=polling&sid={sid}", b"40")), 200)
        self.assertEqual(self.status(service, handshake(f"{V4}&sid={sid}")), 101)
        self.assertEqual(self.status(service, handshake(V4)), 101)
        self.assertEqual(self.status(service, request("GET", "EIO=9&transport=polling")), 400)
        self.assertEqual(len(asked), 2)
        self.assertEqual((asked[0].headers["x-mine"], asked[0].query["a"]), ("one, two", "1"))

    def test_it_refuses_with_its_words_or_without(self) -> None:
        async def later(handshake: Handshake) -> None:
            raise Refused("come back later")

        def words(handshake: Handshake) -> None:
            raise Refused("not from there")

        for allow, message in ((words, "not from there"), (later, "come back later"), (lambda _: False, "Forbidden")):
            service = self.service(allow=allow)
            for data in (POLL, handshake(V4)):
                response = Response(bytes(self.sent(service, data).taken))
                self.assertEqual((response.status, response.json), (403, {"code": 4, "message": message}))
            self.assertEqual(list(service.engine.sessions), [])

    def test_a_function_that_fails_lets_nobody_in(self) -> None:
        service = self.service(allow=lambda handshake: 1 / 0)
        response = Response(bytes(self.sent(service, POLL).taken))
        self.assertEqual((response.status, response.json["message"]), (403, "Forbidden"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_it_may_take_its_time_and_who_left_meanwhile_is_forgotten(self) -> None:
        waits: list[Deferred[bool]] = []

        def allow(handshake: Handshake) -> Deferred[bool]:
            waits.append(Deferred())
            return waits[-1]

        service = self.service(allow=allow, settings=EngineSettings(max_polls=1))
        wires = [self.sent(service, data) for data in (POLL, handshake(V4), POLL, POLL)]
        self.assertEqual([bytes(wire.taken) for wire in wires], [b""] * 4)
        wires[2].hang_up()
        for wait in waits:
            wait.callback(True)
        for wire in wires:
            wire.pump()
        self.assertEqual([Response(bytes(wires[number].taken)).status for number in (0, 1, 3)], [200, 101, 200])
        # The first one that polls had to give way to the second.
        self.assertEqual(len(service.engine.sessions), 2)


class Known(Case):
    def test_a_socket_knows_what_its_first_request_said(self) -> None:
        met: list[Socket] = []
        self.room.on("connect")(met.append)
        service = self.service(wall=lambda: 1_700_000_000.5)
        self.assertEqual(self.status(service, POLL), 200)
        (sid,) = service.engine.sessions
        self.sent(service, request("POST", f"EIO=4&transport=polling&sid={sid}", b'40{"token":"t"}'))
        (socket,) = met
        said = socket.handshake
        self.assertEqual((said.address, said.time, said.secure), ("192.0.2.7", 1_700_000_000.5, False))
        self.assertEqual((said.headers["host"], said.headers["origin"]), ("chat.example", "https://chat.example"))
        self.assertEqual(said.url, "/socket.io/?EIO=4&transport=polling&a=1")
        self.assertEqual(socket.auth, {"token": "t"})
