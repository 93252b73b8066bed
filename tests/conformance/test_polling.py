"""Every rule of Engine.IO's protocol about long-polling and upgrade, both revisions, by its documents' sections."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.engineio import Revision
from tests.conformance.memory import (
    ENGINE,
    MAX_PAYLOAD,
    PING_INTERVAL,
    PING_TIMEOUT,
    REVISIONS,
    SOCKETS,
    Application,
    Polling,
    let_pass,
    packets,
    payload,
)

LATE = 0.002

ORIGIN = "https://page.example"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.application = Application()
        self.clock = self.application.clock

    def session(self, revision: Revision, path: str = ENGINE, more: str = "") -> Polling:
        return Polling(self.application, revision, path, more)


class Handshake(Case):
    def test_the_open_packet_is_the_answer_to_the_first_get(self) -> None:
        for revision in REVISIONS:
            for path in (ENGINE, SOCKETS):
                said = self.session(revision, path).said
                self.assertIsInstance(said.pop("sid"), str)
                self.assertEqual(
                    said,
                    {"upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": MAX_PAYLOAD},
                )

    def test_the_length_counts_characters_in_revision_3(self) -> None:
        text = self.application.get("EIO=3&transport=polling").response.body
        if text[0] == 0:  # binary, which this client may have, though it is all text here
            self.fail("all text stays text")
        length, _, rest = text.decode().partition(":")
        self.assertEqual(int(length), len(rest))

    def test_it_is_plain_text_that_no_cache_keeps(self) -> None:
        for revision in REVISIONS:
            response = self.application.get(f"EIO={revision}&transport=polling").response
            self.assertEqual(response.headers["content-type"].lower().replace(" ", ""), "text/plain;charset=utf-8")
            self.assertIn("no-store", response.headers.get("cache-control", "no-store"))

    def test_without_a_known_revision_or_transport_it_is_400_with_engine_io_s_words(self) -> None:
        for query, code, message in (
            ("transport=polling", 5, "Unsupported protocol version"),
            ("EIO=abc&transport=polling", 5, "Unsupported protocol version"),
            ("EIO=5&transport=polling", 5, "Unsupported protocol version"),
            ("EIO=4", 0, "Transport unknown"),
            ("EIO=3", 0, "Transport unknown"),
            ("EIO=4&transport=abc", 0, "Transport unknown"),
            ("EIO=3&transport=abc", 0, "Transport unknown"),
        ):
            response = self.application.get(query).response
            self.assertEqual((response.status, response.json), (400, {"code": code, "message": message}), query)
            self.assertEqual(response.headers["content-type"], "application/json")

    def test_another_method_than_get_is_400(self) -> None:
        for revision in REVISIONS:
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                target = f"{ENGINE}?EIO={revision}&transport=polling"
                response = self.application.ask(method, target, {}, b"").response
                self.assertEqual((response.status, response.json["code"]), (400, 2), method)

    def test_a_sid_that_is_unknown_is_400(self) -> None:
        for revision in REVISIONS:
            query = f"EIO={revision}&transport=polling&sid=unknown"
            for exchange in (self.application.get(query), self.application.post(query, "4x")):
                self.assertEqual(
                    (exchange.status, exchange.response.json), (400, {"code": 1, "message": "Session ID unknown"})
                )

    def test_socket_io_s_default_namespace_comes_with_it_or_soon_in_revision_3(self) -> None:
        session = self.session(3, SOCKETS)
        first = session.more or session.read()
        self.assertEqual(first, ["40", '42["auth",{}]'])


class Message(Case):
    """Revision 4, "Sending and receiving data" and "Packet encoding: HTTP long-polling"; revision 3, "Payload"."""

    def test_one_packet(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            for text in ("hello", "", "€", "é 漢字 😀", "x" * 70_000, '"\\\n'):
                session.send("4" + text)
                self.assertEqual(session.read(), ["4" + text])

    def test_several_packets_keep_their_order(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            said = [f"4{number}€" for number in range(100)]
            session.send(*said)
            self.assertEqual(session.read(), said)

    def test_packets_of_several_posts_are_gathered_for_one_get(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            for number in range(3):
                session.send(f"4{number}")
            self.assertEqual(session.read(), ["40", "41", "42"])

    def test_a_get_waits_until_there_is_something(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            waiting = session.get()
            self.assertTrue(waiting.waits)
            session.send("4hello")
            self.assertEqual(packets(revision, waiting.text), ["4hello"])

    def test_binary_is_base64_in_revision_4(self) -> None:
        session = self.session(4)
        session.send("4hello", "bAQIDBA==", "b")
        self.assertEqual(session.read(), ["4hello", "bAQIDBA==", "b"])

    def test_binary_is_base64_in_revision_3_where_it_was_asked_for(self) -> None:
        session = self.session(3, more="&b64=1")
        session.send("4hello", "b4AQIDBA==")
        self.assertEqual(session.read(), ["4hello", "b4AQIDBA=="])

    def test_binary_packs_all_in_revision_3_where_it_was_not(self) -> None:
        session = self.session(3)
        session.send("4hello", "b4AQIDBA==")
        response = session.get().response
        self.assertEqual(response.headers["content-type"], "application/octet-stream")
        self.assertEqual(response.body, b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04")

    def test_the_length_of_packed_text_counts_bytes_in_revision_3(self) -> None:
        session = self.session(3)
        session.send("4€", "b4AQIDBA==")
        self.assertEqual(session.get().response.body, b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04")

    def test_a_packed_body_is_read_in_revision_3(self) -> None:
        session = self.session(3, more="&b64=1")
        body = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04\x00\x04\xff4\xe2\x82\xac"
        self.assertEqual(self.application.post(session.query, body).text, "ok")
        self.assertEqual(session.read(), ["4hello", "b4AQIDBA==", "4€"])

    def test_all_text_stays_text_in_revision_3(self) -> None:
        session = self.session(3)
        session.send("4hello", "4€")
        response = session.get().response
        self.assertEqual(response.body.decode(), "6:4hello2:4€")

    def test_what_is_no_payload_is_400_and_ends_the_session(self) -> None:
        for revision, bodies in (
            (3, ("abc", "1", "5:4x", "x:4x", ":", "1:9", "-1:4", "2:4x3")),
            (4, ("abc", "9", "4x\x1eabc", "b!", "\x1e")),
        ):
            for body in bodies:
                session = self.session(revision)  # type: ignore[arg-type]
                self.assertEqual(self.application.post(session.query, body).status, 400, (revision, body))
                self.assertTrue(session.ended, (revision, body))

    def test_a_body_of_the_announced_size_is_taken_and_a_larger_one_is_not(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            room = MAX_PAYLOAD - len(payload(revision, "x" * (MAX_PAYLOAD - 8))) + MAX_PAYLOAD - 8
            session.send("4" + "x" * (room - 1))
            self.assertEqual(len(session.read()[0]), room)
            self.assertEqual(self.application.post(session.query, "x" * (MAX_PAYLOAD + 1)).status, 413)

    def test_a_second_get_at_once_is_400_and_ends_the_session(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            first = session.get()
            self.assertEqual(session.get().status, 400)
            self.assertEqual(packets(revision, first.text), ["1"])
            self.assertTrue(session.ended)

    def test_a_second_post_at_once_is_400_and_ends_the_session(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            head = f"POST {ENGINE}?{session.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
            first = self.application.request(head.encode() + b"4")
            second = session.post("4hello")
            if second.status == 200:
                # The first has no body yet, and so has not begun for this server: nothing can be out of order.
                self.assertTrue(first.waits)
                continue
            self.assertEqual(second.status, 400)
            self.assertTrue(session.ended)

    def test_a_get_that_the_client_gives_up_ends_the_session(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            waiting = session.get()
            self.assertTrue(waiting.waits)
            waiting.wire.hang_up()
            self.assertTrue(session.ended)


class Heartbeat(Case):
    def test_in_revision_4_the_ping_is_what_a_get_waits_for(self) -> None:
        session = self.session(4)
        for _ in range(4):
            waiting = session.get()
            self.clock.advance(PING_INTERVAL - LATE)
            self.assertTrue(waiting.waits)
            self.clock.advance(2 * LATE)
            self.assertEqual(packets(4, waiting.text), ["2"])
            session.send("3")

    def test_in_revision_3_the_client_asks_by_post_and_reads_the_answer_by_get(self) -> None:
        session = self.session(3)
        for _ in range(4):
            self.clock.advance(PING_INTERVAL)
            session.send("2")
            self.assertEqual(session.read(), ["3"])

    def test_who_does_not_answer_in_time_is_not_known_any_more(self) -> None:
        for revision in REVISIONS:
            for waits in (False, True):
                session = self.session(revision)
                if waits:
                    session.get()
                let_pass(self.clock, PING_INTERVAL + LATE)
                if waits and revision == 4:
                    session.get()
                let_pass(self.clock, PING_TIMEOUT + LATE)
                self.assertTrue(session.ended, (revision, waits))

    def test_it_is_over_exactly_then(self) -> None:
        """A client that waits for both times and then asks must find it so, by a millisecond or two."""
        for revision in REVISIONS:
            session = self.session(revision)
            for _ in range(round((PING_INTERVAL + PING_TIMEOUT) * 1000) + 1):
                self.clock.advance(0.001)
            self.assertEqual(session.post("2" if revision == 3 else "3").status, 400)

    def test_packets_of_the_other_revision_end_the_session(self) -> None:
        for revision, packet in ((3, "3"), (4, "2")):
            session = self.session(revision)  # type: ignore[arg-type]
            session.post(packet)
            self.assertTrue(session.ended)


class Close(Case):
    def test_it_lets_the_get_that_waits_go_with_a_noop(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            waiting = session.get()
            session.send("1")
            self.assertEqual(packets(revision, waiting.text), ["6"])
            self.assertTrue(session.ended)

    def test_without_one_the_session_is_over_as_well(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            session.send("4x", "1")
            self.assertTrue(session.ended)


class Upgrade(Case):
    """Revision 4, "Upgrade"; revision 3, "Transport upgrading" and "5 upgrade"."""

    def test_the_probe_is_answered_and_a_get_that_waits_let_go_with_a_noop(self) -> None:
        for revision in REVISIONS:
            for waits in (True, False):
                session = self.session(revision)
                waiting = session.get() if waits else None
                socket = session.upgrade()
                self.assertEqual(socket.read(), [])
                socket.send("2probe")
                self.assertEqual(socket.read(), ["3probe"])
                # Also one that comes after the probe does not wait.
                waiting = waiting or session.get()
                self.assertEqual(packets(revision, waiting.text), ["6"])
                socket.send("5", "4hello")
                self.assertEqual(socket.read(), ["4hello"])

    def test_nothing_is_lost_twice_or_out_of_order(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            waiting = session.get()
            said = [f"4{number}" for number in range(6)]
            session.send(said[0])
            got = packets(revision, waiting.text)
            session.send(said[1])
            socket = session.upgrade()
            session.send(said[2])
            socket.send("2probe")
            session.send(said[3])
            socket.send("5", said[4], said[5])
            self.assertEqual(got + [one for one in socket.read() if one != "3probe"], said, revision)

    def test_http_is_400_afterwards_and_the_session_goes_on(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            socket = session.upgrade()
            socket.send("2probe", "5")
            self.assertEqual((session.get().status, session.post("4x").status), (400, 400))
            socket.send("4hello")
            self.assertEqual(socket.read(), ["3probe", "4hello"])

    def test_another_websocket_is_refused_afterwards_and_the_session_goes_on(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            socket = session.upgrade()
            socket.send("2probe", "5")
            self.assertTrue(session.upgrade().closed)
            socket.send("4hello")
            self.assertEqual(socket.read(), ["3probe", "4hello"])

    def test_another_websocket_is_refused_meanwhile_and_the_first_goes_on(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            socket = session.upgrade()
            socket.send("2probe")
            other = session.upgrade()
            other.send("2probe") if other.refused is None else None
            self.assertTrue(other.closed)
            socket.send("5", "4hello")
            self.assertEqual(socket.read(), ["3probe", "4hello"])

    def test_a_wrong_first_frame_closes_the_websocket_alone(self) -> None:
        for revision in REVISIONS:
            for frame in ("2", "4hello", "5", "2probing", b"\x04x"):
                session = self.session(revision)
                socket = session.upgrade()
                socket.send(frame)
                self.assertTrue(socket.closed, frame)
                session.send("4still here")
                self.assertEqual(session.read(), ["4still here"])

    def test_a_websocket_that_ends_before_it_is_done_costs_nothing(self) -> None:
        for revision in REVISIONS:
            for probe in ((), ("2probe",)):
                session = self.session(revision)
                socket = session.upgrade()
                socket.send(*probe)
                socket.wire.hang_up()
                session.send("4still here")
                self.assertEqual([one for one in session.read() if one != "6"], ["4still here"])

    def test_the_heartbeat_goes_on_by_the_new_way(self) -> None:
        session = self.session(4)
        socket = session.upgrade()
        socket.send("2probe", "5")
        self.assertEqual(socket.read(), ["3probe"])
        self.clock.advance(PING_INTERVAL + LATE)
        self.assertEqual(socket.read(), ["2"])
        session = self.session(3)
        socket = session.upgrade()
        socket.send("2probe", "5", "2")
        self.assertEqual(socket.read(), ["3probe", "3"])

    def test_a_session_of_the_other_revision_is_not_upgraded(self) -> None:
        for revision in REVISIONS:
            session = self.session(revision)
            other = 7 - revision
            socket = self.application.websocket(f"EIO={other}&transport=websocket&sid={session.sid}")
            if socket.refused is None:
                # The session keeps its own revision, whatever the query says.
                socket.send("2probe")
                self.assertEqual(socket.read(), ["3probe"])
            session.send("4x")


class Jsonp(Case):
    """Revision 3, "JSONP"."""

    def test_an_answer_is_a_call_with_a_string(self) -> None:
        response = self.application.get("EIO=3&transport=polling&j=7").response
        body = response.body.decode()
        self.assertIn("javascript", response.headers["content-type"])
        self.assertTrue(body.startswith("___eio[7](") and body.rstrip().endswith(");"), body)
        said = json.loads(body[len("___eio[7](") : body.rindex(")")])
        self.assertIn('"sid"', said)

    def test_data_comes_as_a_form_whose_line_feeds_are_escaped_once_more(self) -> None:
        body = self.application.get("EIO=3&transport=polling&j=0").response.body.decode()
        said = json.loads(body[len("___eio[0](") : body.rindex(")")])
        sid = json.loads(said.partition(":")[2][1:])["sid"]
        query = f"EIO=3&transport=polling&sid={sid}&j=1"
        form = b"d=4%3A4a%5C%5Cn" if False else b"d=4%3A4a%5Cnb"
        posted = self.application.ask(
            "POST", f"{ENGINE}?{query}", {"Content-Type": "application/x-www-form-urlencoded"}, form
        )
        self.assertEqual(posted.status, 200)
        answer = self.application.get(query).response.body.decode()
        self.assertEqual(json.loads(answer[len("___eio[1](") : answer.rindex(")")]), "4:4a\nb")


class Cors(Case):
    """Revision 3, "XHR": the server must support CORS. WIRE.md, 9."""

    def test_the_caller_s_origin_is_named_with_credentials(self) -> None:
        for revision in REVISIONS:
            query = f"EIO={revision}&transport=polling"
            headers = self.application.get(query, Origin=ORIGIN).response.headers
            self.assertEqual(headers["access-control-allow-origin"], ORIGIN)
            self.assertEqual(headers["access-control-allow-credentials"], "true")
            self.assertIn("origin", headers["vary"].lower())

    def test_a_refusal_can_be_read_by_the_page_too(self) -> None:
        headers = self.application.get("EIO=4&transport=polling&sid=unknown", Origin=ORIGIN).response.headers
        self.assertEqual(headers["access-control-allow-origin"], ORIGIN)

    def test_a_preflight_is_answered(self) -> None:
        target = f"{ENGINE}?EIO=4&transport=polling&sid=x"
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
        response = self.application.ask("OPTIONS", target, asked).response
        self.assertIn(response.status, (200, 204))
        self.assertEqual(response.headers["access-control-allow-origin"], ORIGIN)
        self.assertIn("POST", response.headers["access-control-allow-methods"])
