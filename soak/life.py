"""One connection of a client, from the handshake to its end, as npm's clients of both revisions do it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from soak.links import BINARY, Link, Requests, WebSocket, connect

Transport = Literal["websocket", "polling", "upgrade"]

#: A packet of Socket.IO: its type, the number of attachments, and its id. What follows is JSON.
_PACKET: Final = re.compile(rb"4([0-6])(\d+-)?(?:/kschat)?,?(\d*)")
_EVENT: Final = re.compile(rb'\["(\w+)"')

_SEPARATOR: Final = b"\x1e"

#: Seconds until a client that fell silent closes its own end of the connection.
SILENT: Final = 75.0


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is made.

    Attributes:
        transport: how packets travel.
        revision: of Engine.IO, 3 or 4.
        options: of the chat, such as ``batch``.
        msgpack: whether packets are msgpack, with revision 4 by WebSocket.
        acks: whether the acks that the daemon asks for are sent.
    """

    transport: Transport = "websocket"
    revision: int = 4
    options: tuple[str, ...] = ()
    msgpack: bool = False
    acks: bool = False


class Client:
    """What a life is told of and asks for; ``crowd`` has the one that acts."""

    token: str
    pid = ""
    offset = ""

    def joined(self) -> None:
        """The chat may be used."""

    def event(self, name: bytes, data: bytes) -> None:
        """An event has arrived; ``data`` has its arguments as they came."""

    def answered(self, kind: str, data: bytes) -> None:
        """The daemon acknowledged an event that was emitted as ``kind``."""

    def over(self, why: str) -> None:
        """The life has ended."""


class Life:
    """A connection.

    Args:
        client: whose it is.
        manner: how it is made.
        reactor: the real one.
        port: of the daemon.
        address: of the loopback that it comes from.
        user: whose token it is.
    """

    def __init__(self, client: Client, manner: Manner, reactor: Any, *, port: int, address: str, user: str) -> None:
        self._client = client
        self.manner = manner
        self._reactor = reactor
        self._port = port
        self._address = address
        self._user = user
        self.joined = self.ended = False
        self._why = "transport"
        self._id = 0
        self._asked: dict[int, str] = {}
        self._socket: WebSocket | None = None
        self._reads: Requests | None = None
        self._writes: Requests | None = None
        self._path = b""
        self._unsent: list[bytes] = []
        self._posting = self._silent = self._probing = self._leaving = False
        self._ping: Any = None
        self._interval = 25.0

    # The connection

    def begin(self) -> None:
        """Connect."""
        query = f"/socket.io/?EIO={self.manner.revision}"
        if self.manner.revision == 3:
            # With b64 there is no binary body.
            query += "" if self.manner.transport == "websocket" else "&b64=1"
            query += f"&token={self._client.token}&ksId={self._user}"
            query += "".join(f"&{option}=1" for option in self.manner.options)
        self._path = query.encode()
        if self.manner.transport == "websocket":
            self._open_socket()
            return
        self._reads, self._writes = Requests(self), Requests(self)
        self._reads.request(self._get(), self._got)
        self._connect(self._reads)

    def _open_socket(self) -> None:
        request = (
            b"GET %b&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket = WebSocket(self, request % (self._path, self._port))
        self._connect(self._socket)

    def _connect(self, link: Link) -> None:
        connect(self._reactor, link, self._port, self._address)

    def lost(self, link: Any) -> None:
        """See ``links.Owner``."""
        if self.ended or (self._socket is not None and link is not self._socket):
            return
        if isinstance(link, Requests) and link.idle:
            # The daemon closed a connection that nothing was asked on: the next request opens another one.
            if link is self._writes:
                self._writes = Requests(self)
            return
        self._over(self._why)

    def _over(self, why: str) -> None:
        if self.ended:
            return
        self.ended, self.joined = True, False
        if self._ping is not None and self._ping.active():
            self._ping.cancel()
        for link in (self._socket, self._reads, self._writes):
            if link is not None:
                link.abort()
        self._client.over(why)

    # Long-polling

    def _get(self) -> bytes:
        return b"GET %b&transport=polling HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (self._path, self._port)

    def _got(self, status: int, body: bytes) -> None:
        if self.ended or self._silent or self._leaving:
            return
        if status != 200:
            self._over(f"status {status}")
            return
        for packet in self._packets(body):
            self.packet(packet)
        by_socket = self._socket is not None and not self._probing
        if self._reads is not None and not self.ended and not by_socket:
            self._reads.request(self._get(), self._got)

    def _packets(self, body: bytes) -> list[bytes]:
        if self.manner.revision == 4:
            return body.split(_SEPARATOR)
        # Lengths are those of JavaScript: in units of UTF-16.
        found, text = [], body.decode()
        while text:
            size, _, text = text.partition(":")
            units = text.encode("utf-16-le")
            found.append(units[: 2 * int(size)].decode("utf-16-le").encode())
            text = units[2 * int(size) :].decode("utf-16-le")
        return found

    def _post(self) -> None:
        if self._writes is None or self._posting or not self._unsent or self._silent:
            return
        packets, self._unsent = self._unsent, []
        if self.manner.revision == 4:
            body = _SEPARATOR.join(packets)
        else:
            body = b"".join(b"%d:%b" % (len(packet.decode().encode("utf-16-le")) // 2, packet) for packet in packets)
        self._posting = True
        head = (
            b"POST %b&transport=polling HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: text/plain;charset=UTF-8\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        if not (self._writes.open or self._writes.connecting):
            self._connect(self._writes)
        self._writes.request(head % (self._path, self._port, len(body)) + body, self._posted)

    def _posted(self, status: int, body: bytes) -> None:
        self._posting = False
        if self.ended or self._leaving:
            return
        if status != 200:
            self._over(f"status {status}")
            return
        self._post()

    # Packets of Engine.IO

    def send(self, packet: bytes) -> None:
        """Send a packet by the transport of the moment."""
        if self.ended or self._silent:
            return
        if self._socket is not None and not self._probing:
            self._socket.send(packet)
        elif self._writes is not None:
            self._unsent.append(packet)
            self._post()

    def packet(self, data: bytes) -> None:
        """See ``links.Owner``."""
        if self.ended or self._silent:
            return
        kind = data[:1]
        if kind == b"4":
            self._heard(data)
        elif kind == b"2":
            self.send(b"3" + data[1:])
        elif kind == b"0":
            self._began(json.loads(data[1:]))
        elif kind == b"3" and data[1:] == b"probe" and self._socket is not None:
            # The daemon answers the GET that waits; what comes after it comes by the socket.
            self._probing = False
            self._socket.send(b"5")
            for packet in self._unsent:
                self._socket.send(packet)
            self._unsent = []
        elif kind == b"1":
            self._over("closed by the daemon")

    def _began(self, handshake: dict[str, Any]) -> None:
        self._path += b"&sid=" + handshake["sid"].encode()
        self._interval = handshake["pingInterval"] / 1000
        if self.manner.revision == 3:
            self._tick()
            self.send(b"40/kschat")
        else:
            auth = {"token": self._client.token, "ksId": self._user, **dict.fromkeys(self.manner.options, 1)}
            if "recover" in self.manner.options and self._client.pid:
                auth |= {"pid": self._client.pid, "offset": self._client.offset}
            if self.manner.msgpack:
                self._pack({"type": 0, "data": auth, "nsp": "/kschat"})
            else:
                self.send(b"40/kschat," + json.dumps(auth).encode())

    def _tick(self) -> None:
        self._ping = self._reactor.callLater(self._interval, self._tick)
        if self._interval and self.joined:
            self.send(b"2")

    def _upgrade(self) -> None:
        self._probing = True
        self._open_socket()
        assert self._socket is not None
        socket = self._socket
        made = socket.connectionMade

        def probe() -> None:
            made()
            socket.send(b"2probe")

        socket.connectionMade = probe  # type: ignore[method-assign]

    # Packets of Socket.IO

    def _heard(self, data: bytes) -> None:
        found = _PACKET.match(data)
        if found is None or not data.startswith(b"/kschat", found.end(2) if found[2] else 2):
            return  # of the default namespace
        kind, body = found[1], data[found.end() :]
        if kind in b"25":
            event = _EVENT.match(body)
            if event is not None:
                self._event(event[1], body, int(found[3]) if found[3] else None)
        elif kind in b"36":
            self._client.answered(self._asked.pop(int(found[3]), ""), body)
        elif kind == b"0":
            self._joined(json.loads(body) if body else {})
        elif kind == b"4":
            self._over("refused")
        elif kind == b"1":
            self._why = "disconnected"
            self.leave()

    def attachment(self, data: bytes) -> None:
        """See ``links.Owner``."""
        if not self.manner.msgpack or self.ended or self._silent:
            return
        packet = msgspec.msgpack.decode(data)
        kind, content = packet["type"], packet.get("data")
        if packet["nsp"] != "/kschat":
            return
        if kind == 2:
            self._event(content[0].encode(), msgspec.json.encode(content), packet.get("id"))
        elif kind == 3:
            self._client.answered(self._asked.pop(packet["id"], ""), msgspec.json.encode(content))
        elif kind == 0:
            self._joined(content or {})
        elif kind == 4:
            self._over("refused")
        elif kind == 1:
            self._why = "disconnected"
            self.leave()

    def _pack(self, packet: dict[str, Any]) -> None:
        if self._socket is not None and not (self.ended or self._silent):
            self._socket.send(msgspec.msgpack.encode(packet), BINARY)

    def _joined(self, said: dict[str, Any]) -> None:
        self.joined = True
        self._client.pid = said.get("pid", "")
        self._client.joined()
        if self.manner.transport == "upgrade" and not self.ended:
            self._upgrade()

    def _event(self, name: bytes, body: bytes, number: int | None) -> None:
        if number is not None and self.manner.acks:
            if self.manner.msgpack:
                self._pack({"type": 3, "data": [], "nsp": "/kschat", "id": number})
            else:
                self.send(b"43/kschat,%d[]" % number)
        if name == b"RESPRECEIVER" and "recover" in self.manner.options and body.endswith(b'"]'):
            self._client.offset = body[:-2].rpartition(b'"')[2].decode()
        self._client.event(name, body)

    def emit(self, kind: str, payload: object = None, *, ask: bool = True) -> None:
        """Emit an event; its ack, if one is asked for, is told with ``kind``, its name."""
        if not self.joined:
            return
        arguments = [kind] if payload is None else [kind, payload]
        number = b""
        if ask:
            self._id += 1
            self._asked[self._id] = kind
            number = b"%d" % self._id
        if self.manner.msgpack:
            self._pack({"type": 2, "data": arguments, "nsp": "/kschat", **({"id": self._id} if ask else {})})
        else:
            self.send(b"42/kschat," + number + msgspec.json.encode(arguments))

    def emit_binary(self, kind: str, payload: dict[str, Any], data: bytes) -> None:
        """Emit an event whose ``msg`` is an attachment; by WebSocket alone."""
        if not self.joined or self._socket is None or self._probing or self._silent:
            return
        if self.manner.msgpack:
            self.emit(kind, {**payload, "msg": data})
            return
        self._id += 1
        self._asked[self._id] = kind
        content = [kind, {**payload, "msg": {"_placeholder": True, "num": 0}}]
        self.send(b"451-/kschat,%d" % self._id + msgspec.json.encode(content))
        self._socket.send(data if self.manner.revision == 4 else b"\x04" + data, BINARY)

    # Its ends

    def leave(self) -> None:
        """Close it in order: the packet of Socket.IO, then the transport."""
        if self.ended or self._leaving:
            return
        if self.joined and self._why == "transport":
            self._why = "leave"
            if self.manner.msgpack:
                self._pack({"type": 1, "nsp": "/kschat"})
            else:
                self.send(b"41/kschat,")
        if self._socket is not None and not self._probing:
            self._socket.leave()
            # Where no answer to the close frame comes, the connection ends all the same.
            self._reactor.callLater(5, self._over, self._why)
        else:
            self.send(b"1")
            self._leaving = True
            self._reactor.callLater(1, self._over, self._why)

    def crash(self) -> None:
        """End all connections at once, without a word."""
        self._over("crash")

    def fall_silent(self) -> None:
        """Read and answer nothing any more, as a machine without power."""
        self._silent = True
        self._each(lambda link: link.transport.pauseProducing())
        self._reactor.callLater(SILENT, self._over, "silent")

    def sleep(self, seconds: float) -> None:
        """Stop reading for so long."""
        self._each(lambda link: link.transport.pauseProducing())

        def wake() -> None:
            if not (self.ended or self._silent):
                self._each(lambda link: link.transport.resumeProducing())

        self._reactor.callLater(seconds, wake)

    def _each(self, call: Callable[[Link], object]) -> None:
        for link in (self._socket, self._reads, self._writes):
            if link is not None and link.open:
                call(link)


def address(chance: random.Random) -> str:
    """An address of the loopback."""
    return f"127.{chance.randrange(1, 250)}.{chance.randrange(1, 250)}.{chance.randrange(1, 250)}"
