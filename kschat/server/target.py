"""Some of a namespace's sockets, to be written to: what ``to``, ``except_`` and the like choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred

from kschat.server import acks, values

if TYPE_CHECKING:
    from kschat.server.namespace import Namespace
    from kschat.server.socket import Socket


class Target(msgspec.Struct, frozen=True):
    """Some of a namespace's sockets. Each method that chooses gives another target, so they can be chained and kept.

    Who is meant is looked up when something is sent.

    Attributes:
        namespace: whose sockets.
        rooms: in any of them; none named: all sockets.
        without: in none of these.
        droppable: see ``volatile``.
    """

    namespace: Namespace
    rooms: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    droppable: bool = False

    def to(self, *rooms: str) -> Target:
        """Those in any of ``rooms``, and of the rooms that were named before. A socket's id is a room of its own."""
        return msgspec.structs.replace(self, rooms=self.rooms | frozenset(rooms))

    in_ = to

    def except_(self, *rooms: str) -> Target:
        """Not those in any of ``rooms``."""
        return msgspec.structs.replace(self, without=self.without | frozenset(rooms))

    @property
    def volatile(self) -> Target:
        """For what is worth nothing later: who does not take it at once is left out."""
        return msgspec.structs.replace(self, droppable=True)

    def timeout(self, seconds: float) -> Asking:
        """For events that ask for an ack, which must come in so many seconds."""
        return Asking(self, seconds)

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


class Asking(msgspec.Struct, frozen=True):
    """Sockets that are asked for acks. Made by ``Target.timeout``."""

    target: Target
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
