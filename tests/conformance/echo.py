"""WebSocket without Engine.IO: each message goes back as it came, by the transport that the daemon's sessions have."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from kschat.front.engine import Engine
from kschat.front.handover import hand_over
from kschat.front.registry import SessionRegistry
from kschat.wire.connection import Handshake
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from kschat.wire.roles import Transport
from kschat.wire.session import EngineSession, HeartbeatTimes


class EchoSession(EngineSession):
    """Stands where a session of Engine.IO does, and speaks nothing of it: no handshake, no heartbeat, no packets."""

    def receive(self, payload: bytes, binary: bool = False) -> None:
        """A message came."""
        self.transport.send(payload, binary)


class Nobody:
    """Listens to a session that has nothing to tell. ``max_payload``: bytes of a message."""

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload

    def text(self, data: bytes) -> None:
        """Never called."""

    binary = text

    def confirmed(self, number: int) -> None:
        """Never called."""

    def closing(self, reason: Reason) -> None:
        """No last word."""

    def closed(self, reason: Reason, detail: str) -> None:
        """Nothing was kept."""


class EchoRegistry(SessionRegistry):
    """Begins echoes in the place of sessions."""

    def begin(
        self,
        transport: Transport,
        revision: Revision,
        *,
        handshake: Handshake,
        base64: bool = False,
        upgrades: tuple[str, ...] = (),
    ) -> EngineSession:
        """An echo on a transport that stands."""
        session = EchoSession("", revision, transport, timers=self.timers, times=HeartbeatTimes(25, 20))
        session.listener = Nobody(self._limits.max_payload)
        return session


class EchoResource(Resource):
    """``/echo``: whatever asks for a WebSocket has one."""

    isLeaf = True

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def render_GET(self, request: Request) -> Any:
        """Give the connection away."""
        hand_over(request, self._engine.factory.for_request(revision=4, handshake=Handshake()))
        return NOT_DONE_YET
