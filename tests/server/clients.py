"""Clients of a ``Server`` in memory: what they send and hear are packets as they stand on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.task import Clock

from kschat.server import Bounds, Server
from kschat.wire.connection import Connection, Handshake
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes
from tests.wire.fakes import FakeTimers, FakeTransport


class Client:
    """One connection of a client.

    Attributes:
        wire: what it is on; ``congested`` may be set.
    """

    def __init__(self, server: Server, revision: Revision = 4, query: Mapping[str, str] | None = None) -> None:
        self.wire = FakeTransport()
        self.session = EngineSession("engine", revision, self.wire, timers=FakeTimers(), times=HeartbeatTimes(25, 20))
        handshake = Handshake(query=query or {}, peer="192.0.2.7:1", address="192.0.2.7")
        self.connection = Connection(self.session, server, handshake, limits=Limits())
        self.session.listener = self.connection
        self.connection.opened()

    def say(self, packet: str, *attachments: bytes) -> None:
        """A packet, without Engine.IO's digit."""
        self.session.receive(b"4" + packet.encode())
        for attachment in attachments:
            self.session.receive(b"\x04" * (self.session.revision == 3) + attachment, True)

    def join(self, namespace: str = "/", payload: str = "") -> Client:
        """Ask to join; what is answered is forgotten, but for the socket's id."""
        self.say("0" + ("" if namespace == "/" else namespace + ",") + payload)
        self.heard()
        return self

    def heard(self) -> list[str | bytes]:
        """Packets that came since the last time; attachments are bytes."""
        found: list[str | bytes] = []
        for one in self.wire.take():
            if isinstance(one, bytes):
                assert one[:1] == b"4", one
                found.append(one[1:].decode())
            else:
                found.append(one.payload[self.session.revision == 3 :])
        return found

    @property
    def closed(self) -> Reason | None:
        """Why the server closed its connection."""
        return self.wire.closed[0] if self.wire.closed else None

    def leave(self) -> None:
        """The connection is gone."""
        self.session.lost()


def new_server(**bounds: int) -> tuple[Server, Clock]:
    """A server, and the clock that it is on."""
    clock = Clock()
    return Server(clock, Bounds(**bounds)), clock
