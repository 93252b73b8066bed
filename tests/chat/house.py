"""A chat in memory, on a clock that the test turns, with a store and a router that answer when told; and its guests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kschat.chat.application import NAMESPACE
from kschat.chat.authentication import KeySource
from kschat.chat.delivery import Bounds
from kschat.chat.expiry import TokenTimes
from kschat.chat.tokens import Rooms, Verifier
from kschat.server import Server
from kschat.wire.connection import Connection, Handshake
from kschat.wire.cork import Cork
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.roles import Timer
from kschat.wire.session import EngineSession, HeartbeatTimes
from tests.chat.daemon import ChatDaemon
from tests.contracts.doubles import LateRouter, LateStore

_PACKET = re.compile(r"4([0-6])(?:(\d+)-)?(?:(/[^,]*),)?(\d+)?(.*)", re.DOTALL)
_KINDS = ("connect", "disconnect", "event", "ack", "connect_error", "event", "ack")


class Heard(NamedTuple):
    """A Socket.IO packet as a client sees it."""

    kind: str
    data: Any
    id: int | None = None
    attachments: tuple[bytes, ...] = ()
    namespace: str = NAMESPACE

    @property
    def name(self) -> str:
        """Of an event."""
        assert self.kind == "event", self
        return str(self.data[0])

    @property
    def body(self) -> Any:
        """The one argument of an event or of an ack."""
        *_, argument = self.data
        return argument


class Line:
    """What carries a guest's session: it keeps what it is given, write by write."""

    asks_by_ping = True

    def __init__(self, cork: Cork) -> None:
        self.writes: list[list[Frame]] = []
        self.pings: list[int] = []
        self.closed: Reason | None = None
        self.congested = False
        self._cork = cork
        self._held: list[Frame] = []

    def send(self, payload: bytes, binary: bool = False) -> None:
        if self.closed is None:
            if not self._cork.held:
                self.writes.append([Frame(payload, binary)])
                return
            if not self._held:
                self._cork.dirty.append(self)
            self._held.append(Frame(payload, binary))

    def flush(self) -> None:
        if self._held:
            self.writes.append(self._held)
            self._held = []

    def ask_confirmation(self, number: int) -> None:
        self.pings.append(number)

    def close(self, reason: Reason) -> None:
        self.flush()
        self.closed = reason

    def release(self) -> None:
        pass

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


class Silent:
    """Timers that never expire."""

    def schedule(self, timer: Timer, seconds: float) -> None:
        pass

    def cancel(self, timer: Timer) -> None:
        pass


class Guest:
    """A client on a line of its own."""

    def __init__(self, house: House, revision: Revision, handshake: Handshake) -> None:
        self.line = Line(house.cork)
        self.session = EngineSession("sid", revision, self.line, timers=Silent(), times=HeartbeatTimes(25, 20))
        self.connection = Connection(self.session, house.server, handshake, limits=house.chat.context.limits)
        self.session.listener = self.connection
        self._read = 0
        self._asked = 0
        self.connection.opened()
        self.heard()

    def text(self, text: str | bytes, *attachments: bytes) -> None:
        """A packet as it stands on the wire, without Engine.IO's digit."""
        self.session.receive(b"4" + (text.encode() if isinstance(text, str) else text))
        for attachment in attachments:
            data = b"\x04" + attachment if self.session.revision == 3 else attachment
            self.session.receive(data, True)

    def join(self, auth: object = None, query: str = "", namespace: str = NAMESPACE) -> Guest:
        """Ask to be let in."""
        data = "" if auth is None else json.dumps(auth)
        self.text(f"0{namespace}{'?' + query if query else ''},{data}")
        return self

    def say(self, name: str, *args: object, ack: int | None = None) -> None:
        """Send an event."""
        self.text(f"2{NAMESPACE},{'' if ack is None else ack}{json.dumps([name, *args])}")

    def send(self, uId: object, pId: object, msg: object = "hi", **more: object) -> int:
        """Send a message, with an ack. Returns the ack's id."""
        self._asked += 1
        self.say("Send", {"uId": uId, "pId": pId, "msg": msg, "rno": self._asked, **more}, ack=self._asked)
        return self._asked

    def leave(self) -> None:
        """The line is gone."""
        self.session.lost()

    def heard(self) -> list[Heard]:
        """What came since the last time."""
        frames = [frame for write in self.line.writes for frame in write]
        frames, self._read = frames[self._read :], len(frames)
        found: list[Heard] = []
        while frames:
            frame = frames.pop(0)
            assert not frame.binary, "binary that no packet announced"
            match = _PACKET.fullmatch(frame.payload.decode())
            assert match, frame.payload
            kind, count, namespace, number, data = match.groups()
            parts, frames = frames[: int(count or 0)], frames[int(count or 0) :]
            assert all(part.binary for part in parts)
            found.append(
                Heard(
                    _KINDS[int(kind)],
                    json.loads(data) if data else None,
                    None if number is None else int(number),
                    tuple(part.payload[self.session.revision == 3 :] for part in parts),
                    namespace or "/",
                )
            )
        return found

    def events(self, name: str) -> list[Any]:
        """The arguments of the events of one name that came; all else is forgotten."""
        return [one.body for one in self.heard() if one.kind == "event" and one.name == name]

    def acks(self) -> dict[int, Any]:
        """The acks that came, by their ids; all else is forgotten."""
        return {one.id: one.body for one in self.heard() if one.kind == "ack" and one.id is not None}


class House(ChatDaemon):
    """The chat of one daemon whose store and router answer when told.

    Args:
        leeway, token_times, key_source, verifier: see ``ChatDaemon``.
        bounds: of the pipeline, in the place of the defaults.
    """

    store: LateStore
    router: LateRouter

    def __init__(
        self,
        limits: Limits | None = None,
        max_room: int = 1000,
        max_rooms: int = 1000,
        *,
        leeway: float = 0.0,
        token_times: TokenTimes | None = None,
        key_source: KeySource | None = None,
        verifier: Verifier | None = None,
        **bounds: Any,
    ) -> None:
        super().__init__(
            store=LateStore(),
            router=LateRouter(),
            limits=limits,
            max_room=max_room,
            max_rooms=max_rooms,
            bounds=Bounds(**bounds),
            leeway=leeway,
            token_times=token_times,
            key_source=key_source,
            verifier=verifier,
        )
        self.delivery = self.context.delivery
        self.server = Server(self.clock, observer=self.chat)
        self.server.mount(NAMESPACE, self.chat)

    def stranger(self, revision: Revision = 4, authorization: str = "", **query: str) -> Guest:
        """A client that has not asked to be let in yet."""
        return Guest(self, revision, Handshake(query=query, authorization=authorization, peer="192.0.2.7:1"))

    def guest(self, user: str, revision: Revision = 4, rooms: Rooms = (), **query: str) -> Guest:
        """A client that was let in, and has read the answer."""
        guest = self.stranger(revision, **query)
        guest.join(query=f"token={self.token(user, rooms)}") if revision == 3 else guest.join(
            {"token": self.token(user, rooms)}
        )
        (answer,) = guest.heard()
        assert answer.kind == "connect", answer
        return guest

    def turn(self) -> None:
        """Let the reactor's turn pass."""
        self.clock.advance(0)
