"""A chat in memory: all of it above the WebSocket, on a clock that the test turns, and clients that speak to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from kschat.chat.application import NAMESPACE, Chat
from kschat.chat.interfaces import IRouter, RouterListener, Stored
from kschat.chat.message import Message
from kschat.chat.session import ChatSession
from kschat.chat.stream import DeliveryStream
from kschat.chat.tokens import Rooms
from kschat.rates import RateSettings
from kschat.server import Server
from kschat.wire.connection import Connection, Handshake
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.roles import Timer
from kschat.wire.session import EngineSession, HeartbeatTimes
from tests.chat.daemon import ChatDaemon

_numbers = count(1)


def message(recipient: str, sender: str = "ann", **changes: Any) -> Message:
    """A message unlike all others."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "mid": f"{number:016x}0a0b0c0d",
        "sender": sender,
        "recipient": recipient,
        "uId": sender,
        "pId": recipient,
        "msg": Raw(b'"message %d"' % number),
        "time": 1_700_000_000_000 + number,
    }
    return Message(**{**fields, **changes})


@implementer(IRouter)
class StillRouter:
    """A router that carries nothing: the test brings the news.

    Attributes:
        bound: users, as it was told.
        held: binds wait in ``binding`` for the test to fire them.
    """

    up = True
    alone = True
    figures: Mapping[str, int] = MappingProxyType({})

    def __init__(self) -> None:
        self.sockets: set[tuple[str, str]] = set()
        self.held = False
        self.binding: list[Deferred[None]] = []

    @property
    def bound(self) -> set[str]:
        return {user for user, _ in self.sockets}

    def attach(self, listener: RouterListener) -> None:
        self.listener = listener

    def start(self) -> None:
        pass

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def bind(self, user: str, socket: str) -> Deferred[None]:
        self.sockets.add((user, socket))
        if self.held:
            self.binding.append(Deferred())
            return self.binding[-1]
        return succeed(None)

    def unbind(self, user: str, socket: str) -> None:
        self.sockets.discard((user, socket))

    def publish(self, batch: Any, exact: bool = False) -> Deferred[list[bool]]:
        return succeed([True] * len(batch))


class Received(NamedTuple):
    """An event, or the answer to one, as a client has it.

    Attributes:
        name: of an event; "" for an answer.
        args: decoded; binary in its place.
        id: of the ack that is asked for, or that this is.
        frame: how many frames had come before.
    """

    name: str
    args: list[Any]
    id: int | None
    frame: int
    attachments: int = 0

    @property
    def offsets(self) -> list[int]:
        """Of a RESPRECEIVER."""
        return [one["offset"] for one in self.args[0]["MSG"]]


class Pipe:
    """A session's transport: what was sent lies in ``frames`` for the client to read.

    Attributes:
        congested: what the session is told.
        asked: the number of the proof that is asked for, and how many frames it is of.
    """

    asks_by_ping = True

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.congested = False
        self.asked: tuple[int, int] | None = None
        self.proofs = 0
        self.closed: Reason | None = None

    def send(self, payload: bytes, binary: bool = False) -> None:
        self.frames.append(Frame(payload, binary))

    def close(self, reason: Reason) -> None:
        self.closed = reason

    def release(self) -> None:
        pass

    def ask_confirmation(self, number: int) -> None:
        assert self.asked is None, "a second proof is asked for while one is awaited"
        self.asked = (number, len(self.frames))
        self.proofs += 1

    def take_unsent(self) -> Iterable[Frame]:
        return ()

    def ask_for_life(self) -> None:
        pass

    def take_unread(self) -> None:
        pass

    def read_first(self, frames: Iterator[Frame]) -> None:
        pass

    def take_confirmation(self) -> int | None:
        return None


class _NoTimers:
    def schedule(self, timer: Timer, seconds: float) -> None:
        pass

    def cancel(self, timer: Timer) -> None:
        pass


class Client:
    """A socket.io client at the other end of a pipe.

    Attributes:
        user: whose it is.
        pid: as the last CONNECT was answered.
        noted: the last offset, as a stock client notes it.
        received: events and answers since the last CONNECT was answered, in order.
        everything: those before as well.
    """

    def __init__(self, chat: Chat, user: str, token: str, revision: Revision, query: Mapping[str, str]) -> None:
        self.user = user
        self.token = token
        self.pipe = Pipe()
        self.session = EngineSession("engine", revision, self.pipe, timers=_NoTimers(), times=HeartbeatTimes(25, 20))
        server = Server(chat.context.clock, observer=chat)
        server.mount(NAMESPACE, chat)
        handshake = Handshake(query=query, peer="192.0.2.7", client="192.0.2.7")
        self.connection = Connection(self.session, server, handshake, limits=chat.context.limits)
        self.session.listener = self.connection
        self.pid: str | None = None
        self.sid: str | None = None
        self.noted: str | None = None
        self.refused: Any = None
        self.dismissed = False
        self.received: list[Received] = []
        self.everything: list[Received] = []
        self._read = 0
        self._next_id = 0
        self.session.open((), 1_000_000)
        self.connection.opened()

    @property
    def served(self) -> ChatSession:
        """The daemon's side."""
        session = self.connection.sockets[NAMESPACE].record
        assert isinstance(session, ChatSession)
        return session

    @property
    def stream(self) -> DeliveryStream:
        """The way of the inbox to this client."""
        return self.served.stream

    @property
    def alive(self) -> bool:
        """Whether the daemon still has it."""
        return NAMESPACE in self.connection.sockets

    def join(self, **auth: Any) -> Client:
        """Send a CONNECT."""
        self.read()
        self.received, self.sid, self.pid = [], None, None
        self.session.receive(b"40/kschat," + msgspec.json.encode({"token": self.token, **auth}))
        return self

    def leave(self) -> None:
        """Send a DISCONNECT."""
        self.session.receive(b"41/kschat,")

    def emit(self, name: str, *args: Any, ack: bool = True, parts: Iterable[bytes] = ()) -> int:
        """Send an event. Raw bytes among the arguments are JSON as it is."""
        number = self._next_id
        self._next_id += 1
        texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in (name, *args)]
        parts = list(parts)
        head = b"45%d-" % len(parts) if parts else b"42"
        self.session.receive(head + b"/kschat," + (b"%d" % number if ack else b"") + b"[" + b",".join(texts) + b"]")
        for part in parts:
            self.session.receive(part, True)
        return number

    def ask(self, name: str, *args: Any) -> Any:
        """Send an event; its answer, which must be there at once."""
        number = self.emit(name, *args)
        return self.answer(number)

    def answer(self, number: int) -> Any:
        """The answer to the event of that number; None where it has not come."""
        for one in self.read():
            if not one.name and one.id == number:
                assert len(one.args) == 1
                return one.args[0]
        return None

    def ack(self, number: int) -> None:
        """Call the callback of an event."""
        self.session.receive(b"43/kschat,%d[]" % number)

    def pong(self) -> bool:
        """Answer the RFC 6455 ping, if one came."""
        asked, self.pipe.asked = self.pipe.asked, None
        if asked is not None:
            self.session.confirmed(asked[0])
        return asked is not None

    def drop(self) -> None:
        """Lose the connection."""
        self.session.lost()

    def events(self, name: str) -> list[Any]:
        """The first argument of each event of that name."""
        return [one.args[0] for one in self.read() if one.name == name]

    def messages(self) -> list[dict[str, Any]]:
        """What came by RESPRECEIVER."""
        return [one for event in self.events("RESPRECEIVER") for one in event["MSG"]]

    def offsets(self) -> list[int]:
        """The offsets of what came by RESPRECEIVER."""
        return [one["offset"] for one in self.messages()]

    def read(self) -> list[Received]:
        """All that has come, taken apart."""
        frames = self.pipe.frames
        while self._read < len(frames):
            position = self._read
            text = bytes(frames[position].payload)
            kind, rest = text[:2], text[2:]
            self._read += 1
            if (text[:1] != b"4" or not rest.startswith(b"/kschat")) and kind not in (b"45", b"46"):
                continue
            parts: list[bytes] = []
            if kind in (b"45", b"46"):
                number, _, rest = rest.partition(b"-")
                parts = [frames[self._read + one].payload for one in range(int(number))]
                self._read += len(parts)
            rest = rest.partition(b",")[2]
            if kind == b"40":
                answer = json.loads(rest) if rest else {}
                self.sid, self.pid = answer.get("sid", ""), answer.get("pid")
                self.received = []
            elif kind == b"44":
                self.refused = json.loads(rest)
            elif kind == b"41":
                self.dismissed = True
            else:
                self._event(kind in (b"42", b"45"), rest, parts, position)
        return self.received

    def _event(self, event: bool, rest: bytes, parts: list[bytes], position: int) -> None:
        digits, _, array = rest.partition(b"[")
        args = json.loads(b"[" + array)
        if parts:
            args = _with_parts(args, parts)
        name = args.pop(0) if event else ""
        if event and not digits and self.pid and args and isinstance(args[-1], str):
            self.noted = args[-1]
        one = Received(name, args, int(digits) if digits else None, position, len(parts))
        self.received.append(one)
        self.everything.append(one)


def _with_parts(value: Any, parts: list[bytes]) -> Any:
    """As npm's parser does it; an illegal placeholder ends the connection there, and the test here."""
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            assert isinstance(value.get("num"), int)
            assert 0 <= value["num"] < len(parts), "illegal attachments"
            return parts[value["num"]]
        return {key: _with_parts(one, parts) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_parts(one, parts) for one in value]
    return value


class Daemon(ChatDaemon):
    """One daemon's chat, whose clients are ``Client``.

    Args:
        store: as given.
        router: as given, or one that carries nothing.
        clock: as given, or a new one.
        limits: on what clients send, in the place of the defaults.
        max_room: members of a room.
        max_rooms: rooms of a user.
        bus: as given, or one of a daemon that is alone.
        rates: what users and addresses may do; anything, unless given.
        more: other arguments of ``make_context``.
    """

    def __init__(
        self,
        store: Any,
        router: Any = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        max_room: int = 1000,
        max_rooms: int = 1000,
        bus: Any = None,
        rates: RateSettings | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            store=store,
            router=StillRouter() if router is None else router,
            clock=clock,
            limits=limits,
            max_room=max_room,
            max_rooms=max_rooms,
            bus=bus,
            rates=rates,
            uniform=lambda least, most: (least + most) / 2,
            **more,
        )

    def client(
        self, user: str, query: Mapping[str, str] | None = None, revision: Revision = 4, rooms: Rooms = ()
    ) -> Client:
        """A client that has opened a session, and joined nothing."""
        return Client(self.chat, user, self.token(user, rooms), revision, query or {})

    def joined(
        self, user: str, query: Mapping[str, str] | None = None, revision: Revision = 4, rooms: Rooms = ()
    ) -> Client:
        """A client that has sent its CONNECT."""
        return self.client(user, query, revision, rooms).join()

    def news(self, *stored: Stored) -> None:
        """The router brings a batch."""
        self.hub.deliver(stored)
