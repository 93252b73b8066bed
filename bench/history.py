"""``python -m bench.history``: how long the questions take of a PostgreSQL that holds many messages.

Fills the store's own tables by COPY (``bench.copied``). Then it asks what a client causes that connects, scrolls back
or lists its conversations, through the store: alone, and while messages are appended. The status is 1 if a p99 is not
below ``BOUND`` milliseconds, or a plan goes through a whole table. All is deleted at the end.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench import copied, fill
from bench.process import cpu_seconds, machine
from bench.stats import percentile
from kschat.backends.postgresql import queries as sql
from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.session import Session
from kschat.backends.postgresql.settings import Settings
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat.commands import MAX_CONVERSATIONS
from kschat.chat.incoming import MAX_PAGE
from kschat.chat.message import Message
from kschat.chat.mids import Mids
from kschat.chat.stream import FIRST_PAGE, PAGE
from tests.support.postgresql import PostgreSQL

#: Milliseconds that each p99 must be below.
BOUND: Final = 20.0

#: Messages a second that are appended meanwhile, and of a batch.
RATE: Final = 1000
BATCH: Final = 10

#: Of a machine that has other work too. All else is PostgreSQL's default: each commit waits for the disk.
CONFIG: Final = "shared_buffers = 1GB\nmax_wal_size = 8GB\ncheckpoint_timeout = 15min\nautovacuum_naptime = 10s"

_ROOMS: Final = {fill.OWN_ROOM: (fill.STAR, "user1")}
_BODY: Final = Raw(b'"' + b"x" * 150 + b'"')


class Questions:
    """Asks a store.

    Args:
        store: which holds what ``bench.fill`` makes.
        pid: of PostgreSQL.
        times: how often each question is asked.

    Attributes:
        slow: the questions whose p99 is not below ``BOUND``, of those that must be.
    """

    def __init__(self, store: PostgresqlStore, pid: int, times: int) -> None:
        self._store = store
        self._pid = pid
        self._times = times
        self._chance = random.Random(3)
        self.slow: list[str] = []

    async def ask_all(self, when: str) -> None:
        """Ask each question again and again, and print how long it took."""
        chance, store = self._chance, self._store
        star = await store.inbox(fill.STAR)
        peers = [one.peer for one in await store.conversations(fill.STAR, MAX_CONVERSATIONS)]
        middle = f"{int((time.time() - fill.DAYS * 43_200) * 1000) << 16:016x}00000000"

        def user() -> str:
            return f"user{chance.randrange(fill.CONVERSATIONS, fill.USERS)}"

        def hub() -> str:
            # Those that all others write to.
            return f"user{chance.randrange(fill.CONVERSATIONS)}"

        async def connect(name: str) -> None:
            state = await store.inbox(name)
            await store.read(name, state.cursor, FIRST_PAGE)

        async def scroll(before: str | None) -> None:
            await store.history(fill.STAR, chance.choice(peers), before=before, limit=MAX_PAGE)

        page = lambda: store.read(fill.STAR, chance.randrange(star.last), PAGE)  # noqa: E731
        of_away = (await store.inbox(fill.AWAY)).last
        await self._timed(f"{when}: connect, some of {copied.BEHIND} missed", lambda: connect(user()))
        await self._timed(
            f"{when}: connect, {of_away:,} missed", lambda: store.read(fill.AWAY, chance.randrange(of_away), FIRST_PAGE)
        )
        await self._timed(f"{when}: a page of {PAGE} in an inbox of {star.last:,}", page)
        await self._timed(f"{when}: History, the newest {MAX_PAGE}", lambda: scroll(None))
        await self._timed(f"{when}: History, {MAX_PAGE} before the middle", lambda: scroll(middle))
        await self._timed(
            f"{when}: Conversations, of {fill.USERS - fill.CONVERSATIONS:,} users",
            lambda: store.conversations(user(), MAX_CONVERSATIONS),
        )
        await self._timed(
            f"{when}: Conversations, {len(peers)} of one user",
            lambda: store.conversations(fill.STAR, MAX_CONVERSATIONS),
        )
        # Of each of a user's conversations it is looked which is the newest: that of many takes longer.
        await self._timed(
            f"{when}: Conversations, up to {fill.USERS:,} of one user",
            lambda: store.conversations(hub(), MAX_CONVERSATIONS),
            bounded=False,
        )

    async def _timed(self, name: str, ask: Callable[[], Awaitable[Any]], *, bounded: bool = True) -> None:
        latencies = []
        own, its = time.process_time(), cpu_seconds(self._pid)
        for _ in range(self._times):
            begun = time.perf_counter()
            await ask()
            latencies.append((time.perf_counter() - begun) * 1000)
        own = (time.process_time() - own) / self._times * 1000
        its = (cpu_seconds(self._pid) - its) / self._times * 1000
        latencies.sort()
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        print(
            f"{name:52} p50 {p50:6.2f}  p99 {p99:6.2f}  most {latencies[-1]:7.2f} ms; "
            f"CPU {own:5.2f} ms, PostgreSQL's {its:5.2f} ms",
            flush=True,
        )
        if bounded and p99 >= BOUND:
            self.slow.append(name)


class Appending:
    """Appends messages all the time, between the users that there are."""

    def __init__(self, reactor: Any, store: PostgresqlStore) -> None:
        self._reactor = reactor
        self._store = store
        self._running = True
        self.count = 0
        self.done = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        chance, mids = random.Random(4), Mids("0b0c0d0e")
        due = self._reactor.seconds()
        while self._running:
            batch = []
            for _ in range(BATCH):
                moment = int(time.time() * 1000)
                one, other = f"user{chance.randrange(fill.USERS)}", fill.STAR
                if chance.random() < 0.5:
                    one, other = other, one
                cid = f"{chance.getrandbits(64):016x}"
                batch.append(Message(mids.make(moment), one, other, one, other, _BODY, moment, cid))
            await self._store.append(batch)
            self.count += len(batch)
            due += BATCH / RATE
            await deferLater(self._reactor, max(0.0, due - self._reactor.seconds()))

    async def stop(self) -> None:
        """Stop, once the last batch is in the table."""
        self._running = False
        await self.done


def plans(url: str) -> list[str]:
    """Print how PostgreSQL goes about each question; those that go through a whole table."""
    session = Session(places(url)[0], 60.0)
    connection = session.connection

    def one(statement: str, parameters: Any) -> Any:
        row = connection.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row

    star, peer = fill.STAR.encode(), fill.OWN_ROOM.encode()
    user = one(sql.STANDING, (star,))[0]
    talk = one(sql.MINE, {"user": star, "peer": peer})[0]
    most = 2**63 - 1
    asked: Mapping[str, tuple[str, Sequence[Any] | Mapping[str, Any]]] = {
        "inbox": (sql.INBOX, (star,)),
        "read": (sql.READ, {"user": user, "after": 1000, "limit": PAGE}),
        "history": (sql.HISTORY, {"talk": talk, "before": most, "limit": MAX_PAGE, "gone": 0}),
        "conversations": (sql.CONVERSATIONS, {"user": star, "number": most, "tail": b"", "limit": MAX_CONVERSATIONS}),
        "find": (sql.FIND, (1, star, b"")),
    }
    wrong = []
    for name, (statement, parameters) in asked.items():
        print(f"{name}:")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {statement}"
        lines = [str(row[0]) for row in connection.execute(explain.encode(), parameters).fetchall()]
        print("".join(f"    {line}\n" for line in lines), end="")
        if any("Seq Scan" in line for line in lines):
            wrong.append(name)
    session.close()
    return wrong


async def connected(reactor: Any, url: str) -> PostgresqlStore:
    """A store there, once it is up."""
    store = PostgresqlStore(Settings(url=url), reactor)
    store.start()
    while not store.up:
        await deferLater(reactor, 0.01)
    return store


async def measure(reactor: Any, database: PostgreSQL, options: argparse.Namespace) -> list[str]:
    """Fill, ask, and print; what is too slow, and plans that go through a whole table."""
    await (await connected(reactor, database.url)).stop()
    begun = time.perf_counter()
    rooms = argparse.Namespace(messages=options.messages, room=0, undelivered=options.messages // 100)
    copied.fill(database.superuser(), fill.messages(rooms), _ROOMS, int(time.time() * 1000))
    seconds = time.perf_counter() - begun
    sizes = "SELECT pg_database_size('kschat'), pg_total_relation_size('kschat.messages')"
    ((size, of_messages),) = database.do(sizes)
    print(machine())
    print(
        f"{options.messages:,} messages by COPY in {seconds:,.0f} s; {size / 1e9:.1f} GB, "
        f"{of_messages / options.messages:.0f} bytes a message with its indexes, without the inboxes",
        flush=True,
    )
    wrong = plans(database.url) if options.plans else []
    store = await connected(reactor, database.url)
    questions = Questions(store, database.pid, options.times)
    await questions.ask_all("alone")
    appending, begun = Appending(reactor, store), time.perf_counter()
    when = f"{RATE:,} appends/s"
    await questions.ask_all(when)
    await appending.stop()
    print(f"load average meanwhile: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores")
    print(f"appended meanwhile: {appending.count / (time.perf_counter() - begun):,.0f} messages a second")
    await store.stop()
    return [*questions.slow, *(f"the plan of {name}" for name in wrong)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--messages", type=int, default=10_000_000, help="that are stored (default 10000000, which takes 8 GB of disk)")
    add("--times", type=int, default=1000, help="that each question is asked (default 1000)")
    add("--plans", action="store_true", help="print how PostgreSQL goes about each question")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure and print; the status is 1 if something is too slow."""
    options = parse(arguments)

    async def run(reactor: Any) -> None:
        # Below $TMPDIR: point that to the disk that is to be measured.
        database = PostgreSQL(CONFIG)
        try:
            await database.start()
            wrong = await measure(reactor, database, options)
        finally:
            database.stop()
        if wrong:
            print(f"not below {BOUND:g} ms, or through a whole table: {', '.join(wrong)}", file=sys.stderr)
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
