"""One chat client that asks and waits for the answer: a blocking socket, for what is measured one by one."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Final

import jwt

from bench.clients import NAMESPACE
from bench.frames import CLOSE, PING, PONG, TEXT, client_frame

#: Seconds that an answer may take.
PATIENCE: Final = 120.0

_KEY: Final = 0x5A


class AskError(Exception):
    """The daemon did not answer as it should; the text says what it did."""


class Asker:
    """A user with one socket in the namespace ``/kschat``.

    Args:
        port: of a daemon on the loopback.
        secret: tokens are made with it.
        user: who it is. May join all rooms.

    Attributes:
        seconds: from before the connection until the namespace was joined.
        messages: messages that came by RESPRECEIVER.

    Raises:
        AskError, OSError: it is not let in.
    """

    def __init__(self, port: int, secret: str, user: str) -> None:
        claims = {"data": {"id": user, "rooms": "*"}, "exp": int(time.time()) + 86400}
        token = jwt.encode(claims, secret, "HS256")
        self.messages = 0
        self._user = user
        self._number = 0
        self._rest = bytearray()
        begun = time.perf_counter()
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            f"GET /socket.io/?EIO=4&transport=websocket&token={token}&batch=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            self._read()
        if not self._rest.startswith(b"HTTP/1.1 101 "):
            raise AskError(f"the upgrade was refused: {bytes(self._rest[:200])!r}")
        del self._rest[: end + 4]
        self._write(b"40" + NAMESPACE)
        while not self._packet().startswith(b"40/kschat"):
            pass
        self.seconds = time.perf_counter() - begun

    def ask(self, event: str, payload: Any = None) -> tuple[float, Any]:
        """Emit an event with an ack: the seconds until the answer, and the answer. Raises AskError, OSError."""
        self._number += 1
        head = b"43%b%d[" % (NAMESPACE, self._number)
        arguments = [event] if payload is None else [event, payload]
        begun = time.perf_counter()
        self._write(b"42%b%d" % (NAMESPACE, self._number) + json.dumps(arguments).encode())
        while not (packet := self._packet()).startswith(head):
            pass
        seconds = time.perf_counter() - begun
        answer = json.loads(packet[len(head) - 1 :])[0]
        if isinstance(answer, dict) and answer.get("ER"):
            raise AskError(f"{event}: {answer}")
        return seconds, answer

    def send(self, peer: str, text: str) -> float:
        """Send one message; the seconds until it was acknowledged. Raises AskError, OSError."""
        seconds, _ = self.ask("Send", {"uId": self._user, "pId": peer, "msg": text, "rno": 0, "time": 0})
        return seconds

    def receive(self, count: int) -> None:
        """Wait until so many messages have come. Raises AskError, OSError."""
        end = time.perf_counter() + PATIENCE
        while self.messages < count:
            if time.perf_counter() > end:
                raise AskError(f"{self.messages} of {count} messages have come")
            self._packet()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _packet(self) -> bytes:
        """The next packet of Socket.IO. Heartbeats are answered, messages counted."""
        while True:
            first, payload = self._frame()
            if first == 0x80 | PING:
                self._socket.sendall(client_frame(PONG, payload, _KEY))
            elif first == 0x80 | CLOSE:
                raise AskError(f"closed: {payload[2:].decode(errors='replace')}")
            elif payload == b"2":
                self._write(b"3")
            elif payload[:1] == b"4":
                self.messages += payload.count(b'"rStatus":')
                return payload

    def _frame(self) -> tuple[int, bytes]:
        rest = self._rest
        while len(rest) < 2:
            self._read()
        size, start = rest[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            while len(rest) < start:
                self._read()
            size = int.from_bytes(rest[2:start], "big")
        while len(rest) < start + size:
            self._read()
        first, payload = rest[0], bytes(rest[start : start + size])
        del rest[: start + size]
        return first, payload

    def _write(self, payload: bytes) -> None:
        self._socket.sendall(client_frame(TEXT, payload, _KEY))

    def _read(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise AskError("closed without a word")
        self._rest += data
