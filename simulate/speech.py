"""Engine.IO and Socket.IO as clients speak them: both revisions, by polling, by WebSocket, and from one to the other.

Written from the protocol's documents, and not from ``kschat.wire``, which is what is tested with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from simulate.network import Connection
from tests.front.frames import CLOSE, PING, PONG, TEXT, client_frame, read_frames

#: How a client's connection is made.
Means = Literal["websocket", "polling", "upgrade"]

#: Seconds that a client waits for a connection to be made.
CONNECT_TIMEOUT: Final = 20.0

#: A mask that costs nothing: all zeros, so that the payload stays as it is.
_MASK: Final = b"\0\0\0\0"

_PACKET: Final = re.compile(r"([0-6])(?:(/[^,]*),?)?(\d+)?(.*)", re.DOTALL)

NAMESPACE: Final = "/kschat"

#: Opens a connection to the daemon of a session.
Dial = Callable[[Any], Connection]


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


class Http:
    """One HTTP connection that is kept alive: one request at a time.

    Args:
        dial: opens it, when it is needed.
        lost: called when it ends during a request.
    """

    def __init__(self, dial: Dial, lost: Callable[[], None]) -> None:
        self._dial = dial
        self._lost = lost
        self._connection: Connection | None = None
        self._data = b""
        self._wants: Callable[[Answer], None] | None = None
        self.closed = False

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._wants is not None

    def ask(self, method: str, query: str, body: bytes, answered: Callable[[Answer], None]) -> None:
        """Send a request."""
        assert self._wants is None, "one request at a time"
        self._wants = answered
        if self._connection is None:
            self._data = b""
            self._connection = self._dial(self)
        head = f"{method} /socket.io/?{query} HTTP/1.1\r\nHost: chat.example\r\n"
        if method == "POST":
            head += f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(body)}\r\n"
        self._connection.send(head.encode() + b"\r\n" + body)

    def arrived(self, data: bytes) -> None:
        """See ``network.Caller``."""
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert "content-length" in headers, headers
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        self._data = rest[length:]
        wants, self._wants = self._wants, None
        if headers.get("connection", "").lower() == "close":
            self._connection = None
        assert wants is not None, "an answer that nobody asked for"
        wants(Answer(int(first.split(" ")[1]), rest[:length]))

    def ended(self) -> None:
        """See ``network.Caller``."""
        self._connection = None
        if self._wants is not None and not self.closed:
            self._wants = None
            self._lost()

    def close(self) -> None:
        """Need it no more."""
        self.closed = True
        self._wants = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class WebSocket:
    """A WebSocket.

    Args:
        dial: opens it.
        query: of its URL.
        opened, received, ended: called with what happens; ``ended`` once.
    """

    def __init__(
        self,
        dial: Dial,
        query: str,
        *,
        opened: Callable[[], None],
        received: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        self._opened, self._received, self._tell_end = opened, received, ended
        self._data = b""
        self._is_open = self._is_over = False
        #: whether pings of RFC 6455 are answered; no machine that lives does otherwise
        self.connection = dial(self)
        self.connection.send(
            f"GET /socket.io/?{query} HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, packet: str) -> None:
        """Send an Engine.IO packet."""
        if self._is_open:
            self.connection.send(_framed(packet.encode(), TEXT))

    def close(self) -> None:
        """Close it, without a word to who made it."""
        if not self._is_over:
            self._is_over = True
            self._is_open = False
            self.connection.close()

    def arrived(self, data: bytes) -> None:
        """See ``network.Caller``."""
        self._data += data
        if not self._is_open and not self._is_over:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.close()
                self._tell_end()
                return
            self._data = rest
            self._is_open = True
            self._opened()
        frames, self._data = read_frames(self._data)
        for frame in frames:
            if self._is_over:
                return
            if frame.opcode == TEXT:
                self._received(frame.payload.decode())
            elif frame.opcode == PING:
                self.connection.send(_framed(frame.payload, PONG))
            elif frame.opcode == CLOSE:
                self.connection.send(_framed(frame.payload[:2], CLOSE))
                self.close()
                self._tell_end()

    def ended(self) -> None:
        """See ``network.Caller``."""
        if not self._is_over:
            self._is_over = True
            self._is_open = False
            self._tell_end()


class Speaker(Protocol):
    """Whoever speaks by an ``EngineClient``."""

    def on_open(self) -> None:
        """The session is open."""

    def on_text(self, text: str) -> None:
        """A packet of Socket.IO came."""

    def on_end(self) -> None:
        """The session is over."""


class EngineClient:
    """An Engine.IO session as a client has it.

    Args:
        clock: the world's.
        dial: opens connections to its daemon.
        speaker: is told.
        revision: 3 or 4.
        means: by which transport.
    """

    def __init__(self, clock: IReactorTime, dial: Dial, speaker: Speaker, *, revision: int, means: Means) -> None:
        self._clock = clock
        self._dial = dial
        self._speaker = speaker
        self._revision = revision
        self._means = means
        self._query = f"EIO={revision}&transport="
        self._sid = ""
        self._stamp = 0
        self._socket: WebSocket | None = None
        self._probe: WebSocket | None = None
        self._gets, self._posts = Http(dial, self._end), Http(dial, self._end)
        self._queue: list[str] = []
        self._upgrading = False
        self._interval, self._patience = 25.0, 20.0
        self._timer: IDelayedCall | None = clock.callLater(CONNECT_TIMEOUT, self._late)
        self._ping: IDelayedCall | None = None
        self.is_open = False
        self.is_over = False
        if means == "websocket":
            self._socket = WebSocket(
                dial, self._query + "websocket", opened=_nothing, received=self._packet, ended=self._end
            )
        else:
            self._poll()

    @property
    def on_websocket(self) -> bool:
        """Whether it speaks by a WebSocket now."""
        return self._socket is not None

    def send(self, text: str) -> None:
        """Send a packet of Socket.IO."""
        self._send("4" + text)

    def close(self) -> None:
        """Close the session in order."""
        if self.is_over:
            return
        if self._socket is not None:
            self._finish()
            return
        if self.is_open and not self._posts.busy:
            # npm's client posts it; the answer is of no interest.
            self._posts.ask("POST", self._url(), self._body(["1"]), lambda _: None)
        self._finish()

    def _url(self) -> str:
        self._stamp += 1
        sid = f"&sid={self._sid}" if self._sid else ""
        return f"{self._query}polling&t={self._stamp}{sid}"

    def _body(self, packets: Sequence[str]) -> bytes:
        if self._revision == 4:
            return "\x1e".join(packets).encode()
        return "".join(f"{len(packet)}:{packet}" for packet in packets).encode()

    def _taken_apart(self, body: bytes) -> list[str]:
        text = body.decode()
        if self._revision == 4:
            return text.split("\x1e") if text else []
        packets = []
        while text:
            length, _, text = text.partition(":")
            packets.append(text[: int(length)])
            text = text[int(length) :]
        return packets

    def _send(self, packet: str) -> None:
        if self.is_over:
            return
        if self._socket is not None:
            self._socket.send(packet)
            return
        self._queue.append(packet)
        self._flush()

    def _flush(self) -> None:
        if not self._queue or not self.is_open or self._upgrading or self._posts.busy or self._socket is not None:
            return
        queue, self._queue = self._queue, []
        self._posts.ask("POST", self._url(), self._body(queue), self._posted)

    def _posted(self, answer: Answer) -> None:
        if answer.status != 200:
            self._end()
        elif self._upgrading:
            self._go_over()
        else:
            self._flush()

    def _poll(self) -> None:
        if not self._gets.busy and not self.is_over and self._socket is None:
            self._gets.ask("GET", self._url(), b"", self._polled)

    def _polled(self, answer: Answer) -> None:
        if answer.status != 200:
            self._end()
            return
        for packet in self._taken_apart(answer.body):
            if not self.is_over:
                self._packet(packet)
        if self.is_over:
            return
        if self._upgrading:
            self._go_over()
        else:
            self._poll()

    def _packet(self, packet: str) -> None:
        kind, data = packet[:1], packet[1:]
        if kind == "0":
            self._opened(json.loads(data))
        elif kind == "4":
            self._alive()
            self._speaker.on_text(data)
        elif kind == "2":
            self._alive()
            self._send("3" + data)
        elif kind == "3":
            self._alive()
        elif kind == "1":
            self._end()

    def _opened(self, data: Any) -> None:
        self._sid = data["sid"]
        self._interval, self._patience = data["pingInterval"] / 1000, data["pingTimeout"] / 1000
        self.is_open = True
        self._alive()
        if self._revision == 3:
            self._ping = self._clock.callLater(self._interval, self._ask_for_life)
        self._speaker.on_open()
        if self._means == "upgrade" and not self.is_over:
            self._probe = WebSocket(
                self._dial,
                f"{self._query}websocket&sid={self._sid}",
                opened=lambda: self._probed("2probe"),
                received=self._on_probe,
                ended=self._probe_failed,
            )

    # The change of the transport.

    def _probed(self, packet: str) -> None:
        if self._probe is not None:
            self._probe.send(packet)

    def _on_probe(self, packet: str) -> None:
        if self._socket is not None:
            self._packet(packet)
        elif packet == "3probe" and not self._upgrading and not self.is_over:
            self._upgrading = True
            self._go_over()

    def _go_over(self) -> None:
        """Change when no request is under way: what is sent meanwhile waits."""
        if self._gets.busy or self._posts.busy or self._probe is None:
            return
        self._upgrading = False
        self._socket, self._probe = self._probe, None
        self._socket.send("5")
        queue, self._queue = self._queue, []
        for packet in queue:
            self._socket.send(packet)

    def _probe_failed(self) -> None:
        if self._socket is not None:
            self._end()
            return
        self._probe = None
        if self._upgrading:
            self._upgrading = False
            self._poll()
            self._flush()

    # Life and death.

    def _alive(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(self._interval + self._patience, self._late)

    def _ask_for_life(self) -> None:
        self._ping = self._clock.callLater(self._interval, self._ask_for_life)
        self._send("2")

    def _late(self) -> None:
        self._timer = None
        self._end()

    def _end(self) -> None:
        if not self.is_over:
            self._finish()
            self._speaker.on_end()

    def _finish(self) -> None:
        self.is_over = True
        self.is_open = False
        for timer in (self._timer, self._ping):
            if timer is not None:
                timer.cancel()
        self._timer = self._ping = None
        self._gets.close()
        self._posts.close()
        for socket in (self._socket, self._probe):
            if socket is not None:
                socket.close()


class Packet(NamedTuple):
    """A packet of Socket.IO."""

    kind: int
    namespace: str
    id: int | None
    data: Any


def read_packet(text: str) -> Packet:
    """Take a packet apart."""
    match = _PACKET.fullmatch(text)
    assert match, text
    kind, namespace, number, data = match.groups()
    return Packet(
        int(kind), namespace or "/", None if number is None else int(number), json.loads(data) if data else None
    )


def _framed(payload: bytes, opcode: int) -> bytes:
    head = client_frame(b"", opcode, mask=None, claimed=len(payload))
    return head[:1] + bytes((head[1] | 0x80,)) + head[2:] + _MASK + payload


def _nothing() -> None:
    """The first packet says that it is open."""
