"""HTTP connections: bounded in time, in size and in number, and logged without secrets."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from kschat.front.channel import MAX_ARGUMENTS, MAX_SEGMENTS, ChannelBounds, redacted
from kschat.repeated_log import LINES, PERIOD
from tests.front.daemon import V4, Daemon, Response, handshake
from tests.front.pollers import Poller
from tests.front.wires import Wire

#: A token as it must appear nowhere.
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJkYXRhIjp7ImlkIjoiYW5uIn19.c2VjcmV0LXNpZ25hdHVyZQ"

GET = b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n"


class Page(Resource):
    """Takes bodies, and answers when told to if ``late``."""

    isLeaf = True

    def __init__(self, late: bool = False) -> None:
        super().__init__()
        self.late = late
        self.bodies: list[bytes] = []
        self.requests: list[Request] = []

    def render(self, request: Request) -> Any:
        content: Any = request.content
        self.bodies.append(content.read())
        self.requests.append(request)
        return NOT_DONE_YET if self.late else b"thank you"


def post(body: bytes, **headers: str) -> bytes:
    lines = [
        "POST / HTTP/1.1",
        "Host: chat.example",
        *(f"{name.replace('_', '-')}: {v}" for name, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def responses(wire: Wire) -> list[Response]:
    """All responses that came."""
    found, data = [], bytes(wire.taken)
    while data:
        found.append(Response(data))
        data = found[-1].rest
    return found


class ChannelTests(SynchronousTestCase):
    bounds = ChannelBounds(
        head_timeout=10, body_timeout=30, answer_timeout=60, max_head=2000, max_body=1000, max_connections=3
    )

    def daemon(self, page: Page | None = None, **bounds: Any) -> Daemon:
        return Daemon(bounds=self.bounds, page=page or Page())

    def pass_time(self, daemon: Daemon, wire: Wire, seconds: float, drip: bytes = b"") -> None:
        """Second by second, with one byte from the peer in each."""
        for number in range(round(seconds)):
            daemon.clock.advance(1)
            if drip and wire.lost is None:
                wire.arrive(drip[number % len(drip) :][:1])

    def assertCut(self, daemon: Daemon, wire: Wire) -> None:
        daemon.clock.advance(0.02)
        daemon.clock.advance(0)
        self.assertTrue(wire.aborted)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(daemon.connections.open, 0)
        self.assertEqual(len(daemon.timers), 0)


class Times(ChannelTests):
    def test_who_says_nothing_is_cut(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        daemon.clock.advance(9.99)
        self.assertIsNone(wire.lost)
        daemon.clock.advance(0.01)
        self.assertCut(daemon, wire)

    def test_a_head_that_drips_in_is_cut_as_soon(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        wire.arrive(b"GET / HTTP/1.1\r\nX: ")
        self.pass_time(daemon, wire, 9, b"x")
        self.assertIsNone(wire.lost)
        self.pass_time(daemon, wire, 1)
        self.assertCut(daemon, wire)

    def test_headers_that_drip_in_line_by_line_are_cut_as_soon(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        wire.arrive(b"GET / HTTP/1.1\r\n")
        for number in range(9):
            daemon.clock.advance(1)
            wire.arrive(b"X-%d: y\r\n" % number)
        daemon.clock.advance(1)
        self.assertCut(daemon, wire)

    def test_a_body_that_drips_in_is_cut(self) -> None:
        for data in (post(b"", Content_Length="500"), post(b"500\r\n", Transfer_Encoding="chunked")):
            daemon = self.daemon()
            wire = daemon.connect()
            daemon.clock.advance(9)
            wire.arrive(data)
            self.pass_time(daemon, wire, 29, b"x")
            self.assertIsNone(wire.lost)
            self.pass_time(daemon, wire, 1)
            self.assertCut(daemon, wire)
            self.assertEqual(daemon.counters.http_refused, {"timeout": 1})

    def test_an_answer_that_does_not_come_ends_in_time(self) -> None:
        daemon = self.daemon(Page(late=True))
        wire = daemon.connect()
        wire.arrive(GET)
        self.pass_time(daemon, wire, 59)
        self.assertIsNone(wire.lost)
        self.pass_time(daemon, wire, 1)
        self.assertCut(daemon, wire)

    def test_a_late_answer_is_sent(self) -> None:
        page = Page(late=True)
        daemon = self.daemon(page)
        wire = daemon.connect()
        wire.arrive(GET)
        daemon.clock.advance(59)
        page.requests[0].write(b"at last")
        page.requests[0].finish()
        wire.pump()
        self.assertIn(b"at last", bytes(wire.taken))

    def test_a_connection_may_carry_another_request_for_a_while(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        for count in range(1, 5):
            wire.arrive(GET)
            self.assertEqual(len(responses(wire)), count)
            daemon.clock.advance(59)
            self.assertIsNone(wire.lost)
        daemon.clock.advance(1)
        self.assertCut(daemon, wire)
        self.assertEqual(daemon.counters.http_refused, {})  # nobody waited for anything

    def test_the_next_head_may_not_drip_in_for_ever(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        wire.arrive(GET + b"GET / HTTP/1.1\r\nX: ")
        self.pass_time(daemon, wire, 60, b"x")
        self.assertCut(daemon, wire)

    def test_who_does_not_read_its_answer_is_cut(self) -> None:
        for data in (GET, post(b"", Content_Length="5000"), b"nonsense\r\n\r\n", handshake("EIO=4&transport=smoke")):
            daemon = self.daemon()
            wire = daemon.connect(room=0)
            wire.arrive(data)
            self.pass_time(daemon, wire, 60)
            self.assertCut(daemon, wire)
            self.assertEqual(daemon.counters.http_refused["timeout"], 1, data)

    def test_a_websocket_is_not_cut_by_the_times_of_http(self) -> None:
        daemon = Daemon(bounds=self.bounds, ping_interval=1000, ping_timeout=1000, connect_timeout=10_000)
        for before in (b"", GET):
            wire = daemon.connect()
            wire.arrive(before + handshake())
            self.pass_time(daemon, wire, 200)
            self.assertIsNone(wire.lost)

    def test_who_leaves_in_the_middle_leaves_nothing(self) -> None:
        for data in (
            b"",
            b"GET / HT",
            GET,
            GET[:-2],
            post(b"half", Content_Length="8"),
            post(b"8\r\nha", Transfer_Encoding="chunked"),
        ):
            for late in (False, True):
                daemon = self.daemon(Page(late))
                wire = daemon.connect()
                wire.arrive(data)
                wire.hang_up()
                self.assertEqual((daemon.connections.open, len(daemon.timers)), (0, 0), data)


class Sizes(ChannelTests):
    def refused(self, data: bytes, status: int) -> None:
        page = Page()
        daemon = self.daemon(page)
        wire = daemon.connect()
        wire.arrive(data)
        daemon.take_turns()
        (response,) = responses(wire)
        self.assertEqual(response.status, status)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(page.bodies, [])
        self.assertEqual(daemon.counters.http_refused, {str(status): 1})
        self.assertEqual((daemon.connections.open, len(daemon.timers)), (0, 0))

    def test_a_head_that_is_too_large(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000 + b"\r\n\r\n", 400)
        self.refused(b"GET / HTTP/1.1\r\n" + b"X: yyyyyyyyyy\r\n" * 200 + b"\r\n", 400)
        self.refused(b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 400)
        self.refused(b"GET / HTTP/1.1\r\nX: y\r\n" + b" z\r\n" * 2000 + b"\r\n", 400)

    def test_a_head_without_an_end(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        for _ in range(1000):
            if wire.lost is None:
                wire.arrive(b"x" * 100)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(daemon.connections.open, 0)

    def test_a_head_without_an_end_is_not_kept(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        wire.room = 0
        for _ in range(1000):
            wire.arrive(b"x" * 100)
        channel: Any = wire.protocol
        self.assertLess(len(channel._buffer), 20_000)

    def test_a_body_whose_length_is_too_large(self) -> None:
        self.refused(post(b"", Content_Length="1001"), 413)
        self.refused(post(b"x" * 5000, Content_Length="5000"), 413)
        self.refused(post(b"", Content_Length="9" * 30), 413)

    def test_a_length_of_more_digits_than_python_converts_is_too_large(self) -> None:
        # Python's own bound is larger than a head here.
        self.addCleanup(sys.set_int_max_str_digits, sys.get_int_max_str_digits())
        sys.set_int_max_str_digits(640)
        # As the last header, and in front of another.
        self.refused(post(b"", Content_Length="9" * 1000), 413)
        self.refused(post(b"", Content_Length="0" * 1000 + "1", X="y"), 413)

    def test_a_body_in_chunks_that_are_too_large_together(self) -> None:
        self.refused(post(chunked(b"x" * 1001), Transfer_Encoding="chunked"), 413)
        self.refused(post(chunked(*[b"x" * 100] * 11), Transfer_Encoding="chunked"), 413)
        self.refused(post(chunked(*[b"x"] * 1001), Transfer_Encoding="chunked"), 413)

    def test_a_body_that_is_too_large_is_not_asked_for(self) -> None:
        self.refused(post(b"", Content_Length="5000", Expect="100-continue"), 413)

    def test_a_body_as_large_as_allowed(self) -> None:
        page = Page()
        daemon = self.daemon(page)
        for data in (
            post(b"x" * 1000, Content_Length="1000"),
            post(chunked(b"x" * 1000), Transfer_Encoding="chunked"),
            post(chunked(*[b"x" * 100] * 10), Transfer_Encoding="chunked"),
        ):
            self.assertEqual(daemon.request(data).status, 200)
        self.assertEqual(page.bodies, [b"x" * 1000] * 3)

    def test_what_follows_a_body_that_was_too_large_is_not_kept(self) -> None:
        page = Page()
        daemon = self.daemon(page)
        wire = daemon.connect(room=0)
        wire.arrive(post(b"ffffff\r\n", Transfer_Encoding="chunked"))
        for _ in range(100):
            wire.arrive(b"x" * 10_000)
        channel: Any = wire.protocol
        (request,) = channel.requests
        self.assertLess(len(request.content.getvalue()), 1001)
        self.assertEqual(page.bodies, [])

    def test_a_query_of_too_many_arguments(self) -> None:
        for separator in "&;":
            query = separator.join(["a=b"] * (MAX_ARGUMENTS + 1))
            self.refused(f"GET /?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400)
        wire = self.daemon().connect()
        wire.arrive(f"GET /?{'&'.join(['a=b'] * MAX_ARGUMENTS)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertIsNone(wire.lost)

    def test_a_path_of_too_many_segments(self) -> None:
        for target in ("/x" * (MAX_SEGMENTS + 1), "/" * (MAX_SEGMENTS + 1), "http://x" + "/a" * (MAX_SEGMENTS + 1)):
            self.refused(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400)
        wire = self.daemon().connect()
        wire.arrive(f"GET {'/x' * MAX_SEGMENTS}?{'/' * 1000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertIsNone(wire.lost)

    def test_nothing_is_read_behind_a_bad_request_whose_answer_has_not_left(self) -> None:
        for data in (b"\r\n", b"x\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n"):
            daemon = self.daemon()
            wire = daemon.connect(room=0)
            wire.arrive(data * 10_000)
            daemon.take_turns()
            wire.room = None
            wire.pump()
            self.assertTrue(bytes(wire.taken).startswith(b"HTTP/1.1 400 "))
            self.assertIsNotNone(wire.lost)

    def test_lengths_that_are_none(self) -> None:
        for length in ("-1", "x", "1,1", "+5", "0x10"):
            self.refused(post(b"", Content_Length=length), 400)

    def test_both_kinds_of_length(self) -> None:
        self.refused(post(b"0\r\n\r\n", Content_Length="5", Transfer_Encoding="chunked"), 400)

    def test_requests_in_one_read_are_answered_in_order(self) -> None:
        daemon = self.daemon()
        wire = daemon.connect()
        wire.arrive(
            GET + post(b"12345", Content_Length="5") + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        daemon.take_turns()
        self.assertEqual([response.status for response in responses(wire)], [200, 200, 200])
        self.assertIsNotNone(wire.lost)


class BodiesThatNobodyReads(ChannelTests):
    """The head is answered at once, and the connection ends: nobody waits for the body."""

    def answered(self, head: str, status: int, json: object = None, **settings: Any) -> None:
        for lines in (
            "Content-Length: 500",
            "Transfer-Encoding: chunked",
            "Content-Length: 500\r\nExpect: 100-continue",
        ):
            daemon = Daemon(bounds=self.bounds, **settings)
            wire = daemon.connect()
            wire.arrive(f"{head} HTTP/1.1\r\nHost: chat.example\r\n{lines}\r\n\r\n".encode())
            (response,) = responses(wire)
            self.assertEqual(response.status, status, (head, lines))
            if json is not None:
                self.assertEqual(response.json["code"], json)
            self.assertEqual(response.headers.get("connection"), "close")
            self.assertIsNotNone(wire.lost)
            self.assertEqual((daemon.connections.open, len(daemon.timers)), (0, 0))

    def test_where_there_is_nothing(self) -> None:
        for path in ("/nothing", "/static/", "/healthz/", "//", "/socket.io", "/%2e%2e/x", "/%73ocket.iox/"):
            if path not in ("/static/", "/socket.io"):
                self.answered(f"POST {path}", 404)
        self.answered("POST /chat/nothing", 404, base_path="/chat")

    def test_where_that_is_not_done(self) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "X"):
            for path in ("/", "/healthz", "/readyz", "/static", "/socket.io/socket.io.js"):
                self.answered(f"{method} {path}", 405 if method == "POST" else 501)

    def test_with_what_is_only_fetched(self) -> None:
        for path in ("/", "/healthz", "/static"):
            self.answered(f"GET {path}", 200)
        self.answered("GET /socket.io/?EIO=4&transport=polling&sid=x", 400, 1)

    def test_for_a_session_that_is_not_there(self) -> None:
        self.answered("POST /socket.io/?EIO=4&transport=polling&sid=x", 400, 1)
        self.answered("POST /socket.io/?EIO=4&transport=polling", 400, 2)
        self.answered("POST /socket.io/?EIO=4&transport=x&sid=x", 400, 0)
        self.answered("POST /socket.io/", 400, 0)
        self.answered("OPTIONS /socket.io/?EIO=4&transport=polling", 400, 2)

    def test_a_resource_that_takes_them_is_given_them(self) -> None:
        page = Page()
        daemon = self.daemon(page)
        self.assertEqual(daemon.request(post(b"12345", Content_Length="5")).status, 200)
        self.assertEqual(page.bodies, [b"12345"])

    def test_so_is_one_that_makes_its_children(self) -> None:
        page = Page()

        class Maker(Resource):
            def getChild(self, path: bytes, request: Request) -> Resource:
                return page

        daemon = self.daemon()
        daemon.site.resource.putChild(b"made", Maker())
        wire = daemon.connect()
        wire.arrive(post(b"12345", Content_Length="5").replace(b"POST /", b"POST /made/x"))
        self.assertEqual(page.bodies, [b"12345"])

    def test_no_body_is_put_into_a_file(self) -> None:
        def fail(*_: object) -> None:
            raise AssertionError("a file was opened")

        self.patch(tempfile, "TemporaryFile", fail)
        page = Page()
        daemon = Daemon(bounds=ChannelBounds(), page=page)
        body = b"x" * 900_000
        self.assertEqual(daemon.request(post(body, Content_Length=str(len(body)))).status, 200)
        self.assertEqual(daemon.request(post(chunked(body), Transfer_Encoding="chunked")).status, 200)
        self.assertEqual(page.bodies, [body, body])


class Numbers(ChannelTests):
    def test_who_is_one_too_many_is_turned_away_until_another_leaves(self) -> None:
        daemon = self.daemon()
        peers = [daemon.joined() for _ in range(3)]
        self.assertIsNotNone(daemon.connect().lost)
        self.assertEqual((daemon.counters.turned_away, daemon.counters.full), (1, {"connections": 1}))
        peers[1].wire.hang_up()
        peers.append(daemon.joined())
        self.assertIsNotNone(daemon.connect().lost)
        self.assertEqual((daemon.counters.turned_away, daemon.counters.full), (2, {"connections": 2}))

    def test_who_has_not_joined_gives_way_and_first_who_has_not_sent_a_request(self) -> None:
        daemon = self.daemon()
        joined = daemon.joined()
        served, idle = daemon.connect(), daemon.connect()
        served.arrive(GET)
        half = daemon.connect()
        half.arrive(post(b"", Content_Length="500"))
        daemon.clock.advance(0)
        self.assertEqual([wire.lost is None for wire in (joined.wire, served, idle, half)], [True, True, False, True])
        other = daemon.websocket()
        daemon.clock.advance(0)
        self.assertEqual([wire.lost is None for wire in (served, half, other.wire)], [True, False, True])
        daemon.connect()
        daemon.clock.advance(0)
        self.assertEqual([wire.lost is None for wire in (joined.wire, served, other.wire)], [True, False, True])
        self.assertEqual((daemon.connections.open, daemon.counters.evicted), (3, {"connections": 3}))

    def test_a_connection_that_carries_a_session_that_has_joined_stays(self) -> None:
        daemon = self.daemon()
        poller = Poller(daemon)
        poller.join()
        daemon.clock.advance(60)
        poller = Poller(daemon)
        poller.join()
        parked = poller.get()
        for _ in range(5):
            daemon.connect()
        daemon.clock.advance(0)
        self.assertIsNone(parked.wire.lost)

    def test_half_sent_bodies_do_not_keep_others_out(self) -> None:
        daemon = Daemon(bounds=ChannelBounds(max_connections=500, max_connections_per_address=50), page=Page())
        for _ in range(505):
            daemon.connect().arrive(post(b"", Content_Length="900000"))
        daemon.clock.advance(0)
        self.assertEqual(daemon.connections.open, 50)
        for peer in ("192.0.2.7", "192.0.2.8"):
            wire = daemon.connect(peer=peer)
            wire.arrive(GET)
            self.assertEqual(Response(bytes(wire.taken)).status, 200)

    def test_networks_of_ipv6_are_bounded_and_unix_sockets_are_not(self) -> None:
        def connect(address: IAddress) -> bool:
            channel = daemon.site.buildProtocol(address)
            if channel is not None:
                wire = Wire(daemon.clock, address)
                wire.protocol = channel
                channel.makeConnection(wire)
            return channel is not None

        daemon = Daemon(bounds=ChannelBounds(max_connections=100, max_connections_per_address=5))
        for number in range(20):
            connect(IPv6Address("TCP", f"2001:db8::{number:x}", 5))
        self.assertEqual(daemon.connections.places.of("2001:db8::/64"), 5)
        for _ in range(20):
            connect(UNIXAddress(None))
        self.assertEqual(daemon.connections.open, 25)

    def test_requests_of_a_trusted_proxy_count_as_their_clients(self) -> None:
        bounds = ChannelBounds(max_connections=100, max_connections_per_address=2)
        daemon = Daemon(bounds=bounds, trusted_proxies=("192.0.2.7",))
        peers = [daemon.websocket(X_Forwarded_For="203.0.113.1") for _ in range(2)]
        for peer in peers:
            peer.send("40/kschat,")
        refused = daemon.connect()
        refused.arrive(handshake(X_Forwarded_For="203.0.113.1"))
        self.assertEqual(Response(bytes(refused.taken)).status, 503)
        self.assertIsNotNone(refused.lost)
        for number in range(2, 5):
            daemon.websocket(X_Forwarded_For=f"203.0.113.{number}")
        idle = [daemon.connect() for _ in range(10)]
        self.assertEqual([wire for wire in idle if wire.lost is not None], [])
        self.assertEqual(daemon.connections.places.of("192.0.2.7"), 0)
        # Between its requests a proxy's connection is nobody's.
        idle[0].arrive(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
        self.assertEqual(Response(bytes(idle[0].taken)).status, 200)
        self.assertEqual(daemon.connections.places.of("203.0.113.9"), 0)

    def test_websockets_count_until_they_are_gone(self) -> None:
        daemon = Daemon(bounds=self.bounds)
        peers = [daemon.joined() for _ in range(3)]
        self.assertIsNotNone(daemon.connect().lost)
        peers[0].send("1")
        self.assertIsNotNone(daemon.connect().lost)
        peers[0].wire.hang_up()
        self.assertIsNone(daemon.connect().lost)

    def test_each_is_counted_once_however_it_ends(self) -> None:
        daemon = Daemon(bounds=self.bounds)
        for number in range(30):
            wire = daemon.upgrade(Sec_WebSocket_Key="bad" if number % 3 == 0 else "dGhlIHNhbXBsZSBub25jZQ==")
            if wire.lost is None:
                wire.finish()
        self.assertEqual(daemon.connections.open, 0)


class Stops(ChannelTests):
    """Nobody listens any more."""

    def stopped(self, *reads: bytes, page: Page | None = None) -> tuple[Daemon, Wire]:
        daemon = self.daemon(page)
        wire = daemon.connect()
        for read in reads:
            wire.arrive(read)
        daemon.site.doStart()
        daemon.site.doStop()
        wire.pump()
        return daemon, wire

    def test_a_connection_that_waits_for_a_request_ends(self) -> None:
        for reads in ([], [GET], [GET, GET]):
            daemon, wire = self.stopped(*reads)
            self.assertIsNotNone(wire.lost)
            self.assertEqual(len(responses(wire)), len(reads))
            self.assertEqual(daemon.connections.open, 0)

    def test_a_request_that_was_begun_is_answered_first(self) -> None:
        _, wire = self.stopped(post(b"12", Content_Length="4"))
        wire.arrive(b"34")
        self.assertEqual([response.status for response in responses(wire)], [200])
        self.assertIsNotNone(wire.lost)

    def test_an_answer_that_is_not_ready_is_waited_for(self) -> None:
        page = Page(late=True)
        _, wire = self.stopped(GET, page=page)
        self.assertIsNone(wire.lost)
        page.requests[0].write(b"at last")
        page.requests[0].finish()
        wire.pump()
        self.assertIn(b"at last", bytes(wire.taken))
        self.assertIsNotNone(wire.lost)

    def test_websockets_stay(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        daemon.site.doStart()
        daemon.site.doStop()
        peer.send('42/kschat,["x",1]')
        self.assertEqual(daemon.recorder.of("event"), [("x", 1)])

    def test_nothing_is_kept_of_connections_that_are_gone(self) -> None:
        daemon = self.daemon()
        for data in (b"", GET, handshake()):
            wire = daemon.connect()
            wire.arrive(data)
            wire.hang_up()
        self.assertEqual(daemon.site.channels, set())


class Secrets(SynchronousTestCase):
    """No token in any line of the log, whichever way the request is wrong."""

    SPELLINGS = (
        "token",
        "TOKEN",
        "Token",
        "%74oken",
        "%74%6F%6B%65%6E",
        "%54oken",
        "to%6ben",
        "+token",
        "token+",
        "%20token",
        "token%20",
        "%09token",
        "token%00",
    )

    def test_the_value_is_replaced_and_the_rest_is_kept(self) -> None:
        table = {
            "/": "/",
            "/?": "/?",
            "/?token=s": "/?token=...",
            "/?token=": "/?token=...",
            "/?token": "/?token",
            "/?a=1&token=s&b=2": "/?a=1&token=...&b=2",
            "/?token=s&token=s": "/?token=...&token=...",
            "/?token=s=s": "/?token=...",
            "/?token=s?s": "/?token=...",
            "/?sid=s&SID=s&ksId=7&sids=x": "/?sid=...&SID=...&ksId=7&sids=x",
            "/?access_token=s&tokens=s": "/?access_token=...&tokens=...",
            "/?a=token=s": "/?a=token=s",
            "/token=s": "/token=s",
            "http://host/?token=s": "http://host/?token=...",
        }
        for uri, expected in table.items():
            self.assertEqual(redacted(uri.encode()), expected.encode())

    def test_odd_spellings_are_known_and_separators_of_old(self) -> None:
        for name in self.SPELLINGS:
            self.assertNotIn(b"s3cret", redacted(f"/?a=1&{name}=s3cret&b=2".encode()), name)
            self.assertNotIn(b"s3cret", redacted(f"/?a=1;{name}=s3cret;b=2".encode()), name)

    def test_what_looks_like_a_token_is_replaced_wherever_it_stands(self) -> None:
        for uri in (
            "/{}",
            "/?{}",
            "/?q={}",
            "/%3Ftoken={}",
            "/;token={}",
            "/?a=1&token%3D{}",
            "/#token={}",
            "//{}@host/",
        ):
            self.assertNotIn(TOKEN.encode(), redacted(uri.format(TOKEN).encode()), uri)

    def test_a_url_full_of_beginnings_of_tokens_takes_no_longer_than_another(self) -> None:
        """Where each is looked at to the URL's end, this takes minutes."""
        uri = b"/?" + b"eyJ" * 300_000
        self.assertEqual(redacted(uri), uri)
        self.assertEqual(redacted(uri + b".x&a=1"), b"/?...&a=1")

    @given(st.lists(st.tuples(st.sampled_from(["token", "%74oken", "a", "ksId"]), st.sampled_from("&;"))))
    @example([("token", ";")])
    def test_whatever_stands_around_it(self, names: list[tuple[str, str]]) -> None:
        uri = "/?" + "".join(f"{name}={'s3cret' if 'oken' in name else 'x'}{separator}" for name, separator in names)
        self.assertNotIn(b"s3cret", redacted(uri.encode()))

    def test_no_request_puts_its_token_into_the_log(self) -> None:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with capturedLogs() as events:
            daemon = Daemon()
            for query in (f"{V4}&token={TOKEN}", f"token={TOKEN}", f"EIO=9&token={TOKEN}", f"{V4}&sid=x&token={TOKEN}"):
                wire = daemon.upgrade(query, **bearer)
                if wire.lost is None:
                    wire.hang_up()
                daemon.upgrade(query, Sec_WebSocket_Key="bad")
                daemon.upgrade(query, Sec_WebSocket_Version="99")
                daemon.upgrade(query, Host=None)
                daemon.upgrade(query, Origin="\x7fjunk")
                for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "SPAM"):
                    for path in ("/", "/socket.io/", "/socket.io/socket.io.js", "/static/x", "/healthz", "/nowhere"):
                        daemon.request(f"{method} {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                        daemon.request(f"{method} {path}?{query} HTTP/1.0\r\n\r\n".encode())
                        daemon.request(f"{method} http://x{path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        lines = [formatEvent(event) for event in events]
        self.assertGreater(len(lines), 100)
        self.assertEqual([line for line in lines if TOKEN in line], [])

    def test_no_session_puts_its_token_into_the_log(self) -> None:
        with capturedLogs() as events:
            daemon = Daemon()
            peer = daemon.websocket(f"{V4}&token={TOKEN}")
            peer.send(f'40/kschat,{{"token":"{TOKEN}"}}')
            peer.send(f'42/kschat,["Send","{TOKEN}"')
            peer = daemon.websocket(f"EIO=3&transport=websocket&token={TOKEN}")
            peer.send(f"40/kschat?token={TOKEN}")
            peer.send(f"9{TOKEN}")
        self.assertEqual([line for line in map(formatEvent, events) if TOKEN in line], [])


class AccessLog(SynchronousTestCase):
    def lines(self, data: bytes, **options: Any) -> list[str]:
        with capturedLogs() as events:
            Daemon(**options).request(data)
        return [formatEvent(event) for event in events if event["log_namespace"] == "kschat.access"]

    def test_a_line_says_who_asked_for_what_and_what_was_answered(self) -> None:
        self.assertEqual(self.lines(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n"), ["192.0.2.7 GET /?a=b 200 8"])
        (line,) = self.lines(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(line.startswith("192.0.2.7 GET /none 404 "), line)

    def test_a_line_has_fields(self) -> None:
        with capturedLogs() as events:
            Daemon().request(GET)
        (event,) = [event for event in events if event["log_namespace"] == "kschat.access"]
        fields = {name: event[name] for name in ("peer", "method", "uri", "code", "length")}
        self.assertEqual(fields, {"peer": "192.0.2.7", "method": "GET", "uri": "/", "code": 200, "length": 8})

    def test_a_flood_of_requests_that_are_refused_is_no_flood_of_lines(self) -> None:
        daemon = Daemon()
        with capturedLogs() as logs:
            for _ in range(1000):
                daemon.request(b"GET /socket.io/ HTTP/1.0\r\n\r\n")
            daemon.clock.advance(PERIOD)
        lines = [formatEvent(event) for event in logs]
        self.assertEqual(len(lines), 2 * (LINES + 1))
        self.assertEqual(
            sorted(line for line in lines if "more like this" in line),
            [
                f"{1000 - LINES} more like this in the last 10 s: requests that were answered with 400",
                f"{1000 - LINES} more like this in the last 10 s: requests that were refused, code 0",
            ],
        )

    def test_lines_of_requests_that_were_served_are_not_gathered(self) -> None:
        daemon = Daemon()
        with capturedLogs() as logs:
            for _ in range(50):
                daemon.request(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertEqual(len(logs), 50)

    def test_it_can_be_left_out(self) -> None:
        self.assertEqual(self.lines(GET, access_log=False), [])

    def test_a_url_cannot_write_lines_of_its_own(self) -> None:
        for byte in (b"\x1b", b"\x07", b"\x85", b"\xe2\x80\xa8", b"\xff", b"\x0b", b"\r", b"{peer}"):
            for line in self.lines(b"GET /%b[31m HTTP/1.1\r\nHost: x\r\n\r\n" % byte):
                self.assertTrue(line.isascii() and line.isprintable(), (byte, line))
