"""What happens in a world: who is there, what the users do, and what befalls the machines. Made from a seed.

Each seed leaves out some features and some kinds of faults (swarm testing): what is always there hides what happens
without it.
"""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from simulate.devices import DeviceKind
from simulate.ledger import stream_of

#: The kinds of steps that are faults; each takes a target and, for most, seconds.
FAULTS: Final = (
    "kill",
    "stop",
    "halt",
    "store cut",
    "store late",
    "store mute",
    "store deaf",
    "store write mute",
    "store write deaf",
    "store away",
    "broker cut",
    "broker late",
    "broker mute",
    "broker deaf",
    "broker away",
    "broker cancels",
    "bus cut",
    "bus mute",
    "bus deaf",
    "bus away",
    "line cut",
    "line up",
    "line down",
    "line both",
    "line stalls",
)

#: The kinds of those that are things which users do.
DEEDS: Final = ("write", "burst", "large", "leave", "read", "sync", "history")

#: Seconds that a fault lasts, mostly.
SHORT: Final = (0.05, 3.0)
LONG: Final = (3.0, 20.0)


class Step(msgspec.Struct, frozen=True):
    """One thing that happens.

    Attributes:
        at: seconds since the beginning.
        kind: one of ``FAULTS`` or ``DEEDS``.
        who: which device, or which daemon.
        value: seconds that it lasts; messages of a burst; the offset after which the inbox is asked for.
        to: the recipient of messages; the user whose messages are read, or whose history is asked for.
    """

    at: float
    kind: str
    who: int
    value: float = 0.0
    to: str = ""

    def __str__(self) -> str:
        of = f"daemon {self.who}" if self.kind in FAULTS and not self.kind.startswith("line") else f"device {self.who}"
        more = f" {self.value:g}" if self.value else ""
        return f"{self.at:7.3f}  {of:9}  {self.kind}{more}{' ' + self.to if self.to else ''}"


class Plan(msgspec.Struct, frozen=True):
    """A world.

    Attributes:
        seed: of all chances beside.
        daemons: how many there are.
        devices: who is there.
        rooms: the members of each.
        steps: what happens, by rising time.
        seconds: how long, until all is healed.
        repeats, misses: of a hundred batches, how many the broker brings twice, and how many it can't bring whole.
        skew: seconds by which each daemon's time of day differs from that of the one before.
    """

    seed: int
    daemons: int
    devices: tuple[DeviceKind, ...]
    rooms: dict[str, list[str]]
    steps: tuple[Step, ...]
    seconds: float
    repeats: int = 0
    misses: int = 0
    skew: float = 0.0

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.daemons} daemons, {self.seconds:g} seconds"]
        if self.repeats or self.misses or self.skew:
            lines[0] += f", {self.repeats} % twice, {self.misses} % not whole, clocks {self.skew:g} s apart"
        for number, kind in enumerate(self.devices):
            shown = [f"revision {kind.revision}", kind.means]
            shown += [
                name for name in ("acks", "receipts", "recover", "batch", "slow", "pieces") if getattr(kind, name)
            ]
            watches = f", watches {' '.join(kind.watches)}" if kind.watches else ""
            lines.append(f"  device {number} of {kind.user}: {', '.join(shown)}{watches}")
        lines += [f"  {room}: {' '.join(members)}" for room, members in self.rooms.items()]
        return "\n".join([*lines, *map(str, self.steps)])


def make_plan(seed: int) -> Plan:
    """The world of a seed."""
    random = stream_of(seed, "plan")
    users = [f"u{number}" for number in range(random.choice((2, 2, 3, 4, 5)))]
    daemons = random.choice((1, 2, 2, 3, 3))
    rooms = {"#r": sorted(random.sample(users, random.randint(2, len(users))))} if random.random() < 0.4 else {}
    devices = tuple(_device(random, user, users) for user in users for _ in range(random.choice((1, 1, 2, 3))))
    seconds = random.choice((5.0, 10.0, 20.0, 40.0))
    deeds = [deed for deed in DEEDS if random.random() < 0.7] or ["write"]
    if not {"write", "burst", "large"} & set(deeds):
        deeds.append("write")
    count = random.choice((5, 15, 40, 80))
    steps = [_deed(random, random.choice(deeds), devices, users, rooms, seconds) for _ in range(count)]
    faults = [fault for fault in FAULTS if random.random() < random.choice((0.1, 0.4))]
    if faults and random.random() < 0.9:
        count = random.choice((1, 3, 6, 12))
        steps += [_fault(random, random.choice(faults), len(devices), daemons, seconds) for _ in range(count)]
    if random.random() < 0.5:
        steps = _gathered(random, steps, daemons, seconds)
    return Plan(
        seed,
        daemons,
        devices,
        rooms,
        tuple(sorted(steps, key=lambda step: step.at)),
        seconds,
        repeats=random.choice((0, 0, 20)),
        misses=random.choice((0, 0, 0, 20)),
        skew=random.choice((0.0, 0.0, 0.0, 3600.0)),
    )


def _gathered(random: Random, steps: list[Step], daemons: int, seconds: float) -> list[Step]:
    """The same, with many of the steps in one moment, and the faults of it on one daemon: they meet."""
    moment, length, daemon = random.uniform(0.0, seconds), random.choice((0.1, 0.5, 2.0)), random.randrange(daemons)
    found = []
    for step in steps:
        if random.random() < 0.7:
            at = round(min(moment + random.uniform(0.0, length), seconds), 3)
            is_process = step.kind in FAULTS and not step.kind.startswith("line")
            step = msgspec.structs.replace(step, at=at, who=daemon if is_process else step.who)
        found.append(step)
    return found


def _device(random: Random, user: str, users: list[str]) -> DeviceKind:
    revision = random.choice((4, 4, 3))
    others = [other for other in users if other != user]
    return DeviceKind(
        user,
        revision,
        random.choice(("websocket", "websocket", "polling", "upgrade")),
        acks=random.random() < 0.3,
        receipts=random.random() < 0.4,
        recover=revision == 4 and random.random() < 0.4,
        batch=random.random() < 0.3,
        watches=tuple(random.sample(others, random.randint(1, len(others)))) if random.random() < 0.4 else (),
        slow=random.random() < 0.15,
        pieces=random.random() < 0.3,
    )


def _deed(
    random: Random,
    kind: str,
    devices: tuple[DeviceKind, ...],
    users: list[str],
    rooms: dict[str, list[str]],
    seconds: float,
) -> Step:
    who = random.randrange(len(devices))
    user = devices[who].user
    others = [other for other in users if other != user]
    to = random.choice(others)
    if kind != "read" and random.random() < 0.3:
        to = next((room for room, members in rooms.items() if user in members), to)
    value = {
        "burst": float(random.choice((3, 10, 40))),
        "leave": random.uniform(0.1, 8.0),
        "sync": float(random.choice((0, 0, 3, 20))),
    }.get(kind, 0.0)
    at = round(random.uniform(0.0, seconds), 3)
    return Step(at, kind, who, round(value, 3), "" if kind in ("leave", "sync") else to)


def _fault(random: Random, kind: str, devices: int, daemons: int, seconds: float) -> Step:
    who = random.randrange(devices if kind.startswith("line") else daemons)
    lasts = 0.0
    if kind not in ("line cut", "broker cancels", "store cut", "store late", "broker cut", "broker late", "bus cut"):
        lasts = round(random.uniform(*random.choice((SHORT, SHORT, LONG))), 3)
    return Step(round(random.uniform(0.0, seconds), 3), kind, who, lasts)
