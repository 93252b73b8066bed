"""The outbox of the SQLite store.

The log is the table of messages, so that nothing else is written when a message is. Only one daemon has the file: the
lease and the marks need not be in it. No write waits for the disk: it is durable with the next message, or lost with
the power, and then done again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, TypeVarTuple, Unpack

from msgspec import structs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.local_outbox import Lease, Marks
from kschat.backends.sqlite import hooks
from kschat.backends.sqlite.hooks import HookTables
from kschat.backends.sqlite.memtable import MemTable
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.reader import Reader
from kschat.backends.sqlite.transactions import Transactions
from kschat.backends.sqlite.writer import Writer
from kschat.chat.outbox import (
    Backlog,
    Commit,
    IOutbox,
    Join,
    LeaseLost,
    LogPage,
    Mark,
    Queued,
    Retry,
    WaitingUser,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Users that are marked at once, of those who are known as connected.
MARK_USERS: Final = 1000


@implementer(IOutbox)
class SqliteOutbox:
    """See ``IOutbox``.

    Args:
        writer: writes.
        reader: reads, beside history queries.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader
        self._lease = Lease()
        self._marks = Marks()

    def forget(self, user: str) -> None:
        """The user is erased."""
        self._marks.forget(user)

    def acquire(self, holder: str, seconds: float) -> Deferred[bool]:
        """See ``IOutbox``. No other daemon has this file."""
        return succeed(self._lease.acquire(holder))

    def release(self, holder: str) -> Deferred[None]:
        self._lease.release(holder)
        return succeed(None)

    def end(self) -> Deferred[str]:
        return self._ask(hooks.end)

    def log(self, upto: str, limit: int) -> Deferred[LogPage]:
        return self._ask(hooks.log, int(upto), limit)

    def joins(self, limit: int) -> Deferred[list[Join]]:
        return self._ask(hooks.joins, limit)

    def mark(self, users: Sequence[str]) -> Deferred[None]:
        self._marks.add(users)
        return succeed(None)

    def mark_connected(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mark_connected())

    async def _mark_connected(self) -> None:
        users = await self._ask(hooks.all_connected, "", MARK_USERS)
        while users:
            self._marks.add(users)
            users = await self._ask(hooks.all_connected, users[-1], MARK_USERS)

    def marks(self, limit: int) -> Deferred[list[Mark]]:
        return succeed(self._marks.oldest(limit))

    def connected(self, users: Sequence[str]) -> Deferred[set[str]]:
        return self._ask(hooks.connected, users)

    def cursors(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._ask(hooks.cursors, users)

    def waiting(self, before: int, limit: int) -> Deferred[list[WaitingUser]]:
        return self._ask(hooks.waiting, before, limit)

    def commit(self, holder: str, commit: Commit) -> Deferred[int]:
        if self._lease.holder != holder:
            return fail(LeaseLost())

        def committed(dropped: int) -> int:
            self._marks.remove(commit.marks)
            return dropped

        return self._write(lambda tables: tables.commit(commit)).addCallback(committed)

    def queued(self, consumer: str, before: int, limit: int) -> Deferred[list[Queued]]:
        return self._ask(hooks.queued, consumer, before, limit)

    def settle(self, consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
        return self._write(lambda tables: tables.settle(done, again))

    def expire(self, before: int, limit: int) -> Deferred[int]:
        return self._write(lambda tables: tables.expire(before, limit))

    def backlog(self) -> Deferred[Backlog]:
        def told(found: Backlog) -> Backlog:
            return structs.replace(found, lost_marks=self._marks.take_lost())

        return self._writer.between(lambda transactions: transactions.hooks.backlog()).addCallback(told)

    def _ask(self, question: Callable[[sqlite3.Connection, Unpack[Ts]], T], *arguments: *Ts) -> Deferred[T]:
        def answer(queries: Queries, memtable: MemTable) -> T:
            return question(queries.connection, *arguments)

        return self._reader.ask(answer)

    def _write(self, work: Callable[[HookTables], T]) -> Deferred[T]:
        def write(transactions: Transactions) -> T:
            # Nothing is to be left of a user who is erased later.
            with transactions.wiping():
                return work(transactions.hooks)

        return self._writer.between(write)
