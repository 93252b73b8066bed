"""``SessionRegistry``: the open sessions of one daemon, by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_urlsafe
from typing import Final, Protocol

from twisted.logger import Logger
from twisted.web.server import Request

from kschat.front.engine_request import EngineRequest
from kschat.front.timers import TimerWheel
from kschat.wire.connection import Application, Connection, Handshake, Socket
from kschat.wire.engineio import Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.roles import Timer, Transport
from kschat.wire.session import EngineSession, HeartbeatTimes, Link

#: Seconds until a client that has asked to join ``max_joins`` times may ask once more.
SECONDS_A_JOIN: Final = 1

#: Ended sessions whose last words wait for a GET.
MAX_LINGERING: Final = 1000


class LastWords(Timer, Protocol):
    """The transport of an ended session that still has something to say."""

    def say_last_words(self, request: Request, query: EngineRequest) -> None:
        """Answer a GET that came after the end."""


class TrackedConnection(Connection):
    """A connection that calls back when it ends, and whose application's bugs end nothing but itself.

    Attributes:
        forget_session: called once, with this connection, at its end.
        left: called with this connection when a socket of it has ended, and the connection goes on.
        timers: have the clock for the rate of joins.
    """

    __slots__ = ("_joins_over", "forget_session", "left", "timers")

    log = Logger()

    forget_session: Callable[[TrackedConnection], None]
    left: Callable[[TrackedConnection], None]
    timers: TimerWheel

    def __init__(
        self, session: EngineSession, application: Application, handshake: Handshake, *, limits: Limits
    ) -> None:
        super().__init__(session, application, handshake, limits=limits)
        # When no join counts any more; each counts for so many seconds.
        self._joins_over = 0.0

    def may_join(self) -> bool:
        now = self.timers.seconds()
        over = max(self._joins_over, now) + SECONDS_A_JOIN
        if over - now > self._limits.max_joins * SECONDS_A_JOIN:
            return False
        self._joins_over = over
        return True

    def forget(self, socket: Socket) -> None:
        super().forget(socket)
        self.left(self)

    def closing(self, reason: Reason) -> None:
        try:
            super().closing(reason)
        except Exception:  # noqa: BLE001 - and is logged; the session must end all the same
            self.log.failure("the last event of a session could not be sent")

    def closed(self, reason: Reason, detail: str) -> None:
        self.forget_session(self)
        try:
            super().closed(reason, detail)
        except Exception:  # noqa: BLE001 - and is logged; the caller has other sessions to end
            self.log.failure("the application failed at the end of a session")


def has_joined(session: EngineSession | None) -> bool:
    """Whether a session is open and has joined a namespace that serves something."""
    if session is None or session.link is Link.CLOSED:
        return False
    listener = session.listener
    return isinstance(listener, Connection) and listener.serves


class JoinDeadline:
    """Closes a connection that has not joined, in time, a namespace that serves something."""

    __slots__ = ("connection", "slot")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.slot: int | None = None

    def alarm(self) -> None:
        """The time to join is over."""
        if not self.connection.serves:
            self.connection.session.close(Reason.CONNECT_TIMEOUT)


def new_session_id() -> str:
    """An id that nobody can guess."""
    return token_urlsafe(15)


class SessionRegistry:
    """All sessions of one daemon, by their ids.

    Args:
        application: what the sessions are for.
        timers: for heartbeats and deadlines.
        limits: on what clients send.
        times: of heartbeats.
        connect_timeout: seconds in which a client must have joined a namespace that serves something.
        new_id: makes ids of sessions; where there are other daemons, ids that those understand (``SessionIds.new``).
        connection: what is above each session.

    """

    log = Logger()

    def __init__(
        self,
        application: Application,
        *,
        timers: TimerWheel,
        limits: Limits,
        times: HeartbeatTimes,
        connect_timeout: float,
        new_id: Callable[[], str] = new_session_id,
        connection: type[TrackedConnection] = TrackedConnection,
    ) -> None:
        self.timers = timers
        self._application = application
        self._limits = limits
        self._times = times
        self._connect_timeout = connect_timeout
        self._new_id = new_id
        self._connection = connection
        self._connections: dict[str, Connection] = {}
        self._lingering: dict[str, LastWords] = {}
        self._deadlines: dict[Connection, JoinDeadline] = {}

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._connections)

    def __iter__(self) -> Iterator[str]:
        """Their ids."""
        return iter(self._connections)

    def __getitem__(self, sid: str) -> Connection:
        """The connection of an open session. Raises KeyError."""
        return self._connections[sid]

    def values(self) -> list[Connection]:
        """Their connections."""
        return list(self._connections.values())

    def get(self, sid: str | None) -> Connection | None:
        """The connection of an open session; None if ``sid`` names none."""
        connection = self._connections.get(sid or "")
        # A request that stands behind one in the same connection is read as soon as that is answered, perhaps by the
        # very end of the session, which is forgotten only after that: nobody would answer it ever.
        return None if connection is None or connection.session.link is Link.CLOSED else connection

    def begin(
        self,
        transport: Transport,
        revision: Revision,
        *,
        handshake: Handshake,
        base64: bool = False,
        upgrades: tuple[str, ...] = (),
    ) -> EngineSession:
        """Begin a session on an open transport.

        Args:
            transport: carries the session.
            revision: of Engine.IO.
            handshake: what the application is told of the request.
            base64: binary is to be sent as text.
            upgrades: names of the transports that the session may change to.
        """
        sid = self._new_id()
        session = EngineSession(sid, revision, transport, timers=self.timers, times=self._times, base64=base64)
        connection = self._connection(session, self._application, handshake, limits=self._limits)
        connection.forget_session = self._forget
        connection.left = self._left
        connection.timers = self.timers
        session.listener = connection
        self._connections[sid] = connection
        deadline = self._deadlines[connection] = JoinDeadline(connection)
        self.timers.schedule(deadline, self._connect_timeout)
        session.open(upgrades, self._limits.max_payload)
        try:
            connection.opened()
        except ProtocolError as error:
            session.close(error.reason, error.detail)
        except Exception:  # noqa: BLE001 - and is logged; Autobahn would leave the connection open
            self.log.failure("a session could not begin")
            session.close(Reason.SERVER_ERROR)
        return session

    def _left(self, connection: Connection) -> None:
        """A socket has ended. A connection that serves nothing any more has as long to join again as at its beginning.

        Without that, a client that was let in once, and whose token has expired, could keep its connection for ever.
        """
        deadline = self._deadlines.get(connection)
        if deadline is not None and deadline.slot is None and not connection.serves:
            self.timers.schedule(deadline, self._connect_timeout)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection.session.sid, None)
        deadline = self._deadlines.pop(connection, None)
        if deadline is not None:
            self.timers.cancel(deadline)

    def let_linger(self, sid: str, transport: LastWords, seconds: float) -> None:
        """Keep the last words of an ended session for the next GET, for so many seconds. The oldest give way."""
        if len(self._lingering) >= MAX_LINGERING:
            oldest = self.take_lingering(next(iter(self._lingering)))
            if oldest is not None:
                oldest.alarm()
        self._lingering[sid] = transport
        self.timers.schedule(transport, seconds)

    @property
    def lingering(self) -> int:
        """Ended sessions that have last words."""
        return len(self._lingering)

    def take_lingering(self, sid: str | None) -> LastWords | None:
        """The transport of an ended session that has last words."""
        transport = self._lingering.pop(sid or "", None)
        if transport is not None:
            self.timers.cancel(transport)
        return transport

    def close_all(self, reason: Reason) -> None:
        """End all sessions."""
        for connection in self.values():
            connection.session.close(reason)
