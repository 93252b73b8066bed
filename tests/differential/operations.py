"""What clients do, as plain data: random sequences from a seed, and the shortest part of one that still shows a fault.

An operation is a list of its name and plain values. Clients are meant by a number: that many further among those
that are connected (so each part of a sequence is a sequence as well). Users are 0 to 3; peers 4 and 5 are rooms.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

Operation: TypeAlias = list[Any]
Sequence_: TypeAlias = list[Operation]

USERS: Final = 4
ROOMS: Final = 2

#: What clients ask for when they connect.
OPTIONS: Final = ("receipts", "carbons", "batch", "recover", "typing")

#: How a client proves what it was written: by pongs and acks, by one of them, not at all.
MODES: Final = ("all", "pong", "acks", "none")

#: Which tokens are revoked: all of a user; the one of a socket; and those of its user that were issued until then.
REVOKED: Final = ("user", "jti", "issued")

#: By which token another one is replaced: a new one, the first of the same user, or one of another user.
RENEWED: Final = ("new", "new", "first", "other")

#: How a message is written.
FORMS: Final = ("text", "number", "object", "binary", "wrong user", "long peer")

#: The names, each as often as it is to come.
_WEIGHTS: Final = {
    "connect": 16,
    "again": 8,
    "race": 2,
    "send": 26,
    "burst": 4,
    "storm": 4,
    "read": 7,
    "typing": 4,
    "presence": 5,
    "history": 5,
    "conversations": 5,
    "sync": 4,
    "join": 6,
    "leave": 2,
    "block": 4,
    "unblock": 3,
    "blocked": 2,
    "token": 3,
    "revoke": 2,
    "lift": 2,
    "logout": 3,
    "logout all": 3,
    "part": 3,
    "drop": 6,
    "mode": 5,
    "settle": 10,
}


#: What comes so many times as often in some sequences: what is rare and shows only beside its like.
_THEMES: Final[tuple[dict[str, int], ...]] = (
    {},
    {},
    {"block": 4, "unblock": 2, "typing": 6, "presence": 5, "settle": 3},
    {"token": 4, "revoke": 4, "lift": 4},
)


def random_sequence(random: Random, length: int, daemons: int) -> Sequence_:
    """What clients do: ``length`` operations, the first of which connect some."""
    theme = random.choice(_THEMES)
    weights = [weight * theme.get(name, 1) for name, weight in _WEIGHTS.items()]
    names = random.choices(list(_WEIGHTS), weights, k=length)
    names[:USERS] = ["connect"] * len(names[:USERS])
    return [_random_operation(random, name, daemons) for name in names]


def _random_operation(random: Random, name: str, daemons: int) -> Operation:
    whom, peer, daemon = random.randrange(12), random.randrange(USERS + ROOMS), random.randrange(daemons)
    if name == "connect":
        options = [option for option in OPTIONS if random.random() < 0.45]
        asked = [name, random.randrange(USERS), daemon, options, random.choice(MODES[:3] + MODES)]
        return [*asked, _recipients(random)] if random.random() < 0.2 else asked
    if name == "again":
        return [name, whom, daemon, random.choice((0, 0, 0, -1, -3, 5))]
    if name == "race":
        return [name, whom, daemon, random.randrange(daemons)]
    if name == "send":
        form = random.choices(FORMS, (10, 4, 4, 3, 1, 1))[0]
        return [name, whom, peer, form, random.choice((None, None, None, "a", "b"))]
    if name == "burst":
        return [name, whom, peer, random.randint(2, 6)]
    if name == "storm":
        return [name, [[random.randrange(12), random.randrange(USERS + ROOMS)] for _ in range(random.randint(2, 8))]]
    if name in ("read", "history"):
        return [name, whom, peer, random.randrange(-1, 10), random.choice((1, 2, 5, 100))]
    if name in ("typing", "block", "unblock"):
        return [name, whom, peer]
    if name == "presence":
        return [name, whom, random.sample(range(USERS), random.randint(0, USERS))]
    if name == "sync":
        return [name, whom, random.randrange(8)]
    if name in ("join", "leave"):
        return [name, whom, random.randrange(ROOMS)]
    if name == "mode":
        return [name, whom, random.choice(MODES)]
    if name == "token":
        return [name, whom, random.choice(RENEWED), random.choice((None, _recipients(random)))]
    if name == "revoke":
        return [name, whom, daemon, random.choice(REVOKED)]
    if name == "lift":
        return [name, daemon]
    return [name] if name == "settle" else [name, whom]


def _recipients(random: Random) -> list[int]:
    """To whom a token lets its user write."""
    return random.sample(range(USERS), random.randint(0, 3))


async def shrunk(operations: Sequence_, fails: Callable[[Sequence_], Awaitable[bool]], tries: int = 400) -> Sequence_:
    """A part of a sequence that fails as the whole does, none of whose operations can be left out.

    Args:
        operations: the whole.
        fails: plays a part; whether it fails.
        tries: of them, at the most.
    """
    size = max(len(operations) // 2, 1)
    while tries > 0:
        start = 0
        smaller = False
        while start < len(operations) and tries > 0:
            part = operations[:start] + operations[start + size :]
            tries -= 1
            if part and await fails(part):
                operations, smaller = part, True
            else:
                start += size
        if size == 1 and not smaller:
            break
        size = max(size // 2, 1)
    return operations


def as_text(operations: Sequence[Operation]) -> str:
    """As it stands in a file of ``kept``."""
    return "[\n" + ",\n".join("  " + json.dumps(one) for one in operations) + "\n]\n"
