"""Decides which session requests are served, and begins polling sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from kschat.front.context import TransportContext
from kschat.front.engine_request import EngineRequest, client_of, handshake_of, is_secure, is_upgrade
from kschat.front.factory import EngineFactory
from kschat.front.handshake import (
    GOING_DOWN,
    Facts,
    KnownSession,
    Refusal,
    refusal_of,
    too_many_at_once,
    too_often,
)
from kschat.front.handshake_queue import HandshakeQueue
from kschat.front.origins import Origins
from kschat.front.polling import Polling
from kschat.front.registry import SessionRegistry
from kschat.wire.connection import Handshake
from kschat.wire.errors import Reason

#: Lets a request begin a session, or not: by returning False, or by raising ``server.Refused``, whose message the
#: client is told. May be ``async def``, or return a Deferred.
AllowRequest: TypeAlias = Callable[[Handshake], Any]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about sessions. Times in seconds, sizes in bytes.

    ``handshakes``: sessions that begin in a second; 0: any number.
    ``keep_headers``: whether each session's handshake has its request's headers and URL. The chat does not use them.
    """

    ping_interval: float = 25
    ping_timeout: float = 20
    connect_timeout: float = 45
    max_unsent: int = 4_000_000
    upgrade_timeout: float = 10
    max_polls: int = 10_000
    max_polls_per_address: int = 1_000
    handshakes: float = 0.0
    max_handshakes_waiting: int = 10_000
    origins: tuple[str, ...] = ()
    deflate: bool = False
    deflate_from: int = 256
    keep_headers: bool = False


class Engine:
    """The policy for requests on ``/socket.io/``. Made by ``assembly.Front``.

    Args:
        context: of the transports.
        settings: what peers may do.
        wall: the time of day, for handshakes.
        allow: asked for each request that would begin a session, once nothing else is wrong with it.
        handshake_wait: the seconds until an address may begin a session; 0.0 if it may now, which counts.
        queue: where handshakes beyond the rate wait.

    Attributes:
        queue: see above.
        sessions: the open sessions.
        factory: makes WebSockets.
        closed: whether new sessions are refused; open ones are served.
    """

    def __init__(
        self,
        context: TransportContext,
        settings: EngineSettings,
        *,
        wall: Callable[[], float] = time.time,
        allow: AllowRequest | None = None,
        handshake_wait: Callable[[str], float] | None = None,
        queue: HandshakeQueue,
    ) -> None:
        self.context = context
        self.queue = queue
        self._handshake_wait = handshake_wait
        self.sessions: SessionRegistry = context.sessions
        self.factory = EngineFactory(context, settings.deflate)
        self.allow = allow
        self.closed = False
        self._settings = settings
        self._wall = wall
        self._origins = Origins(settings.origins)

    def begin_polling(self, request: Request, query: EngineRequest) -> None:
        """Begin a session on HTTP requests, of which this is the first."""
        assert query.revision is not None
        transport = Polling(self.context, query.revision, query.base64 or query.script is not None)
        transport.begin(request, query, self.handshake_of(request))

    def handshake_of(self, request: Request) -> Handshake:
        """What the application is told of the request that begins a session."""
        return handshake_of(request, self._wall(), self._settings.keep_headers)

    def polling(self, sid: str | None) -> Polling | None:
        """The transport of an open session that polls."""
        connection = self.sessions.get(sid)
        transport = None if connection is None else connection.session.transport
        return transport if isinstance(transport, Polling) else None

    def check(self, request: Request, query: EngineRequest, method: bytes | None = None) -> Refusal | None:
        """Why a request is not served; None if it is. ``method``: the request's, if only its head is there."""
        self.context.timers.catch_up()  # a session whose time is over must not be found
        connection = self.sessions.get(query.sid)
        session = None
        if connection is not None:
            transport = connection.session.transport
            session = KnownSession(connection.session.revision, isinstance(transport, Polling))
        facts = Facts(
            method=request.method if method is None else method,
            upgrade=is_upgrade(request),
            session=session,
            origin_allowed=lambda: self.may_come_from(request),
            polling_full=lambda: not self.context.polls.has_room(client_of(request).key),
        )
        return refusal_of(query, facts)

    def check_rate(self, request: Request) -> Refusal | None:
        """Why a request with which nothing else is wrong may not begin a session now; None if it may, which counts."""
        if self.closed:
            return GOING_DOWN
        if self._handshake_wait is None:
            return None
        wait = self._handshake_wait(client_of(request).key)
        return too_often(wait) if wait else None

    def queued(self, request: Request, begin: Callable[[], None]) -> Refusal | None:
        """Let a request wait for its turn to begin a session.

        Args:
            request: nothing is wrong with it.
            begin: called when it is its turn, unless its client has left.

        Returns:
            Why it may not even wait; None if it does.
        """
        waiting = self.queue.enter(client_of(request).key, begin)
        if waiting is None:
            return too_many_at_once(max(1.0, self.queue.wait))
        request.notifyFinish().addErrback(lambda _: self.queue.leave(waiting))
        return None

    def close(self) -> None:
        """Refuse new sessions from now on, and those that wait."""
        self.closed = True
        self.queue.close()

    def may_come_from(self, request: Request) -> bool:
        """Whether the request's page may connect: no origin is named, it is allowed, or it is the daemon's own."""
        origin, host = request.getHeader(b"origin"), request.getHeader(b"host")
        return self._origins.allow(origin, host, secure=is_secure(request))

    def close_all(self, reason: Reason) -> Deferred[None]:
        """End all sessions; fires when the last connection is gone."""
        self.sessions.close_all(reason)
        return self.context.connections.emptied()
