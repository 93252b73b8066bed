"""200,000 bad frames (fewer in a short run), each read: over sockets (tests/e2e) most stand behind one that closed all.

The frames are the same kinds; here a session that was closed is replaced at no cost.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.connection import Connection, Handshake, Socket
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes, Link
from kschat.wire.socketio import Ack, Connect, Event
from tests.mutations import Mutations
from tests.profile import amount
from tests.wire.fakes import FakeTimers, FakeTransport

REVISIONS: tuple[Revision, ...] = (3, 4)
FRAMES = amount(100_000, 4_000)


class Welcome:
    """An application that lets everybody in, answers what asks for an ack, and says nothing more."""

    def find(self, namespace: str, connection: Connection) -> Welcome:
        return self

    def connect(self, socket: Socket, wish: Connect) -> None:
        socket.accept()

    def event(self, socket: Socket, event: Event) -> None:
        if event.id is not None:
            socket.ack(event.id, b"[]")

    def acked(self, socket: Socket, ack: Ack) -> None:
        """Nobody asked."""

    def confirmed(self, socket: Socket, number: int) -> None:
        """Nobody asked."""

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        """No last word."""

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """Nothing was kept for it."""

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """Nothing was kept for it."""


class Target:
    """A session that is replaced when it was closed, and has joined /kschat before it gets the next frame."""

    def __init__(self, revision: Revision) -> None:
        self.revision: Revision = revision
        self.endings: Counter[Reason] = Counter()
        self.session = self._new()

    def _new(self) -> EngineSession:
        session = EngineSession(
            "sid", self.revision, FakeTransport(), timers=FakeTimers(), times=HeartbeatTimes(25, 20)
        )
        connection = Connection(session, Welcome(), Handshake(), limits=Limits())
        session.listener = connection
        session.open((), 1_000_000)
        connection.opened()
        session.receive(b"40/kschat,")
        return session

    def receive(self, payload: bytes, binary: bool) -> None:
        """Gives the session a frame. Nothing but ProtocolError may be raised, and that inside."""
        self.session.receive(payload, binary)
        if self.session.link is Link.CLOSED:
            transport = self.session.transport
            assert isinstance(transport, FakeTransport)
            self.endings.update(transport.closed)
            self.session = self._new()


class BadFramesTests(SynchronousTestCase):
    """Nothing is raised out of a session, and it ends for the protocol's own reasons."""

    #: What a peer's frames can bring about: a packet that is none, or the peer's own goodbye.
    REASONS = frozenset({Reason.PARSE_ERROR, Reason.TRANSPORT_CLOSE})

    def check(self, target: Target, closed_at_least: int) -> None:
        """Only such endings, many of them, and no frame took long."""
        self.assertLessEqual(target.endings.keys(), self.REASONS, target.endings)
        self.assertGreater(target.endings[Reason.PARSE_ERROR], closed_at_least)

    def test_random_frames(self) -> None:
        for revision in REVISIONS:
            mutations = Mutations(3, "user", "token")
            target = Target(revision)
            for _ in range(FRAMES // 2):
                payload = mutations.random_payload()
                target.receive(payload, mutations.random.random() < 0.3)
            self.check(target, FRAMES // 4)

    def test_mutated_frames(self) -> None:
        for revision in REVISIONS:
            mutations = Mutations(4, "user", "token")
            target = Target(revision)
            for _ in range(FRAMES // 2):
                for place, payload in enumerate(mutations.mutated_payloads(revision)):
                    target.receive(payload, place > 0)
            self.check(target, FRAMES // 16)
