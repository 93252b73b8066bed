"""TCP connections of clients: a WebSocket, and a connection for the requests of long-polling. They know no events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol as TcpProtocol
from twisted.python.failure import Failure

from bench.frames import CLOSE, PING, PONG, TEXT, client_frame

BINARY: Final = 2

#: The byte that masks what clients send.
_KEY: Final = 0x5A

#: Seconds to connect.
_CONNECT: Final = 20.0

#: The close code of a client that leaves: 1001.
_LEAVING: Final = b"\x03\xe9"


class Owner(Protocol):
    """Whose connection it is."""

    def packet(self, data: bytes) -> None:
        """A packet of Engine.IO that is text."""

    def attachment(self, data: bytes) -> None:
        """One that is binary."""

    def lost(self, link: Any) -> None:
        """A connection has ended, or was refused."""


class Link(TcpProtocol):
    """A connection. ``begin`` is sent first."""

    transport: Any

    def __init__(self, owner: Owner, begin: bytes = b"") -> None:
        self.owner = owner
        self._begin = begin
        self._rest = b""
        self.open = self.connecting = False

    def connectionMade(self) -> None:
        """Send the request."""
        self.open, self.connecting = True, False
        self.transport.setTcpNoDelay(True)
        if self._begin:
            self.transport.write(self._begin)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008 - Twisted's own signature
        """Tell the owner."""
        self.open = False
        self.owner.lost(self)

    def abort(self) -> None:
        """End it as a crash does."""
        if self.open:
            self.transport.abortConnection()


class WebSocket(Link):
    """A WebSocket. It takes what this daemon sends: whole, uncompressed frames."""

    _http = True

    def send(self, data: bytes, opcode: int = TEXT) -> None:
        """Send a frame."""
        if self.open:
            self.transport.write(client_frame(opcode, data, _KEY))

    def leave(self) -> None:
        """Send a close frame."""
        self.send(_LEAVING, CLOSE)

    def dataReceived(self, data: bytes) -> None:
        """Split it into frames."""
        data = self._rest + data
        pos = 0
        if self._http:
            pos = data.find(b"\r\n\r\n") + 4
            if pos < 4:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101 "):
                self.abort()
                return
            self._http = False
        end = len(data)
        while end - pos >= 2:
            size, start = data[pos + 1], pos + 2
            if size == 126:
                if end - pos < 4:
                    break
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                if end - pos < 10:
                    break
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            stop = start + size
            if stop > end:
                break
            self._frame(data[pos] & 15, data[start:stop])
            pos = stop
        self._rest = data[pos:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.owner.packet(payload)
        elif opcode == BINARY:
            self.owner.attachment(payload)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE and self.open:
            self.transport.loseConnection()


class Requests(Link):
    """A connection that carries one HTTP request after the other."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._waiting: list[tuple[bytes, Callable[[int, bytes], None]]] = []
        self._answer: Callable[[int, bytes], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited."""
        return self._answer is None and not self._waiting

    def connectionMade(self) -> None:
        """Send what waits."""
        super().connectionMade()
        self._next()

    def request(self, data: bytes, answer: Callable[[int, bytes], None]) -> None:
        """Send a request; ``answer`` is called with the status and the body."""
        self._waiting.append((data, answer))
        if self.open:
            self._next()

    def _next(self) -> None:
        if self._answer is None and self._waiting:
            data, self._answer = self._waiting.pop(0)
            self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        """Take an answer when it is whole."""
        data = self._rest + data
        self._rest = data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        size = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
        stop = end + 4 + size
        if len(data) < stop:
            return
        self._rest = data[stop:]
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(int(head[9:12]), data[end + 4 : stop])
        if self.open:
            self._next()


def connect(reactor: Any, link: Link, port: int, source: str) -> None:
    """Open a connection to a port of 127.0.0.1, from an address of the loopback. If it fails, the owner has lost it."""
    link.connecting = True

    def failed(failure: Failure) -> None:
        link.connecting = False
        link.owner.lost(link)

    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port, _CONNECT, (source, 0))
    connectProtocol(endpoint, link).addErrback(failed)
