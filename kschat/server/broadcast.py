"""What is sent to many sockets of a namespace: ``Broadcaster``, and the operators that choose some of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.server import acks, values
from kschat.server.bounds import Bounds
from kschat.server.rooms import Rooms
from kschat.wire import connection


class Recipient(Protocol):
    """What is done here with a socket. See ``socket.Socket``."""

    wire: connection.Socket

    @property
    def congested(self) -> bool:
        """Whether it does not take what is sent as fast as it comes."""

    def join(self, *rooms: str) -> None:
        """Be in rooms."""

    def leave(self, *rooms: str) -> None:
        """Be in rooms no more."""

    def disconnect(self, close: bool = False) -> None:
        """End it."""

    def ask(self, body: bytes, attachments: Sequence[bytes], seconds: float) -> Deferred[Any]:
        """Send an event that is encoded already, and await its ack."""


Member = TypeVar("Member", bound=Recipient)


class Broadcaster(ABC, Generic[Member]):
    """Sockets that can be written to together; each operation is for all of them, or for those that are chosen.

    Args:
        name: of the namespace, with its leading slash.
        clock: for timeouts.
        bounds: of each socket.

    Attributes:
        rooms: who is in which.
    """

    def __init__(self, name: str, clock: IReactorTime, bounds: Bounds) -> None:
        self.name = name
        self.clock = clock
        self.bounds = bounds
        self.rooms: Rooms[Member] = Rooms(bounds.max_rooms)

    @abstractmethod
    def select(self, rooms: Iterable[str], without: Iterable[str]) -> list[Member]:
        """See ``BroadcastOperator.sockets``."""

    @abstractmethod
    def going_out(self, socket: Member, event: str, args: Sequence[Any]) -> None:
        """An event is about to be sent to a socket."""

    @property
    def sockets(self) -> list[Member]:
        """Who is in it."""
        return self.select((), ())

    def to(self, *rooms: str) -> BroadcastOperator[Member]:
        """Those in any of ``rooms``."""
        return BroadcastOperator(self, frozenset(rooms))

    in_ = to

    def except_(self, *rooms: str) -> BroadcastOperator[Member]:
        """All but those in any of ``rooms``."""
        return BroadcastOperator(self, without=frozenset(rooms))

    @property
    def volatile(self) -> BroadcastOperator[Member]:
        """See ``BroadcastOperator.volatile``."""
        return BroadcastOperator(self, droppable=True)

    def timeout(self, seconds: float) -> BroadcastAckRequest[Member]:
        """See ``BroadcastOperator.timeout``."""
        return BroadcastOperator(self).timeout(seconds)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to all."""
        BroadcastOperator(self).emit(event, *args)

    def join(self, *rooms: str) -> None:
        """Let all join rooms."""
        BroadcastOperator(self).join(*rooms)

    def leave(self, *rooms: str) -> None:
        """Let all leave rooms."""
        BroadcastOperator(self).leave(*rooms)

    def disconnect(self, close: bool = False) -> None:
        """End all. ``close``: see ``Socket.disconnect``."""
        BroadcastOperator(self).disconnect(close)


class BroadcastOperator(msgspec.Struct, Generic[Member], frozen=True):
    """Some of a namespace's sockets. Each method that chooses gives another operator, so they can be chained and kept.

    Who is meant is looked up when something is sent.

    Attributes:
        namespace: whose sockets.
        rooms: in any of them; none named: all sockets.
        without: in none of these.
        droppable: see ``volatile``.
    """

    namespace: Broadcaster[Member]
    rooms: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    droppable: bool = False

    def to(self, *rooms: str) -> BroadcastOperator[Member]:
        """Those in any of ``rooms``, and of the rooms that were named before. A socket's id is a room of its own."""
        return msgspec.structs.replace(self, rooms=self.rooms | frozenset(rooms))

    in_ = to

    def except_(self, *rooms: str) -> BroadcastOperator[Member]:
        """Not those in any of ``rooms``."""
        return msgspec.structs.replace(self, without=self.without | frozenset(rooms))

    @property
    def volatile(self) -> BroadcastOperator[Member]:
        """For what is worth nothing later: who does not take it at once is left out."""
        return msgspec.structs.replace(self, droppable=True)

    def timeout(self, seconds: float) -> BroadcastAckRequest[Member]:
        """For events that ask for an ack, which must come in so many seconds."""
        return BroadcastAckRequest(self, seconds)

    @property
    def sockets(self) -> list[Member]:
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


class BroadcastAckRequest(msgspec.Struct, Generic[Member], frozen=True):
    """Sockets that are asked for acks. Made by ``BroadcastOperator.timeout``."""

    operator: BroadcastOperator[Member]
    seconds: float

    def emit(self, event: str, *args: Any) -> Deferred[list[Any]]:
        """Send an event to each, and gather their answers.

        Returns:
            The answers, in the order the sockets came. Fails with Unanswered where one is missing.
        """
        body, attachments = values.encode((event, *args))
        namespace = self.operator.namespace
        asked = []
        for socket in self.operator.sockets:
            namespace.going_out(socket, event, args)
            asked.append(socket.ask(body, attachments, self.seconds))
        return acks.all_of(asked)
