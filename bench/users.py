"""``python -m bench.users``: what users that come once leave in Redis, and what of it goes with ``retention_days``.

Each user is written to once, has received it, and leaves. Prints bytes of Redis's memory and keys a user, for users
that were written to and for users that only came; and what is left after messages are kept no longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench import services
from kschat.backends.redis import RedisStore, Settings
from kschat.chat.interfaces import Progress
from kschat.chat.message import Message
from kschat.chat.mids import Mids

#: Seconds for which messages are kept here.
KEPT = 1.0

#: Users of one batch.
AT_ONCE = 500


class Figures:
    """How much there is in a Redis, and how much that has grown since it was last asked.

    Attributes:
        size, keys: bytes, and keys, when it was last asked.
    """

    def __init__(self) -> None:
        self.size = self.keys = 0

    async def grown(self, store: RedisStore) -> tuple[int, int]:
        """Bytes, and keys."""
        ask = store._client.ask
        memory = (await ask("INFO", "memory")).decode()
        size, keys = int(memory.partition("used_memory:")[2].split()[0]), await ask("DBSIZE")
        grown = size - self.size, keys - self.keys
        self.size, self.keys = size, keys
        return grown


async def started(reactor: Any, url: str, kept: float) -> RedisStore:
    """A store that is up."""
    store = RedisStore(Settings(url=url, retention_seconds=kept), reactor)
    store.start()
    while not store.up:
        await deferLater(reactor, 0.02)
    return store


async def measure(reactor: Any, count: int) -> None:
    """Fill it, and print."""
    with services.Services() as running:
        url = running.get("redis").url
        store = await started(reactor, url, 0)
        figures, mids = Figures(), Mids("0a0b0c0d")
        begun, _ = await figures.grown(store)
        for what, written in (("came and left", False), ("were written to once, by one sender", True)):
            for start in range(0, count, AT_ONCE):
                users = [f"{what[:4]} {number}" for number in range(start, min(start + AT_ONCE, count))]
                now = int(reactor.seconds() * 1000)
                if written:
                    text = Raw(b'"%b"' % (b"x" * 150))
                    await store.append([Message(mids.make(now), "one", u, "one", u, text, now) for u in users])
                await store.save_progress(Progress(dict.fromkeys(users, int(written)), dict.fromkeys(users, now)))
            size, keys = await figures.grown(store)
            print(f"{count:,} users that {what}: {size / count:,.0f} bytes and {keys / count:.1f} keys each")
        await store.stop()
        store = await started(reactor, url, KEPT)
        for left in ("their messages are", "they are"):
            await deferLater(reactor, 2 * KEPT)
            await store.sweep()
            await figures.grown(store)
            print(f"once {left} gone: {figures.keys:,} keys, {(figures.size - begun) / (2 * count):,.0f} bytes a user")
        await store.stop()


def main(arguments: Sequence[str]) -> None:
    """Run it with what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.users", description=__doc__)
    parser.add_argument("--users", type=int, default=100_000, help="of each kind (%(default)s)")
    chosen = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor, chosen.users)))


if __name__ == "__main__":
    main(sys.argv[1:])
