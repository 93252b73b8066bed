"""What a connection knows of who is above it: the application, the handlers of its namespaces.

And what it tells them of the peer's first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from kschat.wire.errors import Reason
from kschat.wire.socketio import Ack, Connect, Event

if TYPE_CHECKING:
    from kschat.wire.connection import Connection, Socket


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What the HTTP request that began a session said.

    Attributes:
        query: the URL's query, the first value of each name.
        authorization: the header of that name, or "".
        peer: the address it came from, for the log.
    """

    query: Mapping[str, str] = {}
    authorization: str = ""
    peer: str = ""


class Application(Protocol):
    """What a server is for."""

    def find(self, namespace: str, connection: Connection) -> Handler | None:
        """Who serves ``namespace``; None where nobody does, and the peer is told so."""

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """A session has ended, after its sockets. ``detail`` is for the log."""


class Handler(Protocol):
    """Who serves a namespace. None of these may raise anything but ProtocolError."""

    def connect(self, socket: Socket, wish: Connect) -> None:
        """A peer wishes to join ``socket.namespace``. Calls ``accept`` or ``refuse``, now or later."""

    def event(self, socket: Socket, event: Event) -> None:
        """An event arrived on an accepted socket."""

    def acked(self, socket: Socket, ack: Ack) -> None:
        """The answer to an event arrived that was sent with ``ask`` (or one nobody asked for)."""

    def proved(self, socket: Socket, number: int) -> None:
        """The peer has read all that was sent before ``socket.prove(number)``."""

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        """An accepted socket's session is about to be ended by this side; a last word may be sent."""

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """An accepted socket has ended, or one that was not answered yet."""
