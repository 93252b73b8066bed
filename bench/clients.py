"""One socket of the load, without I/O: bytes that came in go to ``received``, which returns the bytes to send.

It looks for the few bytes that tell what a frame is and which number it carries, and parses no JSON on the hot path:
the load must cost clearly less than the server it measures. So it takes only what servers of this kind send: whole,
uncompressed frames. Anything else is a fault, named in ``fault``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from bench.frames import CLOSE, DIGITS, FIRST, MARK, PING, PONG, TEXT, Template, client_frame
from bench.tally import Tally

NAMESPACE: Final = b"/kschat,"
FILL: Final = "the quick brown fox jumps over the lazy dog "
_ID_AT: Final = len(b"43") + len(NAMESPACE)


@dataclass(slots=True)
class Clock:
    """What the clients of an open loop share: the latencies, in seconds, of messages due at ``begin`` or later."""

    begin: float = 0.0
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How every socket of one load behaves.

    ``revision`` is Engine.IO's (3 or 4). ``window`` messages of a sender are on their way at the most: without an ack,
    or with ``until_delivered`` without ack or without having arrived at the recipient. ``answers``: RESPRECEIVER's own
    ack is answered. ``batch`` asks the server for several messages in one frame. ``texts`` are the lengths of the
    messages' texts in characters (at least 10), taken in turn.
    """

    revision: int = 4
    window: int = 4
    until_delivered: bool = False
    answers: bool = False
    batch: bool = False
    texts: tuple[int, ...] = (24, 60, 120, 280)


def text(size: int) -> str:
    """Return a message's text of ``size`` characters with the number's place in it (a ``%`` for seven digits)."""
    rest = size - len(MARK) - DIGITS - 1
    return f"{MARK.decode()}% " + (FILL * (rest // len(FILL) + 1))[: max(0, rest)]


class ChatClient:
    """A user with one socket in the namespace ``/kschat``, who sends to one other user."""

    __slots__ = (
        "_http", "_key", "_next_ping", "_ping_every", "_rest", "_templates", "acks", "arrivals", "clock", "due",
        "fault", "joined", "manner", "number", "others", "peer", "refused", "respsends", "source", "token", "user",
    )  # fmt: skip

    def __init__(self, user: str, peer: str, token: str, manner: Manner, clock: Clock, *, key: int, time: int) -> None:
        """``key`` is the byte this socket masks with, ``time`` the epoch seconds in its messages."""
        self.user = user
        self.token = token
        self.manner = manner
        self.clock = clock
        self.peer: ChatClient = self
        self.source: ChatClient = self
        self.acks = Tally(FIRST)
        self.arrivals = Tally(FIRST)
        self.number = FIRST
        self.due: list[float] | None = None
        self.refused: set[int] = set()
        self.respsends = 0
        self.others = 0
        self.joined = False
        self.fault = ""
        self._http = True
        self._key = key
        self._rest = b""
        self._ping_every = 0.0
        self._next_ping = 0.0
        self._templates = tuple(
            Template(
                b"42%b%%[" % NAMESPACE
                + f'"Send",{{"uId":"{user}","pId":"{peer}","msg":"{text(size)}","rno":%,"time":{time}}}]'.encode(),
                key,
            )
            for size in manner.texts
        )

    def opening(self, host: str) -> bytes:
        """Return the HTTP request that opens the WebSocket; the token stands in the query as in the tutorial."""
        batch = "&batch=1" if self.manner.batch else ""
        return (
            f"GET /socket.io/?EIO={self.manner.revision}&transport=websocket&token={self.token}&ksId={self.user}{batch}"
            f" HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def room(self) -> int:
        """How many messages may be sent now under the window."""
        done = self.acks.next - len(self.acks.missing)
        if self.manner.until_delivered:
            arrivals = self.peer.arrivals
            done = min(done, arrivals.next - len(arrivals.missing))
        return self.manner.window - (self.number - done)

    def send(self, count: int) -> bytes:
        """Return the frames of the next ``count`` messages."""
        templates, number = self._templates, self.number
        self.number = number + count
        return b"".join([templates[n % len(templates)].fill(n) for n in range(number, number + count)])

    def tick(self, now: float) -> bytes:
        """Return the ping that a client of revision 3 owes, or nothing."""
        if self.manner.revision != 3 or not self.joined or now < self._next_ping:
            return b""
        self._next_ping = now + self._ping_every
        return client_frame(TEXT, b"2", self._key)

    def lost(self) -> int:
        """How many of this user's acknowledged messages never arrived."""
        arrivals = self.peer.arrivals
        return self.acks.lost(arrivals) - sum(1 for number in self.refused if not arrivals.seen(number))

    def received(self, data: bytes, now: float) -> bytes:
        """Take bytes from the server; return bytes for it. ``now`` is when they were read, in the clock of ``due``."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        pos = self._upgraded(data) if self._http else 0
        end = len(data)
        out = b""
        while end - pos >= 2:
            size = data[pos + 1]
            start = pos + 2
            if size == 126:
                if end - pos < 4:
                    break
                start = pos + 4
                size = data[pos + 2] << 8 | data[pos + 3]
            elif size > 126:
                if size > 127:
                    self.fault = "a masked frame from the server"
                    return out
                if end - pos < 10:
                    break
                start = pos + 10
                size = int.from_bytes(data[pos + 2 : start], "big")
            stop = start + size
            if stop > end:
                break
            if data[pos] != 0x81 or size < 24 or data[start] != 0x34:  # "4", a Socket.IO packet
                out += self._other(data[pos], data[start:stop], now)
            elif data[start + 1] == 0x33:  # "43", an ack
                number = int(data[start + _ID_AT : start + _ID_AT + DIGITS])
                acks = self.acks
                if number == acks.next:
                    acks.next = number + 1
                else:
                    acks.odd(number)
                if data.find(b"success", start, stop) < 0:
                    self.refused.add(number)
            elif data[start + 1] == 0x32:  # "42", an event
                at = data.find(b'"RESP', start, stop) + 5
                if at == 4:
                    self.others += 1
                elif data[at] == 0x52:  # RESPRECEIVER
                    out += self._arrived(data, start, at, stop, now)
                elif data.startswith(b"SEND", at) and data.find(MARK, at, stop) > 0:
                    self.respsends += 1
                else:
                    self.others += 1
            else:
                out += self._other(data[pos], data[start:stop], now)
            pos = stop
        if pos < end:
            self._rest = data[pos:]
        return out

    def _arrived(self, data: bytes, start: int, at: int, stop: int, now: float) -> bytes:
        """Count the messages of one RESPRECEIVER; return the answer to it, if it is answered."""
        arrivals = self.arrivals
        mark = data.find(MARK, at, stop)
        if mark < 0:
            self.others += 1
        while mark > 0:
            number = int(data[mark + 2 : mark + 2 + DIGITS])
            fresh = number == arrivals.next
            if fresh:
                arrivals.next = number + 1
            else:
                fresh = arrivals.odd(number)
            due = self.source.due
            if due is not None and fresh and due[number - FIRST] >= self.clock.begin:
                self.clock.latencies.append(now - due[number - FIRST])
            mark = data.find(MARK, mark + 2 + DIGITS, stop) if self.manner.batch else -1
        if self.manner.answers:
            ack_id = data[start + _ID_AT : data.find(b"[", start)]
            if ack_id:
                return client_frame(TEXT, b"43%b%b[]" % (NAMESPACE, ack_id), self._key)
        return b""

    def _upgraded(self, data: bytes) -> int:
        """Return where frames begin behind the HTTP answer; beyond the data's end while it is not whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return len(data)
        if not data.startswith(b"HTTP/1.1 101 "):
            self.fault = f"the upgrade was refused: {data[:200].decode('latin-1')!r}"
            return len(data)
        self._http = False
        return end + 4

    def _other(self, first: int, payload: bytes, now: float) -> bytes:
        """Handle what is no chat message: the greeting, pings, the end. ``first`` is the frame's first byte."""
        if first == 0x80 | PING:
            return client_frame(PONG, payload, self._key)
        if first == 0x80 | CLOSE:
            self.fault = f"closed by the server: {payload[:2].hex()} {payload[2:].decode(errors='replace')}"
        elif first != 0x80 | TEXT:
            self.fault = f"a frame that begins with {first:#x}"
        elif payload == b"2":
            return client_frame(TEXT, b"3", self._key)
        elif payload.startswith(b"0{"):
            self._ping_every = json.loads(payload[1:])["pingInterval"] / 1000
            self._next_ping = now + self._ping_every
            return client_frame(TEXT, b"40/kschat" if self.manner.revision == 3 else b"40/kschat,", self._key)
        elif payload.startswith(b"40/kschat"):
            self.joined = True
        elif payload.startswith((b"44", b"41")) or payload == b"1":
            self.fault = f"refused or sent away: {payload[:200].decode(errors='replace')}"
        elif payload not in (b"40", b"3"):
            self.others += 1
        return b""


class EchoClient(ChatClient):
    """A socket that sends the same frames to a plain TCP echo: a returned frame counts as acknowledged and arrived."""

    __slots__ = ()

    def opening(self, host: str) -> bytes:
        """Return nothing: there is no handshake."""
        self.joined = True
        return b""

    def received(self, data: bytes, now: float) -> bytes:
        """Count the frames that came back."""
        if self._rest:
            data = self._rest + data
        pos, end = 0, len(data)
        due, clock = self.due, self.clock
        while end - pos >= 8:
            size = data[pos + 1] & 0x7F
            stop = pos + 6 + size if size < 126 else pos + 8 + (data[pos + 2] << 8 | data[pos + 3])
            if stop > end:
                break
            number = self.acks.next
            self.acks.next = self.arrivals.next = number + 1
            if due is not None and due[number - FIRST] >= clock.begin:
                clock.latencies.append(now - due[number - FIRST])
            pos = stop
        self._rest = data[pos:]
        return b""
