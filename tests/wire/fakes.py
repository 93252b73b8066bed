"""What stands around the wire in pure tests: a transport, timers, a listener, an application. They only note."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kschat.wire.connection import Connection, Socket
from kschat.wire.engineio import Frame
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.roles import Timer
from kschat.wire.socketio import Ack, Connect, Event


class FakeTransport:
    """Keeps what it is given.

    Attributes:
        frames: sent while it was open; text as bytes, binary as ``Frame``.
        late: sent after it was closed.
        closed: the reasons it was closed with.
        releases: how often a parked request was let go.
        unsent: what ``take_unsent`` gives away.
        asked_for_life: how often it was asked for a sign of life.
        asked: the numbers that ``ask_confirmation`` was called with.
        first: what is to be handed on before what arrives here.
    """

    congested = False
    asks_by_ping = False

    def __init__(self, unsent: Sequence[Frame] = ()) -> None:
        self.frames: list[bytes | Frame] = []
        self.late: list[bytes] = []
        self.closed: list[Reason] = []
        self.releases = 0
        self.asked_for_life = 0
        self.unsent = list(unsent)
        self.asked: list[int] = []
        self.first: list[Frame] = []
        self.on_send: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None

    def send(self, payload: bytes, binary: bool = False) -> None:
        if self.closed:
            self.late.append(payload)
            return
        self.frames.append(Frame(payload, True) if binary else payload)
        if self.on_send is not None:
            self.on_send()

    def close(self, reason: Reason) -> None:
        self.closed.append(reason)
        if self.on_close is not None:
            self.on_close()

    def ask_confirmation(self, number: int) -> None:
        self.asked.append(number)

    def release(self) -> None:
        self.releases += 1

    def take_unsent(self) -> Iterable[Frame]:
        unsent, self.unsent = self.unsent, []
        return unsent

    def ask_for_life(self) -> None:
        self.asked_for_life += 1

    def take_unread(self) -> None:
        pass

    def read_first(self, frames: Iterator[Frame]) -> None:
        self.first += frames

    def take_confirmation(self) -> int | None:
        return self.asked.pop() if self.asked else None

    def take(self) -> list[bytes | Frame]:
        """What was sent since the last look."""
        frames, self.frames = self.frames, []
        return frames


class FakeTimers:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.alarms: dict[Timer, float] = {}

    def schedule(self, timer: Timer, seconds: float) -> None:
        self.alarms[timer] = self.now + seconds

    def cancel(self, timer: Timer) -> None:
        self.alarms.pop(timer, None)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and call each alarm at its own time."""
        until = self.now + seconds
        while self.alarms and min(self.alarms.values()) <= until:
            timer = min(self.alarms, key=lambda one: self.alarms[one])
            self.now = self.alarms.pop(timer)
            timer.alarm()
        self.now = until


class FakeListener:
    """Keeps what a session tells.

    Attributes:
        received: text as bytes, binary as ``Frame``.
        endings: reason and detail of each end there was.
        last_words: the reasons of ends that were about to come.
        proofs: the numbers that were proved.
        error: raised at the next message.
    """

    max_payload = 1_000_000

    def __init__(self) -> None:
        self.received: list[bytes | Frame] = []
        self.endings: list[tuple[Reason, str]] = []
        self.last_words: list[Reason] = []
        self.proofs: list[int] = []
        self.error: Exception | None = None
        self.on_closing: Callable[[], None] | None = None
        self.on_closed: Callable[[], None] | None = None

    def text(self, data: bytes) -> None:
        self.received.append(data)
        self._fail()

    def binary(self, data: bytes) -> None:
        self.received.append(Frame(data, True))
        self._fail()

    def confirmed(self, number: int) -> None:
        self.proofs.append(number)

    def closing(self, reason: Reason) -> None:
        self.last_words.append(reason)
        if self.on_closing is not None:
            self.on_closing()

    def closed(self, reason: Reason, detail: str) -> None:
        self.endings.append((reason, detail))
        if self.on_closed is not None:
            self.on_closed()

    def _fail(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


class FakeApplication:
    """Keeps what a connection tells, and lets in or refuses by namespace.

    ``/nowhere`` is not served, ``/no`` refused, ``/later`` not answered, everything else let in.

    Attributes:
        log: tuples: what happened, the namespace, and what came with it.
        sockets: all that wished to join, in order.
        last_words: the namespace and reason of each end of ours that was about to come.
        on_event: called with each event.
        on_closing: called with each socket that may say a last word.
    """

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.sockets: list[Socket] = []
        self.last_words: list[tuple[str, Reason]] = []
        self.on_event: Callable[[Socket, Event], None] | None = None
        self.on_closing: Callable[[Socket], object] | None = None

    def find(self, namespace: str, connection: Connection) -> FakeApplication | None:
        return None if namespace == "/nowhere" else self

    def connect(self, socket: Socket, wish: Connect) -> None:
        self.sockets.append(socket)
        self.log.append(("connect", socket.namespace, wish))
        if socket.namespace == "/no":
            socket.refuse("Authentication error")
        elif socket.namespace != "/later":
            socket.accept(serves=socket.namespace != "/")

    def event(self, socket: Socket, event: Event) -> None:
        self.log.append(("event", socket.namespace, event))
        if self.on_event is not None:
            self.on_event(socket, event)

    def acked(self, socket: Socket, ack: Ack) -> None:
        self.log.append(("acked", socket.namespace, ack))

    def confirmed(self, socket: Socket, number: int) -> None:
        self.log.append(("confirmed", socket.namespace, number))

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        self.last_words.append((socket.namespace, reason))
        if self.on_closing is not None:
            self.on_closing(socket)

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        self.log.append(("disconnected", socket.namespace, reason))

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        self.log.append(("ended", reason, detail))

    def take(self) -> list[tuple[Any, ...]]:
        """What happened since the last look."""
        log, self.log = self.log, []
        return log


def refuse_everything(socket: Socket, event: Event) -> None:
    """An application's way to say that an event has no place."""
    raise ProtocolError("no place for this", Reason.FORCED_CLOSE)
