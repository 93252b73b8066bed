"""Every rule of Engine.IO's protocol on a WebSocket, both revisions, by the sections of its documents."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.websocket import CLOSE_TIMEOUT
from tests.conformance.memory import (
    ENGINE,
    MAX_PAYLOAD,
    PING_INTERVAL,
    PING_TIMEOUT,
    REVISIONS,
    SOCKETS,
    Application,
    let_pass,
    opened,
)

#: An alarm may ring so much later than it was set for.
LATE = 0.002


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.application = Application()
        self.clock = self.application.clock


class Handshake(Case):
    """Revision 4, "Handshake"; revision 3, "Anatomy of an Engine.IO session" and "URLs"."""

    def test_the_open_packet_comes_first_with_milliseconds_and_bytes(self) -> None:
        for revision in REVISIONS:
            for path in (ENGINE, SOCKETS):
                socket = self.application.websocket(f"EIO={revision}&transport=websocket", path)
                said = opened(socket.read()[0])
                self.assertEqual(set(said), {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"})
                self.assertIsInstance(said.pop("sid"), str)
                self.assertEqual(
                    said, {"upgrades": [], "pingInterval": 300, "pingTimeout": 200, "maxPayload": MAX_PAYLOAD}
                )

    def test_each_session_has_a_sid_of_its_own(self) -> None:
        sids = set()
        for revision in REVISIONS * 5:
            sids.add(opened(self.application.websocket(f"EIO={revision}&transport=websocket").read()[0])["sid"])
        self.assertEqual(len(sids), 10)

    def test_without_a_revision_or_with_another_one_there_is_no_session(self) -> None:
        for query in ("", "EIO=abc&", "EIO=&", "EIO=5&", "EIO=2&", "EIO=04&", "EIO=4.0&"):
            refused = self.application.websocket(f"{query}transport=websocket").refused
            assert refused is not None, query
            self.assertEqual((refused.status, refused.json["code"]), (400, 5), query)

    def test_without_a_transport_or_with_another_one_there_is_no_session(self) -> None:
        for revision in REVISIONS:
            for query in ("", "&transport=abc", "&transport=", "&transport=WebSocket"):
                refused = self.application.websocket(f"EIO={revision}{query}").refused
                assert refused is not None, query
                self.assertEqual((refused.status, refused.json), (400, {"code": 0, "message": "Transport unknown"}))

    def test_other_values_in_the_query_are_nothing(self) -> None:
        for revision in REVISIONS:
            socket = self.application.websocket(f"t=N8hyd6w&EIO={revision}&x=1&transport=websocket&t=2")
            self.assertEqual(len(socket.read()), 1)

    def test_a_sid_that_is_unknown_opens_nothing(self) -> None:
        for revision in REVISIONS:
            refused = self.application.websocket(f"EIO={revision}&transport=websocket&sid=unknown").refused
            assert refused is not None
            self.assertEqual((refused.status, refused.json), (400, {"code": 1, "message": "Session ID unknown"}))

    def test_a_second_websocket_for_one_session_is_refused(self) -> None:
        for revision in REVISIONS:
            socket = self.application.websocket(f"EIO={revision}&transport=websocket")
            sid = opened(socket.read()[0])["sid"]
            self.assertTrue(self.application.websocket(f"EIO={revision}&transport=websocket&sid={sid}").closed)
            socket.send("4hello")
            self.assertEqual(socket.read(), ["4hello"])

    def test_a_request_for_a_websocket_that_is_none_is_refused(self) -> None:
        for revision in REVISIONS:
            for method in ("GET", "POST", "PUT", "DELETE"):
                exchange = self.application.ask(method, f"{ENGINE}?EIO={revision}&transport=websocket", {}, b"")
                self.assertEqual(exchange.status, 400, method)

    def test_both_revisions_are_served_at_the_same_time(self) -> None:
        sockets = [self.application.engine(revision) for revision in REVISIONS * 3]
        for number, socket in enumerate(sockets):
            socket.send(f"4{number}")
        self.assertEqual([socket.read() for socket in sockets], [[f"4{number}"] for number in range(6)])


class Message(Case):
    """Revision 4, "Message" and "Packet encoding: WebSocket"; revision 3, "Encoding: Packet"."""

    def test_text_comes_back_as_text(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            for text in ("hello", "", "é 漢字 😀", "x" * 200, "x" * 70_000, "4", "\x1e", "b", "\x00"):
                socket.send("4" + text)
                self.assertEqual(socket.read(), ["4" + text])

    def test_binary_comes_back_as_binary(self) -> None:
        for revision, head in ((3, b"\x04"), (4, b"")):
            socket = self.application.engine(revision)  # type: ignore[arg-type]
            for data in (b"\x01\x02\x03\x04", b"", bytes(range(256)), b"\x00" * 70_000):
                socket.send(head + data)
                self.assertEqual(socket.read(), [head + data])

    def test_binary_that_came_as_base64_is_binary(self) -> None:
        for revision, text, binary in (
            (3, "b4AQIDBA==", b"\x04\x01\x02\x03\x04"),
            (4, "bAQIDBA==", b"\x01\x02\x03\x04"),
        ):
            socket = self.application.engine(revision)  # type: ignore[arg-type]
            socket.send(text)
            self.assertEqual(socket.read(), [binary])

    def test_who_asks_for_base64_gets_binary_so(self) -> None:
        for revision, text in ((3, "b4AQIDBA=="), (4, "bAQIDBA==")):
            socket = self.application.engine(revision, "&b64=1")  # type: ignore[arg-type]
            socket.send(text)
            self.assertEqual(socket.read(), [text])

    def test_each_packet_has_a_frame_of_its_own_and_they_keep_their_order(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            packets = [f"4{number}" for number in range(100)]
            socket.send(*packets)
            self.assertEqual(socket.read(), packets)

    def test_what_is_no_packet_closes_the_session(self) -> None:
        for revision in REVISIONS:
            for packet in ("abc", "", "7", "9hello", " 4hello", "-1", "b", "b4", "b4!", "bx", "\x1e"):
                if (revision, packet) in ((3, "b4"), (4, "b"), (4, "b4"), (4, "bx")):
                    continue
                socket = self.application.engine(revision)
                socket.send(packet)
                self.assertEqual((socket.read(), socket.closed), ([], True), (revision, packet))

    def test_binary_of_another_type_than_message_closes_in_revision_3(self) -> None:
        for data in (b"", b"\x00", b"\x01x", b"\x05", b"4x"):
            socket = self.application.engine(3)
            socket.send(data)
            self.assertTrue(socket.closed, data)

    def test_packets_that_only_a_server_sends_or_that_belong_to_an_upgrade_close(self) -> None:
        for revision in REVISIONS:
            for packet in ("0", '0{"sid":"x"}', "5"):
                socket = self.application.engine(revision)
                socket.send(packet)
                self.assertTrue(socket.closed, (revision, packet))

    def test_a_noop_is_nothing(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            socket.send("6", "4x")
            self.assertEqual(socket.read(), ["4x"])

    def test_a_message_of_the_announced_size_is_taken_and_a_larger_one_closes(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            socket.send("4" + "x" * (MAX_PAYLOAD - 1))
            self.assertEqual([len(message) for message in socket.read()], [MAX_PAYLOAD])
            socket.send("4" + "x" * MAX_PAYLOAD)
            self.assertEqual((socket.read(), socket.code), ([], 1009))


class Heartbeat(Case):
    """Revision 4, "Heartbeat"; revision 3, "2 ping", "3 pong" and "Timeouts"."""

    def test_in_revision_4_the_server_asks_again_and_again(self) -> None:
        socket = self.application.engine(4)
        for _ in range(5):
            self.clock.advance(PING_INTERVAL - LATE)
            self.assertEqual(socket.read(), [])
            self.clock.advance(2 * LATE)
            self.assertEqual(socket.read(), ["2"])
            socket.send("3")
        self.assertFalse(socket.closed)

    def test_in_revision_4_who_does_not_answer_in_time_is_closed(self) -> None:
        socket = self.application.engine(4)
        self.clock.advance(PING_INTERVAL + LATE)
        self.clock.advance(PING_TIMEOUT - 2 * LATE)
        self.assertFalse(socket.closed)
        self.clock.advance(3 * LATE)
        self.assertTrue(socket.closed)

    def test_in_revision_4_messages_are_no_answer(self) -> None:
        socket = self.application.engine(4)
        self.clock.advance(PING_INTERVAL)
        for _ in range(10):
            self.clock.advance(PING_TIMEOUT / 10)
            socket.send("4x") if not socket.closed else None
        self.clock.advance(LATE)
        self.assertTrue(socket.closed)

    def test_in_revision_3_the_client_asks_and_is_answered_with_what_it_said(self) -> None:
        socket = self.application.engine(3)
        for said in ("", "probe", "é"):
            socket.send("2" + said)
            self.assertEqual(socket.read(), ["3" + said])

    def test_in_revision_3_the_server_never_asks(self) -> None:
        socket = self.application.engine(3)
        for _ in range(10):
            self.clock.advance(PING_INTERVAL)
            self.assertEqual(socket.read(), [])
            socket.send("2")
            self.assertEqual(socket.read(), ["3"])

    def test_in_revision_3_who_is_silent_for_both_times_is_closed(self) -> None:
        for asked in (False, True):
            socket = self.application.engine(3)
            if asked:
                self.clock.advance(PING_INTERVAL)
                socket.send("2")
            let_pass(self.clock, PING_INTERVAL + PING_TIMEOUT - LATE)
            self.assertFalse(socket.closed)
            let_pass(self.clock, 2 * LATE)
            self.assertTrue(socket.closed)

    def test_the_other_revision_s_packets_close(self) -> None:
        for revision, packet in ((3, "3"), (4, "2")):
            socket = self.application.engine(revision)  # type: ignore[arg-type]
            socket.send(packet)
            self.assertTrue(socket.closed)

    def test_an_answer_that_was_not_asked_for_is_taken_in_revision_4(self) -> None:
        socket = self.application.engine(4)
        socket.send("3", "4x")
        self.assertEqual(socket.read(), ["4x"])

    def test_who_never_answers_is_closed_in_tcp_as_well_and_soon(self) -> None:
        """WIRE.md, 11: such a peer answers no close frame either."""
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            let_pass(self.clock, PING_INTERVAL + PING_TIMEOUT + 2 * LATE)
            self.assertTrue(socket.closed)
            self.assertIsNone(socket.wire.lost)
            self.clock.advance(CLOSE_TIMEOUT)
            self.clock.advance(0.01)
            self.clock.advance(0)
            self.assertIsNotNone(socket.wire.lost, revision)
            self.assertLessEqual(CLOSE_TIMEOUT, 2)


class Close(Case):
    """Revision 4, "close"; revision 3, "1 close"."""

    def test_it_closes_the_websocket_at_once(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            socket.send("1")
            self.assertEqual((socket.read(), socket.closed), ([], True))

    def test_what_was_said_before_is_answered_and_what_comes_after_is_not(self) -> None:
        for revision in REVISIONS:
            socket = self.application.engine(revision)
            socket.send("4before", "1", "4after")
            self.assertEqual(socket.read(), ["4before"])

    def test_the_session_is_unknown_afterwards(self) -> None:
        for revision in REVISIONS:
            socket = self.application.websocket(f"EIO={revision}&transport=websocket")
            sid = opened(socket.read()[0])["sid"]
            socket.send("1")
            refused = self.application.websocket(f"EIO={revision}&transport=websocket&sid={sid}").refused
            assert refused is not None
            self.assertEqual(refused.json["code"], 1)
