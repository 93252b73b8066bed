"""The sessions of one daemon: begun, found, forgotten, and their last words."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.front import registry
from kschat.front.registry import SessionRegistry
from kschat.front.timers import TimerWheel
from kschat.wire.connection import Connection, Handshake
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes
from tests.wire.fakes import FakeApplication, FakeTransport


class Speaker:
    """Has last words."""

    slot: int | None = None

    def alarm(self) -> None:
        """Nobody came for them."""

    def say_last_words(self, request: object, query: object) -> None:
        """Somebody did."""


class Registry(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = TimerWheel(self.clock)
        self.application = FakeApplication()
        self.sessions = SessionRegistry(
            self.application,
            timers=self.timers,
            limits=Limits(),
            times=HeartbeatTimes(25, 20),
            connect_timeout=5,
        )

    def begin(self, transport: FakeTransport | None = None) -> EngineSession:
        return self.sessions.begin(transport or FakeTransport(), 4, handshake=Handshake())

    def test_sessions_are_found_by_their_ids_until_they_end(self) -> None:
        begun = [self.begin() for _ in range(3)]
        self.assertEqual(list(self.sessions), [session.sid for session in begun])
        for session in begun:
            found = self.sessions.get(session.sid)
            assert found is not None
            self.assertIs(found.session, session)
        begun[1].lost()
        self.assertEqual((len(self.sessions), self.sessions.get(begun[1].sid)), (2, None))
        for sid in (None, "", "x"):
            self.assertIsNone(self.sessions.get(sid))

    def test_one_is_not_found_from_the_moment_that_it_ends(self) -> None:
        transport = FakeTransport()
        session = self.begin(transport)
        found: list[Connection | None] = []
        transport.on_close = lambda: found.append(self.sessions.get(session.sid))
        session.close(Reason.SHUTTING_DOWN)
        self.assertEqual(found, [None])

    def test_one_that_joins_nothing_in_time_is_closed_and_leaves_no_timer(self) -> None:
        transport = FakeTransport()
        self.begin(transport)
        joined = FakeTransport()
        self.begin(joined).receive(b"40/kschat,")
        self.clock.advance(5.1)
        self.assertEqual((transport.closed, joined.closed), ([Reason.CONNECT_TIMEOUT], []))
        self.sessions.close_all(Reason.SHUTTING_DOWN)
        self.assertEqual((joined.closed, list(self.sessions), len(self.timers)), ([Reason.SHUTTING_DOWN], [], 0))

    def test_one_that_serves_nothing_any_more_has_as_long_again(self) -> None:
        gone, back = FakeTransport(), FakeTransport()
        sessions = [self.begin(transport) for transport in (gone, back)]
        for session in sessions:
            session.receive(b"40/kschat,")
        self.clock.advance(5.1)
        for session in sessions:
            session.receive(b"41/kschat,")
        self.clock.advance(4)
        sessions[1].receive(b"40/kschat,")
        self.clock.advance(1.1)
        self.assertEqual((gone.closed, back.closed), ([Reason.CONNECT_TIMEOUT], []))
        # Who asks and leaves all the time gains nothing.
        for _ in range(3):
            sessions[1].receive(b"41/kschat,")
            self.clock.advance(2)
            if not back.closed:
                sessions[1].receive(b"40/kschat,")
                sessions[1].receive(b"41/kschat,")
        self.assertEqual(back.closed, [Reason.CONNECT_TIMEOUT])

    def test_last_words_are_kept_for_a_while_and_given_once(self) -> None:
        speaker = Speaker()
        self.sessions.let_linger("x", speaker, 5)
        self.assertEqual(len(self.timers), 1)
        self.assertIs(self.sessions.take_lingering("x"), speaker)
        self.assertEqual((self.sessions.take_lingering("x"), len(self.timers)), (None, 0))
        self.assertIsNone(self.sessions.take_lingering(None))

    def test_so_many_last_words_are_kept_and_the_oldest_give_way(self) -> None:
        self.patch(registry, "MAX_LINGERING", 2)
        for sid in "abc":
            self.sessions.let_linger(sid, Speaker(), 5)
        self.assertEqual([self.sessions.take_lingering(sid) is not None for sid in "abc"], [False, True, True])
