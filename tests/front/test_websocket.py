"""A session on a WebSocket: how it begins, beats, is written to and ends, and what its faults cost."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, KeyPair
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.front.compat_twisted import unsent
from kschat.front.websocket import CLOSE_TIMEOUT
from kschat.wire.connection import Socket
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.socketio import Connect, Event
from tests.front.daemon import V3, V4, Daemon, Recorder, handshake
from tests.front.frames import CLOSE, PING, PONG, TEXT, Seen, client_frame, close_frame

#: Just less, and just more, than an alarm clock of slots of 10 ms may be late.
EARLY, LATE = -0.001, 0.011


def event(text: str = "x") -> str:
    return f'42/kschat,["x","{text}"]'


def send(daemon: Daemon, text: str, number: int = -1) -> None:
    """The application says something to its newest socket."""
    daemon.recorder.sockets[number].emit(json.dumps(["x", text]).encode())


class SessionTests(SynchronousTestCase):
    def assertNothingLeft(self, daemon: Daemon) -> None:
        """All connections are gone without a trace."""
        self.assertEqual(daemon.connections.open, 0)
        self.assertEqual(list(daemon.sessions), [])
        self.assertEqual(len(daemon.timers), 0)


class Beginnings(SessionTests):
    def test_the_open_packet_says_what_is_configured_to_the_millisecond(self) -> None:
        daemon = Daemon(ping_interval=0.125, ping_timeout=20)
        (text,) = daemon.websocket().texts()
        data = json.loads(text[1:])
        sid = data.pop("sid")
        self.assertIn(sid, daemon.sessions)
        self.assertEqual(data, {"upgrades": [], "pingInterval": 125, "pingTimeout": 20_000, "maxPayload": 1_000_000})

    def test_clients_of_revision_3_are_joined_to_the_default_namespace_unasked(self) -> None:
        peer = Daemon().websocket(V3)
        self.assertEqual([text[:2] for text in peer.texts()], ["0{", "40"])

    def test_clients_of_revision_4_are_not(self) -> None:
        peer = Daemon().websocket(V4)
        self.assertEqual([text[0] for text in peer.texts()], ["0"])

    def test_sids_are_unlike_each_other_and_unlike_the_sockets_ids(self) -> None:
        daemon = Daemon()
        seen = set()
        for _ in range(20):
            peer = daemon.websocket()
            peer.send("40/kschat,")
            opened, joined = peer.texts()
            seen |= {json.loads(opened[1:])["sid"], json.loads(joined.partition(",")[2])["sid"]}
        self.assertEqual(len(seen), 40)

    def test_no_extension_and_no_subprotocol_is_spoken(self) -> None:
        peer = Daemon().websocket(
            V4,
            Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits",
            Sec_WebSocket_Protocol="chat, superchat",
        )
        self.assertNotIn(b"sec-websocket-extensions", peer.head.lower())
        self.assertNotIn(b"sec-websocket-protocol", peer.head.lower())

    def test_nothing_says_what_software_this_is(self) -> None:
        self.assertNotIn(b"server:", Daemon().websocket().head.lower())

    def test_small_writes_are_not_delayed(self) -> None:
        self.assertTrue(Daemon().websocket().wire.getTcpNoDelay())

    def test_frames_in_the_same_read_as_the_handshake_are_handled(self) -> None:
        """No client may do this (RFC 6455, 4.1), but what is lost here would be missed in the middle of a frame."""
        for frames in (1, 2000):
            daemon = Daemon()
            wire = daemon.connect()
            wire.arrive(handshake() + client_frame(b"40/kschat,") + client_frame(event().encode()) * frames)
            daemon.take_turns()
            self.assertEqual(len(daemon.recorder.of("event")), frames)
            wire.arrive(client_frame(event("after").encode()))
            self.assertEqual(daemon.recorder.of("event")[-1], ("x", "after"))

    def test_nor_are_those_behind_the_body_of_a_handshake_lost(self) -> None:
        for header, body in (("Content-Length: 2", b"ab"), ("Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n")):
            daemon = Daemon()
            wire = daemon.connect()
            head = handshake().removesuffix(b"\r\n") + header.encode() + b"\r\n\r\n"
            wire.arrive(head + body + client_frame(b"40/kschat,") + client_frame(event("first").encode()))
            wire.arrive(client_frame(event("after").encode()))
            self.assertEqual(daemon.recorder.of("event"), [("x", "first"), ("x", "after")], header)

    def test_a_handshake_byte_by_byte(self) -> None:
        daemon = Daemon()
        wire = daemon.connect()
        for byte in handshake():
            wire.arrive(bytes((byte,)))
        self.assertIn(b" 101 ", bytes(wire.taken))
        self.assertEqual(len(daemon.sessions), 1)

    def test_a_client_that_leaves_at_once_leaves_nothing(self) -> None:
        daemon = Daemon()
        daemon.upgrade().hang_up()
        self.assertEqual(daemon.recorder.of("ended"), [(Reason.TRANSPORT_CLOSE, "")])
        self.assertNothingLeft(daemon)

    def test_the_http_channel_is_let_go(self) -> None:
        wire = Daemon().upgrade()
        self.assertEqual(type(wire.protocol).__name__, "EngineProtocol")
        self.assertIs(wire.producer, wire.protocol)

    def test_what_stands_behind_a_handshake_that_is_refused_is_read_by_nobody(self) -> None:
        for size in (1, 3000):
            for bad in ({"Connection": "Upgrad"}, {"Sec_WebSocket_Key": "x"}, {"Sec_WebSocket_Version": "12"}):
                daemon = Daemon()
                wire = daemon.connect()
                wire.arrive(handshake(V4, **bad) + b"\x81\x85\0\0\0\040" * size)
                self.assertTrue(bytes(wire.taken).startswith(b"HTTP/1.1 4"), bad)
                self.assertIsNotNone(wire.lost, bad)


class Ends(SessionTests):
    def ended(self, daemon: Daemon) -> list[tuple[Any, ...]]:
        return daemon.recorder.of("disconnected") + daemon.recorder.of("ended")

    def test_each_reason_goes_out_as_its_code_and_its_words(self) -> None:
        for query in (V3, V4):
            for reason in Reason:
                daemon = Daemon()
                peer = daemon.joined(query)
                (connection,) = daemon.sessions.values()
                connection.session.close(reason)
                self.assertEqual(
                    peer.frames(), [Seen(CLOSE, reason.close_code.to_bytes(2, "big") + reason.text.encode())]
                )
                self.assertEqual(daemon.recorder.of("ended"), [(reason, "")])
                peer.arrive(close_frame(reason.close_code))
                self.assertIsNotNone(peer.wire.lost)
                self.assertFalse(peer.wire.aborted)
                self.assertNothingLeft(daemon)

    def test_no_reason_s_code_is_one_that_may_not_be_sent(self) -> None:
        for reason in Reason:
            self.assertIn(reason.close_code, (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011), reason)
            self.assertLessEqual(len(reason.text.encode()), 123, reason)

    def test_all_that_was_said_before_goes_out_before_the_end(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        send(daemon, "last words")
        (connection,) = daemon.sessions.values()
        connection.session.close(Reason.SHUTTING_DOWN)
        self.assertEqual([frame.opcode for frame in peer.frames()], [TEXT, CLOSE])

    def test_nothing_goes_out_after_the_close_frame(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        (connection,) = daemon.sessions.values()
        connection.session.close(Reason.SHUTTING_DOWN)
        send(daemon, "too late")
        connection.session.send_text(b"2")
        connection.session.close(Reason.SERVER_ERROR)
        daemon.clock.advance(1)
        self.assertEqual([frame.opcode for frame in peer.frames()], [CLOSE])

    def test_a_peer_that_does_not_answer_the_close_frame_is_cut(self) -> None:
        for query in (V3, V4):
            daemon = Daemon()
            peer = daemon.joined(query)
            (connection,) = daemon.sessions.values()
            connection.session.close(Reason.SHUTTING_DOWN)
            daemon.clock.advance(CLOSE_TIMEOUT + EARLY)
            self.assertIsNone(peer.wire.lost)
            daemon.clock.advance(LATE - EARLY)
            daemon.clock.advance(0)
            self.assertTrue(peer.wire.aborted)
            self.assertNothingLeft(daemon)

    def test_a_peer_that_goes_on_talking_after_the_close_frame_is_cut_as_soon(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        (connection,) = daemon.sessions.values()
        connection.session.close(Reason.SHUTTING_DOWN)
        for _ in range(10):
            daemon.clock.advance(CLOSE_TIMEOUT / 10)
            if peer.wire.lost is None:
                peer.arrive(client_frame(event().encode()) + client_frame(b"p", 9))
        daemon.clock.advance(LATE)
        daemon.clock.advance(0)
        self.assertIsNotNone(peer.wire.lost)
        self.assertEqual(daemon.recorder.of("event"), [])
        self.assertEqual([frame.opcode for frame in peer.frames()], [CLOSE])

    def test_a_peer_that_broke_the_protocol_and_does_not_answer_is_cut(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.arrive(client_frame(b"x", mask=None))
        daemon.clock.advance(CLOSE_TIMEOUT + LATE)
        daemon.clock.advance(0)
        self.assertTrue(peer.wire.aborted)
        self.assertNothingLeft(daemon)

    def test_a_peer_that_closes_and_reads_no_more_is_cut(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.wire.room = 0
        send(daemon, "never read")
        peer.arrive(close_frame(1000))
        self.assertEqual(self.ended(daemon), [])
        daemon.clock.advance(CLOSE_TIMEOUT + LATE)
        daemon.clock.advance(0)
        self.assertTrue(peer.wire.aborted)
        self.assertNothingLeft(daemon)

    def test_a_peer_that_closes_is_answered_and_its_session_ended(self) -> None:
        for code in (1000, 1001, 3000, 4999, None):
            daemon = Daemon()
            peer = daemon.joined()
            peer.arrive(close_frame(code, "bye" if code else ""))
            self.assertEqual(peer.closing().code, 1000)
            self.assertFalse(peer.wire.aborted)
            self.assertEqual(self.ended(daemon), [("/kschat", Reason.TRANSPORT_CLOSE), (Reason.TRANSPORT_CLOSE, "")])
            self.assertNothingLeft(daemon)

    def test_a_close_packet_of_engine_io_ends_the_session_at_once(self) -> None:
        for query in (V3, V4):
            daemon = Daemon()
            peer = daemon.joined(query)
            peer.send("1")
            self.assertEqual(peer.closing().code, 1000)
            self.assertIn(("ended", Reason.TRANSPORT_CLOSE, ""), daemon.recorder.log)

    def test_a_peer_that_is_gone_ends_its_session(self) -> None:
        for query in (V3, V4):
            for way in ("hang_up", "finish"):
                daemon = Daemon()
                peer = daemon.joined(query)
                getattr(peer.wire, way)()
                self.assertIn(("disconnected", "/kschat", Reason.TRANSPORT_CLOSE), daemon.recorder.log)
                self.assertEqual(daemon.recorder.of("ended"), [(Reason.TRANSPORT_CLOSE, "")])
                self.assertNothingLeft(daemon)

    def test_a_peer_that_is_gone_while_we_close_is_told_of_once(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        (connection,) = daemon.sessions.values()
        connection.session.close(Reason.SHUTTING_DOWN)
        peer.wire.hang_up()
        self.assertEqual(self.ended(daemon), [("/kschat", Reason.SHUTTING_DOWN), (Reason.SHUTTING_DOWN, "")])
        self.assertNothingLeft(daemon)

    def test_a_peer_that_is_gone_in_the_middle_of_a_frame(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.arrive(client_frame(event().encode())[:10])
        peer.wire.hang_up()
        self.assertNothingLeft(daemon)

    def test_words_to_who_is_gone_are_nothing(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.wire.hang_up()
        send(daemon, "nobody hears")
        daemon.recorder.sockets[-1].disconnect()

    def test_a_leaving_socket_leaves_the_connection(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.send("41/kschat,")
        self.assertEqual(self.ended(daemon), [("/kschat", Reason.CLIENT_DISCONNECT)])
        peer.send("40/kschat,")
        self.assertEqual(len(peer.texts()), 1)


class Heartbeats(SessionTests):
    def test_revision_4_is_asked_and_closed_when_it_does_not_answer(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        peer = daemon.joined(V4)
        for _ in range(5):
            daemon.clock.advance(25 + EARLY)
            self.assertEqual(peer.texts(), [])
            daemon.clock.advance(LATE - EARLY)
            self.assertEqual(peer.texts(), ["2"])
            daemon.clock.advance(19)
            peer.send("3")
        daemon.clock.advance(25 + LATE)
        self.assertEqual(peer.texts(), ["2"])
        daemon.clock.advance(20 + EARLY)
        self.assertEqual(peer.frames(), [])
        daemon.clock.advance(LATE - EARLY)
        closing = peer.closing()
        self.assertEqual((closing.code, closing.reason), (1008, "ping timeout"))
        self.assertEqual(daemon.recorder.of("ended"), [(Reason.PING_TIMEOUT, "")])
        daemon.clock.advance(CLOSE_TIMEOUT + LATE)
        daemon.clock.advance(0)
        self.assertIsNotNone(peer.wire.lost)
        self.assertNothingLeft(daemon)

    def test_revision_3_is_answered_never_asked_and_closed_when_silent(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        peer = daemon.joined(V3)
        for _ in range(5):
            daemon.clock.advance(30 + EARLY)
            self.assertEqual(peer.texts(), [])
            peer.send("2")
            self.assertEqual(peer.texts(), ["3"])
        daemon.clock.pump([30 + LATE, 15 + EARLY])
        self.assertEqual([frame.opcode for frame in peer.frames()], [PING])
        daemon.clock.advance(LATE - EARLY)
        closing = peer.closing()
        self.assertEqual((closing.code, closing.reason), (1008, "ping timeout"))
        self.assertIn(("disconnected", "/kschat", Reason.PING_TIMEOUT), daemon.recorder.log)

    def test_the_pong_of_a_hidden_page_whose_timers_wait_counts_as_life(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        peer = daemon.joined(V3)
        for _ in range(5):
            daemon.clock.advance(30 + LATE)
            (asked,) = peer.frames()
            self.assertEqual((asked.opcode, asked.payload), (PING, b""))
            daemon.clock.advance(14)
            peer.arrive(client_frame(asked.payload, PONG))
        peer.send("2")
        self.assertEqual(peer.texts(), ["3"])
        self.assertEqual(daemon.recorder.of("confirmed"), [])

    def test_who_was_pinged_and_answers_nothing_is_closed(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        peer = daemon.joined(V3)
        # Pongs from before were not asked for, and say nothing of now.
        peer.arrive(client_frame(b"", PONG))
        daemon.clock.pump([30 + LATE, 15 + LATE])
        self.assertEqual(peer.closing().reason, "ping timeout")

    def test_messages_are_no_heartbeat(self) -> None:
        for query, silence in ((V3, 45), (V4, 45)):
            daemon = Daemon(ping_interval=25, ping_timeout=20)
            peer = daemon.joined(query)
            for _ in range(silence):
                peer.send(event())
                daemon.clock.advance(1 + LATE)
            self.assertEqual(peer.frames()[-1].opcode, CLOSE, query)

    def test_intervals_of_less_than_a_second(self) -> None:
        daemon = Daemon(ping_interval=0.1, ping_timeout=0.05)
        peer = daemon.joined(V4)
        daemon.clock.advance(0.1 + LATE)
        self.assertEqual(peer.texts(), ["2"])
        daemon.clock.advance(0.05 + LATE)
        self.assertEqual(peer.closing().reason, "ping timeout")

    def test_a_ping_of_rfc_6455_is_answered_and_is_no_heartbeat(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        peer = daemon.joined(V3)
        for _ in range(44):
            daemon.clock.advance(1)
            peer.arrive(client_frame(b"hello", 9))
        answers = [Seen(PONG, b"hello")] * 44
        answers.insert(29, Seen(PING, b""))
        self.assertEqual(peer.frames(), answers)
        daemon.clock.advance(1 + LATE)
        self.assertEqual(peer.closing().reason, "ping timeout")

    def test_packets_of_the_other_revision_s_heartbeat_end_the_session(self) -> None:
        for query, packet in ((V3, "3"), (V4, "2")):
            peer = Daemon().joined(query)
            peer.send(packet)
            self.assertEqual(peer.closing().code, 1002)


class Newcomers(SessionTests):
    def test_who_joins_nothing_that_is_served_is_closed_after_a_while(self) -> None:
        for query, words in ((V4, []), (V3, []), (V4, ["40"]), (V4, ["40/kschat,", "41/kschat,"])):
            daemon = Daemon(connect_timeout=30, ping_interval=100, ping_timeout=100)
            peer = daemon.websocket(query)
            for word in words:
                peer.send(word)
            peer.texts()
            daemon.clock.advance(30 + EARLY)
            self.assertEqual(peer.frames(), [])
            daemon.clock.advance(LATE - EARLY)
            closing = peer.closing()
            self.assertEqual((closing.code, closing.reason), (1008, "connect timeout"), (query, words))
            peer.arrive(close_frame())
            self.assertNothingLeft(daemon)

    def test_who_joins_in_time_stays(self) -> None:
        daemon = Daemon(connect_timeout=30, ping_interval=100, ping_timeout=100)
        peer = daemon.websocket()
        daemon.clock.advance(29)
        peer.send("40/kschat,")
        daemon.clock.advance(60)
        self.assertEqual([frame.opcode for frame in peer.frames()], [TEXT, TEXT])

    def test_who_is_let_in_late_stays(self) -> None:
        """The application may answer when it likes; what counts is that it has when the time is over."""
        recorder = Recorder()

        class Late(Recorder):
            def connect(self, socket: Socket, wish: Connect) -> None:
                recorder.sockets.append(socket)

        daemon = Daemon(Late(), connect_timeout=30, ping_interval=100, ping_timeout=100)
        peer = daemon.websocket()
        peer.send("40/kschat,")
        daemon.clock.advance(29)
        recorder.sockets[0].accept()
        daemon.clock.advance(10)
        self.assertEqual([frame.opcode for frame in peer.frames()], [TEXT, TEXT])


class SlowReaders(SessionTests):
    LIMIT = 1_000_000

    def test_one_who_reads_nothing_is_closed_with_a_reason_and_its_session_ended(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow, other = daemon.joined(), daemon.joined()
        slow.wire.room = 0
        written = 0
        while not daemon.recorder.of("ended"):
            send(daemon, "x" * 10_000, 0)
            written += 10_000
            self.assertLess(written, 2 * self.LIMIT)
        self.assertGreaterEqual(written, self.LIMIT)
        self.assertLess(slow.wire.unsent, self.LIMIT + 100_000)
        ((reason, detail),) = daemon.recorder.of("ended")
        self.assertEqual(reason, Reason.SLOW_READER)
        self.assertIn("unsent", detail)
        self.assertEqual(daemon.recorder.of("disconnected"), [("/kschat", Reason.SLOW_READER)])
        daemon.clock.advance(CLOSE_TIMEOUT + LATE)
        daemon.clock.advance(0)
        self.assertTrue(slow.wire.aborted)
        self.assertEqual(daemon.connections.open, 1)
        send(daemon, "hello", 1)
        self.assertEqual(len(other.texts()), 1)

    def test_one_who_reads_at_last_reads_the_reason(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        slow.wire.room = 0
        while not daemon.recorder.of("ended"):
            send(daemon, "x" * 10_000)
        slow.wire.room = None
        closing = slow.closing()
        self.assertEqual((closing.code, closing.reason), (1008, "slow reader"))

    def test_nothing_is_queued_to_it_after_that(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        slow.wire.room = 0
        while not daemon.recorder.of("ended"):
            send(daemon, "x" * 10_000)
        before = slow.wire.unsent
        for _ in range(100):
            send(daemon, "x" * 10_000)
        self.assertEqual(slow.wire.unsent, before)

    def test_one_who_reads_all_now_and_then_stays(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        for _ in range(30):
            slow.wire.room = 0
            send(daemon, "x" * (self.LIMIT // 2))
            slow.wire.room = None
            slow.wire.pump()
        self.assertEqual(len(slow.texts()), 30)

    def test_one_who_reads_as_fast_as_it_is_written_to_but_never_all_stays(self) -> None:
        """It has 300 kB before it all the time, which is less than the limit."""
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        slow.wire.room = 0
        send(daemon, "x" * 300_000)
        for _ in range(100):
            send(daemon, "x" * 100_000)
            slow.wire.room = 100_000
            slow.wire.pump()
        self.assertEqual(daemon.recorder.of("ended"), [])
        slow.wire.room = None
        self.assertEqual(len(slow.texts()), 101)

    def test_one_who_reads_less_than_it_is_written_to_is_closed_in_the_end(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        slow.wire.room = 0
        turns = 0
        while not daemon.recorder.of("ended"):
            send(daemon, "x" * 100_000)
            slow.wire.room = 50_000
            slow.wire.pump()
            turns += 1
        self.assertIn(turns, range(17, 24))

    def test_who_is_asked_for_too_much_at_once_but_reads_is_not_closed_by_the_next_small_word(self) -> None:
        daemon = Daemon(max_unsent=self.LIMIT)
        slow = daemon.joined()
        send(daemon, "x" * (self.LIMIT - 1000))
        slow.wire.pump()
        send(daemon, "x" * (self.LIMIT - 1000))
        self.assertEqual(daemon.recorder.of("ended"), [])


class Corks(SessionTests):
    """The pipeline holds the cork while it answers a batch."""

    def test_what_is_said_meanwhile_goes_out_in_one_write_in_order(self) -> None:
        daemon = Daemon()
        peers = [daemon.joined(), daemon.joined()]
        before = [peer.wire.writes for peer in peers]
        daemon.cork.hold()
        for number in range(10):
            send(daemon, str(number), 0)
            send(daemon, str(number), 1)
        self.assertEqual([peer.frames() for peer in peers], [[], []])
        daemon.cork.release()
        for peer, writes in zip(peers, before, strict=True):
            self.assertEqual(peer.wire.writes, writes + 1)
            self.assertEqual(peer.texts(), [event(str(number)).replace('","', '", "') for number in range(10)])

    def test_binary_keeps_its_place(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        daemon.cork.hold()
        send(daemon, "before")
        daemon.recorder.sockets[0].emit(b'["b",{"_placeholder":true,"num":0}]', (b"\0\xff",))
        send(daemon, "after")
        daemon.cork.release()
        self.assertEqual([frame.opcode for frame in peer.frames()], [1, 1, 2, 1])

    def test_an_end_meanwhile_comes_after_what_was_said(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        daemon.cork.hold()
        send(daemon, "last words")
        (connection,) = daemon.sessions.values()
        connection.session.close(Reason.SHUTTING_DOWN)
        daemon.cork.release()
        self.assertEqual([frame.opcode for frame in peer.frames()], [TEXT, CLOSE])

    def test_who_is_gone_meanwhile_is_passed_over(self) -> None:
        daemon = Daemon()
        gone, stays = daemon.joined(), daemon.joined()
        daemon.cork.hold()
        send(daemon, "x", 0)
        send(daemon, "x", 1)
        gone.wire.hang_up()
        daemon.cork.release()
        self.assertEqual(len(stays.texts()), 1)

    def test_a_slow_reader_found_at_the_release_costs_nobody_else_a_word(self) -> None:
        for failing in (False, True):
            daemon = Daemon(max_unsent=100_000)
            first, slow, last = (daemon.joined() for _ in range(3))
            slow.wire.room = 0
            send(daemon, "x" * 90_000, 1)

            def fail(socket: Socket, reason: Reason) -> None:
                raise ZeroDivisionError

            daemon.recorder.on_disconnected = fail if failing else None
            daemon.cork.hold()
            for number in range(3):
                send(daemon, "x" * 30_000, number)
            daemon.cork.release()
            self.assertEqual(daemon.recorder.of("disconnected"), [("/kschat", Reason.SLOW_READER)])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), failing)
            daemon.cork.hold()
            send(daemon, "again", 0)
            send(daemon, "again", 2)
            daemon.cork.release()
            self.assertEqual([len(peer.texts()) for peer in (first, last)], [2, 2])


class Proofs(SessionTests):
    """A ping after what was sent, and its pong, show that all of it was read."""

    def setUp(self) -> None:
        self.daemon = Daemon()
        self.peer = self.daemon.joined()
        self.socket = self.daemon.recorder.sockets[-1]

    def test_a_ping_goes_out_behind_what_was_sent_and_its_pong_is_told(self) -> None:
        send(self.daemon, "one")
        self.assertTrue(self.socket.ask_confirmation(42))
        text, ping = self.peer.frames()
        self.assertEqual((text.opcode, ping), (TEXT, Seen(PING, b"42")))
        self.assertEqual(self.daemon.recorder.of("confirmed"), [])
        self.peer.arrive(client_frame(ping.payload, PONG))
        self.assertEqual(self.daemon.recorder.of("confirmed"), [(42,)])

    def test_it_keeps_its_place_while_writes_are_held(self) -> None:
        self.daemon.cork.hold()
        send(self.daemon, "one")
        self.socket.ask_confirmation(42)
        send(self.daemon, "two")
        self.daemon.cork.release()
        self.assertEqual([frame.opcode for frame in self.peer.frames()], [TEXT, PING, TEXT])

    def test_a_pong_is_understood_however_it_comes(self) -> None:
        for number in (1, 2**53):
            pong = client_frame(b"%d" % number, PONG)
            for reads in (
                [pong],
                [pong[:3], pong[3:]],
                [client_frame(event().encode()) + pong + client_frame(event().encode())],
                [client_frame(event().encode()[:9], fin=False), pong, client_frame(event().encode()[9:], 0)],
            ):
                self.socket.ask_confirmation(number)
                for read in reads:
                    self.peer.arrive(read)
                self.assertEqual(self.daemon.recorder.of("confirmed"), [(number,)])
                self.daemon.recorder.log.clear()

    def test_one_is_asked_at_a_time(self) -> None:
        self.assertTrue(self.socket.ask_confirmation(1))
        self.assertFalse(self.socket.ask_confirmation(2))
        self.peer.arrive(client_frame(b"1", PONG))
        self.assertTrue(self.socket.ask_confirmation(3))

    def test_pongs_that_answer_nothing_prove_nothing_and_harm_nobody(self) -> None:
        """A pong may come unasked (RFC 6455, 5.5.3), and some browsers send one now and then."""
        for asked in (False, True):
            if asked:
                self.socket.ask_confirmation(42)
            for payload in (b"", b"4", b"042", b"42 ", b"x", b"\xff", b"1" * 125):
                pong = client_frame(payload, PONG)
                self.peer.arrive(pong)
                self.peer.arrive(pong[:3])
                self.peer.arrive(pong[3:])
        self.assertEqual(self.daemon.recorder.log, [])
        self.peer.arrive(client_frame(b"42", PONG) * 3)
        self.assertEqual(self.daemon.recorder.of("confirmed"), [(42,)])

    def test_unmasked_and_fragmented_pongs_are_faults(self) -> None:
        for bad in (client_frame(b"42", PONG, mask=None), client_frame(b"42", PONG, fin=False)):
            self.setUp()
            self.socket.ask_confirmation(42)
            self.peer.arrive(bad)
            self.assertEqual(self.peer.closing().code, 1002)
            self.assertEqual(self.daemon.recorder.of("confirmed"), [])

    def test_a_pong_after_the_end_is_nothing(self) -> None:
        self.socket.ask_confirmation(42)
        self.peer.send("9")
        self.peer.arrive(client_frame(b"42", PONG))
        self.assertEqual(self.daemon.recorder.of("confirmed"), [])

    def test_nothing_is_asked_after_the_end(self) -> None:
        self.peer.send("9")
        self.socket.ask_confirmation(42)
        self.assertEqual([frame.opcode for frame in self.peer.frames()], [CLOSE])

    def test_one_that_ends_the_session_ends_the_reading(self) -> None:
        self.daemon.recorder.on_confirmed = lambda socket, _: socket.connection.session.close(Reason.FORCED_CLOSE)
        self.socket.ask_confirmation(42)
        self.peer.arrive(client_frame(b"42", PONG) + client_frame(event().encode()) + close_frame())
        self.assertEqual(self.daemon.recorder.of("event"), [])
        self.assertIsNotNone(self.peer.wire.lost)

    def test_congestion_is_seen_from_64_kilobytes_unsent_on(self) -> None:
        transport = self.socket.connection.session.transport
        self.assertFalse(transport.congested)
        self.peer.wire.room = 0
        send(self.daemon, "x" * 60_000)
        self.assertFalse(transport.congested)
        send(self.daemon, "x" * 10_000)
        self.assertTrue(transport.congested)
        self.peer.wire.room = None
        self.peer.wire.pump()
        self.assertFalse(transport.congested)


class LastWords(SessionTests):
    """Before it ends a session, this side may still say something."""

    def setUp(self) -> None:
        self.daemon = Daemon(limits=Limits(max_payload=1000), max_unsent=100_000)
        self.peer = self.daemon.joined()
        self.daemon.recorder.on_closing = lambda socket, reason: send(self.daemon, f"bye: {reason.text}")

    def assertSaid(self, reason: Reason) -> None:
        *_, word, close = self.peer.frames()
        self.assertEqual(word.payload.decode(), f'42/kschat,["x", "bye: {reason.text}"]')
        self.assertEqual((close.code, close.reason), (reason.close_code, reason.text))
        told = [one[0] for one in self.daemon.recorder.log]
        self.assertEqual(told, ["closing", "disconnected", "ended"])
        self.assertEqual(self.daemon.recorder.of("ended")[0][0], reason)

    def test_who_sends_too_much_is_told(self) -> None:
        self.peer.arrive(client_frame(b"", claimed=1001))
        self.assertSaid(Reason.TOO_LARGE)

    def test_who_breaks_the_protocol_is_told(self) -> None:
        self.peer.send("9")
        self.assertSaid(Reason.PARSE_ERROR)

    def test_who_reads_too_slowly_is_told_once_it_reads(self) -> None:
        self.peer.wire.room = 0
        while not self.daemon.recorder.of("ended"):
            send(self.daemon, "x" * 10_000)
        self.peer.wire.room = None
        self.assertSaid(Reason.SLOW_READER)

    def test_who_is_gone_is_told_nothing(self) -> None:
        self.peer.wire.hang_up()
        self.assertEqual(self.daemon.recorder.of("closing"), [])

    def test_an_application_that_fails_at_it_ends_the_session_all_the_same(self) -> None:
        def fail(socket: Socket, reason: Reason) -> None:
            raise ZeroDivisionError

        for way in (client_frame(b"", claimed=1001), client_frame(b"9")):
            self.setUp()
            self.daemon.recorder.on_closing = fail
            self.peer.arrive(way)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertIn(self.peer.closing().code, (1002, 1009))
            self.peer.arrive(close_frame())
            self.assertNothingLeft(self.daemon)


class Faults(SessionTests):
    """What the application raises is a bug of ours: it costs one connection, and is logged."""

    def raises(self, *_: Any) -> None:
        raise ZeroDivisionError("a bug")

    def assertLogged(self) -> None:
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_event_that_raises_closes_that_connection_alone(self) -> None:
        for query in (V3, V4):
            daemon = Daemon()
            bad, good = daemon.joined(query), daemon.joined(query)
            daemon.recorder.on_event = self.raises
            bad.send(event())
            self.assertLogged()
            closing = bad.closing()
            self.assertEqual((closing.code, closing.reason), (1011, "server error"))
            self.assertIn(("disconnected", "/kschat", Reason.SERVER_ERROR), daemon.recorder.log)
            daemon.recorder.on_event = None
            good.send(event())
            self.assertEqual(daemon.recorder.of("event"), [("x", "x")])
            bad.arrive(close_frame())
            good.wire.hang_up()
            self.assertNothingLeft(daemon)

    def test_it_does_so_by_autobahn_s_way_as_well(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        daemon.recorder.on_event = self.raises
        data = client_frame(event().encode())
        peer.arrive(data[:5])
        peer.arrive(data[5:])
        self.assertLogged()
        self.assertEqual(peer.closing().code, 1011)

    def test_a_protocol_error_of_the_application_is_the_peer_s_fault(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()

        def refuse(socket: Socket, event: Event) -> None:
            raise ProtocolError("no such thing", Reason.TOO_LARGE)

        daemon.recorder.on_event = refuse
        peer.send(event())
        self.assertEqual(peer.closing().code, 1009)
        self.assertEqual(daemon.recorder.of("ended"), [(Reason.TOO_LARGE, "no such thing")])

    def test_a_proof_that_raises_closes_that_connection(self) -> None:
        for cut in (None, 3):
            daemon = Daemon()
            peer = daemon.joined()
            daemon.recorder.on_confirmed = self.raises
            daemon.recorder.sockets[-1].ask_confirmation(1)
            pong = client_frame(b"1", PONG)
            peer.arrive(pong[:cut])
            peer.arrive(pong[cut:] if cut else b"")
            self.assertLogged()
            self.assertEqual(peer.closing().code, 1011)

    def test_a_join_that_raises_closes_that_connection(self) -> None:
        class Bad(Recorder):
            def connect(self, socket: Socket, wish: Connect) -> None:
                raise ZeroDivisionError

        daemon = Daemon(Bad())
        peer = daemon.websocket(V4)
        peer.send("40/kschat,")
        self.assertLogged()
        self.assertEqual(peer.closing().code, 1011)
        peer.arrive(close_frame())
        self.assertNothingLeft(daemon)

    def test_a_session_that_cannot_begin_closes_that_connection(self) -> None:
        """Revision 3 joins ``/`` within the handshake."""

        class Bad(Recorder):
            def connect(self, socket: Socket, wish: Connect) -> None:
                raise ZeroDivisionError

        daemon = Daemon(Bad())
        peer = daemon.websocket(V3)
        self.assertLogged()
        self.assertEqual(peer.closing().code, 1011)
        peer.arrive(close_frame())
        self.assertNothingLeft(daemon)

    def test_an_application_that_fails_at_an_end_leaves_no_connection_behind(self) -> None:
        for way in ("the peer is gone", "the peer closes", "the peer is silent", "the peer is wrong"):
            daemon = Daemon(ping_interval=1, ping_timeout=1)
            peer = daemon.joined()
            daemon.recorder.on_disconnected = self.raises
            if way == "the peer is gone":
                peer.wire.hang_up()
            elif way == "the peer closes":
                peer.arrive(close_frame())
            elif way == "the peer is silent":
                daemon.clock.advance(1 + LATE)
                daemon.clock.advance(1 + LATE)
            else:
                peer.send("9")
            daemon.clock.advance(CLOSE_TIMEOUT + LATE)
            daemon.clock.advance(0)
            self.assertIsNotNone(peer.wire.lost, way)
            self.assertLogged()
            self.assertNothingLeft(daemon)


class RealSockets(TestCase):
    """What memory cannot show."""

    def setUp(self) -> None:
        self.reactor: Any = installed_reactor
        self.daemon = Daemon(max_unsent=100_000)

    async def converse(self, port: IListeningPort, endpoint: IStreamClientEndpoint) -> None:
        """A client of the daemon comes, speaks, is closed for being slow, and leaves nothing."""
        daemon = self.daemon
        self.addCleanup(port.stopListening)
        client = Reader()
        await connectProtocol(endpoint, client)
        self.addCleanup(client.end)
        client.transport.write(handshake())
        await client.until(b'0{"sid"')
        client.transport.write(client_frame(b"40/kschat,"))
        await client.until(b"40/kschat,")
        client.transport.write(client_frame(event("over a socket").encode()))
        client.transport.write(client_frame(b"ping", 9))
        await client.until(b"ping")
        self.assertEqual(daemon.recorder.of("event"), [("x", "over a socket")])
        (connection,) = daemon.sessions.values()
        transport = cast(Any, connection.session.transport).transport
        self.no_delay = hasattr(transport, "getTcpNoDelay") and transport.getTcpNoDelay()
        self.assertEqual(unsent(transport), 0)
        while not daemon.recorder.of("ended"):
            send(daemon, "x" * 10_000)
            self.assertLess(unsent(transport), 200_000)
        self.assertEqual(daemon.recorder.of("ended")[0][0], Reason.SLOW_READER)
        await client.until(b"slow reader")
        client.transport.write(close_frame(1008))
        await client.lost
        await daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.assertEqual(daemon.connections.open, 0)

    async def test_over_tcp_with_nodelay(self) -> None:
        port = self.reactor.listenTCP(0, self.daemon.site, interface="127.0.0.1")
        await self.converse(port, TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port))
        self.assertTrue(self.no_delay)

    async def test_over_tls_with_nodelay(self) -> None:
        certificate = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")
        port = self.reactor.listenSSL(0, self.daemon.site, certificate.options(), interface="127.0.0.1")
        context = CertificateOptions(verify=False)
        await self.converse(port, SSL4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port, context))
        self.assertTrue(self.no_delay)

    async def test_over_a_unix_socket(self) -> None:
        path = self.mktemp()[:100]
        port = self.reactor.listenUNIX(path, self.daemon.site)
        await self.converse(port, UNIXClientEndpoint(self.reactor, path))


class Reader(Protocol):
    """A TCP client that waits for what it wants to read."""

    transport: Any

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self._data = b""
        self._wanted = b""
        self._found: Deferred[None] | None = None

    def until(self, wanted: bytes) -> Deferred[None]:
        """Fires when ``wanted`` was read, and forgets all up to there."""
        self._wanted, self._found = wanted, Deferred()
        found = self._found
        self.dataReceived(b"")
        return found

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._found is not None and self._wanted in self._data:
            self._data = self._data.partition(self._wanted)[2]
            found, self._found = self._found, None
            found.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def end(self) -> Deferred[None]:
        if not self.lost.called:
            self.transport.abortConnection()
        return self.lost
