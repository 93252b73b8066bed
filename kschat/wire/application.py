"""What a connection knows of who is above it: the application, the handlers of its namespaces.

And what it tells them of the peer's first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from kschat.wire.errors import Reason
from kschat.wire.socketio import Ack, Connect, Event

if TYPE_CHECKING:
    from kschat.wire.connection import Connection, Socket


#: Shared by all handshakes without.
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What the HTTP request that began a session said.

    Attributes:
        query: the URL's query, the first value of each name.
        authorization: the header of that name, or "".
        peer: the address it came from, for the log: ``192.0.2.7:54321``, ``::1:54321``, ``unix``.
        time: when that was, in seconds since the epoch; 0 where nobody looked at a clock.
        secure: whether it came by TLS (to this server; what a proxy has taken off is not known).
        headers: by their names in lower case, those of one name joined by ``, ``; empty where they are not kept.
        url: path and query; "" where it is not kept.
    """

    query: Mapping[str, str] = {}
    authorization: str = ""
    peer: str = ""
    time: float = 0.0
    secure: bool = False
    headers: Mapping[str, str] = _NO_HEADERS
    url: str = ""

    @property
    def address(self) -> str:
        """The peer's IP address alone; "" where it has none."""
        return self.peer.rpartition(":")[0]


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
