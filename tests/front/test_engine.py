"""Requests that begin a session, and every way to be refused one (Engine.IO's own errors)."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from kschat.rates import RateSettings
from kschat.wire.connection import Handshake
from kschat.wire.errors import Reason
from tests.front.daemon import V3, V4, Daemon, Response, handshake
from tests.front.frames import CLOSE, TEXT, close_frame

MESSAGES = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}


def plain(query: str, method: str = "GET", *headers: str) -> bytes:
    """A request that asks for no upgrade."""
    return "\r\n".join([f"{method} /socket.io/?{query} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


class EngineTests(SynchronousTestCase):
    def assertRefused(self, daemon: Daemon, data: bytes, code: int, note: Any = None) -> Response:
        """``data`` is answered with Engine.IO's error ``code``, begins no session and leaves nothing."""
        before = daemon.counters.rejected[code]
        wire = daemon.connect()
        wire.arrive(data)
        response = Response(bytes(wire.taken))
        self.assertEqual(response.json, {"code": code, "message": MESSAGES[code]}, note)
        self.assertEqual(response.headers["content-type"], "application/json", note)
        self.assertEqual(response.rest, b"", note)
        self.assertEqual(daemon.counters.rejected[code], before + 1, note)
        self.assertEqual(daemon.recorder.log, [], note)
        self.assertEqual(list(daemon.sessions), [], note)
        if wire.lost is None:
            wire.finish()
        self.assertEqual((daemon.connections.open, len(daemon.timers)), (0, 0), note)
        return response


class Refusals(EngineTests):
    def test_a_transport_that_is_not_known(self) -> None:
        daemon = Daemon()
        for transport in (
            "",
            "transport",
            "transport=",
            "transport=smoke",
            "transport=WebSocket",
            "transport=%FF",
            "transport=websocket%00",
        ):
            for query in (f"EIO=4&{transport}", f"EIO=3&{transport}", transport):
                for data in (plain(query), handshake(query)):
                    self.assertEqual(self.assertRefused(daemon, data, 0, query).status, 400)

    def test_a_session_that_is_not_known(self) -> None:
        daemon = Daemon()
        for sid in ("x", "AAAAAAAAAAAAAAAAAAAA", "%FF", "../x"):
            for data in (plain(f"{V4}&sid={sid}"), handshake(f"{V4}&sid={sid}"), handshake(f"{V3}&sid={sid}")):
                self.assertEqual(self.assertRefused(daemon, data, 1, sid).status, 400)

    def test_an_address_that_begins_too_many_sessions_is_told_when_it_may(self) -> None:
        for query, begin in ((V4, handshake(V4)), (V3, handshake(V3)), ("poll", plain("EIO=4&transport=polling"))):
            daemon = Daemon(rates=RateSettings(burst=2, address_handshakes=0.5))
            self.assertIn(daemon.request(begin).status, (101, 200), query)
            refused = daemon.request(begin)
            self.assertEqual((refused.status, refused.headers["retry-after"]), (429, "2"), query)
            self.assertEqual(refused.json, {"code": 4, "message": "Too many sessions from this address"})
            self.assertEqual(
                (dict(daemon.counters.limited), daemon.counters.turned_away), ({"address_handshakes": 1}, 1)
            )
            self.assertEqual(len(daemon.sessions), 1)
            # What is refused for another reason is not counted, nor what belongs to a session.
            self.assertEqual(daemon.request(plain("EIO=4&transport=smoke")).status, 400)
            daemon.clock.advance(2)
            self.assertIn(daemon.request(begin).status, (101, 200), query)

    def test_each_client_behind_a_trusted_proxy_begins_its_own(self) -> None:
        daemon = Daemon(rates=RateSettings(burst=1, address_handshakes=1), trusted_proxies=("192.0.2.7",))
        found = [
            daemon.request(plain("EIO=4&transport=polling", "GET", f"X-Forwarded-For: 198.51.100.{number}")).status
            for number in (1, 2, 3, 1)
        ]
        self.assertEqual(found, [200, 200, 200, 429])

    def test_a_session_that_has_a_websocket_takes_no_second_one(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        (sid,) = daemon.sessions
        for data in (plain(f"{V4}&sid={sid}"), plain(f"{V4}&sid={sid}", "POST")):
            response = daemon.request(data)
            self.assertEqual((response.status, response.json["code"]), (400, 3))
        second = daemon.websocket(f"{V4}&sid={sid}")
        self.assertEqual([(frame.opcode, frame.code) for frame in second.frames()], [(CLOSE, 1000)])
        peer.send('42/kschat,["x","still here"]')
        self.assertEqual(daemon.recorder.of("event"), [("x", "still here")])

    def test_the_sid_of_a_session_that_has_ended_is_not_known(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        (sid,) = daemon.sessions
        peer.arrive(close_frame())
        daemon.recorder.log.clear()
        self.assertRefused(daemon, handshake(f"{V4}&sid={sid}"), 1)

    def test_a_method_other_than_get(self) -> None:
        daemon = Daemon()
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "SPAM"):
            self.assertEqual(self.assertRefused(daemon, plain(V4, method), 2, method).status, 400)

    def test_a_head_request_is_refused_without_a_body(self) -> None:
        daemon = Daemon()
        response = daemon.request(plain(V4, "HEAD"))
        self.assertEqual((response.status, response.body), (400, b""))
        self.assertEqual(daemon.counters.rejected, {2: 1})

    def test_a_request_without_an_upgrade(self) -> None:
        daemon = Daemon()
        for data in (plain(V4), plain(V3), handshake(Upgrade=None), handshake(Upgrade="h2c")):
            self.assertEqual(self.assertRefused(daemon, data, 3).status, 400)

    def test_a_revision_other_than_3_and_4(self) -> None:
        daemon = Daemon()
        for revision in (
            "",
            "EIO",
            "EIO=",
            "EIO=2",
            "EIO=5",
            "EIO=04",
            "EIO=4.0",
            "EIO=+4",
            "EIO=4x",
            "EIO=%D9%A4",
            "EIO=%FF",
            "eio=4",
            "EIO=34",
        ):
            data = handshake(f"transport=websocket&{revision}")
            self.assertEqual(self.assertRefused(daemon, data, 5, revision).status, 400)

    def test_the_errors_come_in_the_reference_server_s_order(self) -> None:
        """Each request has every fault from one on; the first of them is what it is told."""
        daemon = Daemon(origins=("https://good.example",))
        bad = {"Origin": "https://evil.example"}
        table = [
            (0, "transport=smoke&sid=x&EIO=9"),
            (1, "transport=websocket&sid=x&EIO=9"),
            (2, "transport=websocket&EIO=9"),
        ]
        for code, query in table:
            self.assertRefused(daemon, plain(query, "POST", "Origin: https://evil.example"), code)
        self.assertRefused(daemon, plain("transport=websocket&EIO=9", "GET", "Origin: https://evil.example"), 3)
        self.assertRefused(daemon, handshake("transport=websocket&EIO=9", **bad), 4)
        self.assertRefused(daemon, handshake("transport=websocket&EIO=9"), 5)

    def test_handshakes_that_are_none_of_a_websocket_s(self) -> None:
        daemon = Daemon()
        table: list[tuple[int, dict[str, str | None]]] = [
            (400, {"Sec_WebSocket_Key": None}),
            (400, {"Sec_WebSocket_Key": "too short"}),
            (400, {"Sec_WebSocket_Key": "!GhlIHNhbXBsZSBub25jZQ=="}),
            (400, {"Sec_WebSocket_Version": None}),
            (400, {"Sec_WebSocket_Version": "x"}),
            (400, {"Sec_WebSocket_Version": "99"}),
            (400, {"Sec_WebSocket_Version": "0"}),
            (400, {"Connection": None}),
            (400, {"Connection": "keep-alive"}),
        ]
        for status, headers in table:
            response = self.assertRefused(daemon, handshake(V4, **headers), 3, headers)
            self.assertEqual(response.status, status, headers)
            self.assertEqual(response.headers["connection"], "close", headers)

    def test_another_version_of_websocket_is_told_ours(self) -> None:
        response = Response(bytes(Daemon().upgrade(Sec_WebSocket_Version="99").taken))
        self.assertIn("13", response.headers["sec-websocket-version"])

    def test_a_refused_upgrade_ends_its_connection(self) -> None:
        for query, headers in (("EIO=9&transport=websocket", {}), (V4, {"Sec_WebSocket_Key": "x"})):
            wire = Daemon().upgrade(query, **headers)
            self.assertIsNotNone(wire.lost, query)

    def test_a_refused_request_leaves_its_connection_for_others(self) -> None:
        daemon = Daemon()
        wire = daemon.connect()
        wire.arrive(plain("EIO=9") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        daemon.clock.advance(0)
        wire.pump()
        self.assertIn(b'"status":"ok"', bytes(wire.taken))

    def test_paths_that_are_not_served(self) -> None:
        daemon = Daemon()
        for path in ("/nothing", "/socket.iox/", "/socketio/", "/socket.io.js"):
            response = daemon.request(f"GET {path}?{V4} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertEqual(response.status, 404, path)

    def test_what_stands_below_the_path_is_the_client_s_script(self) -> None:
        response = Daemon().request(b"GET /socket.io/socket.io.js HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((response.status, response.body), (200, b"a script"))


class Origins(EngineTests):
    def accepted(self, daemon: Daemon, origin: str | None) -> bool:
        return b" 101 " in bytes(daemon.upgrade(Origin=origin).taken)

    def test_all_are_let_in_where_all_are_allowed(self) -> None:
        for origin in (None, "https://chat.example", "null", "file://", "junk", "\xff"):
            self.assertTrue(self.accepted(Daemon(origins=("*",)), origin), origin)

    def test_by_default_the_daemon_s_own_page_alone_is_let_in(self) -> None:
        for origin in (None, "https://chat.example", "http://chat.example"):
            self.assertTrue(self.accepted(Daemon(), origin), origin)
        for origin in (
            "null",
            "file://",
            "junk",
            "https://evil.example",
            "https://chat.example:8443",
            "ftp://chat.example",
        ):
            self.assertFalse(self.accepted(Daemon(), origin), origin)

    def test_the_own_page_s_scheme_counts_where_it_is_known(self) -> None:
        for scheme, other in (("https", "http"), ("http", "https")):
            daemon = Daemon(trusted_proxies=("192.0.2.0/24",))
            for said, lets_in in ((scheme, True), (f"{scheme}, {other}", True), (other, False), ("gopher", True)):
                answer = daemon.upgrade(Origin=f"{scheme}://chat.example", X_Forwarded_Proto=said).taken
                self.assertIs(b" 101 " in bytes(answer), lets_in, (scheme, said))
        # Without a trusted proxy anybody may say it, so it says nothing.
        answer = Daemon().upgrade(Origin="http://chat.example", X_Forwarded_Proto="https").taken
        self.assertIn(b" 101 ", bytes(answer))

    def test_only_those_allowed_are_let_in_and_those_that_are_no_browsers(self) -> None:
        daemon = Daemon(origins=("https://page.example", "http://localhost:3000"))
        for origin in ("https://page.example", "http://localhost:3000", None):
            self.assertTrue(self.accepted(daemon, origin), origin)
        for origin in (
            "https://evil.example",
            "http://page.example",
            "https://page.example:8443",
            "https://page.example.evil.example",
            "https://page.example/",
            "http://localhost",
            "null",
            "*",
            "\xff",
        ):
            self.assertFalse(self.accepted(daemon, origin), origin)

    def test_the_daemon_s_own_page_is_let_in_without_being_named(self) -> None:
        daemon = Daemon(origins=("https://other.example",))
        for origin, host in (("https://chat.example", "chat.example"), ("http://127.0.0.1:3000", "127.0.0.1:3000")):
            self.assertIn(b" 101 ", bytes(daemon.upgrade(Origin=origin, Host=host).taken))
        for origin in ("https://chat.example:8443", "chat.example", "null", ""):
            self.assertFalse(self.accepted(daemon, origin), origin)
        for origin in ("null", "", "junk"):
            self.assertNotIn(b" 101 ", bytes(daemon.upgrade(Origin=origin, Host="").taken))

    def test_one_who_is_not_allowed_is_forbidden(self) -> None:
        daemon = Daemon(origins=("https://page.example",))
        for query in (V3, V4):
            response = self.assertRefused(daemon, handshake(query, Origin="https://evil.example"), 4)
            self.assertEqual(response.status, 403)


class Sessions(EngineTests):
    def handshake_of(self, daemon: Daemon) -> Handshake:
        (connection,) = daemon.sessions.values()
        return connection.handshake

    def test_what_the_request_said_is_kept_for_the_application(self) -> None:
        daemon = Daemon()
        daemon.upgrade(f"{V4}&token=a.b%2Bc+d&ksId=42&x=1&x=2&empty=&n=%C3%A9&bad=%FF", Authorization="Bearer tok")
        said = self.handshake_of(daemon)
        self.assertEqual(
            said.query,
            {
                "EIO": "4",
                "transport": "websocket",
                "token": "a.b+c d",
                "ksId": "42",
                "x": "1",
                "empty": "",
                "n": "é",
                "bad": "\ufffd",
            },
        )
        self.assertEqual((said.authorization, said.peer), ("Bearer tok", "192.0.2.7:54321"))

    def test_a_header_that_is_not_there_is_empty(self) -> None:
        daemon = Daemon()
        daemon.upgrade()
        self.assertEqual(self.handshake_of(daemon).authorization, "")

    def test_peers_of_other_kinds_have_a_name(self) -> None:
        for address, expected in ((IPv6Address("TCP", "::1", 80), "::1:80"), (UNIXAddress(None), "unix")):
            daemon = Daemon()
            wire = daemon.connect()
            wire.getPeer = lambda address=address: address  # type: ignore[misc, method-assign]
            wire.arrive(handshake())
            self.assertEqual(self.handshake_of(daemon).peer, expected)

    def test_headers_are_read_whatever_their_case(self) -> None:
        daemon = Daemon()
        data = (
            handshake()
            .replace(b"Upgrade: websocket", b"uPGRADE:WebSocket")
            .replace(b": Upgrade", b": keep-alive, UPGRADE")
        )
        wire = daemon.connect()
        wire.arrive(data)
        self.assertIn(b" 101 ", bytes(wire.taken))

    def test_a_request_for_the_path_without_its_slash_is_one_all_the_same(self) -> None:
        daemon = Daemon()
        wire = daemon.connect()
        wire.arrive(handshake().replace(b"/socket.io/?", b"/socket.io?"))
        self.assertIn(b" 101 ", bytes(wire.taken))

    def test_sessions_are_found_by_their_sid_until_they_end(self) -> None:
        daemon = Daemon()
        peers = [daemon.joined() for _ in range(5)]
        self.assertEqual(len(daemon.sessions), 5)
        peers[0].wire.hang_up()
        peers[1].send("1")
        peers[2].arrive(close_frame())
        self.assertEqual(len(daemon.sessions), 2)

    def test_all_are_closed_with_a_reason_and_the_last_one_gone_is_told(self) -> None:
        daemon = Daemon()
        peers = [daemon.joined(query) for query in (V3, V4, V4)]
        gone = daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.assertEqual([peer.closing().code for peer in peers], [1001] * 3)
        self.assertEqual(list(daemon.sessions), [])
        for peer in peers:
            self.assertNoResult(gone)
            peer.arrive(close_frame(1001))
        self.successResultOf(gone)

    def test_where_there_are_none_all_are_gone(self) -> None:
        daemon = Daemon()
        self.successResultOf(daemon.engine.close_all(Reason.SHUTTING_DOWN))

    def test_connections_of_http_alone_are_waited_for_as_well(self) -> None:
        daemon = Daemon()
        wire, peer = daemon.connect(), daemon.joined()
        gone = daemon.engine.close_all(Reason.SHUTTING_DOWN)
        peer.arrive(close_frame(1001))
        self.assertNoResult(gone)
        wire.finish()
        self.successResultOf(gone)

    def test_an_application_that_fails_at_one_end_does_not_keep_the_others_open(self) -> None:
        daemon = Daemon()
        peers = [daemon.joined() for _ in range(3)]

        def fail(*_: Any) -> None:
            raise ZeroDivisionError

        daemon.recorder.on_disconnected = fail
        daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual([peer.closing().code for peer in peers], [1001] * 3)

    def test_two_daemons_in_one_process_know_nothing_of_each_other(self) -> None:
        first, second = Daemon(), Daemon()
        peers = [first.joined(), second.joined()]
        first.engine.close_all(Reason.SHUTTING_DOWN)
        second.recorder.sockets[0].emit(b'["x"]')
        self.assertEqual([frame.opcode for peer in peers for frame in peer.frames()], [CLOSE, TEXT])
