"""The outbox of the PostgreSQL store: the daemon that has the lease reads what all of them have logged.

The log is written by the statement that calls ``append``, in its transaction. All else has a thread and a connection of
its own, so that no batch waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from kschat.backends.postgresql import hooks
from kschat.backends.postgresql.readers import ReaderPool
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

#: Users that are marked at once, of those who are known as connected.
MARK_USERS: Final = 1000


@implementer(IOutbox)
class PostgresqlOutbox:
    """See ``IOutbox``.

    Args:
        pool: one thread, which does nothing else: what it is asked is done in order.
    """

    def __init__(self, pool: ReaderPool) -> None:
        self._pool = pool

    def acquire(self, holder: str, seconds: float) -> Deferred[bool]:
        return self._pool.ask(lambda connection: hooks.acquire(connection, holder, seconds))

    def release(self, holder: str) -> Deferred[None]:
        return self._pool.ask(lambda connection: hooks.release(connection, holder))

    def end(self) -> Deferred[str]:
        return self._pool.ask(hooks.end)

    def log(self, upto: str, limit: int) -> Deferred[LogPage]:
        return self._pool.ask(lambda connection: hooks.log(connection, upto, limit))

    def joins(self, limit: int) -> Deferred[list[Join]]:
        return self._pool.ask(lambda connection: hooks.joins(connection, limit))

    def mark(self, users: Sequence[str]) -> Deferred[None]:
        return self._pool.ask(lambda connection: hooks.mark(connection, users))

    def mark_connected(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mark_connected())

    async def _mark_connected(self) -> None:
        after = ""
        while users := await self._pool.ask(partial(hooks.all_connected, after=after, limit=MARK_USERS)):
            await self.mark(users)
            after = users[-1]

    def marks(self, limit: int) -> Deferred[list[Mark]]:
        return self._pool.ask(lambda connection: hooks.marks(connection, limit))

    def connected(self, users: Sequence[str]) -> Deferred[set[str]]:
        return self._pool.ask(lambda connection: hooks.connected(connection, users))

    def cursors(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._pool.ask(lambda connection: hooks.cursors(connection, users))

    def waiting(self, before: int, limit: int) -> Deferred[list[WaitingUser]]:
        return self._pool.ask(lambda connection: hooks.waiting(connection, before, limit))

    def commit(self, holder: str, commit: Commit) -> Deferred[int]:
        return self._pool.ask(lambda connection: hooks.commit(connection, holder, commit)).addCallback(_committed)

    def queued(self, consumer: str, before: int, limit: int) -> Deferred[list[Queued]]:
        return self._pool.ask(lambda connection: hooks.queued(connection, consumer, before, limit))

    def settle(self, consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
        return self._pool.ask(lambda connection: hooks.settle(connection, done, again))

    def expire(self, before: int, limit: int) -> Deferred[int]:
        return self._pool.ask(lambda connection: hooks.expire(connection, before, limit))

    def backlog(self) -> Deferred[Backlog]:
        return self._pool.ask(hooks.backlog)


async def erase(work: Callable[[Callable[[Any], Any]], Awaitable[Any]], user: str) -> None:
    """Delete what is kept of a user for hooks, also if those are off now. ``work``: see ``erasure.erase``."""
    await work(partial(hooks.erase, user=user))
    after: int | None = 0
    while after is not None:
        after = await work(partial(hooks.erase_events, user=user, after=after))


def _committed(dropped: int) -> int:
    if dropped < 0:
        raise LeaseLost
    return dropped
