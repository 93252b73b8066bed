"""Requests for sessions of other daemons: whole services in this process, on real sockets."""

from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.front.peers import CLIENT, PROOF
from kschat.front.session_ids import PeerAddress, SessionIds
from kschat.settings import Config
from kschat.tap import make_service
from tests.front.daemon import Response, handshake
from tests.front.frames import client_frame, read_frames
from tests.front.pollers import request
from tests.support.launch import free_port
from tests.support.waiting import real_reactor, repeated_until, within

SECRET = b"a secret that all daemons share, all"


class SidsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.places = [PeerAddress("10.0.0.1", 3001), PeerAddress("fd00::1", 3001)]
        self.one, self.other = (SessionIds(SECRET, place) for place in self.places)

    def test_a_daemon_knows_of_each_other_s_session_where_it_is(self) -> None:
        self.assertEqual(self.other.elsewhere(self.one.new()), self.places[0])
        self.assertEqual(self.one.elsewhere(self.other.new()), self.places[1])
        self.assertEqual([str(place) for place in self.places], ["10.0.0.1:3001", "[fd00::1]:3001"])

    def test_its_own_are_not_elsewhere(self) -> None:
        self.assertIsNone(self.one.elsewhere(self.one.new()))

    def test_no_two_are_the_same_and_none_shows_where_it_is(self) -> None:
        made = {self.one.new() for _ in range(100)}
        self.assertEqual(len(made), 100)
        for sid in made:
            self.assertRegex(sid, r"^[\w-]{20,80}$")
            self.assertNotIn("10.0.0.1", sid)

    def test_nobody_else_makes_one(self) -> None:
        stranger = SessionIds(b"x" * 36, self.places[0])
        self.assertIsNone(self.other.elsewhere(stranger.new()))

    def test_one_that_was_changed_names_nobody(self) -> None:
        sid = self.one.new()
        for position in range(len(sid)):
            for letter in "Ab_":
                changed = sid[:position] + letter + sid[position + 1 :]
                if changed != sid:
                    self.assertIn(self.other.elsewhere(changed), (None, self.places[0]))
                    if position < len(sid) - 1:
                        self.assertIsNone(self.other.elsewhere(changed))

    @given(st.text(max_size=500))
    def test_anything_else_names_nobody(self, text: str) -> None:
        self.assertIsNone(SessionIds(SECRET, PeerAddress("10.0.0.1", 3001)).elsewhere(text))

    def test_a_proof_is_of_one_request_of_a_daemon_with_the_secret(self) -> None:
        told = {"method": b"GET", "uri": b"/a", "client": b"192.0.2.7 80"}
        proof = self.one.proofs.make(**told, body=b"")
        for changed in ({"method": b"POST"}, {"uri": b"/b"}, {"client": b"192.0.2.8 80"}, {"client": b""}):
            self.assertIsNone(self.other.proofs.check(proof, **{**told, **changed}))
        stranger = SessionIds(b"x" * 36, self.places[0])
        self.assertIsNone(stranger.proofs.check(proof, **told))
        self.assertIsNotNone(self.other.proofs.check(proof, **told))


def proved(proof: bytes, client: bytes) -> tuple[str, str]:
    """The headers that another daemon adds."""
    return f"{PROOF.decode()}: {proof.decode()}", f"{CLIENT.decode()}: {client.decode()}"


class Line(Protocol):
    """A client's connection.

    Attributes:
        received: all that came.
        ended: fires when it is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: defer.Deferred[None] = defer.Deferred()
        self._waiting: list[tuple[bytes, defer.Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    def comes(self, what: bytes) -> defer.Deferred[None]:
        """Fires when all that came holds ``what``."""
        fires: defer.Deferred[None] = defer.Deferred()
        self._waiting.append((what, fires))
        self._look()
        return within(fires, f"{what!r}", lambda: repr(self.received), 20)

    def _look(self) -> None:
        for waiting in list(self._waiting):
            if waiting[0] in self.received:
                self._waiting.remove(waiting)
                waiting[1].callback(None)


class Member:
    """One daemon of a cluster.

    Attributes:
        port, inner: where it listens for clients, and for its peers.
        service: it.
    """

    def __init__(self, test: TestCase, **settings: Any) -> None:
        self.port, self.inner = free_port(), free_port()
        config = Config(
            listen=f"tcp:{self.port}:interface=127.0.0.1",
            peer_listen=f"tcp:{self.inner}:interface=127.0.0.1",
            secret=SECRET.decode(),
            store="memory",
            **{"access_log": False, **settings},
        )
        self.service = make_service(config, real_reactor())
        self._running = True
        self.service.privilegedStartService()
        self.service.startService()
        test.addCleanup(self.stop)

    async def stop(self) -> None:
        """End it."""
        if self._running:
            self._running = False
            await self.service.stopService()
            # It waits for nothing that is still there, and would end with the process.
            timer = self.service.front.front.timers._call
            if timer is not None and timer.active():
                timer.cancel()

    @property
    def forwards(self) -> int:
        """What it hands on now."""
        peers = self.service.front.front.peers
        assert peers is not None
        return peers.forwards

    @property
    def sessions(self) -> int:
        """How many it has."""
        return len(self.service.front.front.sessions)

    async def becomes(self, **expected: int) -> None:
        """When these attributes have these values."""

        async def look() -> dict[str, int]:
            await deferLater(real_reactor(), 0.005)
            return {name: getattr(self, name) for name in expected}

        await repeated_until(look, lambda said: said == expected, f"{expected}")


class HandingOn(TestCase):
    timeout = 60

    def members(self, count: int, **settings: Any) -> list[Member]:
        """A cluster."""
        return [Member(self, **settings) for _ in range(count)]

    async def line(self, port: int, data: bytes) -> Line:
        """A connection on which ``data`` was sent."""
        endpoint = TCP4ClientEndpoint(real_reactor(), "127.0.0.1", port)
        line = cast(Line, await endpoint.connect(Factory.forProtocol(Line)))
        line.transport.write(data)
        self.addCleanup(self.gone, line)
        return line

    async def gone(self, line: Line) -> None:
        line.transport.abortConnection()
        await line.ended

    async def ask(self, port: int, method: str, query: str, body: bytes = b"", *headers: str) -> Response:
        """The answer to a request."""
        line = await self.line(port, request(method, query, body, "Connection: close", *headers))
        await within(line.ended, "the answer", lambda: repr(line.received), 20)
        return Response(line.received)

    async def open(self, member: Member, revision: int = 4) -> str:
        """The query of a new session."""
        query = f"EIO={revision}&transport=polling"
        text = (await self.ask(member.port, "GET", query)).body.decode()
        return f"{query}&sid={json.loads(text[text.index('{') : text.index('}') + 1])['sid']}"

    async def test_whichever_daemon_is_asked_the_owner_answers(self) -> None:
        members = self.members(3)
        for owner in members:
            query = await self.open(owner)
            for member in members:
                self.assertEqual((await self.ask(member.port, "POST", query, b"40")).body, b"ok")
                answer = await self.ask(member.port, "GET", query)
                self.assertTrue(answer.body.startswith(b'40{"sid":'), answer.body)
                self.assertEqual((await self.ask(member.port, "POST", query, b"41")).body, b"ok")
            self.assertEqual((await self.ask(members[0].port, "POST", query, b"1")).body, b"ok")
        for member in members:
            await member.becomes(forwards=0, sessions=0)

    async def test_a_get_waits_at_the_owner(self) -> None:
        one, two, three = self.members(3)
        query = await self.open(one, 3)
        waiting = await self.line(two.port, request("GET", query))
        await two.becomes(forwards=1)
        self.assertEqual((await self.ask(three.port, "POST", query, b"1:2")).body, b"ok")
        await waiting.comes(b"1:3")
        await within(waiting.ended, "the end of the answer", lambda: repr(waiting.received), 20)

    async def test_a_get_that_is_given_up_is_given_up_at_the_owner(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        waiting = await self.line(two.port, request("GET", query))
        await two.becomes(forwards=1)
        await repeated_until(self.parked(one, query), lambda parked: parked, "the GET at the owner")
        waiting.transport.loseConnection()
        await one.becomes(sessions=0)
        await two.becomes(forwards=0)
        self.assertEqual((await self.ask(two.port, "GET", query)).json["code"], 1)

    def parked(self, owner: Member, query: str) -> Any:
        async def look() -> bool:
            await deferLater(real_reactor(), 0.005)
            polling = owner.service.front.front.engine.polling(query.rpartition("=")[2])
            return polling is not None and polling._get is not None

        return look

    async def test_headers_and_bodies_arrive_as_they_were_sent(self) -> None:
        one, two = self.members(2, origins=("https://page.example",))
        query = await self.open(one, 3)
        body = b"\x00\x02\xff40"
        for origin, status in (("https://page.example", 200), ("https://evil.example", 403)):
            headers = (f"Origin: {origin}", "Content-Type: application/octet-stream", "Expect: 100-continue")
            answer = await self.ask(two.port, "POST", query, body, *headers)
            if answer.status == 100:
                answer = Response(answer.body)
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.headers.get("access-control-allow-origin"), origin if status == 200 else None)

    async def test_a_request_by_http_1_0_needs_no_host(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        sent = f"POST /socket.io/?{query} HTTP/1.0\r\nContent-Length: 2\r\n\r\n40".encode()
        line = await self.line(two.port, sent)
        await within(line.ended, "the answer", lambda: repr(line.received), 20)
        self.assertEqual(Response(line.received).body, b"ok")

    async def test_a_websocket_is_handed_on_as_well(self) -> None:
        for revision in (3, 4):
            one, two, three = self.members(3)
            query = await self.open(one, revision)
            line = await self.line(two.port, handshake(query.replace("polling", "websocket")))
            line.transport.write(client_frame(b"2probe"))
            await line.comes(b"3probe")
            self.assertIn(b" 101 ", line.received.partition(b"\r\n")[0])
            line.transport.write(client_frame(b"5") + client_frame(b"40/nothing,"))
            await line.comes(b"44/nothing,")
            self.assertEqual((await self.ask(three.port, "GET", query)).json["code"], 3)
            await two.becomes(forwards=1)
            frames, rest = read_frames(line.received.partition(b"\r\n\r\n")[2])
            self.assertEqual(rest, b"")
            self.assertGreater(len(frames), 1)
            line.transport.loseConnection()
            await one.becomes(sessions=0)
            await two.becomes(forwards=0)
            for member in (one, two, three):
                await member.stop()

    async def test_the_body_of_a_handshake_is_not_taken_for_frames(self) -> None:
        one, two = self.members(2)
        query = (await self.open(one)).replace("polling", "websocket")
        for header, body in (("Content-Length: 2", b"ab"), ("Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n")):
            head = handshake(query).removesuffix(b"\r\n") + header.encode() + b"\r\n\r\n"
            line = await self.line(two.port, head + body + client_frame(b"2probe"))
            await line.comes(b"3probe")
            line.transport.loseConnection()
            await two.becomes(forwards=0)

    async def test_the_owner_s_end_ends_what_is_handed_on(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        waiting = await self.line(two.port, request("GET", query))
        await repeated_until(self.parked(one, query), lambda parked: parked, "the GET at the owner")
        await one.stop()
        await within(waiting.ended, "the end", lambda: repr(waiting.received), 20)
        self.assertEqual(Response(waiting.received).body, b"1")
        await two.becomes(forwards=0)

    async def test_a_session_whose_daemon_is_gone_is_not_known(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        await one.stop()
        for method, body in (("GET", b""), ("POST", b"40")):
            answer = await self.ask(two.port, method, query, body)
            self.assertEqual((answer.status, answer.json["code"]), (400, 1))
        line = await self.line(two.port, handshake(query.replace("polling", "websocket")))
        await line.comes(b'{"code":1,')
        await two.becomes(forwards=0)

    async def test_the_end_of_the_daemon_in_between_ends_what_it_hands_on(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        waiting = await self.line(two.port, request("GET", query))
        await repeated_until(self.parked(one, query), lambda parked: parked, "the GET at the owner")
        await two.stop()
        await within(waiting.ended, "the end", lambda: repr(waiting.received), 20)
        await one.becomes(sessions=0)

    async def test_a_sid_that_was_made_up_leads_nowhere(self) -> None:
        (two,) = self.members(1)
        stranger = SessionIds(b"x" * 36, PeerAddress("127.0.0.1", two.port))
        for sid in ("x", stranger.new(), "A" * 54):
            answer = await self.ask(two.port, "GET", f"EIO=4&transport=polling&sid={sid}")
            self.assertEqual((answer.status, answer.json["code"]), (400, 1))

    async def test_its_own_sessions_are_handed_to_nobody(self) -> None:
        (one,) = self.members(1, max_forwards=1)
        query = await self.open(one)
        await self.line(one.port, request("GET", query))
        await repeated_until(self.parked(one, query), lambda parked: parked, "the GET")
        self.assertEqual(one.forwards, 0)

    async def test_the_port_for_peers_serves_nobody_else_and_hands_nothing_on(self) -> None:
        one, two = self.members(2)
        query = await self.open(one)
        uri = f"/socket.io/?{query}"
        sids = SessionIds(SECRET, PeerAddress("127.0.0.1", 1))
        stranger = SessionIds(b"x" * 36, PeerAddress("a", 1))
        client = b"203.0.113.9 5"
        told = {"uri": uri.encode(), "client": client, "body": b""}
        bad = [sids.proofs.make(method=b"POST", **told), stranger.proofs.make(method=b"GET", **told)]
        for proof in (b"", b"x", *bad):
            answer = await self.ask(one.inner, "GET", query, b"", *proved(proof, client))
            self.assertEqual((answer.status, answer.body), (403, b""))
        self.assertEqual(one.service._chat.context.counters.http_refused["403"], 4)
        good = sids.proofs.make(method=b"GET", **told)
        answer = await self.ask(two.inner, "GET", query, b"", *proved(good, b"203.0.113.8 5"))
        self.assertEqual((answer.status, answer.body), (403, b""))
        answer = await self.ask(two.inner, "GET", query, b"", *proved(good, client))
        self.assertEqual((answer.status, answer.json["code"]), (400, 1))
        # Once, and with its own body.
        self.assertEqual((await self.ask(two.inner, "GET", query, b"", *proved(good, client))).status, 403)
        for body, status in ((b"40/x", 403), (b"40/y", 400)):
            proof = sids.proofs.make(method=b"POST", uri=uri.encode(), client=client, body=b"40/y")
            self.assertEqual((await self.ask(two.inner, "POST", query, body, *proved(proof, client))).status, status)
        line = await self.line(one.inner, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await within(line.ended, "the answer", lambda: repr(line.received), 20)
        self.assertEqual(Response(line.received).status, 404)

    async def test_the_client_s_address_is_handed_on(self) -> None:
        owner = Member(self, access_log=True)
        two = Member(self, trusted_proxies=("127.0.0.1",))
        query = await self.open(owner)
        logged: list[str] = []

        def note(event: LogEvent) -> None:
            if event.get("log_namespace") == "kschat.access":
                logged.append(event["peer"])

        globalLogPublisher.addObserver(cast(Any, note))
        self.addCleanup(globalLogPublisher.removeObserver, cast(Any, note))
        lie = "X-Kschat-Client: 6.6.6.6 6"
        await self.ask(two.port, "POST", query, b"40", "X-Forwarded-For: 6.6.6.6, 203.0.113.9", lie)
        await self.ask(owner.port, "GET", query, b"", "X-Forwarded-For: 6.6.6.6", lie)
        self.assertEqual(logged, ["203.0.113.9", "127.0.0.1"])

    async def test_what_is_handed_on_is_bounded(self) -> None:
        one, two = self.members(2, max_forwards=1)
        first, second = await self.open(one), await self.open(one)
        await self.line(two.port, request("GET", first))
        await two.becomes(forwards=1)
        answer = await self.ask(two.port, "GET", second)
        self.assertEqual((answer.status, answer.json["message"]), (503, "Too many sessions"))
        self.assertEqual((await self.ask(one.port, "POST", second, b"1")).body, b"ok")

    async def test_a_daemon_that_says_nothing_is_given_up(self) -> None:
        (two,) = self.members(1, ping_interval=0.1, ping_timeout=0.1)
        silent = real_reactor().listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        sid = SessionIds(SECRET, PeerAddress("127.0.0.1", silent.getHost().port)).new()
        line = await self.line(two.port, request("GET", f"EIO=4&transport=polling&sid={sid}"))
        await within(line.ended, "the end", lambda: repr(line.received), 20)
        await two.becomes(forwards=0)
