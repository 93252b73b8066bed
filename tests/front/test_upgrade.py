"""From long-polling to WebSocket (Engine.IO 3, "Transport upgrading"; Engine.IO 4, "Upgrade"), in both revisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.polling import Polling
from kschat.front.websocket import CLOSE_TIMEOUT
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from tests.front.daemon import Daemon, Peer, handshake
from tests.front.frames import BINARY, CLOSE, client_frame, close_frame
from tests.front.pollers import PendingRequest, Poller, request

REVISIONS: tuple[Revision, ...] = (3, 4)


class UpgradeTests(SynchronousTestCase):
    def each(self, **options: Any) -> Iterator[tuple[Daemon, Poller]]:
        """A client of each revision that has joined, on a daemon of its own."""
        for revision in REVISIONS:
            daemon = Daemon(**options)
            poller = Poller(daemon, revision)
            poller.join()
            yield daemon, poller

    def changed(self, poller: Poller) -> Peer:
        """The WebSocket of a session that has changed to it."""
        peer = poller.websocket()
        peer.send("2probe")
        self.assertEqual(peer.texts(), ["3probe"])
        peer.send("5")
        return peer

    def assertStillPolls(self, poller: Poller) -> None:
        """Its session is as it was before."""
        daemon = poller.daemon
        waiting = poller.get()
        self.assertTrue(waiting.parked)
        daemon.recorder.sockets[-1].emit(b'["still"]')
        self.assertEqual(poller.texts(waiting), ['42/kschat,["still"]'])
        poller.post('42/kschat,["here"]')
        self.assertEqual(daemon.recorder.of("event")[-1], ("here",))


class Changing(UpgradeTests):
    def test_the_request_that_waits_is_let_go_and_then_frames_go_both_ways(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            peer = poller.websocket()
            self.assertTrue(waiting.parked)
            peer.send("2probe")
            self.assertEqual(peer.texts(), ["3probe"])
            self.assertEqual(waiting.response.body, b"6" if poller.revision == 4 else b"1:6")
            peer.send("5")
            peer.send('42/kschat,["x"]')
            daemon.recorder.sockets[-1].emit(b'["y"]')
            self.assertEqual(daemon.recorder.of("event"), [("x",)])
            self.assertEqual(peer.texts(), ['42/kschat,["y"]'])
            self.assertEqual(daemon.front.polls.taken, 0)

    def test_what_comes_in_one_piece_is_read_in_its_order(self) -> None:
        for daemon, poller in self.each():
            peer = poller.websocket()
            frames = ["2probe", "5", '42/kschat,["a"]', '42/kschat,["b"]']
            peer.arrive(b"".join(client_frame(one.encode()) for one in frames))
            self.assertEqual(peer.texts(), ["3probe"])
            self.assertEqual(daemon.recorder.of("event"), [("a",), ("b",)])

    def test_while_it_is_probed_each_request_is_let_go_at_once(self) -> None:
        for daemon, poller in self.each():
            peer = poller.websocket()
            peer.send("2probe")
            for _ in range(3):
                self.assertEqual(poller.take(), ["6"])
            daemon.recorder.sockets[-1].emit(b'["x"]')
            self.assertEqual(poller.take(), ['42/kschat,["x"]'])
            self.assertTrue(poller.lives)

    def test_what_waits_in_the_outbox_goes_over_in_its_order(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            peer = poller.websocket()
            peer.send("2probe")
            peer.texts()
            for number in range(5):
                socket.emit(b'["x",%d]' % number)
            socket.emit(b'["bin",{"_placeholder":true,"num":0}]', [b"\x01"])
            peer.send("5")
            socket.emit(b'["x",5]')
            frames = peer.frames()
            binary = frames.pop(-2)
            self.assertEqual(
                (binary.opcode, binary.payload), (BINARY, b"\x04\x01" if poller.revision == 3 else b"\x01")
            )
            expected = [f'42/kschat,["x",{number}]' for number in range(6)]
            expected.insert(5, '451-/kschat,["bin",{"_placeholder":true,"num":0}]')
            self.assertEqual([frame.payload.decode() for frame in frames], expected)

    def test_binary_is_text_afterwards_only_if_the_websocket_asked_so(self) -> None:
        for more, expected in (("", b"\x04\x01"), ("&b64=1", b"b4AQ==")):
            daemon = Daemon()
            # As client 2.5 in node does: text alone over XHR, binary over WebSocket.
            poller = Poller(daemon, 3, "&b64=1")
            poller.join()
            query = poller._query.replace("&b64=1", "").replace("polling", "websocket") + more
            wire = daemon.connect()
            wire.arrive(handshake(query) + client_frame(b"2probe") + client_frame(b"5"))
            daemon.recorder.sockets[-1].emit(b'["x",{"_placeholder":true,"num":0}]', [b"\x01"])
            wire.pump()
            self.assertTrue(bytes(wire.taken).endswith(expected))

    def test_http_with_that_sid_is_refused_afterwards(self) -> None:
        for daemon, poller in self.each():
            peer = self.changed(poller)
            for asked in (poller.get(), poller.post('42/kschat,["x"]'), poller.ask("PUT")):
                self.assertEqual((asked.status, asked.code), (400, 3))
            peer.send('42/kschat,["still here"]')
            self.assertEqual(daemon.recorder.of("event"), [("still here",)])

    def test_a_second_websocket_is_closed_afterwards(self) -> None:
        for daemon, poller in self.each():
            peer = self.changed(poller)
            (closing,) = poller.websocket().frames()
            self.assertEqual(closing.opcode, CLOSE)
            peer.send('42/kschat,["still here"]')
            self.assertEqual(daemon.recorder.of("event"), [("still here",)])

    def test_a_proof_that_was_asked_of_polling_comes_by_a_pong(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            socket.emit(b'["x"]')
            socket.ask_confirmation(7)
            peer = self.changed(poller)
            message, ping = peer.frames()
            self.assertEqual((message.payload, ping.payload), (b'42/kschat,["x"]', b"7"))
            self.assertEqual(daemon.recorder.of("confirmed"), [])
            peer.arrive(client_frame(b"7", 0xA))
            self.assertEqual(daemon.recorder.of("confirmed"), [(7,)])

    def test_the_heartbeat_goes_on(self) -> None:
        for daemon, poller in self.each(ping_interval=1, ping_timeout=1):
            peer = self.changed(poller)
            for _ in range(3):
                daemon.clock.advance(1.1)
                if poller.revision == 4:
                    self.assertEqual(peer.texts(), ["2"])
                    peer.send("3")
                else:
                    peer.send("2")
                    self.assertEqual(peer.texts(), ["3"])
            daemon.clock.pump([1.1, 0.2, 0.9])
            self.assertEqual(peer.closing().reason, "ping timeout")

    def test_a_ping_that_waited_for_a_get_is_not_lost(self) -> None:
        daemon = Daemon(ping_interval=1, ping_timeout=1)
        poller = Poller(daemon, 4)
        poller.join()
        daemon.clock.advance(1.1)
        self.assertEqual(self.changed(poller).texts(), ["2"])

    def test_afterwards_it_is_as_any_other_websocket(self) -> None:
        for daemon, poller in self.each():
            peer = self.changed(poller)
            protocol: Any = peer.wire.protocol
            session = daemon.sessions[poller.sid].session
            self.assertIs(session.transport, protocol)
            self.assertIs(protocol.session, session)
            self.assertIsNone(protocol._host)
            self.assertIsNone(protocol.slot)
            peer.arrive(close_frame())
            self.assertEqual(daemon.recorder.of("ended")[0][0], Reason.TRANSPORT_CLOSE)
            self.assertEqual((list(daemon.sessions), daemon.sessions._deadlines), ([], {}))


class Failing(UpgradeTests):
    def test_a_wrong_first_frame_closes_the_websocket_and_not_the_session(self) -> None:
        for frame in ("5", "2", "3probe", "4hello", "2probf", "", "1", "2probe "):
            for _, poller in self.each():
                peer = poller.websocket()
                peer.send(frame)
                self.assertEqual(peer.closing().code, 1002, frame)
                self.assertStillPolls(poller)

    def test_so_does_a_binary_one_and_a_wrong_second_one(self) -> None:
        for _, poller in self.each():
            peer = poller.websocket()
            peer.arrive(client_frame(b"2probe", BINARY))
            self.assertEqual(peer.closing().code, 1002)
            peer = poller.websocket()
            peer.send("2probe")
            peer.send("2probe")
            self.assertEqual(peer.closing().code, 1002)
            self.assertStillPolls(poller)

    def test_one_that_never_completes_is_closed(self) -> None:
        for probed in (False, True):
            for daemon, poller in self.each(upgrade_timeout=10, connect_timeout=1000, ping_interval=1000):
                peer = poller.websocket()
                if probed:
                    peer.send("2probe")
                daemon.clock.advance(9.9)
                self.assertNotIn(CLOSE, [frame.opcode for frame in peer.frames()])
                daemon.clock.advance(0.2)
                self.assertTrue(peer.closing().code)
                daemon.clock.pump([CLOSE_TIMEOUT, 0.1, 0.1])
                self.assertIsNotNone(peer.wire.lost)
                self.assertStillPolls(poller)
                self.changed(poller)

    def test_of_two_at_once_the_second_is_closed_and_the_first_goes_on(self) -> None:
        for daemon, poller in self.each():
            first, second = poller.websocket(), poller.websocket()
            self.assertEqual(second.closing().opcode, CLOSE)
            second.arrive(close_frame())
            first.send("2probe")
            third = poller.websocket()
            self.assertEqual(third.closing().opcode, CLOSE)
            third.wire.hang_up()
            first.send("5")
            first.send('42/kschat,["x"]')
            self.assertEqual(daemon.recorder.of("event"), [("x",)])

    def test_one_that_was_dropped_does_not_take_the_next_with_it(self) -> None:
        for daemon, poller in self.each():
            first = poller.websocket()
            first.send("4wrong")
            second = poller.websocket()
            second.send("2probe")
            first.wire.hang_up()
            second.send("5")
            second.send('42/kschat,["x"]')
            self.assertEqual(daemon.recorder.of("event"), [("x",)])

    def test_a_handshake_that_is_none_does_not_take_another_with_it(self) -> None:
        for daemon, poller in self.each():
            first = poller.websocket()
            first.send("2probe")
            wire = daemon.connect()
            query = poller._query.replace("polling", "websocket")
            wire.arrive(handshake(query, Sec_WebSocket_Key="too short"))
            self.assertIn(b" 400 ", bytes(wire.taken))
            daemon.clock.pump([CLOSE_TIMEOUT, 0.1, 0.1])
            self.assertIsNotNone(wire.lost)
            first.send("5")
            first.send('42/kschat,["x"]')
            self.assertEqual(daemon.recorder.of("event"), [("x",)])

    def test_one_that_breaks_off_leaves_the_session_as_it_was(self) -> None:
        for probed in (False, True):
            for _, poller in self.each():
                peer = poller.websocket()
                if probed:
                    peer.send("2probe")
                peer.wire.hang_up()
                self.assertStillPolls(poller)
                self.changed(poller)

    def test_one_that_sends_too_much_at_once_is_closed(self) -> None:
        for _, poller in self.each():
            peer = poller.websocket()
            peer.arrive(client_frame(b"", claimed=2_000_000))
            self.assertEqual(peer.closing().code, 1009)
            self.assertStillPolls(poller)

    def test_for_a_session_that_has_ended_there_is_none(self) -> None:
        for daemon, poller in self.each():
            poller.post("1")
            query = poller._query.replace("polling", "websocket")
            wire = daemon.connect()
            wire.arrive(handshake(query))
            self.assertIn(b'{"code":1,', bytes(wire.taken))

    def test_one_whose_session_ends_is_closed(self) -> None:
        for probed in (False, True):
            for _, poller in self.each():
                peer = poller.websocket()
                if probed:
                    peer.send("2probe")
                poller.post("1")
                self.assertEqual(peer.closing().opcode, CLOSE)
                peer.send("5")
                self.assertFalse(poller.lives)

    def test_one_of_another_revision_or_page_or_method_is_refused(self) -> None:
        for daemon, poller in self.each(origins=("https://good.example",)):
            for query, headers, code in (
                (poller._query.replace(f"EIO={poller.revision}", f"EIO={7 - poller.revision}"), {}, 3),
                (poller._query, {"Origin": "https://evil.example"}, 4),
            ):
                wire = daemon.connect()
                wire.arrive(handshake(query.replace("polling", "websocket"), **headers))
                self.assertIn(b'{"code":%d,' % code, bytes(wire.taken))
            asked = PendingRequest(daemon.connect(), request("GET", poller._query.replace("polling", "websocket")))
            self.assertEqual((asked.status, asked.code), (400, 3))
            self.assertStillPolls(poller)

    def test_a_bug_while_it_changes_ends_this_session_alone(self) -> None:
        for daemon, poller in self.each():
            peer = poller.websocket()
            peer.send("2probe")
            transport: Any = daemon.engine.polling(poller.sid)

            def fail() -> None:
                raise ZeroDivisionError

            type(transport).take_unsent, before = lambda self: fail(), Polling.take_unsent
            try:
                peer.send("5")
            finally:
                Polling.take_unsent = before  # type: ignore[method-assign]
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertFalse(poller.lives)


class Course(RuleBasedStateMachine):
    """A client that polls and may change to WebSocket at any moment, as npm's does, while both sides write.

    Whatever the course, each side reads what the other wrote: all of it, once, in its order.
    """

    @initialize(revision=st.sampled_from(REVISIONS))
    def begin(self, revision: Revision) -> None:
        self.daemon = Daemon()
        self.poller = Poller(self.daemon, revision)
        self.poller.join()
        self.socket = self.daemon.recorder.sockets[-1]
        self.waiting: PendingRequest | None = None
        self.peer: Peer | None = None
        self.phase = "polling"
        self.written = self.sent = 0
        self.read: list[int] = []

    def _read(self, texts: list[str]) -> None:
        for text in texts:
            if text.startswith('42/kschat,["s",'):
                self.read.append(int(text.removeprefix('42/kschat,["s",').rstrip("]")))
            elif text == "3probe":
                self.phase = "pausing"
            else:
                assert text == "6", text

    def _look(self) -> None:
        if self.waiting is not None and not self.waiting.parked:
            waiting, self.waiting = self.waiting, None
            self._read(self.poller.texts(waiting))
        if self.peer is not None:
            self._read(self.peer.texts())

    @rule(count=st.integers(1, 5), corked=st.booleans())
    def server_writes(self, count: int, corked: bool) -> None:
        if corked:
            self.daemon.cork.hold()
        for _ in range(count):
            self.socket.emit(b'["s",%d]' % self.written)
            self.written += 1
        if corked:
            self.daemon.cork.release()

    @precondition(lambda self: self.phase in ("polling", "probing") and self.waiting is None)
    @rule()
    def client_polls(self) -> None:
        self.waiting = self.poller.get()

    @precondition(lambda self: self.phase in ("polling", "probing"))
    @rule(count=st.integers(1, 5))
    def client_posts(self, count: int) -> None:
        packets = [f'42/kschat,["c",{self.sent + number}]' for number in range(count)]
        self.sent += count
        assert self.poller.post(*packets).response.body == b"ok"

    @precondition(lambda self: self.waiting is not None)
    @rule()
    def client_looks(self) -> None:
        self._look()

    @precondition(lambda self: self.phase == "polling")
    @rule()
    def client_probes(self) -> None:
        self.peer = self.poller.websocket()
        self.peer.send("2probe")
        self.phase = "probing"

    @precondition(lambda self: self.phase == "probing")
    @rule()
    def client_reads_the_probe_s_answer(self) -> None:
        self._look()
        assert self.phase == "pausing"

    @precondition(lambda self: self.phase == "pausing")
    @rule()
    def client_changes(self) -> None:
        self._look()
        assert self.waiting is None  # it was let go
        assert self.peer is not None
        self.peer.send("5")
        self.phase = "websocket"

    @precondition(lambda self: self.phase == "pausing")
    @rule()
    def client_gives_the_websocket_up(self) -> None:
        assert self.peer is not None
        self._look()
        self.peer.wire.hang_up()
        self.peer = None
        self.phase = "polling"

    @precondition(lambda self: self.phase == "websocket")
    @rule(count=st.integers(1, 5))
    def client_writes_frames(self, count: int) -> None:
        assert self.peer is not None
        self.peer.arrive(
            b"".join(client_frame(b'42/kschat,["c",%d]' % (self.sent + number)) for number in range(count))
        )
        self.sent += count

    @invariant()
    def the_server_has_read_what_the_client_wrote(self) -> None:
        if hasattr(self, "daemon"):
            assert [event[1] for event in self.daemon.recorder.of("event")] == list(range(self.sent))

    @invariant()
    def the_client_reads_in_order(self) -> None:
        if hasattr(self, "daemon"):
            assert self.read == list(range(len(self.read)))

    def teardown(self) -> None:
        if hasattr(self, "daemon"):
            self._look()
            for _ in range(3):
                if self.phase != "websocket":
                    self.waiting = self.waiting or self.poller.get()
                self._look()
            assert self.read == list(range(self.written)), (self.read, self.written)


class AnyCourse(SynchronousTestCase):
    def test_nothing_is_lost_and_nothing_comes_twice_or_out_of_order(self) -> None:
        run_state_machine_as_test(Course, settings=settings(max_examples=60, stateful_step_count=30))
