"""Fills a store as months of use would, through its own API, a process of its own: ``python -m bench.fill``.

Half of what two users write to each other is of one user, ``star``, with many others, who marks nothing as read. A
tenth of all is what ``star`` alone wrote to a room of two. ``away`` has been written to by one user and was never
there. A large room has a member for each number. All of it is spread over ``DAYS`` days, evenly, up to now.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from kschat.backends import redis
from kschat.backends.sqlite import Settings, SqliteStore
from kschat.chat.interfaces import IStore
from kschat.chat.message import Message
from kschat.chat.mids import Mids

DAYS: Final = 30
STAR: Final = "star"
AWAY: Final = "away"
OWN_ROOM: Final = "#own"
LARGE_ROOM: Final = "#large"
CONVERSATIONS: Final = 500
"""Of ``star``."""
USERS: Final = 10_000

_BODY: Final = Raw(b'"' + b"x" * 150 + b'"')
_BATCH: Final = 500
_AT_ONCE: Final = 4


def member(number: int) -> str:
    """The name of a member of the large room."""
    return f"member{number}"


def messages(options: argparse.Namespace) -> Iterator[Message]:
    """All of them, by rising time."""
    chance = random.Random(1)
    mids = Mids("0a0b0c0d")
    count = options.messages
    begin, step = int((time.time() - DAYS * 86400) * 1000), DAYS * 86_400_000 / count
    room, away, own = options.room / count, options.undelivered / count, 0.1
    for number in range(count):
        moment = begin + int(number * step)
        which = chance.random()
        if which < room:
            one, other = member(0), LARGE_ROOM
        elif which < room + away:
            one, other = "user1", AWAY
        elif which < room + away + own:
            one, other = STAR, OWN_ROOM
        else:
            one, other = STAR, f"user{chance.randrange(CONVERSATIONS)}"
            if chance.random() < 0.5:
                one = f"user{chance.randrange(USERS)}"
            if chance.random() < 0.5:
                one, other = other, one
        yield Message(mids.make(moment), one, other, one, other, _BODY, moment)


async def fill(store: IStore, options: argparse.Namespace) -> int:
    """Keep all of them; how many are to the one who is away."""
    for user in (STAR, "user1"):
        await store.join(OWN_ROOM, user, 10)
    for number in range(options.members):
        await store.join(LARGE_ROOM, member(number), options.members)
    first = (await store.inbox(AWAY)).last + 1
    rest = messages(options)

    async def append() -> None:
        while batch := [message for message, _ in zip(rest, range(_BATCH), strict=False)]:
            await store.append(batch)

    await gatherResults([Deferred.fromCoroutine(append()) for _ in range(_AT_ONCE)])
    return (await store.inbox(AWAY)).last - first + 1


def main(arguments: Sequence[str]) -> None:
    """Fill a store, and print how long it took, and how many messages are to the one who is away."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("store", help="sqlite:PATH, or Redis's URL")
    add("--prefix", default="ks", help="of Redis's keys")
    add("--messages", type=int, default=1_000_000)
    add("--undelivered", type=int, default=100_000, help="to one user who is away")
    add("--members", type=int, default=1000, help="of the large room")
    add("--room", type=int, default=300, help="messages to the large room, about")
    options = parser.parse_args(arguments)

    async def run(reactor: Any) -> None:
        store: Any
        kind, _, path = options.store.partition(":")
        if kind == "sqlite":
            store = SqliteStore(Settings(path, "normal"), reactor, reactor)
        else:
            store = redis.RedisStore(redis.Settings(url=options.store, prefix=options.prefix), reactor)
        begun = time.perf_counter()
        store.start()
        while not store.up:
            await deferLater(reactor, 0.01)
        away = await fill(store, options)
        await store.stop()
        print(json.dumps({"seconds": time.perf_counter() - begun, "away": away}), flush=True)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
