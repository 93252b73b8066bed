"""``EngineSession``: what a peer and a transport can do to it, and what it does then."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.engineio import Frame, Packet, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.roles import Listener, Timers, Transport
from kschat.wire.session import BEATS, MAX_SIGNS_OF_LIFE, TRANSITIONS, Beat, EngineSession, HeartbeatTimes, Input, Link
from tests.wire.fakes import FakeListener, FakeTimers, FakeTransport
from tests.wire.strategies import PROPERTY, any_bytes, revisions

REVISIONS: tuple[Revision, ...] = (3, 4)
INTERVAL = 25.0
TIMEOUT = 20.0


class SessionTestCase(SynchronousTestCase):
    """Sessions among fakes. Whatever a test does: after its end a session sends nothing, and it ends once."""

    def begin(self, revision: Revision = 4, base64: bool = False) -> EngineSession:
        """A session that stands. The fakes around it are attributes, its open packet is taken away."""
        self.transport = FakeTransport()
        self.timers = FakeTimers()
        self.listener = FakeListener()
        times = HeartbeatTimes(INTERVAL, TIMEOUT)
        session = EngineSession("sid", revision, self.transport, timers=self.timers, times=times, base64=base64)
        session.listener = self.listener
        session.open((), 1_000_000)
        self.opened = self.transport.take()
        self.addCleanup(self.check, session, self.transport, self.listener, self.timers)
        return session

    def begin_in(self, link: Link, revision: Revision = 4) -> EngineSession:
        """A session in that state, whose candidate, where it has one, is ``self.candidate``."""
        session = self.begin(revision)
        self.candidate = FakeTransport()
        if link is Link.CLOSED:
            session.close(Reason.FORCED_CLOSE)
        elif link is not Link.ALONE:
            self.assertTrue(session.offer(self.candidate))
            if link is Link.PROBED:
                session.receive_candidate(b"2probe")
        self.assertIs(session.link, link)
        return session

    def check(
        self, session: EngineSession, transport: FakeTransport, listener: FakeListener, timers: FakeTimers
    ) -> None:
        over = session.link is Link.CLOSED
        self.assertEqual(transport.late, [])
        self.assertEqual(len(listener.endings), 1 if over else 0)
        self.assertEqual(len(timers.alarms), 0 if over else 1)
        self.assertEqual(session.candidate is not None, session.link in (Link.PROBING, Link.PROBED))

    def assert_ended(self, reason: Reason, session: EngineSession) -> None:
        self.assertIs(session.link, Link.CLOSED)
        self.assertEqual(self.transport.closed, [reason])
        self.assertEqual([ending[0] for ending in self.listener.endings], [reason])


class TablesTests(SynchronousTestCase):
    """``TRANSITIONS`` and ``BEATS``: no state meets an input that it does not know."""

    def test_every_state_knows_every_input_by_exactly_one_table(self) -> None:
        for revision in REVISIONS:
            beats = self.beats_that_can_be(revision)
            for link in set(Link) - {Link.CLOSED}:
                for what in Input:
                    if what is Input.ALIVE:
                        continue  # of one who was asked for it alone
                    in_beats = {(beat, what) in BEATS[revision] for beat in beats}
                    self.assertEqual(len(in_beats), 1, (revision, what))
                    self.assertNotEqual((link, what) in TRANSITIONS, in_beats.pop(), (revision, link, what))

    def beats_that_can_be(self, revision: Revision) -> set[Beat]:
        """The states of a heartbeat that can be come to from its first."""
        beats = {Beat.QUIET}
        for _ in Beat:
            beats |= {after for (before, _), (after, _) in BEATS[revision].items() if before in beats}
        return beats

    def test_no_entry_is_for_a_state_that_cannot_be(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.beats_that_can_be(revision), {Beat.QUIET, Beat.ASKED})
            self.assertEqual({beat for beat, _ in BEATS[revision]}, self.beats_that_can_be(revision))

    def test_a_closed_session_has_no_way_back(self) -> None:
        self.assertNotIn(Link.CLOSED, {link for link, _ in TRANSITIONS})

    def test_whatever_ends_a_transport_ends_the_session_in_every_state(self) -> None:
        for link in set(Link) - {Link.CLOSED}:
            for what in (Input.CLOSE, Input.LOST, Input.END):
                self.assertIs(TRANSITIONS[link, what][0], Link.CLOSED)

    def test_the_first_inputs_are_the_packet_types(self) -> None:
        self.assertEqual([what.value for what in list(Input)[:7]], list(range(7)))

    def test_the_states_are_those_that_the_drawing_shows(self) -> None:
        """The drawing in the module's docstring, as a table."""
        moves = {(before, what, after) for (before, what), (after, _) in TRANSITIONS.items() if before is not after}
        ends = {(link, what) for link, what, after in moves if after is Link.CLOSED}
        self.assertEqual(
            {move for move in moves if move[2] is not Link.CLOSED},
            {
                (Link.ALONE, Input.CANDIDATE, Link.PROBING),
                (Link.PROBING, Input.CANDIDATE_PROBE, Link.PROBED),
                (Link.PROBING, Input.CANDIDATE_UPGRADE, Link.ALONE),
                (Link.PROBING, Input.CANDIDATE_OTHER, Link.ALONE),
                (Link.PROBING, Input.CANDIDATE_GONE, Link.ALONE),
                (Link.PROBED, Input.CANDIDATE_UPGRADE, Link.ALONE),
                (Link.PROBED, Input.CANDIDATE_PROBE, Link.ALONE),
                (Link.PROBED, Input.CANDIDATE_OTHER, Link.ALONE),
                (Link.PROBED, Input.CANDIDATE_GONE, Link.ALONE),
            },
        )
        self.assertEqual(
            ends,
            {
                (link, what)
                for link in (Link.ALONE, Link.PROBING, Link.PROBED)
                for what in (Input.CLOSE, Input.LOST, Input.END)
            },
        )


class OpenTests(SessionTestCase):
    """The open packet."""

    def test_the_open_packet_is_the_first_frame(self) -> None:
        self.begin(4)
        (frame,) = self.opened
        assert isinstance(frame, bytes)
        self.assertEqual(frame[:1], b"0")
        self.assertEqual(json.loads(frame[1:])["sid"], "sid")

    def test_the_peer_is_told_the_times_that_are_kept(self) -> None:
        for revision in REVISIONS:
            self.begin(revision)
            (frame,) = self.opened
            assert isinstance(frame, bytes)
            announced = json.loads(frame[1:])
            self.assertEqual((announced["pingInterval"], announced["pingTimeout"]), (INTERVAL * 1000, TIMEOUT * 1000))


class ReceivingTests(SessionTestCase):
    """Frames on the session's own transport."""

    def test_messages_reach_the_listener(self) -> None:
        session = self.begin(4)
        for payload, binary in ((b"4hello", False), (b"4", False), (b"bAQID", False), (b"\x01\x02", True), (b"", True)):
            session.receive(payload, binary)
        self.assertEqual(
            self.listener.received,
            [b"hello", b"", Frame(b"\x01\x02\x03", True), Frame(b"\x01\x02", True), Frame(b"", True)],
        )

    def test_a_session_holds_nothing_of_what_it_was_sent(self) -> None:
        session = self.begin(4)
        for payload, binary in ((b"\x01" * 1000, True), (b"4" + b"x" * 1000, False), (b"2" + b"x" * 1000, False)):
            session.receive(payload, binary)
            self.assertIsNone(session._data)

    def test_messages_of_revision_3_reach_the_listener(self) -> None:
        session = self.begin(3)
        for payload, binary in ((b"4hello", False), (b"b4AQID", False), (b"\x04\x01\x02", True), (b"\x04", True)):
            session.receive(payload, binary)
        self.assertEqual(
            self.listener.received, [b"hello", Frame(b"\x01\x02\x03", True), Frame(b"\x01\x02", True), Frame(b"", True)]
        )

    def test_the_short_way_of_text_messages_agrees_with_the_table(self) -> None:
        """In every state, and also when the listener refuses what it hears."""
        errors: list[Exception | None] = [None, ProtocolError("no", Reason.TOO_LARGE)]
        for revision in REVISIONS:
            for link in Link:
                for error in errors:
                    outcomes = []
                    for way in (self.by_the_short_way, self.by_the_table):
                        session = self.begin_in(link, revision)
                        self.listener.error = error
                        way(session)
                        outcomes.append(
                            (
                                session.link,
                                session.beat,
                                self.listener.received,
                                self.listener.endings,
                                self.transport.frames,
                                self.transport.closed,
                                self.candidate.frames,
                                self.candidate.closed,
                            )
                        )
                    self.assertEqual(outcomes[0], outcomes[1], (revision, link, error))
                    self.assertEqual(outcomes[0][2], [] if link is Link.CLOSED else [b"hello"])

    def by_the_short_way(self, session: EngineSession) -> None:
        session.receive(b"4hello")

    def by_the_table(self, session: EngineSession) -> None:
        """What ``receive`` does with every other packet."""
        try:
            session._packet(Packet(Input.MESSAGE.value, b"hello"))
        except ProtocolError as error:
            session.close(error.reason, error.detail)

    def test_an_error_of_the_peers_seen_above_closes_with_its_reason(self) -> None:
        for payload, binary in ((b"4x", False), (b"x", True), (b"bAQID", False)):
            session = self.begin(4)
            self.listener.error = ProtocolError("too many of them", Reason.TOO_LARGE)
            session.receive(payload, binary)
            self.assert_ended(Reason.TOO_LARGE, session)
            self.assertEqual(self.listener.endings, [(Reason.TOO_LARGE, "too many of them")])

    def test_an_error_of_ours_is_not_taken_for_the_peers(self) -> None:
        session = self.begin(4)
        self.listener.error = KeyError("a bug")
        self.assertRaises(KeyError, session.receive, b"4x")
        self.assertIs(session.link, Link.ALONE)

    def test_a_frame_that_is_no_packet_closes_the_session(self) -> None:
        for revision in REVISIONS:
            for payload, binary in ((b"", False), (b"7", False), (b"hello", False), (b"\xff", False), (b"b=", False)):
                session = self.begin(revision)
                session.receive(payload, binary)
                self.assert_ended(Reason.PARSE_ERROR, session)
        session = self.begin(3)
        session.receive(b"\x02probe", True)
        self.assert_ended(Reason.PARSE_ERROR, session)

    def test_packets_that_only_a_server_sends_or_only_a_candidate_are_refused(self) -> None:
        for revision in REVISIONS:
            for link in (Link.ALONE, Link.PROBING, Link.PROBED):
                for payload in (b'0{"sid":"x"}', b"0", b"5"):
                    session = self.begin_in(link, revision)
                    session.receive(payload)
                    self.assert_ended(Reason.PARSE_ERROR, session)

    def test_a_noop_means_nothing(self) -> None:
        for revision in REVISIONS:
            session = self.begin(revision)
            session.receive(b"6")
            self.assertIs(session.link, Link.ALONE)
            self.assertEqual((self.transport.frames, self.listener.received), ([], []))

    def test_a_hundred_packets_in_a_burst_are_heard_in_order(self) -> None:
        session = self.begin(4)
        for number in range(100):
            session.receive(b"4%d" % number)
        self.assertEqual(self.listener.received, [b"%d" % number for number in range(100)])


class SendingTests(SessionTestCase):
    """``send_text`` and ``send_binary``."""

    def test_messages_are_framed_as_the_revision_wants_it(self) -> None:
        expected: list[tuple[Revision, bool, list[bytes | Frame]]] = [
            (4, False, [b"4hi", Frame(b"\x01\x02\x03", True)]),
            (4, True, [b"4hi", b"bAQID"]),
            (3, False, [b"4hi", Frame(b"\x04\x01\x02\x03", True)]),
            (3, True, [b"4hi", b"b4AQID"]),
        ]
        for revision, base64, frames in expected:
            session = self.begin(revision, base64)
            session.send_text(b"hi")
            session.send_binary(b"\x01\x02\x03")
            self.assertEqual(self.transport.frames, frames)

    def test_nothing_is_sent_after_the_end(self) -> None:
        for revision in REVISIONS:
            for end in (
                lambda session: session.close(Reason.FORCED_CLOSE),
                lambda session: session.lost(),
                lambda session: session.receive(b"1"),
                lambda session: session.receive(b"junk"),
            ):
                session = self.begin(revision)
                end(session)
                session.send_text(b"hi")
                session.send_binary(b"hi")
                session.alarm()
                session.receive(b"2")
                session.receive(b"3")
                self.assertEqual(self.transport.frames, [])
                self.assertEqual(self.transport.late, [])


class HeartbeatTests(SessionTestCase):
    """Who asks, who answers, and what silence leads to."""

    def test_revision_3_pings_are_answered_and_put_the_end_off(self) -> None:
        session = self.begin(3)
        for _ in range(5):
            self.timers.advance(INTERVAL + TIMEOUT - 0.01)
            session.receive(b"2")
            self.assertEqual(self.transport.take(), [b"3"])
        self.assertIs(session.link, Link.ALONE)

    def test_revision_3_is_asked_for_a_sign_of_life_before_it_is_closed(self) -> None:
        session = self.begin(3)
        for asked in range(1, 6):
            self.timers.advance(INTERVAL + TIMEOUT / 4 - 0.01)
            self.assertEqual(self.transport.asked_for_life, asked - 1)
            self.timers.advance(3 * TIMEOUT / 4 - 0.01)
            self.assertEqual(self.transport.asked_for_life, asked)
            session.alive()
        self.assertIs(session.link, Link.ALONE)
        self.assertEqual(self.transport.frames, [])
        self.timers.advance(INTERVAL + TIMEOUT)
        self.assert_ended(Reason.PING_TIMEOUT, session)

    def test_signs_of_life_stand_for_pings_a_bounded_number_of_times(self) -> None:
        session = self.begin(3)
        for _ in range(2):
            for _ in range(MAX_SIGNS_OF_LIFE):
                self.timers.advance(INTERVAL + TIMEOUT / 2)
                session.alive()
            session.receive(b"2")
        for _ in range(MAX_SIGNS_OF_LIFE):
            self.timers.advance(INTERVAL + TIMEOUT / 2)
            session.alive()
        self.timers.advance(INTERVAL + TIMEOUT / 2)
        session.alive()
        self.timers.advance(TIMEOUT / 2)
        self.assert_ended(Reason.PING_TIMEOUT, session)

    def test_a_sign_of_life_that_nobody_asked_for_means_nothing(self) -> None:
        for revision in REVISIONS:
            session = self.begin(revision)
            self.timers.advance(INTERVAL - 0.01)
            session.alive()
            self.timers.advance(TIMEOUT + 0.01)
            self.assert_ended(Reason.PING_TIMEOUT, session)
            session.alive()

    def test_revision_3_never_pings(self) -> None:
        session = self.begin(3)
        self.timers.advance(INTERVAL + TIMEOUT - 0.01)
        self.assertEqual(self.transport.frames, [])
        self.assertIs(session.link, Link.ALONE)

    def test_revision_3_silence_of_interval_and_timeout_closes(self) -> None:
        session = self.begin(3)
        self.timers.advance(INTERVAL + TIMEOUT)
        self.assert_ended(Reason.PING_TIMEOUT, session)

    def test_revision_3_messages_are_no_heartbeat(self) -> None:
        session = self.begin(3)
        self.timers.advance(INTERVAL + TIMEOUT - 1)
        session.receive(b"4hello")
        self.timers.advance(1)
        self.assert_ended(Reason.PING_TIMEOUT, session)

    def test_revision_3_pongs_are_refused(self) -> None:
        session = self.begin(3)
        session.receive(b"3")
        self.assert_ended(Reason.PARSE_ERROR, session)

    def test_revision_4_pings_each_interval_and_awaits_an_answer_for_the_timeout(self) -> None:
        session = self.begin(4)
        for _ in range(5):
            self.timers.advance(INTERVAL - 0.01)
            self.assertEqual(self.transport.frames, [])
            self.timers.advance(0.01)
            self.assertEqual(self.transport.take(), [b"2"])
            self.timers.advance(TIMEOUT - 0.01)
            session.receive(b"3")
        self.assertIs(session.link, Link.ALONE)

    def test_revision_4_silence_after_a_ping_closes_once_the_timeout_is_over(self) -> None:
        session = self.begin(4)
        self.timers.advance(INTERVAL + TIMEOUT - 0.01)
        self.assertIs(session.link, Link.ALONE)
        self.assertEqual(self.transport.take(), [b"2"])
        self.timers.advance(0.01)
        self.assert_ended(Reason.PING_TIMEOUT, session)
        self.timers.advance(1000)
        self.assertEqual(self.transport.frames, [])

    def test_revision_4_messages_are_no_answer_to_a_ping(self) -> None:
        session = self.begin(4)
        self.timers.advance(INTERVAL)
        session.receive(b"4hello")
        self.timers.advance(TIMEOUT)
        self.assert_ended(Reason.PING_TIMEOUT, session)

    def test_revision_4_pings_of_the_client_are_refused(self) -> None:
        for waited in (0, INTERVAL):
            session = self.begin(4)
            self.timers.advance(waited)
            session.receive(b"2")
            self.assert_ended(Reason.PARSE_ERROR, session)

    def test_revision_4_a_pong_that_nobody_asked_for_is_no_fault(self) -> None:
        session = self.begin(4)
        self.timers.advance(INTERVAL / 2)
        session.receive(b"3")
        self.assertIs(session.link, Link.ALONE)

    def test_the_heart_beats_on_while_an_upgrade_is_tried_and_after_it(self) -> None:
        session = self.begin_in(Link.PROBED)
        self.timers.advance(INTERVAL)
        self.assertEqual(self.transport.take(), [b"2"])
        session.receive_candidate(b"5")
        session.receive(b"3")
        self.timers.advance(INTERVAL)
        self.assertEqual(self.candidate.take()[1:], [b"2"])
        self.timers.advance(TIMEOUT)
        self.assertIs(session.link, Link.CLOSED)
        self.assertEqual(self.candidate.closed, [Reason.PING_TIMEOUT])


class UpgradeTests(SessionTestCase):
    """A second transport."""

    def test_a_probe_is_answered_and_the_parked_request_let_go(self) -> None:
        for revision in REVISIONS:
            session = self.begin_in(Link.PROBING, revision)
            self.assertEqual((self.candidate.frames, self.transport.releases), ([], 0))
            session.receive_candidate(b"2probe")
            self.assertEqual((self.candidate.frames, self.transport.releases), ([b"3probe"], 1))
            self.assertEqual(self.transport.frames, [])

    def test_until_the_upgrade_messages_go_and_come_by_the_old_transport(self) -> None:
        for link in (Link.PROBING, Link.PROBED):
            session = self.begin_in(link)
            self.candidate.take()
            session.send_text(b"out")
            session.receive(b"4in")
            self.assertEqual((self.transport.frames, self.candidate.frames), ([b"4out"], []))
            self.assertEqual(self.listener.received, [b"in"])

    def test_after_the_upgrade_they_go_and_come_by_the_new_one(self) -> None:
        for revision in REVISIONS:
            session = self.begin_in(Link.PROBED, revision)
            session.receive_candidate(b"5")
            self.assertIs(session.transport, self.candidate)
            self.assertIs(session.link, Link.ALONE)
            self.assertEqual(self.transport.closed, [Reason.TRANSPORT_CLOSE])
            session.send_text(b"out")
            session.receive(b"4in")
            self.assertEqual(self.candidate.frames, [b"3probe", b"4out"])
            self.assertEqual((self.listener.received, self.listener.endings), ([b"in"], []))

    def test_unsent_frames_move_in_order_before_anything_new(self) -> None:
        session = self.begin_in(Link.PROBED)
        self.transport.unsent = [Frame(b"451-x"), Frame(b"\x01", True), Frame(b"42y"), Frame(b"2")]
        session.receive_candidate(b"5")
        session.send_text(b"new")
        self.assertEqual(self.candidate.frames, [b"3probe", b"451-x", Frame(b"\x01", True), b"42y", b"2", b"4new"])
        self.assertEqual(self.transport.unsent, [])

    def test_a_wrong_first_frame_closes_the_candidate_alone(self) -> None:
        for revision in REVISIONS:
            for payload, binary in (
                (b"5", False),
                (b"2", False),
                (b"2probe2", False),
                (b"4hello", False),
                (b"1", False),
                (b"", False),
                (b"junk", False),
                (b"2probe", True),
                (b"5", True),
            ):
                session = self.begin_in(Link.PROBING, revision)
                session.receive_candidate(payload, binary)
                self.assertEqual(self.candidate.closed, [Reason.PARSE_ERROR])
                self.assert_alone_and_well(session)

    def test_a_wrong_second_frame_closes_the_candidate_alone(self) -> None:
        for payload, binary in ((b"2probe", False), (b"4hello", False), (b"", False), (b"5x", False), (b"5", True)):
            session = self.begin_in(Link.PROBED)
            session.receive_candidate(payload, binary)
            self.assertEqual(self.candidate.closed, [Reason.PARSE_ERROR])
            self.assert_alone_and_well(session)

    def assert_alone_and_well(self, session: EngineSession) -> None:
        """A candidate that failed leaves the session as it was, and open for another."""
        self.assertIs(session.link, Link.ALONE)
        self.assertIs(session.transport, self.transport)
        self.assertEqual((self.transport.closed, self.listener.endings), ([], []))
        session.send_text(b"still here")
        self.assertEqual(self.transport.take(), [b"4still here"])
        session.receive(b"4hello")
        self.assertEqual(self.listener.received.pop(), b"hello")
        another = FakeTransport()
        self.assertTrue(session.offer(another))
        session.receive_candidate(b"2probe")
        session.receive_candidate(b"5")
        self.assertIs(session.transport, another)
        self.transport.closed.clear()

    def test_a_candidate_that_ends_or_is_too_slow_leaves_the_session(self) -> None:
        for link in (Link.PROBING, Link.PROBED):
            session = self.begin_in(link)
            session.candidate_gone()
            self.assert_alone_and_well(session)

    def test_a_second_candidate_is_not_taken(self) -> None:
        for link in (Link.PROBING, Link.PROBED):
            session = self.begin_in(link)
            second = FakeTransport()
            self.assertFalse(session.offer(second))
            self.assertIs(session.candidate, self.candidate)
            self.assertEqual((second.frames, second.closed), ([], []))

    def test_a_closed_session_takes_no_candidate(self) -> None:
        session = self.begin_in(Link.CLOSED)
        self.assertFalse(session.offer(FakeTransport()))
        self.assertIsNone(session.candidate)

    def test_frames_of_a_candidate_that_was_let_go_mean_nothing(self) -> None:
        for payload in (b"2probe", b"5", b"4hello", b""):
            session = self.begin(4)
            session.receive_candidate(payload)
            session.candidate_gone()
            self.assertIs(session.link, Link.ALONE)
            self.assertEqual((self.transport.frames, self.listener.received), ([], []))

    def test_a_second_upgrade_is_possible(self) -> None:
        session = self.begin_in(Link.PROBED)
        session.receive_candidate(b"5")
        third = FakeTransport()
        self.assertTrue(session.offer(third))
        session.receive_candidate(b"2probe")
        session.receive_candidate(b"5")
        self.assertIs(session.transport, third)
        self.assertEqual(self.candidate.closed, [Reason.TRANSPORT_CLOSE])


class ClosingTests(SessionTestCase):
    """The end, from every side and in every state."""

    def test_every_way_to_end_in_every_state(self) -> None:
        ways: list[tuple[Reason, Callable[[EngineSession], None]]] = [
            (Reason.SHUTTING_DOWN, lambda session: session.close(Reason.SHUTTING_DOWN)),
            (Reason.TRANSPORT_CLOSE, lambda session: session.lost()),
            (Reason.TRANSPORT_ERROR, lambda session: session.lost(Reason.TRANSPORT_ERROR)),
            (Reason.TRANSPORT_CLOSE, lambda session: session.receive(b"1")),
            (Reason.PARSE_ERROR, lambda session: session.receive(b"junk")),
            (Reason.PING_TIMEOUT, lambda session: self.timers.advance(1000)),
        ]
        for revision in REVISIONS:
            for link in (Link.ALONE, Link.PROBING, Link.PROBED):
                for reason, way in ways:
                    session = self.begin_in(link, revision)
                    way(session)
                    self.assert_ended(reason, session)
                    self.assertIsNone(session.candidate)
                    self.assertEqual(self.candidate.closed, [] if link is Link.ALONE else [reason])
                    self.assertEqual(self.timers.alarms, {})

    def test_the_detail_is_told_above(self) -> None:
        session = self.begin(4)
        session.close(Reason.SLOW_READER, "4000001 bytes unsent")
        self.assertEqual(self.listener.endings, [(Reason.SLOW_READER, "4000001 bytes unsent")])

    def test_a_second_end_changes_nothing(self) -> None:
        for again in (
            lambda session: session.close(Reason.SHUTTING_DOWN, "again"),
            lambda session: session.lost(Reason.TRANSPORT_ERROR),
            lambda session: session.receive(b"1"),
            lambda session: session.receive(b""),
            lambda session: session.receive(b"\x07", True),
            lambda session: session.candidate_gone(),
            lambda session: session.receive_candidate(b"2probe"),
            lambda session: session.alarm(),
        ):
            session = self.begin(3)
            session.close(Reason.FORCED_CLOSE)
            again(session)
            self.assert_ended(Reason.FORCED_CLOSE, session)

    def test_an_end_within_the_end_keeps_the_first_reason(self) -> None:
        """A transport that writes its last bytes may find its reader too slow just then."""
        for fake in ("transport", "candidate", "listener"):
            session = self.begin_in(Link.PROBED)
            again = self.ends(session)
            if fake == "listener":
                self.listener.on_closed = again
            else:
                getattr(self, fake).on_close = again
            session.close(Reason.SHUTTING_DOWN, "first")
            self.assert_ended(Reason.SHUTTING_DOWN, session)
            self.assertEqual(self.listener.endings, [(Reason.SHUTTING_DOWN, "first")])

    def ends(self, session: EngineSession) -> Callable[[], None]:
        def again() -> None:
            session.close(Reason.SLOW_READER, "second")
            session.lost(Reason.TRANSPORT_ERROR)

        return again

    def test_a_reader_found_too_slow_while_it_is_sent_to(self) -> None:
        """``close`` from within ``send``, wherever the session sends."""
        for revision in REVISIONS:
            session = self.begin(revision)
            self.transport.on_send = self.ends(session)
            if revision == 3:
                session.receive(b"2")
            else:
                self.timers.advance(INTERVAL)
            self.assert_ended(Reason.SLOW_READER, session)
            self.assertEqual(self.timers.alarms, {})

    def test_a_reader_found_too_slow_while_frames_move_to_the_new_transport(self) -> None:
        session = self.begin_in(Link.PROBED)
        self.transport.unsent = [Frame(b"4a"), Frame(b"4b")]
        self.candidate.on_send = self.ends(session)
        session.receive_candidate(b"5")
        self.assertIs(session.link, Link.CLOSED)
        self.assertEqual(self.candidate.closed, [Reason.SLOW_READER])
        self.assertEqual(self.candidate.late, [])
        self.assertEqual(len(self.transport.closed), 1)
        self.assertEqual(self.listener.endings, [(Reason.SLOW_READER, "second")])

    def test_a_probe_answered_into_a_reader_that_is_too_slow(self) -> None:
        session = self.begin_in(Link.PROBING)
        self.candidate.on_send = self.ends(session)
        session.receive_candidate(b"2probe")
        self.assertIs(session.link, Link.CLOSED)
        self.assertEqual(self.candidate.closed, [Reason.SLOW_READER])
        self.assertEqual(self.transport.releases, 0)

    def test_the_listener_may_send_its_last_words_and_they_are_not_sent(self) -> None:
        session = self.begin(4)
        self.listener.on_closed = lambda: session.send_text(b"last words")
        session.close(Reason.FORCED_CLOSE)
        self.assertEqual((self.transport.frames, self.transport.late), ([], []))


class ProofsTests(SessionTestCase):
    """Proofs that the peer has read what was sent, which a transport brings."""

    def test_a_proof_is_handed_on(self) -> None:
        for link in (Link.ALONE, Link.PROBING, Link.PROBED):
            session = self.begin_in(link)
            session.confirmed(7)
            self.assertEqual(self.listener.proofs, [7])

    def test_a_proof_that_comes_after_the_end_is_none(self) -> None:
        session = self.begin_in(Link.CLOSED)
        session.confirmed(7)
        self.assertEqual(self.listener.proofs, [])


class LastWordsTests(SessionTestCase):
    """Before this side ends a session, a last word may be sent."""

    def test_it_is_sent_before_the_transport_is_closed(self) -> None:
        for link in (Link.ALONE, Link.PROBING, Link.PROBED):
            session = self.begin_in(link)
            self.listener.on_closing = partial(session.send_text, b"goodbye")
            session.close(Reason.SHUTTING_DOWN)
            session.close(Reason.SHUTTING_DOWN)
            self.assertEqual(self.transport.frames, [b"4goodbye"])
            self.assertEqual(self.listener.last_words, [Reason.SHUTTING_DOWN])
            self.assert_ended(Reason.SHUTTING_DOWN, session)

    def test_there_is_none_where_the_peer_or_the_transport_made_the_end(self) -> None:
        for end in (lambda session: session.receive(b"1"), lambda session: session.lost()):
            session = self.begin()
            end(session)
            self.assertEqual(self.listener.last_words, [])

    def test_one_that_the_reader_is_too_slow_for_changes_nothing(self) -> None:
        session = self.begin()
        self.listener.on_closing = partial(session.send_text, b"goodbye")
        self.transport.on_send = lambda: session.close(Reason.SLOW_READER, "second")
        session.close(Reason.SHUTTING_DOWN, "first")
        self.assert_ended(Reason.SHUTTING_DOWN, session)
        self.assertEqual(self.listener.endings, [(Reason.SHUTTING_DOWN, "first")])
        self.assertEqual(self.listener.last_words, [Reason.SHUTTING_DOWN])

    def test_one_that_fails_by_a_fault_of_ours_does_not_keep_the_session(self) -> None:
        def fail() -> None:
            raise KeyError("a bug")

        session = self.begin()
        self.listener.on_closing = fail
        self.assertRaises(KeyError, session.close, Reason.SHUTTING_DOWN)
        self.assert_ended(Reason.SHUTTING_DOWN, session)

    def test_one_that_the_transport_is_lost_with_is_the_last(self) -> None:
        session = self.begin()
        self.listener.on_closing = partial(session.send_text, b"goodbye")
        self.transport.on_send = lambda: session.lost()
        session.close(Reason.SHUTTING_DOWN)
        self.assert_ended(Reason.TRANSPORT_CLOSE, session)


#: What can happen to a session: the name of a method, and arguments.
_happenings = st.one_of(
    st.tuples(st.just("receive"), any_bytes | st.sampled_from(b"0 1 2 3 4x 5 6 2probe bAQID".split()), st.booleans()),
    st.tuples(st.just("receive_candidate"), st.sampled_from([b"2probe", b"5"]) | any_bytes, st.just(False)),
    st.tuples(st.just("receive_candidate"), any_bytes, st.booleans()),
    st.tuples(st.just("offer")),
    st.tuples(st.just("candidate_gone")),
    st.tuples(st.just("lost")),
    st.tuples(st.just("advance"), st.sampled_from([1.0, TIMEOUT, INTERVAL, INTERVAL + TIMEOUT])),
    st.tuples(st.just("send_text"), st.just(b"hi")),
    st.tuples(st.just("send_binary"), st.just(b"hi")),
    st.tuples(st.just("close"), st.sampled_from(Reason), st.just("detail")),
    st.tuples(st.just("confirmed"), st.integers(0, 2)),
    st.tuples(st.just("alive")),
)


class AnyCourseTests(SessionTestCase):
    """Whatever happens in whatever order."""

    @PROPERTY
    @given(revisions, st.booleans(), st.lists(_happenings, max_size=15))
    @example(4, False, [("offer",), ("receive_candidate", b"2probe", False), ("receive_candidate", b"5", False)])
    def test_no_course_of_things_raises_or_breaks_a_promise(
        self, revision: Revision, base64: bool, happenings: list[tuple[Any, ...]]
    ) -> None:
        session = self.begin(revision, base64)
        self.listener.on_closing = partial(session.send_text, b"goodbye")
        transports = [self.transport]
        for name, *arguments in happenings:
            if name == "offer":
                transport = FakeTransport([Frame(b"4unsent")])
                if session.offer(transport):
                    transports.append(transport)
            elif name == "advance":
                self.timers.advance(*arguments)
            else:
                getattr(session, name)(*arguments)
            self.check(session, self.transport, self.listener, self.timers)
        alive = [transport for transport in transports if not transport.closed]
        expected = [session.transport, session.candidate] if session.link is not Link.CLOSED else []
        self.assertEqual(alive, [one for one in expected if one is not None])
        for transport in transports:
            self.assertEqual(transport.late, [])
            self.assertLessEqual(len(transport.closed), 1)


class FakesTests(SynchronousTestCase):
    """The fakes are what the session's protocols ask for; mypy reads this."""

    def test_they_fit(self) -> None:
        transport: Transport = FakeTransport()
        listener: Listener = FakeListener()
        timers: Timers = FakeTimers()
        self.assertTrue(transport and listener and timers)
