"""A blocking WebSocket client that may send anything, and frames to send."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Final

from tests.support.tokens import token

#: The path of Engine.IO.
PATH: Final = "/socket.io/"


class Refused(OSError):
    """The daemon did not let a client in; the text is its answer."""


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """A masked frame (RFC 6455, section 5.2); its mask is zero, so that the payload stands in it as it is."""
    size = len(payload)
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 0x10000:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + b"\0\0\0\0" + payload


def deflated(payload: bytes) -> bytes:
    """The payload of a compressed message (RFC 7692, section 7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def event(name: str, *arguments: object, ack: int | None = None, namespace: str = "/kschat,") -> bytes:
    """A Socket.IO event in a frame."""
    number = "" if ack is None else str(ack)
    return frame(f"42{namespace}{number}{json.dumps([name, *arguments], separators=(',', ':'))}".encode())


def send(user: str, to: str, msg: object = "x", ack: int = 1, **more: object) -> bytes:
    """The event ``Send`` in a frame."""
    return event("Send", {"uId": user, "pId": to, "msg": msg, "rno": 1, "time": 1, **more}, ack=ack)


def send_raw(user: str, to: str, msg: bytes, ack: int = 1) -> bytes:
    """The text of a ``Send`` whose ``msg`` is the JSON ``msg``, whatever that is."""
    return b'42/kschat,%d["Send",{"uId":"%b","pId":"%b","msg":%b,"rno":1,"time":1}]' % (
        ack,
        user.encode(),
        to.encode(),
        msg,
    )


def connect(port: int, source: str = "127.0.0.1", receive_buffer: int = 0, timeout: float = 5.0) -> socket.socket:
    """A TCP connection to the daemon. ``source``: the address of the loopback that it comes from."""
    link = socket.socket()
    if receive_buffer:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    link.settimeout(timeout)
    link.bind((source, 0))
    link.connect(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def with_tls(link: socket.socket, *, whole: bool = True) -> ssl.SSLSocket:
    """The same by TLS, with any certificate. Without ``whole`` there is no handshake yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(link, do_handshake_on_connect=whole)


class Records:
    """A connection with TLS records of any size.

    Args:
        port: of the daemon.
        source: the client's address.
        newest: the newest version of TLS that is offered.

    Raises:
        OSError: the connection failed.
    """

    def __init__(self, port: int, source: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = newest
        self._into, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._into, self._out)
        self.socket = connect(port, source)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
        self.socket.sendall(self._out.read())

    def seal(self, parts: Iterable[bytes]) -> bytes:
        """Each of ``parts`` in a record of its own. The result must be sent, in order and once."""
        for part in parts:
            self._tls.write(part)
        return self._out.read()

    def ask(self, data: bytes, until: bytes) -> None:
        """Send ``data``, and read until an answer has ``until``."""
        self.socket.sendall(self.seal([data]))
        answer = b""
        while until not in answer:
            try:
                answer += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._exchange()

    def _exchange(self) -> None:
        data = self._out.read()
        if data:
            self.socket.sendall(data)
        found = self.socket.recv(65536)
        if not found:
            raise Refused("closed")
        self._into.write(found)


def upgrade_request(query: str, extensions: str = "", host: str = "127.0.0.1") -> bytes:
    """A WebSocket handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {PATH}?{query} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return "\r\n".join([*lines, "", ""]).encode()


def demo_token(port: int, user: str) -> str:
    """A user's token from a demo."""
    with connect(port, "127.0.3.3") as link:
        link.sendall(f"GET /demo/token?uid={user} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := link.recv(65536):
            answer += part
    found: str = json.loads(answer.partition(b"\r\n\r\n")[2])["token"]
    return found


class Client:
    """One WebSocket.

    Args:
        port: of the daemon.
        source: the address that it comes from.
        user: presents a token for this user.
        join: joins the chat.
        revision: of Engine.IO.
        query: more of the URL, such as ``&recover=1``.
        deflate: offers compression.
        receive_buffer: bytes of the system's buffer; 0 for its own choice.
        tls: by TLS.
        subject: the token's user, if it differs from ``user``.
        token_of: makes a user's token.

    Raises:
        Refused: the daemon did not let it in.
        OSError: the connection failed.
    """

    def __init__(
        self,
        port: int,
        *,
        source: str = "127.0.0.1",
        user: str = "",
        join: bool = False,
        revision: int = 4,
        query: str = "",
        deflate: bool = False,
        receive_buffer: int = 0,
        tls: bool = False,
        subject: str = "",
        token_of: Callable[[str], str] = token,
    ) -> None:
        self.user = user
        self._buffer = b""
        link = connect(port, source, receive_buffer)
        self.socket: socket.socket = with_tls(link) if tls else link
        auth = f"&token={token_of(subject or user)}&ksId={user}" if user else ""
        try:
            self.socket.sendall(
                upgrade_request(
                    f"EIO={revision}&transport=websocket{auth}{query}", "permessage-deflate" if deflate else ""
                )
            )
            while b"\r\n\r\n" not in self._buffer:
                self._receive()
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            if b" 101 " not in head:
                raise Refused(head.partition(b"\r\n")[0].decode("latin-1"))
            self.next()
            if join:
                self.join()
        except BaseException:
            self.socket.close()
            raise

    def join(self) -> None:
        """Join the chat, and wait for the answer."""
        self.socket.sendall(frame(b"40/kschat,"))
        while not (payload := self.next()[1]).startswith(b"40/kschat,"):
            if payload.startswith(b"44"):
                raise Refused(payload.decode("utf-8", "replace"))

    def next(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Pings of both kinds are answered. Raises OSError at the end."""
        while True:
            data = self._buffer
            if len(data) >= 2:
                size, start = data[1] & 0x7F, 2
                if size == 126:
                    size, start = (struct.unpack("!H", data[2:4])[0], 4) if len(data) >= 4 else (1 << 40, 4)
                elif size == 127:
                    size, start = (struct.unpack("!Q", data[2:10])[0], 10) if len(data) >= 10 else (1 << 40, 10)
                if len(data) >= start + size:
                    payload, opcode = data[start : start + size], data[0] & 15
                    self._buffer = data[start + size :]
                    self._answer(opcode, payload)
                    return opcode, payload
            self._receive()

    def _answer(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self.socket.sendall(frame(payload, 10))
        elif payload == b"2":
            self.socket.sendall(frame(b"3"))
        elif opcode == 8:
            code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
            raise Refused(f"closed {code} {payload[2:].decode('utf-8', 'replace')}".rstrip())

    def _receive(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise Refused("closed")
        self._buffer += data
