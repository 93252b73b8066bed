"""The sessions there are, and which requests may begin one or belong to one.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("Handshake"); the errors are those of
the reference server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Any, Final, TypeAlias

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from kschat.chat.counters import Counters
from kschat.front.asking import Asked, handshake_of, is_upgrade, peer
from kschat.front.channel import ConnectionCount
from kschat.front.factory import EngineFactory
from kschat.front.origins import Origins
from kschat.front.polling import Polling
from kschat.front.refusals import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    TOO_MANY,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_VERSION,
    Refusal,
)
from kschat.front.timetable import Alarms
from kschat.wire.connection import Application, Connection, Handshake
from kschat.wire.cork import Cork
from kschat.wire.engineio import Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.roles import Transport
from kschat.wire.session import EngineSession, HeartbeatTimes, Link

_TRANSPORTS: Final = ("polling", "websocket")

#: Sessions that have ended and whose last words wait for a GET.
MAX_LINGERING: Final = 1000


#: Lets a request begin a session, or not: by returning False, or by raising ``server.Refused``, whose message the
#: client is told. May be ``async def``, or return a Deferred.
AllowRequest: TypeAlias = Callable[[Handshake], Any]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about sessions. Times in seconds, sizes in bytes.

    ``keep_headers``: whether each session's handshake has its request's headers and URL, which the chat has no use for.
    """

    ping_interval: float = 25
    ping_timeout: float = 20
    connect_timeout: float = 45
    max_unsent: int = 4_000_000
    upgrade_timeout: float = 10
    max_polls: int = 10_000
    origins: tuple[str, ...] = ("*",)
    deflate: bool = False
    deflate_from: int = 256
    keep_headers: bool = False


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


def _new_sid() -> str:
    return token_urlsafe(15)


class Engine:
    """All sessions of one daemon, or of any program with a site of its own.

    Of the daemon it needs nothing: ``EngineResource`` puts it into a tree of twisted.web, and a ``BoundedSite`` serves
    that, whose ``arriving`` has the resource's. (``standalone.SocketIOService`` is all of it in one.)

    Args:
        application: what the sessions are for.
        alarms: wakes sessions.
        cork: holds writes back.
        limits, settings: what peers may do.
        counters: counts.
        connections: how many there are, on whose account a transport stands.
        reactor: for Autobahn, and for what goes on in the next turn.
        kind: what is above each session.
        wall: the time of day, for handshakes.
        allow: is asked for each request that would begin a session, once nothing else is wrong with it.
        new_sid: makes ids of sessions; where there are other daemons, ids that they know (``sids.Sids.new``).
        busy: says whether what the application was given waits; then long bodies are read more slowly.
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
        new_sid: Callable[[], str] | None = None,
        wall: Callable[[], float] = time.time,
        allow: AllowRequest | None = None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.alarms = alarms
        self.busy = busy
        self.clock = reactor
        self.cork = cork
        self.max_unsent = settings.max_unsent
        self.max_payload = limits.max_payload
        self.upgrade_timeout = settings.upgrade_timeout
        #: sessions that poll now
        self.polls = 0
        self.deflate_from = settings.deflate_from
        self.connections = connections
        self.sessions: dict[str, Connection] = {}
        self.factory = EngineFactory(self, reactor, limits.max_payload, settings.deflate)
        self._application = application
        self._kind = kind
        self._wall = wall
        self.allow = allow
        self._new_sid = new_sid or _new_sid
        self._limits = limits
        self._settings = settings
        self._counters = counters
        self._origins = Origins(settings.origins)
        self._times = HeartbeatTimes(settings.ping_interval, settings.ping_timeout)
        self._lingering: dict[str, Polling] = {}
        self._newcomers: dict[Connection, _Newcomer] = {}

    def begin(
        self,
        transport: Transport,
        revision: Revision,
        handshake: Handshake,
        base64: bool = False,
        upgrades: tuple[str, ...] = (),
    ) -> EngineSession:
        """A session on a transport that stands.

        Args:
            transport: it.
            revision, handshake: of the request.
            base64: binary is to be sent as text.
            upgrades: names of the transports that it may change to.
        """
        sid = self._new_sid()
        session = EngineSession(sid, revision, transport, self.alarms, self._times, base64)
        connection = self._kind(session, self._application, handshake, self._limits)
        connection.engine = self
        session.listener = connection
        self.sessions[sid] = connection
        newcomer = self._newcomers[connection] = _Newcomer(connection)
        self.alarms.schedule(newcomer, self._settings.connect_timeout)
        session.open(upgrades, self.max_payload)
        try:
            connection.opened()
        except ProtocolError as error:
            session.close(error.reason, error.detail)
        except Exception:  # noqa: BLE001 - and is logged; Autobahn would leave the connection open
            self.log.failure("a session could not begin")
            session.close(Reason.SERVER_ERROR)
        return session

    def begin_polling(self, request: Request, asked: Asked) -> None:
        """A session on HTTP requests, of which this is the first."""
        assert asked.revision is not None
        self.polls += 1
        transport = Polling(self, asked.revision, asked.base64 or asked.script is not None)
        transport.begin(request, asked)
        transport.session = self.begin(transport, asked.revision, self.handshake_of(request), upgrades=("websocket",))
        transport.begun()

    def handshake_of(self, request: Request) -> Handshake:
        """What a request that begins a session says to the application."""
        return handshake_of(request, self._wall(), self._settings.keep_headers)

    def polling(self, sid: str | None) -> Polling | None:
        """The transport of a session that polls."""
        connection = self.sessions.get(sid or "")
        transport = connection.session.transport if connection is not None else None
        return transport if isinstance(transport, Polling) else None

    def forget(self, connection: Connection) -> None:
        """A session has ended."""
        self.sessions.pop(connection.session.sid, None)
        newcomer = self._newcomers.pop(connection, None)
        if newcomer is not None:
            self.alarms.cancel(newcomer)

    def let_linger(self, transport: Polling, seconds: float) -> None:
        """Keep the last words of a session that has ended for the GET that comes next."""
        if transport.session is not None and len(self._lingering) < MAX_LINGERING:
            self._lingering[transport.session.sid] = transport
            self.alarms.schedule(transport, seconds)

    def take_lingering(self, sid: str | None) -> Polling | None:
        """The transport of a session that has ended, if there are last words."""
        transport = self._lingering.pop(sid or "", None)
        if transport is not None:
            self.alarms.cancel(transport)
        return transport

    def check(self, request: Request, asked: Asked) -> Refusal | None:
        """What is wrong with a request, in the reference server's order."""
        self.alarms.catch_up()  # a session whose time is over is not there any more
        if asked.transport not in _TRANSPORTS:
            return UNKNOWN_TRANSPORT
        upgrade = is_upgrade(request)
        if asked.sid is not None:
            wrong = self._check_known(asked, request.method, upgrade)
        elif request.method != b"GET":
            return BAD_METHOD
        else:
            wrong = None if upgrade == (asked.transport == "websocket") else BAD_REQUEST
        if wrong is not None:
            return wrong
        if not self.may_come_from(request.getHeader(b"origin"), request.getHeader(b"host")):
            return FORBIDDEN
        if asked.revision is None:
            return UNSUPPORTED_VERSION
        if asked.sid is not None:
            same = self.sessions[asked.sid].session.revision == asked.revision
            return None if same else BAD_REQUEST
        if asked.transport == "polling" and self.polls >= self._settings.max_polls:
            return TOO_MANY
        return None

    def _check_known(self, asked: Asked, method: bytes, upgrade: bool) -> Refusal | None:
        """The same of one that names its session."""
        connection = self.sessions.get(asked.sid or "")
        # A request that stands behind one in the same connection is read as soon as that is answered, perhaps by the
        # very end of the session, which is forgotten only after that: nobody would answer it ever.
        if connection is None or connection.session.link is Link.CLOSED:
            return UNKNOWN_SID
        if asked.transport == "websocket":
            # Whether the session takes it is decided when it stands.
            return None if upgrade and method == b"GET" else BAD_REQUEST
        if upgrade or method not in (b"GET", b"POST") or self.polling(asked.sid) is None:
            return BAD_REQUEST
        return None

    def may_come_from(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether a page of ``origin`` may connect: none is named, it is named, or it is the daemon's own."""
        return self._origins.allow(origin, host)

    def rejected(self, refusal: Refusal, request: Request) -> None:
        """Count and log a request that was refused."""
        if refusal is TOO_MANY:
            self._counters.turned_away += 1
        else:
            self._counters.rejected[refusal.code] += 1
        self.log.info(
            "a request from {peer} was refused: {why}",
            peer=peer(request),
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
