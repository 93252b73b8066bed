"""Who takes part: npm clients of both versions, each asking for something else, several of one user among them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

#: The room that some of the users are members of.
ROOM = "#room"

#: Milliseconds: a client is back soon, and does not storm a daemon that is just starting.
_RECONNECTION = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 300, "timeout": 5000}
_RETRIES = {"retries": 1_000_000, "ackTimeout": 3000}


class Actor(msgspec.Struct, frozen=True):
    """One client.

    Attributes:
        name: of this device; other devices of the user have others.
        user: whose it is.
        version: 1 for npm's 1.7.4, 2 for 2.5.0, 3 for 3.1.3, 4 for 4.8.4.
        asks: what it says in query or auth.
        options: of the library, beside.
        answers: whether it calls the ack of RESPRECEIVER.
        targets: whom it writes to; one of them may be the room.
        transports: which it may use; none named for those that the library begins with by default.
        pace: the most milliseconds between two of its messages.
    """

    name: str
    user: str
    version: int
    asks: Mapping[str, int] = {}
    options: Mapping[str, object] = {}
    answers: bool = True
    targets: tuple[str, ...] = ()
    transports: tuple[str, ...] = ("websocket",)
    pace: int = 60

    @property
    def recovers(self) -> bool:
        """Whether it shows what it has when it comes back, and so must miss nothing whatever other devices had."""
        return "recover" in self.asks

    @property
    def updates(self) -> bool:
        """Whether it receives edits and deletions, and so must show the texts of the store in the end."""
        return "updates" in self.asks

    @property
    def kind(self) -> str:
        """Its version and its transport, for people."""
        return f"version {self.version}, {' and '.join(self.transports) or 'polling with an upgrade'}"

    def client_options(self, token: str) -> dict[str, Any]:
        """What the library is given."""
        said = {"token": token, **self.asks}
        query = "&".join(f"{name}={value}" for name, value in said.items())
        where: dict[str, object] = {"auth": said} if self.version >= 3 else {"query": query}
        transports = {"transports": self.transports} if self.transports else {}
        return {**transports, "forceNew": True, **_RECONNECTION, **self.options, **where}


#: Each user's devices. A device that asks for updates is its user's only one: another device could move the cursor past
#: an update while the first is away.
_DEVICES: Sequence[Sequence[tuple[int, Mapping[str, Any]]]] = (
    ((2, {}),),
    ((4, {"asks": {"updates": 1}}),),
    ((2, {"answers": False}),),
    ((4, {"options": _RETRIES}),),
    ((4, {"asks": {"recover": 1, "updates": 1}}),),
    ((2, {"asks": {"batch": 1, "updates": 1}}),),
    ((4, {"asks": {"batch": 1}, "answers": False}),),
    ((4, {"asks": {"recover": 1}, "options": _RETRIES}),),
    ((2, {"answers": False}), (4, {})),
    ((4, {"asks": {"recover": 1}}), (2, {})),
    (
        (4, {"asks": {"recover": 1, "batch": 1}}),
        (4, {"asks": {"recover": 1}}),
        (2, {"asks": {"receipts": 1, "carbons": 1}}),
    ),
)

_PEERS = 3


#: What clients may use, in turns.
WEBSOCKET: Sequence[tuple[str, ...]] = (("websocket",),)
MIXED: Sequence[tuple[str, ...]] = (("websocket",), ("polling",), ())


#: Defaults of npm's clients, the same in all versions.
STOCK: Mapping[str, object] = {"reconnectionDelay": 1000, "reconnectionDelayMax": 5000, "timeout": 20_000}


def make_crowd(seed: int, count: int, pace: int) -> list[Actor]:
    """``count`` clients of all versions, each of a user of its own, that reconnect as npm's clients do by default."""
    chance = random.Random(seed)
    users = [f"user{number}" for number in range(count)]
    return [
        Actor(
            f"{user}.0",
            user,
            1 + number % 4,
            answers=number % 8 < 4,
            targets=tuple(chance.sample([other for other in users if other != user], _PEERS)),
            transports=MIXED[number % len(MIXED)],
            options=STOCK,
            pace=pace,
        )
        for number, user in enumerate(users)
    ]


def make_cast(seed: int, transports: Sequence[tuple[str, ...]] = WEBSOCKET) -> tuple[list[Actor], tuple[str, ...]]:
    """The actors, who use these transports in turns, and the users who are members of the room."""
    chance = random.Random(seed)
    users = [f"user{number}" for number in range(len(_DEVICES))]
    members = tuple(chance.sample(users, 5))
    actors: list[Actor] = []
    for user, devices in zip(users, _DEVICES, strict=True):
        for number, (version, more) in enumerate(devices):
            targets = chance.sample([other for other in users if other != user], _PEERS)
            targets += [ROOM] if user in members else []
            uses = transports[len(actors) % len(transports)]
            actors.append(Actor(f"{user}.{number}", user, version, targets=tuple(targets), transports=uses, **more))
    return actors, members
