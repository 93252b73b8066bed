"""``python -m bench.store``: what the stores cost by themselves, without a daemon around them.

Prints, for each store and size of batch, messages a second and CPU of this whole process a message (appends in flight
as the daemon has them; what Redis and PostgreSQL use is not in it), the latency of an append, and beside it the latency
of a bare fdatasync on the same disk. Then it fills an SQLite store with many messages and prints how long the questions
take that a connecting client asks.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench import services
from bench.disk import synced
from bench.stats import percentile
from kschat.backends import redis
from kschat.backends.memory import MemoryStore
from kschat.backends.sqlite import Settings, SqliteStore
from kschat.backends.sqlite import queries as sql
from kschat.backends.sqlite.database import connect
from kschat.chat.interfaces import IStore
from kschat.chat.message import Message
from kschat.chat.mids import Mids
from tests.support.postgresql import PostgreSQL

_BODY = Raw(b'"' + b"x" * 150 + b'"')

#: The conversations of the user who has many.
_MANY = 500


def batches(size: int, count: int, users: int, cids: bool) -> Iterator[list[Message]]:
    """So many messages between pairs of users, in batches."""
    chance = random.Random(1)
    mids = Mids("0a0b0c0d")
    names = [f"user{number}" for number in range(users)]
    for number in range(count // size):
        moment = 1_700_000_000_000 + number
        batch = []
        for _ in range(size):
            user = chance.randrange(users)
            sender, recipient = names[user], names[user ^ 1]
            cid = f"{chance.getrandbits(64):016x}" if cids else None
            batch.append(Message(mids.make(moment), sender, recipient, sender, recipient, _BODY, moment, cid))
        yield batch


def cpu() -> float:
    """Seconds of CPU that this process used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def show(name: str, samples: Sequence[float]) -> str:
    """Percentiles of seconds, in milliseconds."""
    ordered = sorted(samples)
    return f"{name} p50 {percentile(ordered, 0.5) * 1e3:.2f} p99 {percentile(ordered, 0.99) * 1e3:.2f} ms"


async def appended(store: IStore, work: Sequence[list[Message]], in_flight: int) -> tuple[float, float, list[float]]:
    """Append all; seconds, CPU seconds, and the latency of each append."""
    latencies: list[float] = []
    waiting = iter(work)

    async def append() -> None:
        for batch in waiting:
            begun = time.perf_counter()
            await store.append(batch)
            latencies.append(time.perf_counter() - begun)

    begun, used = time.perf_counter(), cpu()
    await gatherResults([Deferred.fromCoroutine(append()) for _ in range(in_flight)])
    return time.perf_counter() - begun, cpu() - used, latencies


async def costs(reactor: Any, directory: Path, options: argparse.Namespace, running: services.Services) -> None:
    """The table of appends."""
    database = await started_postgresql()
    try:
        await table(reactor, directory, options, running=running, database=database)
    finally:
        if database is not None:
            database.stop()


async def started_postgresql() -> PostgreSQL | None:
    """A server; None where there is none to be had."""
    try:
        database = PostgreSQL()
    except SkipTest:
        return None
    await database.start()
    return database


def postgresql_store(url: str, reactor: Any) -> IStore:
    """A store there."""
    from kschat.backends.postgresql.settings import Settings as PostgresqlSettings
    from kschat.backends.postgresql.store import PostgresqlStore

    store: IStore = PostgresqlStore(PostgresqlSettings(url=url), reactor)
    return store


async def table(
    reactor: Any,
    directory: Path,
    options: argparse.Namespace,
    *,
    running: services.Services,
    database: PostgreSQL | None,
) -> None:
    """A line for each store and size of batch."""
    print(show("fdatasync of 4 kB:", synced(directory, 4096)))
    print(f"{options.users} users, {'with' if options.cids else 'no'} cids, {options.in_flight} appends in flight")
    for size in options.sizes:
        work = list(
            batches(size, options.messages if size > 1 else options.messages // 10, options.users, options.cids)
        )
        count = sum(map(len, work))
        plain = 0.0
        for name in ("memory", "full", "normal", "redis", "postgresql"):
            store: IStore
            if name == "memory":
                store = MemoryStore(10**6, 10**9)
            elif name == "redis":
                if services.missing(["redis"]):
                    continue
                settings = redis.Settings(url=running.get("redis").url, prefix=f"b{size}")
                store = redis.RedisStore(settings, reactor)
            elif name == "postgresql":
                if database is None:
                    continue
                database.do("DROP SCHEMA IF EXISTS kschat CASCADE")
                store = postgresql_store(database.url, reactor)
            else:
                path = str(directory / f"{name}{size}.db")
                store = SqliteStore(Settings(path, "full" if name == "full" else "normal"), reactor, reactor)
            store.start()
            while not store.up:
                await deferLater(reactor, 0.01)
            seconds, used, latencies = await appended(store, work, options.in_flight)
            await store.stop()
            each = used / count * 1e6
            plain = each if name == "memory" else plain
            print(
                f"batch {size:4} {name:10} {count / seconds:10,.0f} messages/s {each:7.1f} us CPU each "
                f"({each - plain:+7.1f}) {show('append', latencies)}",
                flush=True,
            )


async def timed(name: str, ask: Callable[[], Awaitable[Any]], times: int = 300) -> None:
    """Ask again and again, and print how long it took."""
    latencies = []
    for _ in range(times):
        begun = time.perf_counter()
        await ask()
        latencies.append(time.perf_counter() - begun)
    print(show(name, latencies), flush=True)


async def questions(reactor: Any, directory: Path, count: int) -> None:
    """Fill a store, and ask."""
    path = str(directory / "many.db")
    store = SqliteStore(Settings(path, "normal"), reactor, reactor)
    store.start()
    chance = random.Random(1)
    mids = Mids("0a0b0c0d")
    done = 0
    while done < count:
        batch = []
        for _ in range(min(1000, count - done)):
            # Half of all is of one user, with many others, in both directions; she never marks anything as read.
            one, other = "star", f"user{chance.randrange(_MANY)}"
            if chance.random() < 0.5:
                one = f"user{chance.randrange(10_000)}"
            if chance.random() < 0.5:
                one, other = other, one
            batch.append(Message(mids.make(1_700_000_000_000 + done), one, other, one, other, _BODY, done))
        await store.append(batch)
        done += len(batch)
    await store.settle()
    os.sync()  # what the disk still has to do for the filling is not to be measured
    last = (await store.inbox("star")).last
    peers = [one.peer for one in await store.conversations("star", _MANY)]
    size = sum(map(os.path.getsize, (path, path + "-wal")))
    print(f"{count:,} messages in {size / 1e6:,.0f} MB; {len(peers)} conversations of one user, {last:,} in that inbox")

    async def connect_with_nothing_new() -> None:
        await store.inbox("star")
        await store.read("star", last, 200)

    await timed("inbox and read, nothing new:", connect_with_nothing_new)
    await timed("read of 200, anywhere:", lambda: store.read("star", chance.randrange(last), 200))
    await timed(
        "history of 100, the newest:", lambda: store.history("star", chance.choice(peers), before=None, limit=100)
    )
    old = f"{(1_700_000_000_000 + count // 2) << 16:016x}00000000"
    await timed(
        "history of 100, before the middle:", lambda: store.history("star", chance.choice(peers), before=old, limit=100)
    )
    await timed(f"conversations, {_MANY}, all unread:", lambda: store.conversations("star", _MANY), 100)
    await store.stop()
    plans(path)


def plans(path: str) -> None:
    """Print how SQLite goes about each question."""
    connection = connect(path, "ro")
    asked = {"inbox": sql.INBOX, "read": sql.READ, "history": sql.HISTORY, "conversations": sql.CONVERSATIONS}
    for name, statement in asked.items():
        print(f"{name}:")
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("",) * statement.count("?")).fetchall()
        print("".join(f"    {row[3]}\n" for row in rows), end="")
    connection.close()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description="Measure the stores by themselves.")
    add = parser.add_argument
    add("--messages", type=int, default=50_000, help="appended in each line (default 50000; a tenth for batches of 1)")
    add("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[1, 10, 50, 100, 500])
    add("--users", type=int, default=100, help="who write in pairs (default 100)")
    add("--in-flight", type=int, default=4, help="appends at once (default 4)")
    add("--cids", action="store_true", help="each message has a cid")
    add("--stored", type=int, default=1_000_000, help="messages that are stored for the questions; 0: ask none")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    options = parse(arguments)

    async def run(reactor: Any) -> None:
        # Below $TMPDIR: point that to the disk that is to be measured.
        with tempfile.TemporaryDirectory(prefix="kschat-bench-") as name:
            if options.sizes:
                with services.Services() as running:
                    await costs(reactor, Path(name), options, running)
            if options.stored:
                await questions(reactor, Path(name), options.stored)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
