"""The clients of a load: when each connects, in which way, what it does while it is there, and how it ends.

All is drawn at random from a seed, each client by itself. Nothing here depends on what another client does, but that
they write to each other.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import jwt
import msgspec

from soak.life import Client, Life, Manner, address
from soak.links import Link, connect

#: Users in a room.
ROOM: Final = 20

#: One in so many clients is another device of the user before it.
DEVICES: Final = 10

#: The name of a user that no token is ever good for.
STRANGER: Final = "stranger"

#: Connections, and how often each is chosen.
MANNERS: Final[Sequence[tuple[int, Manner]]] = (
    (22, Manner(options=("receipts", "carbons"))),
    (8, Manner(options=("batch", "updates"))),
    (8, Manner(options=("recover", "batch"))),
    (8, Manner(acks=True, options=("receipts", "updates"))),
    (6, Manner(msgpack=True, options=("receipts",))),
    (10, Manner(revision=3, acks=True)),
    (6, Manner(revision=3, options=("batch", "carbons"))),
    (8, Manner(transport="polling", options=("receipts",))),
    (3, Manner(transport="polling", options=("batch", "recover"))),
    (5, Manner(transport="polling", revision=3, acks=True)),
    (9, Manner(transport="upgrade", options=("receipts", "updates"))),
    (4, Manner(transport="upgrade", options=("recover",))),
    (3, Manner(transport="upgrade", revision=3)),
)

#: What a client does, and how often.
ACTS: Final[Sequence[tuple[int, str]]] = (
    (40, "send"),
    (3, "send_room"),
    (2, "binary"),
    (10, "typing"),
    (5, "presence"),
    (6, "history"),
    (4, "conversations"),
    (4, "sync"),
    (6, "read"),
    (4, "edit"),
    (2, "delete"),
    (4, "react"),
    (1, "readers"),
    (2, "rooms"),
    (1, "block"),
    (2, "token"),
    (1, "wrong"),
    (3, "sleep"),
)

#: How a connection ends, and how often.
ENDS: Final[Sequence[tuple[int, str]]] = (
    (45, "leave"),
    (25, "crash"),
    (10, "silent"),
    (10, "logout"),
    (10, "logout all"),
)

#: How a client tries to connect, and how often.
TRIES: Final[Sequence[tuple[int, str]]] = ((93, "good"), (2, "short"), (3, "bad token"), (2, "half a request"))

#: Seconds that a token of few seconds holds.
_SHORT: Final = 30

#: Seconds that a client stops reading for.
_SLEEP: Final = (5.0, 40.0)


def choose(chance: random.Random, table: Sequence[tuple[int, Any]]) -> Any:
    """One of a table's entries."""
    return chance.choices([entry for _, entry in table], [weight for weight, _ in table])[0]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The means of a client's times, in seconds.

    Attributes:
        life: of a connection.
        rest: between two.
        act: between two things that it does.
        ramp: within which all clients connect first.
    """

    life: float = 120.0
    rest: float = 3.0
    act: float = 20.0
    ramp: float = 40.0


class Counts:
    """What all clients did together.

    Attributes:
        connects: joined connections.
        here: those that are joined now.
        acts: of each kind.
        answers: acks, by the event.
        refused: of those, the ones that say ER.
        ends: of connections, by reason.
        received: messages that arrived.
    """

    def __init__(self) -> None:
        self.connects = self.here = self.refused = self.received = 0
        self.acts: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()

    def told(self) -> dict[str, Any]:
        """All of them."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


class Half:
    """Has a connection on which only half a request was sent. See ``links.Owner``.

    Args:
        ended: called at its end, which the daemon brings about.
    """

    def __init__(self, ended: Callable[[], object]) -> None:
        self._ended = ended

    def packet(self, data: bytes) -> None:
        """None comes."""

    def attachment(self, data: bytes) -> None:
        """None comes."""

    def lost(self, link: Any) -> None:
        """It has ended."""
        self._ended()


class Visitor(Client):
    """One client of the crowd.

    Args:
        crowd: it is one of.
        number: its number.
    """

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._chance = random.Random(crowd.seed * 1_000_003 + number)
        self._number = number - 1 if number % DEVICES == DEVICES - 1 else number
        self.user = crowd.user(self._number)
        self._room = f"#r{self._number // ROOM}"
        self._mids: deque[str] = deque(maxlen=4)
        self._seen: deque[tuple[str, str]] = deque(maxlen=4)
        self._life: Life | None = None
        self._member = False
        self._was_here = False
        self.token = ""
        self.pid = self.offset = ""

    def later(self, mean: float, call: Callable[[], object]) -> None:
        """Do this after a time of this mean."""
        self._crowd.reactor.callLater(self._chance.expovariate(1 / mean), call)

    def connect(self) -> None:
        """Begin a connection."""
        how = choose(self._chance, TRIES)
        port = self._chance.choice(self._crowd.ports)
        if how == "half a request":
            self._crowd.counts.acts[how] += 1
            self._crowd.half(self, port, address(self._chance))
            return
        user = STRANGER + str(self._chance.getrandbits(40)) if how == "bad token" else self.user
        seconds = _SHORT if how == "short" else 7200
        self.token = self._crowd.token(user, seconds, good=how != "bad token")
        if how != "good":
            self._crowd.counts.acts[how] += 1
        manner = choose(self._chance, MANNERS)
        self._life = Life(self, manner, self._crowd.reactor, port=port, address=address(self._chance), user=user)
        self._life.begin()

    def joined(self) -> None:
        """See ``Client``."""
        counts = self._crowd.counts
        counts.connects += 1
        counts.here += 1
        self._was_here = True
        life = self._life
        assert life is not None
        if not self._member:
            self._member = True
            life.emit("Join", {"room": self._room})
        self._act_later(life)
        self.later(self._crowd.pace.life, lambda: self._end(life))

    def over(self, why: str) -> None:
        """See ``Client``."""
        counts = self._crowd.counts
        counts.ends[why] += 1
        if self._was_here:
            counts.here -= 1
            self._was_here = False
        self._life = None
        if why in ("disconnected", "refused"):
            self.pid = ""
        self.later(self._crowd.pace.rest, self.connect)

    def event(self, name: bytes, data: bytes) -> None:
        """See ``Client``."""
        if name == b"RESPRECEIVER":
            self._crowd.counts.received += data.count(b'"offset":')
            at = data.rfind(b'"mid":"')
            if at > 0 and (start := data.rfind(b'"uId":"', 0, at)) > 0:
                mid = data[at + 7 : at + 31].decode()
                self._seen.append((data[start + 7 :].partition(b'"')[0].decode(), mid))
        elif name == b"TokenExpiring" and self._life is not None and self._chance.random() < 0.5:
            self._life.emit("Token", {"token": self._crowd.token(self.user, 7200)})

    def answered(self, kind: str, data: bytes) -> None:
        """See ``Client``."""
        counts = self._crowd.counts
        counts.answers[kind] += 1
        if b'"ER":' in data and b'"ER":0' not in data:
            counts.refused += 1
        elif kind == "Send" and (at := data.find(b'"mid":"')) > 0:
            self._mids.append(data[at + 7 : at + 31].decode())

    def _act_later(self, life: Life) -> None:
        self.later(self._crowd.pace.act, lambda: self._act(life))

    def _act(self, life: Life) -> None:
        if life.ended or life is not self._life:
            return
        kind = choose(self._chance, ACTS)
        self._crowd.counts.acts[kind] += 1
        getattr(self, f"_{kind}")(life)
        self._act_later(life)

    def _end(self, life: Life) -> None:
        if life.ended or life is not self._life:
            return
        how = choose(self._chance, ENDS)
        if how == "leave":
            life.leave()
        elif how == "crash":
            life.crash()
        elif how == "silent":
            life.fall_silent()
        else:
            life.emit("Logout", {"all": True} if how == "logout all" else None)

    # What it does

    def _peer(self) -> str:
        return self._crowd.user(self._number + self._chance.choice((-2, -1, 1, 2)))

    def _message(self, peer: str) -> dict[str, Any]:
        text = "soak " + "x" * self._chance.choice((20, 60, 120, 280, 2000))
        found = {"uId": self.user, "pId": peer, "msg": text, "rno": self._chance.getrandbits(20), "time": 0}
        if self._chance.random() < 0.3:
            found["cid"] = f"c{self._chance.getrandbits(60):x}"
        return found

    def _send(self, life: Life) -> None:
        life.emit("Send", self._message(self._peer()), ask=self._chance.random() < 0.9)

    def _send_room(self, life: Life) -> None:
        life.emit("Send", self._message(self._room))

    def _binary(self, life: Life) -> None:
        life.emit_binary("Send", self._message(self._peer()), self._chance.randbytes(200))

    def _typing(self, life: Life) -> None:
        life.emit("Typing", {"pId": self._peer()}, ask=False)

    def _presence(self, life: Life) -> None:
        life.emit("Presence", {"ids": [self._peer() for _ in range(self._chance.choice((0, 3, 10)))]})

    def _history(self, life: Life) -> None:
        life.emit("History", {"pId": self._chance.choice((self._peer(), self._room)), "limit": 20})

    def _conversations(self, life: Life) -> None:
        life.emit("Conversations")

    def _sync(self, life: Life) -> None:
        life.emit("Sync", {"offset": int(self.offset or 0)})

    def _read(self, life: Life) -> None:
        if self._seen:
            peer, mid = self._seen[-1]
            life.emit("Read", {"pId": peer, "mid": mid})

    def _edit(self, life: Life) -> None:
        if self._mids:
            life.emit("Edit", {"mid": self._mids[-1], "msg": "soak, edited"})

    def _delete(self, life: Life) -> None:
        if self._mids:
            life.emit("Delete", {"mid": self._mids.pop()})

    def _react(self, life: Life) -> None:
        if self._seen:
            life.emit("React", {"mid": self._seen[-1][1], "emoji": self._chance.choice(("👍", "🎉", ""))})

    def _readers(self, life: Life) -> None:
        if self._mids:
            life.emit("Readers", {"pId": self._room, "mid": self._mids[-1]})

    def _rooms(self, life: Life) -> None:
        life.emit("Leave" if self._chance.random() < 0.5 else "Join", {"room": self._room})

    def _block(self, life: Life) -> None:
        peer = self._peer()
        life.emit("Block", {"pId": peer})
        self.later(1, lambda: life.emit("Unblock", {"pId": peer}))

    def _token(self, life: Life) -> None:
        good = self._chance.random() < 0.8
        life.emit("Token", {"token": self._crowd.token(self.user, 7200, good=good)})

    def _wrong(self, life: Life) -> None:
        life.emit("Send", {"uId": STRANGER, "pId": 7})
        life.emit("NoSuchEvent", [1], ask=False)

    def _sleep(self, life: Life) -> None:
        life.sleep(self._chance.uniform(*_SLEEP))


class Crowd:
    """All clients.

    Args:
        reactor: the real one.
        ports: of the daemons.
        clients: how many there are.
        secret: that tokens are signed with.
        seed: of all that is random.
        pace: of a client.

    Attributes:
        counts: what they did.
    """

    def __init__(self, reactor: Any, ports: Sequence[int], *, clients: int, secret: str, seed: int, pace: Pace) -> None:
        self.reactor = reactor
        self.ports = ports
        self.seed = seed
        self.pace = pace
        self.counts = Counts()
        self._clients = clients
        self._secret = secret
        self._visitors = [Visitor(self, number) for number in range(clients)]

    def begin(self) -> None:
        """Connect all, evenly over the ramp."""
        for number, visitor in enumerate(self._visitors):
            self.reactor.callLater(self.pace.ramp * number / self._clients, visitor.connect)

    def user(self, number: int) -> str:
        """The user of this number, counted in a ring."""
        return f"soak{number % self._clients:05d}"

    def token(self, user: str, seconds: float, *, good: bool = True) -> str:
        """A token, or one that is signed with another secret."""
        claims = {"data": {"id": user, "rooms": "*"}, "exp": int(time.time() + seconds)}
        return jwt.encode(claims, self._secret if good else self._secret[::-1], "HS256")

    def half(self, visitor: Visitor, port: int, source: str) -> None:
        """A connection that never gets to a whole request."""
        link = Link(Half(lambda: visitor.later(self.pace.rest, visitor.connect)), b"GET /socket.io/?EIO=4&trans")
        connect(self.reactor, link, port, source)
