"""The Socket.IO server's side of one session: namespaces, their sockets, acks.

Source: socketio/socket.io, ``docs/socket.io-protocol/v4.md`` ("Connection to a namespace",
which revision 3 of Engine.IO goes with) and ``v5-current.md``.

The first packet of a client tells its parser: the first of the JSON parser is text, that of
``socket.io-msgpack-parser`` is binary.

This module knows no users and no tokens: the ``Application`` finds the ``Handler`` of a namespace, which decides who
may join and what events mean. A socket holds its handler, so an event goes straight to it. A packet that is out of
place (an event for a namespace that was not joined, for example) is a ``ProtocolError``, as with npm's server.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_urlsafe
from typing import Any, Final, Protocol

import msgspec

from kschat.wire import msgpack
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.handshake import Handshake
from kschat.wire.limits import Limits
from kschat.wire.msgpack import MsgpackDecoder
from kschat.wire.session import EngineSession
from kschat.wire.socketio import (
    ACK,
    EVENT,
    Ack,
    Connect,
    ConnectError,
    Decoder,
    Disconnect,
    Event,
    encode,
)

__all__ = ["Application", "Connection", "Handler", "Handshake", "Socket"]


class Application(Protocol):
    """The server above the connections."""

    def find(self, namespace: str, connection: Connection) -> Handler | None:
        """The handler of ``namespace``; None refuses the peer with ``Invalid namespace``."""

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """A session has ended, after its sockets. ``detail`` is for the log."""


class Handler(Protocol):
    """Serves a namespace. Its methods may raise ProtocolError, and nothing else."""

    def connect(self, socket: Socket, wish: Connect) -> None:
        """A peer asks to join ``socket.namespace``. The handler calls ``accept`` or ``refuse``, now or later."""

    def event(self, socket: Socket, event: Event) -> None:
        """An event arrived on an accepted socket."""

    def acked(self, socket: Socket, ack: Ack) -> None:
        """The ack of an event arrived that was sent with ``ask``, or one that was not asked for."""

    def confirmed(self, socket: Socket, number: int) -> None:
        """The peer has read all that was sent before ``socket.ask_confirmation(number)``."""

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        """This side is about to end the session of an accepted socket; one more event may be sent."""

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """A socket has ended that was accepted or not yet answered."""


class Socket:
    """One peer in one namespace.

    Attributes:
        connection: the connection that it is on.
        namespace: with its leading slash.
        handler: the namespace's.
        id: its own id, which is not the session's.
        accepted: whether the handler let it in and it has not ended.
        serves: whether being in this namespace is a reason for the connection to stay.
        record: for the handler's own use.
    """

    __slots__ = (
        "_ack_head",
        "_event_head",
        "_next_id",
        "accepted",
        "connection",
        "handler",
        "id",
        "namespace",
        "record",
        "serves",
    )

    def __init__(self, connection: Connection, namespace: str, handler: Handler) -> None:
        self.connection = connection
        self.namespace = namespace
        self.handler = handler
        self.id = token_urlsafe(15)
        self.accepted = False
        self.serves = False
        self.record: Any = None
        prefix = b"" if namespace == "/" else namespace.encode() + b","
        self._event_head = b"42" + prefix
        self._ack_head = b"43" + prefix
        # Ids go on where the namespace's last socket ended, so that a late ack means nothing to this one.
        self._next_id = connection.first_id

    def accept(self, serves: bool = True, pid: str | None = None) -> None:
        """Let the peer in and tell it so. A socket that has ended stays ended.

        Args:
            serves: whether the connection may stay for the sake of this namespace.
            pid: what a client of revision 4 shows when it comes back ("connection state recovery").
        """
        connection = self.connection
        if connection.sockets.get(self.namespace) is self:
            self.accepted = True
            self.serves = serves
            answer = {"sid": self.id} if pid is None else {"sid": self.id, "pid": pid}
            data = b"" if connection.session.revision == 3 else msgspec.json.encode(answer)
            connection.send(Connect(self.namespace, data))

    def refuse(self, message: str, data: msgspec.Raw | None = None) -> None:
        """Do not let the peer in, and tell it why.

        Args:
            message: for programs and people.
            data: more details, as JSON. Revision 3 sends them in place of the message, as npm's server does.
        """
        connection = self.connection
        if connection.sockets.get(self.namespace) is self:
            del connection.sockets[self.namespace]
            connection.refuse(self.namespace, message, data)

    def emit(self, body: bytes, attachments: Sequence[bytes] = (), ask: bool = False) -> int | None:
        """Send an event. Nothing is sent if the socket has ended or was not accepted yet.

        Args:
            body: the JSON array of the event's name and arguments.
            attachments: those that its placeholders refer to.
            ask: whether to ask for an ack, which arrives at the handler's ``acked``.

        Returns:
            The id of the ack that was asked for.
        """
        number: int | None = None
        if ask:
            number = self._next_id
            self._next_id = number + 1
            body = b"%d%b" % (number, body)
        if attachments:
            self._send(self._event_head, body, attachments)
        elif self.accepted:
            self.connection.session.transport.send(self._event_head + body)
        return number

    def ack(self, number: int, body: bytes, attachments: Sequence[bytes] = ()) -> None:
        """Answer the event that asked for ack ``number``. Nothing is sent if the socket has ended.

        Args:
            number: the id.
            body: the JSON array of the answer's arguments.
            attachments: what placeholders in it refer to.
        """
        if attachments:
            self._send(self._ack_head, b"%d%b" % (number, body), attachments)
        elif self.accepted:
            self.connection.session.transport.send(b"%b%d%b" % (self._ack_head, number, body))

    @property
    def is_asking(self) -> bool:
        """Whether the peer still waits to be let in."""
        return not self.accepted and self.connection.sockets.get(self.namespace) is self

    @property
    def asked(self) -> int:
        """The id after that of the last ack that was asked for."""
        return self._next_id

    def ask_confirmation(self, number: int) -> bool:
        """Ask the peer to confirm that it has read all that was sent; ``handler.confirmed`` is called then.

        Returns:
            Whether it was asked: not while the connection awaits another confirmation, nor on a socket that has ended.
        """
        connection = self.connection
        if connection.confirming is not None or not self.accepted:
            return False
        connection.confirming = self
        connection.session.transport.ask_confirmation(number)
        return True

    def disconnect(self, reason: Reason = Reason.SERVER_DISCONNECT) -> None:
        """End this socket and tell the peer, which does not reconnect by itself then. ``reason`` is for the handler."""
        connection = self.connection
        if connection.sockets.get(self.namespace) is self:
            connection.forget(self)
            connection.dismiss(self.namespace)
            self.accepted = False
            connection.send(Disconnect(self.namespace))
            self.handler.disconnected(self, reason)

    def _send(self, head: bytes, rest: bytes, attachments: Sequence[bytes]) -> None:
        if not self.accepted:
            return
        session = self.connection.session
        # 42/kschat,… becomes 451-/kschat,… : one type for text, one for text with attachments
        session.transport.send(b"4%d%d-%b%b" % (head[1] - 0x30 + 3, len(attachments), head[2:], rest))
        for attachment in attachments:
            session.send_binary(attachment)


class _MsgpackSocket(Socket):
    """A socket of a client with the msgpack parser: each packet is one binary message."""

    __slots__ = ()

    def emit(self, body: bytes, attachments: Sequence[bytes] = (), ask: bool = False) -> int | None:
        number: int | None = None
        if ask:
            number = self._next_id
            self._next_id = number + 1
        self._send_packet(EVENT, body, attachments, number=number)
        return number

    def ack(self, number: int, body: bytes, attachments: Sequence[bytes] = ()) -> None:
        self._send_packet(ACK, body, attachments, number=number)

    def _send_packet(self, kind: int, body: bytes, attachments: Sequence[bytes], *, number: int | None) -> None:
        if self.accepted:
            packet = msgpack.encode_array(
                kind, body, attachments, namespace=self.namespace, number=number, max_depth=_ANY_DEPTH
            )
            self.connection.session.send_binary(packet)


class Connection:
    """The sockets of one session. It is the session's ``Listener``.

    Args:
        session: carries the packets.
        application: finds the handlers of namespaces, and is told of the end.
        handshake: the facts of the first request.
        limits: of what the peer may send.

    Attributes:
        sockets: those that are accepted or not yet answered, by namespace.
    """

    __slots__ = (
        "_decoder",
        "_dismissed",
        "_limits",
        "_refused",
        "_socket",
        "application",
        "confirming",
        "first_id",
        "handshake",
        "session",
        "sockets",
    )

    def __init__(
        self, session: EngineSession, application: Application, handshake: Handshake, *, limits: Limits
    ) -> None:
        self.session = session
        self.application = application
        self.handshake = handshake
        self.sockets: dict[str, Socket] = {}
        #: the socket that awaits a confirmation; there is one at a time
        self.confirming: Socket | None = None
        #: the first ack id of the next socket
        self.first_id = 0
        self._refused = 0
        self._limits = limits
        self._decoder: Decoder | MsgpackDecoder = Decoder(limits)
        self._socket: type[Socket] = Socket
        # Namespaces whose sockets this side has ended; None as long as there were none.
        self._dismissed: dict[str, None] | None = None

    @property
    def serves(self) -> bool:
        """Whether an accepted socket gives the connection a reason to stay."""
        return any(socket.serves and socket.accepted for socket in self.sockets.values())

    @property
    def max_payload(self) -> int:
        limits = self._limits
        # A peer whose socket this side has ended may have sent something large before it learns of that.
        joined = self.serves or self._dismissed
        return limits.max_payload if joined else min(limits.max_payload, limits.max_payload_unjoined)

    def may_join(self) -> bool:
        """Whether the peer may ask to join now. Who has a clock says no to one that asks too often."""
        return True

    def opened(self) -> None:
        """The session is open. Clients of revision 3 join ``/`` without asking."""
        if self.session.revision == 3:
            self._connect(Connect(_DEFAULT))

    def forget(self, socket: Socket) -> None:
        """A socket has ended, and the connection goes on."""
        del self.sockets[socket.namespace]
        self.first_id = max(self.first_id, socket.asked)

    def dismiss(self, namespace: str) -> None:
        """This side ends a socket: packets that the peer sent before it learns of that are ignored."""
        dismissed = self._dismissed = self._dismissed or {}
        dismissed[namespace] = None
        if len(dismissed) > self._limits.max_namespaces:
            del dismissed[next(iter(dismissed))]

    def send(self, packet: Connect | Disconnect | ConnectError) -> None:
        """Send a packet that carries no attachments."""
        if self._socket is Socket:
            self.session.send_text(encode(packet)[0])
        else:
            self.session.send_binary(msgpack.encode(packet))

    def refuse(self, namespace: str, message: str, data: msgspec.Raw | None = None) -> None:
        """Tell the peer that it has not joined ``namespace``."""
        self._refused += 1
        answer: Any = message
        if self.session.revision == 4:
            answer = {"message": message} if data is None else {"message": message, "data": data}
        elif data is not None:
            answer = data
        self.send(ConnectError(namespace, msgspec.json.encode(answer)))

    def text(self, data: bytes) -> None:
        """A text message arrived. Raises ProtocolError."""
        packet = self._decoder.text(data) if len(data) < _NOT_SMALL else self._decoder.text(data, self._guarded(data))
        if packet is not None:
            self._receive(packet)

    def binary(self, data: bytes) -> None:
        """A binary message arrived. Raises ProtocolError."""
        guard = self._guarded(data)
        never_joined = not self.sockets and self._dismissed is None and not self._refused
        if never_joined and self._socket is Socket and self.session.revision == 4:
            # The first packet is binary: the parser is not JSON's. (A client of revision 3 has received JSON by then.)
            self._decoder, self._socket = MsgpackDecoder(self._limits), _MsgpackSocket
        packet = self._decoder.binary(data, guard)
        if packet is not None:
            self._receive(packet)

    def admits(self, namespace: str) -> bool:
        """Whether an event or an ack for ``namespace`` has a place. See ``socketio.Guard``."""
        socket = self.sockets.get(namespace)
        return socket.accepted if socket is not None else self._was_dismissed(namespace)

    def _guarded(self, data: bytes) -> Connection:
        """What the decoder asks before it reads ``data``, which is refused here if it is too large for now."""
        if len(data) > self._limits.max_payload_unjoined and not (self.serves or self._dismissed):
            raise ProtocolError("a large packet of a client that has not joined", Reason.TOO_LARGE)
        return self

    def confirmed(self, number: int) -> None:
        socket, self.confirming = self.confirming, None
        if socket is not None and socket.accepted:
            socket.handler.confirmed(socket, number)
        else:
            # The socket that asked has ended; others on this connection have waited for their turn.
            for other in list(self.sockets.values()):
                if other.accepted:
                    other.handler.confirmed(other, 0)

    def closing(self, reason: Reason) -> None:
        for socket in list(self.sockets.values()):
            if socket.accepted:
                socket.handler.closing_socket(socket, reason)

    def closed(self, reason: Reason, detail: str) -> None:
        """The session has ended, and its sockets with it."""
        # Attachments that arrived for a packet which stays incomplete: what has ended may be in memory for a while.
        self._decoder = Decoder(self._limits)
        self.confirming = None
        sockets, self.sockets = self.sockets, {}
        for socket in sockets.values():
            socket.accepted = False
            socket.handler.disconnected(socket, reason)
        self.application.ended(self, reason, detail)

    def _receive(self, packet: Connect | Disconnect | Event | Ack | ConnectError) -> None:
        socket = self.sockets.get(packet.namespace)
        if type(packet) is Event:
            if socket is not None and socket.accepted:
                socket.handler.event(socket, packet)
            elif socket is not None or not self._was_dismissed(packet.namespace):
                raise ProtocolError("an event for a namespace that was not joined")
        elif type(packet) is Ack:
            if socket is not None and socket.accepted:
                socket.handler.acked(socket, packet)
            elif socket is not None or not self._was_dismissed(packet.namespace):
                raise ProtocolError("an ack for a namespace that was not joined")
        elif type(packet) is Connect:
            self._connect(packet)
        elif type(packet) is Disconnect:
            # This may cross the end of the socket by this side; afterwards the peer knows of it.
            if self._dismissed is not None:
                self._dismissed.pop(packet.namespace, None)
            if socket is not None:
                self.forget(socket)
                socket.accepted = False
                socket.handler.disconnected(socket, Reason.CLIENT_DISCONNECT)
        else:
            raise ProtocolError("an error packet from a client")

    def _was_dismissed(self, namespace: str) -> bool:
        """Whether the peer may have sent a packet for ``namespace`` before it learnt of the end of its socket there."""
        return self._dismissed is not None and namespace in self._dismissed

    def _connect(self, wish: Connect) -> None:
        if wish.namespace in self.sockets:
            if wish.namespace == _DEFAULT and self.session.revision == 3:
                return  # it was joined unasked; some clients ask all the same
            raise ProtocolError("a second CONNECT to a namespace")
        if len(self.sockets) >= self._limits.max_namespaces:
            raise ProtocolError("too many namespaces")
        if not self.may_join():
            raise ProtocolError("joins in too quick a succession", Reason.RATE)
        if self._refused >= self._limits.max_refused:
            raise ProtocolError("too many namespaces that were refused")
        if self._dismissed is not None:
            self._dismissed.pop(wish.namespace, None)
        handler = self.application.find(wish.namespace, self)
        if handler is None:
            self.refuse(wish.namespace, "Invalid namespace")
            return
        socket = self.sockets[wish.namespace] = self._socket(self, wish.namespace, handler)
        handler.connect(socket, wish)


_DEFAULT: Final = "/"

#: Bytes of a packet from which on it is asked whether it has a place before its content is looked at.
_NOT_SMALL: Final = 1024

#: Packets that are sent are as deep as those that were accepted, and some levels more.
_ANY_DEPTH: Final = 1000
