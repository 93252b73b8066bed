"""``Socket``: one client in one namespace; ``BroadcastOperator``: many of them, written to at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from kschat.server import acks, values
from kschat.server.acks import Acks
from kschat.server.errors import Gone
from kschat.server.functions import Entry, Function
from kschat.server.rooms import Rooms
from kschat.wire import connection
from kschat.wire.errors import Reason
from kschat.wire.socketio import Connect


class SocketNamespace(Protocol):
    """A ``Namespace``, as its sockets know it."""

    name: str
    clock: IReactorTime
    rooms: Rooms[Socket]

    @property
    def sockets(self) -> list[Socket]:
        """All sockets in it."""

    @property
    def max_asked(self) -> int:
        """Acks that may be awaited of one socket."""

    @property
    def volatile(self) -> BroadcastOperator:
        """All, for events that are worthless later."""

    def select(self, rooms: Iterable[str], without: Iterable[str]) -> list[Socket]:
        """The sockets in any of ``rooms`` (all, where none is named), and in none of ``without``."""

    def to(self, *rooms: str) -> BroadcastOperator:
        """The sockets in any of ``rooms``."""

    def in_(self, *rooms: str) -> BroadcastOperator:
        """The same."""

    def except_(self, *rooms: str) -> BroadcastOperator:
        """The sockets in none of ``rooms``."""

    def timeout(self, seconds: float) -> BroadcastAckRequest:
        """All, for events that ask for an ack."""

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to all."""

    def join(self, *rooms: str) -> None:
        """Let all join rooms."""

    def leave(self, *rooms: str) -> None:
        """Let all leave rooms."""

    def disconnect(self, close: bool = False) -> None:
        """End all."""

    def going_out(self, socket: Socket, event: str, args: Sequence[Any]) -> None:
        """An event is about to be sent to a socket."""


class Socket:
    """One client in one namespace. Made by ``Namespace``.

    Attributes:
        namespace: where it is.
        auth: what the client gave as ``auth`` (clients 3.x and 4.x); else empty.
        query: the URL's query, and over it the namespace's (clients 1.x and 2.x); the first value of each name.
        data: the application's own, about this client.
        own: functions for its events alone, see ``on``.
        wire: below: its ``connection`` has the handshake.
        running: handlers of its events that have not ended.
    """

    __slots__ = ("__weakref__", "acks", "auth", "data", "namespace", "own", "query", "running", "wire")

    def __init__(self, namespace: SocketNamespace, wire: connection.Socket, wish: Connect) -> None:
        self.namespace = namespace
        self.wire = wire
        self.data: dict[str, Any] = {}
        self.own: dict[str, Entry] = {}
        self.auth: dict[str, Any] = values.decode([msgspec.Raw(wish.data)])[0] if wish.data else {}
        self.query: Mapping[str, str] = wire.connection.handshake.query
        if wish.query:
            self.query = {**self.query, **dict(reversed(parse_qsl(wish.query, keep_blank_values=True)))}
        self.running = 0
        self.acks = Acks(namespace.clock, namespace.max_asked)

    def __repr__(self) -> str:
        """Of no secrets."""
        return f"<Socket {self.id} in {self.namespace.name}>"

    @property
    def id(self) -> str:
        """Its id, which is also a room that it alone is in."""
        return self.wire.id

    @property
    def connected(self) -> bool:
        """Whether it was let in and is still there."""
        return self.wire.accepted

    @property
    def peer(self) -> str:
        """The address it came from."""
        return self.wire.connection.handshake.peer

    @property
    def handshake(self) -> connection.Handshake:
        """What its connection's first request said: ``query``, ``headers``, ``address``, ``time``, ``url``, …"""
        return self.wire.connection.handshake

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in."""
        return self.namespace.rooms.of(self)

    @property
    def congested(self) -> bool:
        """Whether it does not take what is sent as fast as it comes."""
        return self.wire.connection.session.transport.congested

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. To one that is not connected: nothing happens.

        Args:
            event: its name.
            args: JSON values, bytes for binary (see ``values.encode``).
        """
        body, attachments = values.encode((event, *args))
        if self.connected:
            self.namespace.going_out(self, event, args)
            self.wire.emit(body, attachments)

    def timeout(self, seconds: float) -> AckRequest:
        """For an event that asks for an ack, which must come in so many seconds."""
        return AckRequest(self, seconds)

    @property
    def volatile(self) -> BroadcastOperator:
        """For what is worth nothing later: it is not sent where it would have to wait."""
        return self.namespace.to(self.id).volatile

    @property
    def broadcast(self) -> BroadcastOperator:
        """All others of the namespace."""
        return self.namespace.except_(self.id)

    def to(self, *rooms: str) -> BroadcastOperator:
        """The others in any of ``rooms``."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """The others that are in none of ``rooms``."""
        return self.broadcast.except_(*rooms)

    def join(self, *rooms: str) -> None:
        """Be in rooms. Of one that is not connected: nothing happens. Raises TooMany."""
        if self.connected:
            for room in rooms:
                self.namespace.rooms.join(self, room)

    def leave(self, *rooms: str) -> None:
        """Be in rooms no more."""
        for room in rooms:
            self.namespace.rooms.leave(self, room)

    def on(self, event: str) -> Callable[[Function], Function]:
        """Call a function for this socket's events of a name, in the place of the namespace's. Decorates.

        It is called as the namespace's is (see ``Namespace.on``): with the socket and the arguments; what it returns is
        the ack. ``disconnecting`` and ``disconnect`` may be named too.
        """
        return self._enter(event, once=False)

    def once(self, event: str) -> Callable[[Function], Function]:
        """The same for the next one alone; then it is the namespace's function's again. Decorates."""
        return self._enter(event, once=True)

    def off(self, event: str | None = None) -> None:
        """Take away this socket's own function for an event; all its own, where none is named."""
        if event is None:
            self.own.clear()
        else:
            self.own.pop(event, None)

    def _enter(self, event: str, once: bool) -> Callable[[Function], Function]:
        def decorate(function: Function) -> Function:
            self.own[event] = Entry.of(function, once)
            return function

        return decorate

    def disconnect(self, close: bool = False) -> None:
        """End it; the client is told so, and does not come back by itself.

        Args:
            close: end the connection below too, and with it the client's sockets in other namespaces.
        """
        self.wire.disconnect()
        if close:
            self.wire.connection.session.close(Reason.FORCED_CLOSE)

    def ask(self, body: bytes, attachments: Sequence[bytes], seconds: float) -> Deferred[Any]:
        """Send an event that is encoded already, and await its ack. See ``Acks.ask``."""
        if not self.connected:
            return fail(Gone("the socket is not connected"))
        return self.acks.ask(lambda: self.wire.emit(body, attachments, ask=True), seconds)


class AckRequest(msgspec.Struct, frozen=True):
    """A socket that is asked for an ack. Made by ``Socket.timeout``."""

    socket: Socket
    seconds: float

    def emit(self, event: str, *args: Any) -> Deferred[Any]:
        """Send an event, and await its ack.

        Returns:
            What the client answered: one value, None for none, a tuple of several. Fails with TimedOut; with Gone where
            the socket ends before; with TooMany.
        """
        body, attachments = values.encode((event, *args))
        if self.socket.connected:
            self.socket.namespace.going_out(self.socket, event, args)
        return self.socket.ask(body, attachments, self.seconds)


class BroadcastOperator(msgspec.Struct, frozen=True):
    """Some of a namespace's sockets. Each method that chooses gives another target, so they can be chained and kept.

    Who is meant is looked up when something is sent.

    Attributes:
        namespace: whose sockets.
        rooms: in any of them; none named: all sockets.
        without: in none of these.
        droppable: see ``volatile``.
    """

    namespace: SocketNamespace
    rooms: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    droppable: bool = False

    def to(self, *rooms: str) -> BroadcastOperator:
        """Those in any of ``rooms``, and of the rooms that were named before. A socket's id is a room of its own."""
        return msgspec.structs.replace(self, rooms=self.rooms | frozenset(rooms))

    in_ = to

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Not those in any of ``rooms``."""
        return msgspec.structs.replace(self, without=self.without | frozenset(rooms))

    @property
    def volatile(self) -> BroadcastOperator:
        """For what is worth nothing later: who does not take it at once is left out."""
        return msgspec.structs.replace(self, droppable=True)

    def timeout(self, seconds: float) -> BroadcastAckRequest:
        """For events that ask for an ack, which must come in so many seconds."""
        return BroadcastAckRequest(self, seconds)

    @property
    def sockets(self) -> list[Socket]:
        """Who is meant, now."""
        return self.namespace.select(self.rooms, self.without)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. It is encoded once, for all.

        Args:
            event: its name.
            args: JSON values, bytes for binary (see ``values.encode``).
        """
        body, attachments = values.encode((event, *args))
        for socket in self.sockets:
            if not (self.droppable and socket.congested):
                self.namespace.going_out(socket, event, args)
                socket.wire.emit(body, attachments)

    def join(self, *rooms: str) -> None:
        """Let them join rooms."""
        for socket in self.sockets:
            socket.join(*rooms)

    def leave(self, *rooms: str) -> None:
        """Let them leave rooms."""
        for socket in self.sockets:
            socket.leave(*rooms)

    def disconnect(self, close: bool = False) -> None:
        """End them. They are told so, and do not come back by themselves. ``close``: see ``Socket.disconnect``."""
        for socket in self.sockets:
            socket.disconnect(close)


class BroadcastAckRequest(msgspec.Struct, frozen=True):
    """Sockets that are asked for acks. Made by ``BroadcastOperator.timeout``."""

    target: BroadcastOperator
    seconds: float

    def emit(self, event: str, *args: Any) -> Deferred[list[Any]]:
        """Send an event to each, and gather their answers.

        Returns:
            The answers, in the order the sockets came. Fails with Unanswered where one is missing.
        """
        body, attachments = values.encode((event, *args))
        asked = []
        for socket in self.target.sockets:
            self.target.namespace.going_out(socket, event, args)
            asked.append(socket.ask(body, attachments, self.seconds))
        return acks.all_of(asked)
