"""A daemon's front in memory: the real site, engine and protocols on a clock that the test turns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.web.resource import IResource
from twisted.web.static import Data

from kschat.budget import MAX_BUFFERED, Budget
from kschat.counters import Counters
from kschat.front.assembly import Front, FrontSettings
from kschat.front.channel import ChannelBounds
from kschat.front.engine import EngineSettings
from kschat.front.site import Health, Ready, make_root
from kschat.rates import AddressLimits, RateSettings
from kschat.wire.connection import Application, Connection, Socket
from kschat.wire.cork import Cork
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.socketio import Ack, Connect, Event
from tests.chat.house import House
from tests.front.frames import TEXT, Seen, client_frame, read_frames
from tests.front.wires import Wire

NOW = 1_700_000_000.0

V3 = "EIO=3&transport=websocket"
V4 = "EIO=4&transport=websocket"

HANDSHAKE = {
    "Host": "chat.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Recorder:
    """An application that lets everybody in and notes what it is told.

    Attributes:
        log: what happened, in order, as tuples that begin with the method's name.
        on_event: called with each event instead of noting it.
    """

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.sockets: list[Socket] = []
        self.on_event: Callable[[Socket, Event], None] | None = None
        self.on_disconnected: Callable[[Socket, Reason], None] | None = None
        self.on_confirmed: Callable[[Socket, int], None] | None = None
        self.on_closing: Callable[[Socket, Reason], None] | None = None

    def find(self, namespace: str, connection: Connection) -> Recorder:
        return self

    def connect(self, socket: Socket, wish: Connect) -> None:
        self.log.append(("connect", wish.namespace))
        self.sockets.append(socket)
        socket.accept(serves=wish.namespace != "/")

    def event(self, socket: Socket, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(socket, event)
        else:
            args = [json.loads(bytes(one)) for one in event.args]
            self.log.append(("event", event.name, *args, *event.attachments))

    def acked(self, socket: Socket, ack: Ack) -> None:
        self.log.append(("acked", ack.id))

    def confirmed(self, socket: Socket, number: int) -> None:
        self.log.append(("confirmed", number))
        if self.on_confirmed is not None:
            self.on_confirmed(socket, number)

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        self.log.append(("closing", socket.namespace, reason))
        if self.on_closing is not None:
            self.on_closing(socket, reason)

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        self.log.append(("disconnected", socket.namespace, reason))
        if self.on_disconnected is not None:
            self.on_disconnected(socket, reason)

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        self.log.append(("ended", reason, detail))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """What it was told by one method."""
        return [one[1:] for one in self.log if one[0] == kind]


class Peer:
    """A WebSocket client at the end of a wire.

    Attributes:
        inflates: see ``read_frames``.
    """

    def __init__(self, daemon: Daemon, wire: Wire, head: bytes) -> None:
        self.daemon = daemon
        self.wire = wire
        self.head = head
        self.inflates = 0
        self._read = len(head)

    def send(self, text: str | bytes) -> None:
        """One whole text frame."""
        self.wire.arrive(client_frame(text.encode() if isinstance(text, str) else text, TEXT))

    def arrive(self, data: bytes) -> None:
        """Any bytes."""
        self.wire.arrive(data)

    def frames(self) -> list[Seen]:
        """The frames that came since the last time."""
        self.daemon.take_turns()
        self.wire.pump()
        frames, rest = read_frames(bytes(self.wire.taken[self._read :]), self.inflates)
        self._read = len(self.wire.taken) - len(rest)
        return frames

    def texts(self) -> list[str]:
        """The same, all of which must be text."""
        frames = self.frames()
        assert all(frame.opcode == TEXT for frame in frames), [frame.opcode for frame in frames]
        return [frame.payload.decode() for frame in frames]

    def closing(self) -> Seen:
        """The last frame that came, which must be a close frame."""
        frame = self.frames()[-1]
        assert frame.code
        return frame


class Response:
    """An HTTP response, whole."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = self.headers.get("content-length")
        self.rest = b""
        if length is not None:
            self.body, self.rest = self.body[: int(length)], self.body[int(length) :]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Daemon:
    """The front of one daemon.

    Args:
        application: what its sessions are for; a ``Recorder`` unless given.
        bounds, limits, page: in the place of the defaults.
        base_path: see ``site.make_root``.
        house: the chat that it is the front of, in the place of a ``Recorder``.
        busy: see ``Engine``.
        trusted_proxies: see ``FrontSettings``.
        max_buffered: of the budget.
        rates: what an address may do; anything, unless given.
        settings: of the engine.
    """

    def __init__(
        self,
        application: Application | None = None,
        bounds: ChannelBounds | None = None,
        limits: Limits | None = None,
        access_log: bool = True,
        page: IResource | None = None,
        house: House | None = None,
        busy: Callable[[], bool] = lambda: False,
        base_path: str = "",
        trusted_proxies: tuple[str, ...] = (),
        max_buffered: int = MAX_BUFFERED,
        rates: RateSettings | None = None,
        **settings: Any,
    ) -> None:
        self.recorder = Recorder()
        if house is None:
            self.clock, self.cork, self.counters = Clock(), Cork(), Counters()
            self.clock.advance(NOW)
        else:
            self.clock, self.cork, self.counters, application = house.clock, house.cork, house.counters, house.server
        self.store_up: bool | None = True
        self._wires: list[Wire] = []
        front = Front(
            application or self.recorder,
            self.clock,
            settings=FrontSettings(
                engine=EngineSettings(**settings),
                limits=limits or Limits(),
                bounds=bounds or ChannelBounds(),
                access_log=access_log,
                trusted_proxies=trusted_proxies,
            ),
            counters=self.counters,
            cork=self.cork,
            client=Data(b"a script", "text/javascript"),
            busy=busy,
            budget=Budget(max_buffered, self.counters.evicted),
            handshake_wait=AddressLimits(rates or RateSettings(), self.clock.seconds, self.counters).handshake,
        )
        self.front = front
        self.engine, self.sessions = front.engine, front.sessions
        self.connections, self.timers = front.connections, front.timers
        root = make_root(
            page=page or Data(b"the page", "text/html"),
            static=Data(b"a file", "text/css"),
            ops={
                "healthz": Health(lambda: {"connections": self.connections.open}),
                "readyz": Ready(lambda: {"router": True, "store": self.store_up}, lambda: False),
            },
            base_path=base_path,
        )
        self.site = front.site(root, f"{base_path}/socket.io/")

    def take_turns(self) -> None:
        """Let all that waits for another turn of the reactor be read."""
        self._pump()
        while len(self.front.turns):
            self.clock.advance(0)
            self._pump()

    def _pump(self) -> None:
        for wire in self._wires:
            wire.pump()

    def connect(self, room: int | None = None, peer: str | IAddress = "192.0.2.7") -> Wire:
        """A TCP connection that was accepted, or turned away (``lost`` is set then)."""
        wire = Wire(self.clock, peer)
        self._wires.append(wire)
        wire.room = room
        protocol = self.site.buildProtocol(wire.getPeer())
        if protocol is None:
            wire.finish()
        else:
            wire.protocol = protocol
            protocol.makeConnection(wire)
        return wire

    def request(self, data: bytes) -> Response:
        """What is answered to ``data`` on a connection of its own."""
        wire = self.connect()
        wire.arrive(data)
        self.take_turns()
        return Response(bytes(wire.taken))

    def upgrade(self, query: str = V4, **headers: str | None) -> Wire:
        """A connection that has sent a WebSocket handshake.

        Args:
            query: of its URL.
            headers: changed from a valid handshake's (``_`` for ``-``); None takes one away.
        """
        wire = self.connect()
        wire.arrive(handshake(query, **headers))
        return wire

    def websocket(self, query: str = V4, **headers: str | None) -> Peer:
        """A client whose handshake has succeeded."""
        wire = self.upgrade(query, **headers)
        head = bytes(wire.taken).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        assert head.startswith(b"HTTP/1.1 101 "), head
        return Peer(self, wire, head)

    def joined(self, query: str = V4) -> Peer:
        """A client that has joined ``/kschat``, and read all that was sent until then."""
        peer = self.websocket(query)
        peer.send("40/kschat,")
        peer.texts()
        self.recorder.log.clear()
        return peer


def handshake(query: str = V4, **headers: str | None) -> bytes:
    """A WebSocket handshake; see ``Daemon.upgrade``."""
    changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    lines = [f"GET /socket.io/?{query} HTTP/1.1"]
    both = {name: changed.pop(name.lower(), value) for name, value in HANDSHAKE.items()} | changed
    lines += [f"{name}: {value}" for name, value in both.items() if value is not None]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
