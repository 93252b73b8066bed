"""The conformance application in memory, on a clock that the test turns, and what a client of it sends and reads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sized
from typing import Any, Final

from twisted.internet.task import Clock

from kschat.wire.engineio import Revision
from tests.conformance.__main__ import make_service
from tests.front.daemon import HANDSHAKE, Response
from tests.front.frames import BINARY, CLOSE, TEXT, client_frame, read_frames
from tests.front.wires import Wire

REVISIONS: Final[tuple[Revision, ...]] = (3, 4)

#: As Socket.IO's own suites want it, in seconds.
PING_INTERVAL: Final = 0.3
PING_TIMEOUT: Final = 0.2
MAX_PAYLOAD: Final = 1_000_000

ENGINE: Final = "/engine.io/"
SOCKETS: Final = "/socket.io/"


def let_pass(clock: Clock, seconds: float) -> None:
    """Advance the clock by ``seconds``, a millisecond at a time, so that a timer that sets another one is not late."""
    clock.pump([0.001] * round(seconds * 1000))


class TurnedWire(Wire):
    """A connection for which the reactor's turns pass until nothing waits to be read."""

    def __init__(self, clock: Clock, turns: Sized) -> None:
        super().__init__(clock)
        self._clock = clock
        self._turns = turns

    def pump(self) -> None:
        """See ``Wire``."""
        super().pump()
        while len(self._turns):
            self._clock.advance(0)
            super().pump()


class Exchange:
    """A request, and what is answered to it, perhaps later."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @property
    def waits(self) -> bool:
        """Whether nothing was answered yet, and it may still come."""
        self.wire.pump()
        return not self.wire.taken and self.wire.lost is None

    @property
    def response(self) -> Response:
        """What was answered."""
        assert not self.waits, "nothing was answered"
        return Response(bytes(self.wire.taken))

    @property
    def status(self) -> int:
        """Its status."""
        return self.response.status

    @property
    def text(self) -> str:
        """Its body, as text; it must be a success."""
        response = self.response
        assert response.status == 200, (response.status, response.body)
        return response.body.decode()


class WebSocket:
    """A client's WebSocket. What comes is text, or bytes."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        head = bytes(wire.taken).partition(b"\r\n\r\n")[0]
        self.refused = None if head.startswith(b"HTTP/1.1 101 ") else Response(bytes(wire.taken))
        self._read = len(head) + 4
        #: the code of the server's close frame
        self.code: int | None = None

    def send(self, *messages: str | bytes) -> None:
        """Text as text, bytes as binary, each a frame."""
        for message in messages:
            text = isinstance(message, str)
            payload = message.encode() if isinstance(message, str) else message
            self.wire.arrive(client_frame(payload, TEXT if text else BINARY))

    def read(self) -> list[str | bytes]:
        """What came since the last time."""
        self.wire.pump()
        if self.refused is not None:
            return []
        frames, rest = read_frames(bytes(self.wire.taken[self._read :]))
        self._read = len(self.wire.taken) - len(rest)
        messages: list[str | bytes] = []
        for frame in frames:
            if frame.opcode == CLOSE:
                self.code = frame.code
            else:
                messages.append(frame.payload.decode() if frame.opcode == TEXT else frame.payload)
        return messages

    @property
    def closed(self) -> bool:
        """Whether the server has closed it (or never opened it)."""
        self.read()
        return self.code is not None or self.wire.lost is not None or self.refused is not None


class SteppedClock(Clock):
    """Time that passes millisecond by millisecond, as for a reactor that nothing holds up: one timer may follow another
    within one ``advance``.
    """

    def advance(self, amount: float) -> None:
        """Let so many seconds pass."""
        end = self.rightNow + amount
        while end - self.rightNow > 0.001:
            super().advance(0.001)
        super().advance(max(0.0, end - self.rightNow))


class Application:
    """The conformance application.

    Args:
        options: other than those that the suites are run with.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = SteppedClock()
        self.clock.rightNow = 1_700_000_000.0
        given: dict[str, Any] = {
            "port": 0,
            "ping_interval": PING_INTERVAL,
            "ping_timeout": PING_TIMEOUT,
            "connect_timeout": 1.0,
            "max_payload": MAX_PAYLOAD,
            "deflate": False,
            "pause": 0.0,
        }
        self.service = make_service(argparse.Namespace(**{**given, **options}), self.clock)

    def request(self, data: bytes) -> Exchange:
        """Any bytes, on a connection of their own."""
        wire = TurnedWire(self.clock, self.service.front.turns)
        protocol = self.service.site.buildProtocol(wire.getPeer())
        wire.protocol = protocol
        protocol.makeConnection(wire)
        wire.arrive(data)
        return Exchange(wire)

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Exchange:
        """A request of HTTP."""
        named = {"Host": "chat.example", **headers}
        if body is not None:
            named["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return self.request("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def get(self, query: str, path: str = ENGINE, **headers: str) -> Exchange:
        """A GET."""
        return self.ask("GET", f"{path}?{query}", headers)

    def post(self, query: str, body: str | bytes, path: str = ENGINE) -> Exchange:
        """A POST of text, or of binary."""
        data = body.encode() if isinstance(body, str) else body
        kind = "text/plain;charset=UTF-8" if isinstance(body, str) else "application/octet-stream"
        return self.ask("POST", f"{path}?{query}", {"Content-Type": kind}, data)

    def websocket(self, query: str, path: str = ENGINE) -> WebSocket:
        """A WebSocket, open or refused."""
        return WebSocket(self.ask("GET", f"{path}?{query}", HANDSHAKE).wire)

    def engine(self, revision: Revision, query: str = "") -> WebSocket:
        """An open session of Engine.IO on a WebSocket; its open packet was read."""
        socket = self.websocket(f"EIO={revision}&transport=websocket{query}")
        (opened,) = socket.read()
        assert isinstance(opened, str)
        assert opened[0] == "0", opened
        return socket

    def joined(self, revision: Revision, namespace: str = "/") -> WebSocket:
        """A socket of Socket.IO in ``namespace``, on a WebSocket; all that was said until then was read."""
        socket = self.websocket(f"EIO={revision}&transport=websocket", SOCKETS)
        if revision == 4 or namespace != "/":
            socket.send("40" if namespace == "/" else f"40{namespace},")
        assert not socket.closed
        return socket


def opened(packet: str | bytes) -> dict[str, Any]:
    """What an open packet says."""
    assert isinstance(packet, str)
    assert packet.startswith("0"), packet
    found: dict[str, Any] = json.loads(packet[1:])
    return found


def payload(revision: Revision, *packets: str) -> str:
    """Packets of text as the body of a request or of an answer."""
    if revision == 4:
        return "\x1e".join(packets)
    return "".join(f"{len(packet.encode('utf-16-le')) // 2}:{packet}" for packet in packets)


def packets(revision: Revision, body: str) -> list[str]:
    """The other way round."""
    if revision == 4:
        return body.split("\x1e")
    found = []
    units = body.encode("utf-16-le")
    while units:
        length, _, rest = units.partition(":".encode("utf-16-le"))
        size = 2 * int(length.decode("utf-16-le"))
        found.append(rest[:size].decode("utf-16-le"))
        units = rest[size:]
    return found


class Polling:
    """A session of Engine.IO by long-polling; its open packet was read. The whole answer is ``said``."""

    def __init__(self, application: Application, revision: Revision, path: str = ENGINE, more: str = "") -> None:
        self.application = application
        self.revision = revision
        self._path = path
        self._query = f"EIO={revision}&transport=polling{more}"
        first = packets(revision, application.get(self._query, path).text)
        self.said = opened(first[0])
        self.sid: str = self.said["sid"]
        self.query = f"{self._query}&sid={self.sid}"
        #: packets that came with the open packet
        self.more = first[1:]

    def get(self) -> Exchange:
        """Ask for packets."""
        return self.application.get(self.query, self._path)

    def read(self) -> list[str]:
        """Ask for packets that must be there."""
        return packets(self.revision, self.get().text)

    def post(self, *said: str) -> Exchange:
        """Send packets of text."""
        return self.application.post(self.query, payload(self.revision, *said), self._path)

    def send(self, *said: str) -> None:
        """The same; they must be taken."""
        answer = self.post(*said).text
        assert answer == "ok", answer

    def upgrade(self) -> WebSocket:
        """A WebSocket for the same session."""
        return self.application.websocket(f"EIO={self.revision}&transport=websocket&sid={self.sid}", self._path)

    @property
    def ended(self) -> bool:
        """Whether the session is not known any more. (A session that lives on is left with a GET that waits.)"""
        exchange = self.get()
        return not exchange.waits and exchange.status == 400
