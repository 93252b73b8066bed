"""``Socket``: one client in one namespace, as an application sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from twisted.internet.defer import Deferred, fail

from kschat.server import values
from kschat.server.acks import Acks
from kschat.server.broadcast import Broadcaster, BroadcastOperator
from kschat.server.errors import Gone
from kschat.server.functions import Entry, Function
from kschat.wire import connection
from kschat.wire.errors import Reason
from kschat.wire.socketio import Connect


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

    def __init__(self, namespace: Broadcaster[Socket], wire: connection.Socket, wish: Connect) -> None:
        bounds = namespace.bounds
        self.namespace = namespace
        self.wire = wire
        self.data: dict[str, Any] = {}
        self.own: dict[str, Entry] = {}
        self.auth: dict[str, Any] = values.decode([msgspec.Raw(wish.data)])[0] if wish.data else {}
        self.query: Mapping[str, str] = wire.connection.handshake.query
        if wish.query:
            self.query = {**self.query, **dict(reversed(parse_qsl(wish.query, keep_blank_values=True)))}
        self.running = 0
        self.acks = Acks(namespace.clock, bounds.max_asked)

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
    def volatile(self) -> BroadcastOperator[Socket]:
        """For what is worth nothing later: it is not sent where it would have to wait."""
        return self.namespace.to(self.id).volatile

    @property
    def broadcast(self) -> BroadcastOperator[Socket]:
        """All others of the namespace."""
        return self.namespace.except_(self.id)

    def to(self, *rooms: str) -> BroadcastOperator[Socket]:
        """The others in any of ``rooms``."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Socket]:
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
