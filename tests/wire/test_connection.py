"""``Connection`` and ``Socket``: namespaces joined, refused and left, events and acks both ways, what closes it all."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.connection import Application, Connection, Handshake, Socket
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.jsontext import mend_surrogates
from kschat.wire.limits import Limits
from kschat.wire.roles import Listener
from kschat.wire.session import EngineSession, HeartbeatTimes, Link
from kschat.wire.socketio import Ack, Connect, Decoder, Event, encode
from tests.wire.fakes import FakeApplication, FakeTimers, FakeTransport
from tests.wire.strategies import PROPERTY, conversations, events, revisions

REVISIONS: tuple[Revision, ...] = (3, 4)


class ConnectionTestCase(SynchronousTestCase):
    """A connection among fakes."""

    def begin(self, revision: Revision = 4, limits: Limits | None = None, base64: bool = False) -> Connection:
        """A connection that stands; what was sent and said until then is taken away."""
        self.transport = FakeTransport()
        self.timers = FakeTimers()
        self.application = FakeApplication()
        times = HeartbeatTimes(25, 20)
        self.session = EngineSession("sid", revision, self.transport, timers=self.timers, times=times, base64=base64)
        connection = Connection(self.session, self.application, Handshake(), limits=limits or Limits())
        self.session.listener = connection
        self.session.open((), 1_000_000)
        connection.opened()
        self.transport.take()
        self.application.take()
        return connection

    def joined(self, revision: Revision = 4, namespace: str = "/kschat", **options: Any) -> Socket:
        """A socket that was let in."""
        connection = self.begin(revision, **options)
        self.session.receive(b"40" + namespace.encode() + b",")
        self.transport.take()
        self.application.take()
        return connection.sockets[namespace]

    def assert_open(self) -> None:
        self.assertIsNot(self.session.link, Link.CLOSED)
        self.assertEqual(self.transport.closed, [])

    def assert_closed(self, reason: Reason = Reason.PARSE_ERROR) -> None:
        self.assertIs(self.session.link, Link.CLOSED)
        self.assertEqual(self.transport.closed, [reason])
        self.assertEqual(self.application.log[-1][:2], ("ended", reason))


class MsgpackTests(ConnectionTestCase):
    """Clients whose first packet is binary: they have the msgpack parser, and are answered so."""

    def packets(self) -> list[Any]:
        """What was sent, all of it binary."""
        frames = self.transport.take()
        assert all(isinstance(frame, Frame) and frame.binary for frame in frames), frames
        return [msgspec.msgpack.decode(frame.payload) for frame in frames if isinstance(frame, Frame)]

    def receive(self, **fields: Any) -> None:
        self.session.receive(msgspec.msgpack.encode({"nsp": "/kschat", **fields}), True)

    def test_all_packets_are_binary_from_the_first_on(self) -> None:
        connection = self.begin()
        self.receive(type=0, data={"token": "t"})
        socket = connection.sockets["/kschat"]
        self.assertEqual(self.packets(), [{"type": 0, "nsp": "/kschat", "data": {"sid": socket.id}}])
        self.assertEqual(self.application.take(), [("connect", "/kschat", Connect("/kschat", b'{"token":"t"}'))])
        self.receive(type=2, data=["e", b"\x01"], id=3)
        self.assertEqual(
            self.application.take(),
            [("event", "/kschat", Event("e", (Raw(b'{"_placeholder":true,"num":0}'),), "/kschat", 3, (b"\x01",)))],
        )
        socket.ack(3, b"[1]")
        self.assertEqual(socket.emit(b'["y",{"_placeholder":true,"num":0}]', [b"z"], ask=True), 0)
        socket.emit(b'["n"]')
        self.assertEqual(
            self.packets(),
            [
                {"type": 3, "nsp": "/kschat", "id": 3, "data": [1]},
                {"type": 2, "nsp": "/kschat", "id": 0, "data": ["y", b"z"]},
                {"type": 2, "nsp": "/kschat", "data": ["n"]},
            ],
        )
        self.receive(type=3, data=["a"], id=0)
        self.assertEqual(self.application.take(), [("acked", "/kschat", Ack(0, (Raw(b'"a"'),), "/kschat"))])
        socket.disconnect()
        self.assertEqual(self.packets(), [{"type": 1, "nsp": "/kschat"}])
        self.receive(type=0, nsp="/nowhere")
        self.assertEqual(self.packets()[0]["type"], 4)
        self.assert_open()
        self.session.receive(b"40/kschat,")
        self.assert_closed()

    def test_what_is_no_packet_closes_the_connection(self) -> None:
        for data in (b"\x01\x02", b"", msgspec.msgpack.encode({"type": 2, "nsp": "/kschat", "data": ["e"]})):
            self.begin()
            self.session.receive(data, True)
            self.assert_closed()

    def test_whoever_began_with_text_goes_on_so(self) -> None:
        for revision in REVISIONS:
            self.joined(revision)
            packet = msgspec.msgpack.encode({"type": 2, "nsp": "/kschat", "data": ["e"]})
            self.session.receive(packet if revision == 4 else b"\x04" + packet, True)
            self.assert_closed()


class JoiningTests(ConnectionTestCase):
    """CONNECT and its answers."""

    def test_revision_3_is_joined_to_the_default_namespace_unasked(self) -> None:
        self.begin(3)
        connection = Connection(self.session, self.application, Handshake(), limits=Limits())
        connection.opened()
        self.assertEqual(self.transport.take(), [b"40"])
        self.assertEqual(self.application.take(), [("connect", "/", Connect("/"))])
        self.assertTrue(connection.sockets["/"].accepted)

    def test_revision_4_is_joined_to_nothing_unasked(self) -> None:
        connection = self.begin(4)
        self.assertEqual((connection.sockets, self.application.sockets), ({}, []))

    def test_revision_3_is_let_in_without_a_payload(self) -> None:
        self.begin(3)
        self.session.receive(b"40/kschat?token=a.b.c,")
        self.assertEqual(self.transport.take(), [b"40/kschat,"])
        self.assertEqual(self.application.take(), [("connect", "/kschat", Connect("/kschat", b"", "token=a.b.c"))])

    def test_revision_4_is_let_in_with_a_sid_that_is_not_the_engines(self) -> None:
        self.begin(4)
        self.session.receive(b'40/kschat,{"token":"a.b.c"}')
        (frame,) = self.transport.take()
        assert isinstance(frame, bytes)
        self.assertTrue(frame.startswith(b"40/kschat,{"))
        sid = json.loads(frame[len(b"40/kschat,") :])["sid"]
        self.assertNotEqual(sid, self.session.sid)
        self.assertGreaterEqual(len(sid), 20)
        self.assertEqual(sid, self.application.sockets[0].id)
        self.assertEqual(self.application.take(), [("connect", "/kschat", Connect("/kschat", b'{"token":"a.b.c"}'))])

    def test_each_socket_has_an_id_of_its_own(self) -> None:
        ids = {self.joined().id for _ in range(50)}
        self.assertEqual(len(ids), 50)

    def test_revision_3_is_refused_with_a_bare_string(self) -> None:
        connection = self.begin(3)
        self.session.receive(b"40/no,")
        self.assertEqual(self.transport.take(), [b'44/no,"Authentication error"'])
        self.assertEqual(list(connection.sockets), ["/"])
        self.assert_open()

    def test_revision_4_is_refused_with_an_object(self) -> None:
        connection = self.begin(4)
        self.session.receive(b"40/no,")
        self.assertEqual(self.transport.take(), [b'44/no,{"message":"Authentication error"}'])
        self.assertEqual(connection.sockets, {})
        self.assert_open()

    def test_a_refusal_may_carry_data(self) -> None:
        for revision, told in ((3, b'44/later,{"code":7}'), (4, b'44/later,{"message":"no","data":{"code":7}}')):
            connection = self.begin(revision)  # type: ignore[arg-type]
            self.session.receive(b"40/later,")
            connection.sockets["/later"].refuse("no", Raw(b'{"code":7}'))
            self.assertEqual(self.transport.take(), [told])

    def test_a_namespace_that_nobody_serves_is_invalid(self) -> None:
        for revision, told in ((3, b'"Invalid namespace"'), (4, b'{"message":"Invalid namespace"}')):
            connection = self.begin(revision)  # type: ignore[arg-type]
            for _ in range(2):
                self.session.receive(b"40/nowhere,")
                self.assertEqual(self.transport.take(), [b"44/nowhere," + told])
            self.assertNotIn("/nowhere", connection.sockets)
            self.assertEqual(self.application.take(), [])
            self.assert_open()

    def test_who_was_refused_may_ask_again(self) -> None:
        self.begin()
        for _ in range(20):
            self.session.receive(b"40/no,")
        self.assertEqual(len(self.transport.take()), 20)
        self.assertEqual({what[0] for what in self.application.take()}, {"connect"})
        self.assert_open()

    def test_a_second_connect_to_a_joined_namespace_closes(self) -> None:
        for revision in REVISIONS:
            self.joined(revision)
            self.session.receive(b"40/kschat,")
            self.assert_closed()

    def test_a_second_connect_before_the_first_is_answered_closes(self) -> None:
        self.joined(namespace="/later")
        self.session.receive(b"40/later,")
        self.assert_closed()

    def test_a_second_connect_to_the_default_namespace_closes_in_revision_4_alone(self) -> None:
        """Clients of revision 3 are in it already, and some ask all the same."""
        self.joined(4, "/")
        self.session.receive(b"40")
        self.assert_closed()
        self.begin(3)
        self.session.receive(b"40")
        self.session.receive(b"40/?token=x")
        self.assert_open()
        self.assertEqual((self.transport.take(), self.application.take()), ([], []))

    def test_several_namespaces_on_one_connection(self) -> None:
        connection = self.begin(4)
        for namespace in ("/", "/kschat", "/é漢😀"):
            self.session.receive(b"40" + (namespace + "," if namespace != "/" else "").encode())
        self.assertEqual(list(connection.sockets), ["/", "/kschat", "/é漢😀"])
        self.application.take()
        self.session.receive('42/é漢😀,["x"]'.encode())
        self.session.receive(b'42["y"]')
        self.assertEqual(
            self.application.take(),
            [("event", "/é漢😀", Event("x", namespace="/é漢😀")), ("event", "/", Event("y"))],
        )

    def test_too_many_namespaces_close(self) -> None:
        """``max_namespaces``; those of revision 3 include the one it is joined to unasked."""
        for revision, free in ((3, 2), (4, 3)):
            connection = self.begin(3 if revision == 3 else 4, Limits(max_namespaces=3))
            for number in range(free):
                self.session.receive(b"40/%d," % number)
            self.assertEqual(len(connection.sockets), 3)
            self.assert_open()
            self.session.receive(b"40/more,")
            self.assert_closed()

    def test_namespaces_that_wait_for_their_answer_count(self) -> None:
        self.begin(4, Limits(max_namespaces=1))
        self.session.receive(b"40/later,")
        self.session.receive(b"40/kschat,")
        self.assert_closed()

    def test_namespaces_that_were_refused_or_left_do_not_count(self) -> None:
        self.begin(4, Limits(max_namespaces=1))
        for _ in range(5):
            self.session.receive(b"40/no,")
            self.session.receive(b"40/kschat,")
            self.session.receive(b"41/kschat,")
            self.session.receive(b"40/other,")
            self.application.sockets[-1].disconnect()
        self.assert_open()

    def test_who_was_refused_too_often_is_closed(self) -> None:
        self.begin(4, Limits(max_refused=3))
        self.session.receive(b"40/kschat,")
        for _ in range(3):
            self.session.receive(b"40/no,")
            self.assert_open()
        self.session.receive(b"40/no,")
        self.assert_closed()

    def test_what_a_connection_stays_for(self) -> None:
        connection = self.begin(3)
        self.assertFalse(connection.serves)
        self.session.receive(b"40/later,")
        self.assertFalse(connection.serves)
        self.application.sockets[-1].accept()
        self.assertTrue(connection.serves)
        self.session.receive(b"41/later,")
        self.assertFalse(connection.serves)
        self.session.receive(b"40/kschat,")
        self.assertTrue(connection.serves)
        self.session.close(Reason.FORCED_CLOSE)
        self.assertFalse(connection.serves)


class LateAnswersTests(ConnectionTestCase):
    """The application answers a CONNECT when it can; the peer does not always wait."""

    def test_an_answer_may_come_later(self) -> None:
        socket = self.joined(namespace="/later")
        self.assertFalse(socket.accepted)
        socket.accept()
        self.assertTrue(socket.accepted)
        self.assertEqual(self.transport.take(), [b'40/later,{"sid":"%b"}' % socket.id.encode()])
        self.session.receive(b'42/later,["x"]')
        self.assertEqual(self.application.take(), [("event", "/later", Event("x", namespace="/later"))])

    def test_a_refusal_may_come_later(self) -> None:
        socket = self.joined(namespace="/later")
        socket.refuse("no")
        self.assertEqual(self.transport.take(), [b'44/later,{"message":"no"}'])
        self.assertEqual(socket.connection.sockets, {})
        self.assertEqual(self.application.take(), [])

    def test_after_the_session_has_gone_no_answer_has_an_effect(self) -> None:
        for revision in REVISIONS:
            for answer in (Socket.accept, self.refuse, Socket.disconnect):
                socket = self.joined(revision, "/later")
                self.session.lost()
                self.assertIn(("disconnected", "/later", Reason.TRANSPORT_CLOSE), self.application.take())
                answer(socket)
                self.assertFalse(socket.accepted)
                self.assertEqual(socket.connection.sockets, {})
                self.assertEqual((self.transport.frames, self.transport.late), ([], []))
                self.assertEqual(self.application.take(), [])

    def test_after_the_peer_has_left_no_answer_has_an_effect(self) -> None:
        for answer in (Socket.accept, self.refuse, Socket.disconnect):
            socket = self.joined(namespace="/later")
            self.session.receive(b"41/later,")
            self.assertEqual(self.application.take(), [("disconnected", "/later", Reason.CLIENT_DISCONNECT)])
            answer(socket)
            self.assertFalse(socket.accepted)
            self.assertEqual((self.transport.frames, self.application.take()), ([], []))

    def test_an_answer_to_the_first_wish_is_none_to_the_second(self) -> None:
        for answer in (Socket.accept, self.refuse, Socket.disconnect):
            first = self.joined(namespace="/later")
            self.session.receive(b"41/later,")
            self.session.receive(b"40/later,")
            second = self.application.sockets[-1]
            answer(first)
            self.assertEqual(self.transport.frames, [])
            self.assertIs(first.connection.sockets["/later"], second)
            self.assertFalse(second.accepted)

    def refuse(self, socket: Socket) -> None:
        socket.refuse("too late")

    def test_an_event_before_the_answer_closes(self) -> None:
        for packet in (b'42/later,["x"]', b'43/later,0["x"]', b'42/later,0["x"]'):
            self.joined(namespace="/later")
            self.session.receive(packet)
            self.assert_closed()
            self.assertEqual(
                self.application.log[:-1], [("disconnected", "/later", Reason.PARSE_ERROR)], "and is not handed on"
            )


class EventsTests(ConnectionTestCase):
    """Events and acks, both ways."""

    def test_events_reach_the_application(self) -> None:
        for revision in REVISIONS:
            self.joined(revision)
            self.session.receive(b'42/kschat,0["Send",{"msg":"hi"}]')
            expected = Event("Send", (Raw(b'{"msg":"hi"}'),), "/kschat", 0)
            self.assertEqual(self.application.take(), [("event", "/kschat", expected)])

    def test_binary_events_reach_the_application_with_their_attachments(self) -> None:
        text = b'452-/kschat,7["Send",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        for revision, attachments in (
            (4, [(b"\x01", True), (b"\x02", True)]),
            (4, [(b"bAQ==", False), (b"\x02", True)]),
            (3, [(b"\x04\x01", True), (b"\x04\x02", True)]),
            (3, [(b"b4AQ==", False), (b"b4Ag==", False)]),
        ):
            self.joined(3 if revision == 3 else 4)
            self.session.receive(text)
            for payload, binary in attachments:
                self.assertEqual(self.application.log, [])
                self.session.receive(payload, binary)
            ((_, _, event),) = self.application.take()
            self.assertEqual((event.id, event.attachments), (7, (b"\x01", b"\x02")))

    def test_what_is_large_and_has_no_place_is_refused_before_its_content_is_looked_at(self) -> None:
        """Its content is no JSON here, and nobody says so."""
        for packet in (b'42/other,["%b', b'430["%b', b'451-/other,["%b'):
            self.joined()
            self.session.receive(packet % (b"x" * 2000))
            self.assert_closed()
            self.assertIn("not joined", self.application.log[-1][2])

    def test_what_crosses_the_end_of_a_socket_is_passed_over_however_large(self) -> None:
        socket = self.joined()
        socket.disconnect()
        self.application.take()
        self.session.receive(b'42/kschat,["x","%b"]' % (b"x" * 20_000))
        self.assert_open()
        self.assertEqual(self.application.take(), [])

    def test_a_peer_that_has_joined_nothing_that_serves_may_send_small_packets_alone(self) -> None:
        limits = Limits(max_payload_unjoined=2000)
        for revision in REVISIONS:
            connection = self.begin(revision, limits)
            if revision == 4:
                self.session.receive(b"40")
            self.assertEqual((connection.serves, connection.max_payload), (False, 2000))
            self.session.receive(b'42["%b"]' % (b"x" * 2000))
            self.assert_closed(Reason.TOO_LARGE)
            self.joined(revision, limits=limits)
            self.session.receive(b'42/kschat,["x","%b"]' % (b"x" * 9000))
            self.assert_open()

    def test_attachments_are_counted_by_their_packet_s_values(self) -> None:
        self.joined()
        self.session.receive(b'451-/kschat,["x",{"_placeholder":true,"num":0},[%b1]]' % (b"1," * 20_000))
        self.assert_closed()
        self.assertEqual(self.application.log[-1][2], "too many values")

    def test_a_heartbeat_may_come_between_attachments(self) -> None:
        for revision, beat, data in ((3, b"2", b"\x04\x01"), (4, b"3", b"\x01")):
            self.joined(3 if revision == 3 else 4)
            self.session.receive(b'451-/kschat,["x",{"_placeholder":true,"num":0}]')
            self.session.receive(beat)
            self.session.receive(data, True)
            self.assertEqual(self.application.take()[0][2].attachments, (b"\x01",))

    def test_what_has_no_place_closes(self) -> None:
        for revision in REVISIONS:
            for frames in (
                [b'42/other,["x"]'],
                [b"43/other,0[]"],
                [b'42/no,["x"]'],
                [b'40/no,,42/no,["x"]'],
                [b"40/no,", b'42/no,["x"]'],
                [b"41/kschat,", b'42/kschat,["x"]'],
                [b"41/kschat,", b"43/kschat,0[]"],
                [b'44/kschat,"no"'],
                [b"44"],
                [b'451-/kschat,["x",{"_placeholder":true,"num":0}]', b'42/kschat,["x"]'],
                [b'451-/kschat,["x",{"_placeholder":true,"num":0}]', b"41/kschat,"],
                [b'42/kschat,["connect"]'],
                [b"47"],
                [b"4"],
            ):
                self.joined(revision)
                for frame in frames:
                    self.session.receive(frame)
                self.assert_closed()
                self.assertEqual([what for what in self.application.log if what[0] in ("event", "acked")], [])

    def test_an_event_after_a_refusal_closes_and_the_refusal_was_sent(self) -> None:
        self.begin(4)
        self.session.receive(b"40/no,")
        self.session.receive(b'42/no,["x"]')
        self.assertEqual(self.transport.frames, [b'44/no,{"message":"Authentication error"}'])
        self.assert_closed()

    def test_an_attachment_that_no_packet_awaits_closes(self) -> None:
        self.joined()
        self.session.receive(b"\x01", True)
        self.assert_closed()

    def test_attachments_that_are_too_large_close_with_that_reason(self) -> None:
        self.joined(limits=Limits(max_payload=10))
        self.session.receive(b'451-/kschat,["x",{"_placeholder":true,"num":0}]')
        self.session.receive(b"x" * 11, True)
        self.assert_closed(Reason.TOO_LARGE)

    def test_an_error_that_the_application_raises_closes_with_its_reason(self) -> None:
        self.joined()

        def refuse(socket: Socket, event: Event) -> None:
            raise ProtocolError("no place for this", Reason.FORCED_CLOSE)

        self.application.on_event = refuse
        self.session.receive(b'42/kschat,["x"]')
        self.assert_closed(Reason.FORCED_CLOSE)
        self.assertEqual(self.application.log[-1][2], "no place for this")

    def test_after_an_event_that_ends_the_connection_nothing_more_is_heard(self) -> None:
        self.joined()
        self.application.on_event = lambda socket, event: socket.connection.session.close(Reason.FORCED_CLOSE)
        self.session.receive(b'42/kschat,["x"]')
        self.session.receive(b'42/kschat,["y"]')
        self.session.receive(b"40/other,")
        self.assertEqual([what[0] for what in self.application.take()], ["event", "disconnected", "ended"])

    def test_events_are_sent_as_each_revision_wants_them(self) -> None:
        for revision in REVISIONS:
            for namespace, prefix in (("/kschat", b"/kschat,"), ("/", b"")):
                socket = self.joined(revision, namespace)
                self.assertIsNone(socket.emit(b'["x",1]'))
                self.assertEqual(self.transport.take(), [b"42" + prefix + b'["x",1]'])

    def test_acks_that_are_asked_for_count_from_0_in_each_socket(self) -> None:
        one = self.joined()
        self.session.receive(b"40/other,")
        other = one.connection.sockets["/other"]
        self.transport.take()
        self.assertEqual([one.emit(b'["x"]', ask=True) for _ in range(3)], [0, 1, 2])
        self.assertIsNone(one.emit(b'["x"]'))
        self.assertEqual(other.emit(b'["x"]', ask=True), 0)
        self.assertEqual(
            self.transport.take(),
            [b'42/kschat,0["x"]', b'42/kschat,1["x"]', b'42/kschat,2["x"]', b'42/kschat,["x"]', b'42/other,0["x"]'],
        )

    def test_acks_of_the_peer_reach_the_application(self) -> None:
        socket = self.joined()
        socket.emit(b'["x"]', ask=True)
        self.session.receive(b'43/kschat,0["done"]')
        self.session.receive(b'461-/kschat,0[{"_placeholder":true,"num":0}]')
        self.session.receive(b"\x01", True)
        self.session.receive(b"43/kschat,77[]")  # one that nobody asked for
        acks = [ack for _, _, ack in self.application.take()]
        self.assertEqual(acks[0], Ack(0, (Raw(b'"done"'),), "/kschat"))
        self.assertEqual((acks[1].id, acks[1].attachments), (0, (b"\x01",)))
        self.assertEqual(acks[2], Ack(77, (), "/kschat"))
        self.assert_open()

    def test_acks_of_ours_name_their_event(self) -> None:
        for revision in REVISIONS:
            socket = self.joined(revision)
            socket.ack(0, b'["done"]')
            socket.ack(2**53 - 1, b"[]")
            self.assertEqual(self.transport.take(), [b'43/kschat,0["done"]', b"43/kschat,9007199254740991[]"])

    def test_acks_of_ours_may_carry_binary(self) -> None:
        socket = self.joined()
        socket.ack(0, b'[{"_placeholder":true,"num":0}]', (b"\x01",))
        frames = [b'461-/kschat,0[{"_placeholder":true,"num":0}]', Frame(b"\x01", True)]
        self.assertEqual(self.transport.take(), frames)

    def test_binary_is_sent_after_its_text_as_each_revision_wants_it(self) -> None:
        body = b'["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        expected: list[tuple[Revision, bool, list[bytes | Frame]]] = [
            (4, False, [Frame(b"\x01", True), Frame(b"\x02", True)]),
            (4, True, [b"bAQ==", b"bAg=="]),
            (3, False, [Frame(b"\x04\x01", True), Frame(b"\x04\x02", True)]),
            (3, True, [b"b4AQ==", b"b4Ag=="]),
        ]
        for revision, base64, frames in expected:
            socket = self.joined(revision, base64=base64)
            socket.emit(body, (b"\x01", b"\x02"), ask=True)
            self.assertEqual(self.transport.take(), [b"452-/kschat,0" + body, *frames])

    @PROPERTY
    @given(events(), st.sampled_from(["/", "/kschat"]), st.booleans())
    def test_what_is_emitted_is_what_a_client_decodes(self, event: Event, namespace: str, ask: bool) -> None:
        socket = self.joined(4, namespace)
        body = encode(Event(event.name, event.args))[0][1:]
        number = socket.emit(body, event.attachments, ask)
        decoder = Decoder(Limits(max_attachments=1000))
        packets = [
            decoder.text(frame[1:]) if isinstance(frame, bytes) else decoder.binary(frame.payload)
            for frame in self.transport.take()
        ]
        expected = Event(event.name, event.args, namespace, number, event.attachments)
        self.assertEqual([encode(packet) for packet in packets if packet], [mended_text(encode(expected))])

    def test_a_hundred_events_in_a_burst_are_heard_in_order(self) -> None:
        self.joined()
        for number in range(100):
            self.session.receive(b'42/kschat,%d["Send"]' % number)
        self.assertEqual([event.id for _, _, event in self.application.take()], list(range(100)))


def mended_text(encoded: tuple[bytes, tuple[bytes, ...]]) -> tuple[bytes, tuple[bytes, ...]]:
    """What ``encode`` gave, as its receiver has it."""
    return mend_surrogates(encoded[0]), encoded[1]


class LeavingTests(ConnectionTestCase):
    """DISCONNECT of either side, and the end of the session."""

    def test_the_peer_leaves(self) -> None:
        for revision in REVISIONS:
            socket = self.joined(revision)
            self.session.receive(b"41/kschat,")
            self.assertEqual(self.application.take(), [("disconnected", "/kschat", Reason.CLIENT_DISCONNECT)])
            self.assertFalse(socket.accepted)
            self.assertNotIn("/kschat", socket.connection.sockets)
            self.assertEqual(self.transport.take(), [])
            self.assert_open()

    def test_the_peer_may_come_back(self) -> None:
        first = self.joined()
        self.session.receive(b"41/kschat,")
        self.session.receive(b"40/kschat,")
        second = first.connection.sockets["/kschat"]
        self.assertIsNot(first, second)
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(second.emit(b'["x"]', ask=True), 0)

    def test_leaving_one_namespace_is_not_leaving_the_others(self) -> None:
        socket = self.joined(3)
        self.session.receive(b"41")
        self.assertEqual(self.application.take(), [("disconnected", "/", Reason.CLIENT_DISCONNECT)])
        self.assertTrue(socket.accepted)
        self.session.receive(b'42/kschat,["x"]')
        self.assert_open()

    def test_a_disconnect_of_an_unknown_namespace_is_ignored(self) -> None:
        self.joined()
        for packet in (b"41", b"41/other", b"41/other,", b"41/no,"):
            self.session.receive(packet)
        self.assertEqual((self.transport.take(), self.application.take()), ([], []))
        self.assert_open()

    def test_the_server_ends_a_socket(self) -> None:
        for revision in REVISIONS:
            for namespace, packet in (("/kschat", b"41/kschat,"), ("/", b"41")):
                socket = self.joined(revision, namespace)
                socket.disconnect()
                self.assertEqual(self.transport.take(), [packet])
                self.assertEqual(self.application.take(), [("disconnected", namespace, Reason.SERVER_DISCONNECT)])
                self.assertFalse(socket.accepted)
                self.assert_open()

    def test_a_disconnect_of_both_sides_at_once_is_one(self) -> None:
        socket = self.joined()
        socket.disconnect()
        socket.disconnect()
        self.session.receive(b"41/kschat,")
        self.assertEqual(self.transport.take(), [b"41/kschat,"])
        self.assertEqual(len(self.application.take()), 1)
        self.assert_open()

    def test_what_crosses_the_end_of_a_socket_on_its_way_is_nothing(self) -> None:
        """A client that polls may have asked for an ack, or given one, before it heard."""
        for revision in REVISIONS:
            for packet in (b'42/kschat,["e"]', b'42/kschat,1["e"]', b"43/kschat,0[]"):
                socket = self.joined(revision)
                socket.disconnect()
                self.transport.take()
                self.application.take()
                self.session.receive(packet)
                self.assertEqual((self.transport.take(), self.application.take()), ([], []))
                self.assert_open()

    def test_attachments_that_cross_the_end_of_a_socket_are_nothing_either(self) -> None:
        """The connection has begun with text, so that a binary message is no packet of the msgpack parser."""
        head = b'451-/kschat,1["e",{"_placeholder":true,"num":0}]'
        for revision in REVISIONS:
            for before in (True, False):
                socket = self.joined(revision)
                if before:
                    self.session.receive(head)
                socket.disconnect()
                self.transport.take()
                self.application.take()
                if not before:
                    self.session.receive(head)
                self.session.receive(b"bytes" if revision == 4 else b"\x04bytes", True)
                self.assertEqual((self.transport.take(), self.application.take()), ([], []))
                self.assert_open()
                # It may come back, and is answered in text.
                self.session.receive(b"40/kschat,")
                self.assertTrue(self.transport.take())
                self.assert_open()

    def test_after_the_peer_has_come_back_or_left_nothing_crosses_any_more(self) -> None:
        for packets in (
            (b"40/kschat,", b"41/kschat,"),
            (b"41/kschat,",),
            (b"40/kschat,", b"41/kschat,", b"41/kschat,"),
        ):
            socket = self.joined()
            socket.disconnect()
            for packet in packets:
                self.session.receive(packet)
            self.assert_open()
            self.session.receive(b'42/kschat,["e"]')
            self.assert_closed()

    def test_only_so_many_ends_are_kept_in_mind(self) -> None:
        connection = self.begin(limits=Limits(max_namespaces=2))
        for number in range(3):
            self.session.receive(b"40/%d," % number)
            connection.sockets[f"/{number}"].disconnect()
        for number in (1, 2):
            self.session.receive(b'42/%d,["e"]' % number)
            self.assert_open()
        self.session.receive(b'42/0,["e"]')
        self.assert_closed()

    def test_the_end_of_the_session_is_the_end_of_its_sockets_first(self) -> None:
        for reason in (Reason.PING_TIMEOUT, Reason.SHUTTING_DOWN):
            connection = self.begin(3)
            for namespace in (b"/kschat", b"/later", b"/no"):
                self.session.receive(b"40" + namespace + b",")
            self.application.take()
            self.session.close(reason, "why")
            self.assertEqual(
                self.application.take(),
                [
                    ("disconnected", "/", reason),
                    ("disconnected", "/kschat", reason),
                    ("disconnected", "/later", reason),
                    ("ended", reason, "why"),
                ],
            )
            self.assertEqual(connection.sockets, {})
            self.assertEqual([socket.accepted for socket in self.application.sockets[:3]], [False] * 3)

    def test_a_socket_that_is_gone_sends_nothing(self) -> None:
        """Answers that were on their way (a message stored, say) find the peer away."""
        for end in (
            lambda socket: self.session.lost(),
            lambda socket: self.session.close(Reason.SHUTTING_DOWN),
            lambda socket: self.session.receive(b"41/kschat,"),
            lambda socket: socket.disconnect(),
        ):
            for revision in REVISIONS:
                socket = self.joined(revision)
                end(socket)
                self.transport.take()
                self.application.take()
                socket.emit(b'["x"]')
                socket.emit(b'["x",{"_placeholder":true,"num":0}]', (b"a",), ask=True)
                socket.ack(1, b"[]")
                socket.accept()
                socket.refuse("no")
                socket.disconnect()
                self.assertEqual((self.transport.frames, self.transport.late), ([], []))
                self.assertEqual(self.application.take(), [])

    def test_a_socket_that_was_not_let_in_sends_nothing(self) -> None:
        for namespace in ("/later", "/no"):
            self.begin()
            self.session.receive(b"40%b," % namespace.encode())
            self.transport.take()
            socket = self.application.sockets[-1]
            socket.emit(b'["x"]')
            socket.ack(1, b"[]")
            self.assertEqual(self.transport.take(), [])

    def test_the_application_may_end_sockets_while_it_is_told_of_an_end(self) -> None:
        connection = self.begin()
        for namespace in (b"/a", b"/b"):
            self.session.receive(b"40" + namespace + b",")
        sockets = list(connection.sockets.values())
        told: list[str] = []

        def end_all(socket: Socket, reason: Reason) -> None:
            told.append(socket.namespace)
            for one in sockets:
                one.disconnect()
            self.session.close(Reason.FORCED_CLOSE)

        self.application.disconnected = end_all  # type: ignore[method-assign]
        self.session.lost()
        self.assertEqual(told, ["/a", "/b"])


class ProofsTests(ConnectionTestCase):
    """Proofs that the peer has read what was sent: one at a time, whoever asked."""

    def two(self) -> tuple[Socket, Socket]:
        """Two sockets on one connection."""
        one = self.joined()
        self.session.receive(b"40/other,")
        self.application.take()
        return one, one.connection.sockets["/other"]

    def test_the_application_is_told_of_the_proof_that_was_asked_for(self) -> None:
        socket = self.joined()
        self.assertTrue(socket.ask_confirmation(5))
        self.assertEqual(self.transport.asked, [5])
        self.session.confirmed(5)
        self.assertEqual(self.application.take(), [("confirmed", "/kschat", 5)])

    def test_one_is_asked_for_at_a_time(self) -> None:
        one, other = self.two()
        self.assertTrue(one.ask_confirmation(5))
        self.assertFalse(one.ask_confirmation(6))
        self.assertFalse(other.ask_confirmation(7))
        self.session.confirmed(5)
        self.assertTrue(other.ask_confirmation(7))
        self.assertEqual(self.transport.asked, [5, 7])

    def test_who_was_put_off_is_told_when_who_asked_is_gone(self) -> None:
        one, other = self.two()
        one.ask_confirmation(5)
        other.ask_confirmation(7)
        self.session.receive(b"41/kschat,")
        self.application.take()
        self.session.confirmed(5)
        self.assertEqual(self.application.take(), [("confirmed", "/other", 0)])
        self.assertTrue(other.ask_confirmation(7))

    def test_a_socket_that_is_gone_or_was_not_let_in_asks_for_none(self) -> None:
        for end in (
            lambda socket: self.session.lost(),
            lambda socket: self.session.close(Reason.SHUTTING_DOWN),
            lambda socket: self.session.receive(b"41/kschat,"),
            lambda socket: socket.disconnect(),
        ):
            socket = self.joined()
            end(socket)
            self.assertFalse(socket.ask_confirmation(5))
            self.assertEqual(self.transport.asked, [])
        self.assertFalse(self.joined(namespace="/later").ask_confirmation(5))
        self.assertEqual(self.transport.asked, [])


class LastWordsTests(ConnectionTestCase):
    """Before this side ends a connection, its sockets may say why."""

    def test_every_socket_that_was_let_in_may_say_one(self) -> None:
        self.begin()
        for namespace in (b"/a", b"/later", b"/no", b"/b"):
            self.session.receive(b"40" + namespace + b",")
        self.transport.take()

        self.application.on_closing = lambda socket: socket.emit(b'["Goodbye"]')
        self.session.close(Reason.SHUTTING_DOWN)
        self.session.close(Reason.SHUTTING_DOWN)
        self.assertEqual(self.application.last_words, [("/a", Reason.SHUTTING_DOWN), ("/b", Reason.SHUTTING_DOWN)])
        self.assertEqual((self.transport.frames, self.transport.late), ([b'42/a,["Goodbye"]', b'42/b,["Goodbye"]'], []))

    def test_a_socket_may_be_ended_while_another_says_its_last_word(self) -> None:
        connection = self.begin()
        for namespace in (b"/a", b"/b"):
            self.session.receive(b"40" + namespace + b",")
        sockets = list(connection.sockets.values())

        def end_all(socket: Socket) -> None:
            for one in sockets:
                one.disconnect()

        self.application.on_closing = end_all
        self.session.close(Reason.SHUTTING_DOWN)
        self.assertEqual(self.application.last_words, [("/a", Reason.SHUTTING_DOWN)])
        self.assert_closed(Reason.SHUTTING_DOWN)

    def test_there_is_none_where_the_peer_or_the_transport_made_the_end(self) -> None:
        for end in (lambda: self.session.receive(b"1"), lambda: self.session.lost()):
            self.joined()
            end()
            self.assertEqual(self.application.last_words, [])


class RecoveryTests(ConnectionTestCase):
    """What a client shows when it comes back."""

    def test_revision_4_is_told_its_pid_and_revision_3_is_not(self) -> None:
        socket = self.joined(4, "/later")
        socket.accept(pid='"p"')
        (frame,) = self.transport.take()
        assert isinstance(frame, bytes)
        self.assertEqual(json.loads(frame.removeprefix(b"40/later,")), {"sid": socket.id, "pid": '"p"'})
        self.joined(3, "/later").accept(pid="p")
        self.assertEqual(self.transport.take(), [b"40/later,"])


#: What the application does at any time, to the socket of that number.
_actions = st.tuples(
    st.sampled_from(["accept", "refuse", "disconnect", "emit", "emit binary", "ack", "prove", "close"]),
    st.integers(0, 8),
)


class AnyCourseTests(ConnectionTestCase):
    """Whatever a client sends and whatever the application does, in whatever order."""

    @PROPERTY
    @given(revisions.flatmap(lambda revision: st.tuples(st.just(revision), course(revision))))
    def test_no_course_of_things_raises_or_breaks_a_promise(
        self, drawn: tuple[Revision, list[Frame | tuple[str, int]]]
    ) -> None:
        revision, course = drawn
        connection = self.begin(revision, Limits(max_namespaces=3))
        self.application.on_event = lambda socket, event: self.assertTrue(socket.accepted)
        for step in course:
            if isinstance(step, Frame):
                self.session.receive(step.payload, step.binary)
            else:
                self.act(*step)
            self.assertLessEqual(len(connection.sockets), 3)
            for socket in self.application.sockets:
                self.assertTrue(not socket.accepted or connection.sockets.get(socket.namespace) is socket)
        self.session.close(Reason.SHUTTING_DOWN)
        self.assertEqual(connection.sockets, {})
        self.assertEqual((self.transport.late, len(self.transport.closed)), ([], 1))
        self.check_books(revision)
        self.check_sent()

    def act(self, what: str, number: int) -> None:
        sockets = self.application.sockets
        if what == "close":
            if number == 0:
                self.session.close(Reason.FORCED_CLOSE)
            return
        if number >= len(sockets):
            return
        socket = sockets[number]
        match what:
            case "accept" if not socket.accepted:
                socket.accept()
            case "refuse" if not socket.accepted:
                socket.refuse("no")
            case "disconnect":
                socket.disconnect()
            case "emit":
                socket.emit(b'["x"]', ask=True)
            case "emit binary":
                socket.emit(b'["x",{"_placeholder":true,"num":0}]', (b"data",))
            case "ack":
                socket.ack(number, b'[{"_placeholder":true,"num":0}]', (b"data",))
            case "prove":
                if not socket.ask_confirmation(number):
                    self.session.confirmed(number)

    def check_books(self, revision: Revision) -> None:
        """The application was told once of the end of each socket that it did not refuse, and last of the session's."""
        log = self.application.take()
        self.assertEqual([what[0] for what in log].index("ended"), len(log) - 1)
        open_now: set[str] = {"/"} if revision == 3 else set()
        for what, namespace, _ in log[:-1]:
            if what == "confirmed":
                self.assertIn(namespace, open_now)
            elif what == "connect":
                # One that was refused went without a word.
                open_now.add(namespace)
            else:
                self.assertIn(namespace, open_now)
                if what == "disconnected":
                    open_now.remove(namespace)

    def check_sent(self) -> None:
        """All that was sent can be read by a client."""
        decoder = Decoder(Limits())
        for frame in self.transport.frames:
            if isinstance(frame, Frame):
                payload = frame.payload.removeprefix(b"\x04") if self.session.revision == 3 else frame.payload
                decoder.binary(payload)
            elif frame[:1] == b"4":
                decoder.text(frame[1:])
            else:
                # A pong, with what the ping carried.
                self.assertEqual((frame[:1], self.session.revision), (b"3", 3))


def course(revision: Revision) -> st.SearchStrategy[list[Frame | tuple[str, int]]]:
    """Frames of a client with actions of the application among them."""
    join = st.sampled_from([b"40/later,", b"40/no,", b"41/later,", b"40/kschat,"]).map(lambda text: [Frame(text)])
    some = conversations(revision) | join | _actions.map(lambda action: [action])
    return st.lists(some, max_size=6).map(lambda parts: [step for part in parts for step in part])


class FakesTests(SynchronousTestCase):
    """The fakes are what the connection's protocols ask for; mypy reads this."""

    def test_they_fit(self) -> None:
        application: Application = FakeApplication()
        session = EngineSession("sid", 4, FakeTransport(), timers=FakeTimers(), times=HeartbeatTimes(25, 20))
        listener: Listener = Connection(session, application, Handshake(), limits=Limits())
        self.assertTrue(listener)
