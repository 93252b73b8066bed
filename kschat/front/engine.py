"""The requests that begin a session, and the sessions there are.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("Handshake"); the errors are those of
the reference server (WIRE.md, 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from kschat.chat.counters import Counters
from kschat.front.channel import Channel, ConnectionCount
from kschat.front.timetable import Alarms
from kschat.front.websocket import EngineFactory, EngineProtocol
from kschat.wire.connection import Application, Connection, Handshake
from kschat.wire.cork import Cork
from kschat.wire.engineio import Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.roles import Transport
from kschat.wire.session import EngineSession, HeartbeatTimes


class Refusal(msgspec.Struct, frozen=True):
    """A request that begins no session, in Engine.IO's words."""

    code: int
    message: str
    status: int = HTTPStatus.BAD_REQUEST

    @property
    def body(self) -> bytes:
        """The JSON that the client reads."""
        return msgspec.json.encode({"code": self.code, "message": self.message})


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
BAD_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", HTTPStatus.FORBIDDEN)
UNSUPPORTED_VERSION: Final = Refusal(5, "Unsupported protocol version")

_REVISIONS: Final[dict[str, Revision]] = {"3": 3, "4": 4}

#: The headers of a WebSocket handshake. Autobahn is shown these, and never the URL: a token may
#: stand there, and Autobahn logs what it is shown. Nor the Origin, which is checked here: Autobahn refuses
#: those it can't parse.
_HANDSHAKE_HEADERS: Final = (
    b"Host",
    b"Upgrade",
    b"Connection",
    b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version",
    b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Extensions",
)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about sessions. Times in seconds, sizes in bytes."""

    ping_interval: float = 25
    ping_timeout: float = 20
    connect_timeout: float = 45
    max_unsent: int = 4_000_000
    origins: tuple[str, ...] = ("*",)
    deflate: bool = False
    deflate_from: int = 256


class Registered(Connection):
    """A connection that its engine forgets when it ends."""

    __slots__ = ("engine",)

    engine: Engine

    def closing(self, reason: Reason) -> None:
        """See ``Connection``."""
        try:
            super().closing(reason)
        except Exception:  # noqa: BLE001 - and is logged; the session must end all the same
            self.engine.log.failure("a last word could not be said")

    def closed(self, reason: Reason, detail: str) -> None:
        """See ``Connection``."""
        self.engine.forget(self)
        try:
            super().closed(reason, detail)
        except Exception:  # noqa: BLE001 - and is logged; who ends a session has others to look after
            self.engine.log.failure("the end of a session could not be told")


class _Newcomer:
    """Looks, once, whether a connection has joined a namespace for whose sake it may stay."""

    __slots__ = ("connection", "slot")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.slot: int | None = None

    def alarm(self) -> None:
        """The time to join is over."""
        if not self.connection.serves:
            self.connection.session.close(Reason.CONNECT_TIMEOUT)


class Engine:
    """All sessions of one daemon.

    Args:
        application: what the sessions are for.
        alarms: wakes sessions.
        cork: holds writes back.
        limits, settings: what peers may do.
        counters: counts.
        connections: how many there are, on whose account a transport stands.
        reactor: for Autobahn.
        kind: what is above each session.
    """

    log = Logger()

    def __init__(
        self,
        application: Application,
        alarms: Alarms,
        cork: Cork,
        limits: Limits,
        settings: EngineSettings,
        counters: Counters,
        connections: ConnectionCount,
        reactor: IReactorTime,
        kind: type[Registered] = Registered,
    ) -> None:
        self.alarms = alarms
        self.cork = cork
        self.max_unsent = settings.max_unsent
        self.deflate_from = settings.deflate_from
        self.connections = connections
        self.sessions: dict[str, Connection] = {}
        self.factory = EngineFactory(self, reactor, limits.max_payload, settings.deflate)
        self._application = application
        self._kind = kind
        self._limits = limits
        self._settings = settings
        self._counters = counters
        self._times = HeartbeatTimes(settings.ping_interval, settings.ping_timeout)
        self._newcomers: dict[Connection, _Newcomer] = {}

    def begin(self, transport: Transport, revision: Revision, handshake: Handshake, base64: bool) -> EngineSession:
        """A session on a transport that stands."""
        sid = token_urlsafe(15)
        session = EngineSession(sid, revision, transport, self.alarms, self._times, base64)
        connection = self._kind(session, self._application, handshake, self._limits)
        connection.engine = self
        session.listener = connection
        self.sessions[sid] = connection
        newcomer = self._newcomers[connection] = _Newcomer(connection)
        self.alarms.schedule(newcomer, self._settings.connect_timeout)
        session.open((), self._limits.max_payload)
        try:
            connection.opened()
        except ProtocolError as error:
            session.close(error.reason, error.detail)
        except Exception:  # noqa: BLE001 - and is logged; Autobahn would leave the connection open
            self.log.failure("a session could not begin")
            session.close(Reason.SERVER_ERROR)
        return session

    def forget(self, connection: Connection) -> None:
        """A session has ended."""
        self.sessions.pop(connection.session.sid, None)
        newcomer = self._newcomers.pop(connection, None)
        if newcomer is not None:
            self.alarms.cancel(newcomer)

    def check(self, request: Request) -> Refusal | None:
        """What is wrong with a request for a session, in the reference server's order."""
        if _query(request, b"transport") != "websocket":
            return UNKNOWN_TRANSPORT
        sid = _query(request, b"sid")
        if sid is not None:
            # A session on a WebSocket takes no second one; others come with polling.
            return BAD_REQUEST if sid in self.sessions else UNKNOWN_SID
        if request.method != b"GET":
            return BAD_METHOD
        if not _is_upgrade(request):
            return BAD_REQUEST
        if not self._may_come_from(request.getHeader(b"origin"), request.getHeader(b"host")):
            return FORBIDDEN
        if _query(request, b"EIO") not in _REVISIONS:
            return UNSUPPORTED_VERSION
        return None

    def _may_come_from(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether a page of ``origin`` may connect: none is named, it is named, or it is the daemon's own."""
        origins = self._settings.origins
        if "*" in origins or origin is None:
            return True
        return origin.decode("latin-1") in origins or (host is not None and origin.partition(b"://")[2] == host)

    def rejected(self, refusal: Refusal, request: Request) -> None:
        """Count and log a request that was refused."""
        self._counters.rejected[refusal.code] += 1
        self.log.info(
            "a request from {peer} was refused: {why}",
            peer=_peer(request),
            why=refusal.message,
        )

    def bad_request(self, status: int, headers: Iterable[tuple[str, str]] | None) -> bytes:
        """The HTTP response to a handshake that is no WebSocket's."""
        self._counters.rejected[BAD_REQUEST.code] += 1
        body = BAD_REQUEST.body
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers or ()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def close_all(self, reason: Reason) -> Deferred[None]:
        """End all sessions; fires when the last connection is gone."""
        for connection in list(self.sessions.values()):
            connection.session.close(reason)
        return self.connections.emptied()


class EngineResource(Resource):
    """``/socket.io/``: begins sessions, and hands out the client's script.

    Args:
        engine: the sessions.
        client: what answers for a file's name below this path.
    """

    isLeaf = True

    def __init__(self, engine: Engine, client: IResource) -> None:
        super().__init__()
        self._engine = engine
        self._client = client

    def render(self, request: Request) -> Any:
        """Answer a request: a session, a script, or Engine.IO's error."""
        if any(request.postpath or ()):
            return self._client.render(request)
        refusal = self._engine.check(request)
        if refusal is None:
            self._upgrade(request)
            return NOT_DONE_YET
        self._engine.rejected(refusal, request)
        request.setResponseCode(refusal.status)
        request.setHeader(b"content-type", b"application/json")
        if _is_upgrade(request):
            request.setHeader(b"connection", b"close")
            request.channel.persistent = False
        return refusal.body

    def _upgrade(self, request: Request) -> None:
        revision = _REVISIONS[_query(request, b"EIO") or ""]
        handshake = Handshake(
            query={name.decode("utf-8", "replace"): _text(values) for name, values in request.args.items()},
            authorization=(request.getHeader(b"authorization") or b"").decode("latin-1"),
            peer=_peer(request),
        )
        base64 = _query(request, b"b64") in ("1", "true")
        hand_over(request, self._engine.factory.for_request(revision, handshake, base64))


def hand_over(request: Request, protocol: EngineProtocol) -> None:
    """Let ``protocol`` answer a WebSocket handshake, and have the connection."""
    head = [b"GET / HTTP/1.1"]
    for name in _HANDSHAKE_HEADERS:
        values = request.requestHeaders.getRawHeaders(name)
        if values:
            head.append(name + b": " + b",".join(values))
    channel = request.channel
    assert isinstance(channel, Channel)
    take_over(channel, protocol)
    protocol.dataReceived(b"\r\n".join(head) + b"\r\n\r\n")


def take_over(channel: Channel, protocol: EngineProtocol) -> None:
    """Put ``protocol`` in the place of ``channel``, which lets go of all it holds."""
    transport = channel.let_go(protocol)
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    elif isinstance(transport.protocol, ProtocolWrapper):
        transport.protocol.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()


def _is_upgrade(request: Request) -> bool:
    return b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def _query(request: Request, name: bytes) -> str | None:
    values = request.args.get(name)
    return _text(values) if values else None


def _text(values: Sequence[bytes]) -> str:
    return values[0].decode("utf-8", "replace")


def _peer(request: Request) -> str:
    address = request.getClientAddress()
    host = getattr(address, "host", None)
    return f"{host}:{address.port}" if host else "unix"
