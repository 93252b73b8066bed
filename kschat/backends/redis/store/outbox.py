"""The outbox of the Redis store: the daemon that has the lease reads what all of them have logged.

The log is written by the script ``append`` itself, with what it logs. All else goes over the connection for reads, so
that no batch waits for it. Keys, after the prefix and a colon:

::

    x:hook            hash    counts of marks (mark) and events (event); messages that were not logged (lost), joins and
                              marks that were dropped (lost_joins, lost_marks)
    x:hook:lease      text    the daemon that makes events; it expires
    x:hook:log        stream  the messages of each batch (m), and the places of those to rooms (p)
    x:hook:joins      stream  users (u) who became members of rooms (r)
    x:hook:marks      zset    users whose sockets came or went, by the number of the mark
    x:hook:connected  set     users who are known as connected
    x:hook:waiting    zset    users with undelivered messages, by when to look at them
    x:hook:told       hash    the last offsets of which those were told
    x:hook:events     hash    events by number: consumer, attempts, note, event
    x:hook:order      zset    their numbers
    x:hook:due:NAME   zset    the numbers of a consumer's events, by when they are due
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from kschat.backends.redis.client import packing
from kschat.backends.redis.store.client import StoreClient
from kschat.backends.redis.store.codec import StoredError, id_of, number_of_id, unpacked_places
from kschat.chat.conversations import is_room
from kschat.chat.mids import COUNT_BITS, mid_of
from kschat.chat.outbox import (
    MAX_DROPPED,
    MAX_MARKS,
    MAX_PLACES,
    Backlog,
    Commit,
    Event,
    IOutbox,
    Join,
    LeaseLost,
    Logged,
    LogPage,
    Mark,
    Queued,
    Retry,
    WaitingUser,
)

#: Batches that one page of the log begins with; it changes with their sizes, up to ``MAX_BATCHES``.
FIRST_BATCHES: Final = 16
MAX_BATCHES: Final = 256

#: Users that one call marks, of those who are known as connected.
MARK_USERS: Final = 1000

#: Events that one step of an erasure looks at.
ERASE_EVENTS: Final = 1000

#: An event as it is kept: when it was made, its id, type, user, data, and other users that it names.
Packed = tuple[int, str, str, str, str, tuple[str, ...]]

_pack: Final = msgspec.msgpack.Encoder().encode
_event: Final = msgspec.msgpack.Decoder(Packed)
_logged: Final = msgspec.msgpack.Decoder(list[str | int])


@implementer(IOutbox)
class RedisOutbox:
    """See ``IOutbox``.

    Args:
        client: of the store.
    """

    log_ = Logger()

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._key = f"{client.prefix}x:hook"
        self._batches = FIRST_BATCHES

    def acquire(self, holder: str, seconds: float) -> Deferred[bool]:
        return self._client.read("hookLease", holder, max(int(seconds * 1000), 1)).addCallback(bool)

    def release(self, holder: str) -> Deferred[None]:
        return self._client.read("hookLease", holder, 0).addCallback(_nothing)

    def end(self) -> Deferred[str]:
        asked = self._client.ask("XREVRANGE", f"{self._key}:log", "+", "-", "COUNT", 1)
        return asked.addCallback(lambda found: found[0][0].decode() if found else "0")

    def log(self, upto: str, limit: int) -> Deferred[LogPage]:
        asked = self._client.ask("XRANGE", f"{self._key}:log", "-", upto, "COUNT", self._batches)
        return asked.addCallback(self._page, limit)

    def _page(self, found: list[Any], limit: int) -> LogPage:
        listed: list[Logged] = []
        upto: bytes | None = None
        read = places = 0
        for upto, fields in found:
            messages = self._messages(upto, fields)
            listed += messages
            read += 1
            places += sum([len(message.places) for message in messages])
            if places >= MAX_PLACES:
                break
        if len(listed) > limit or read < len(found):
            self._batches = max(self._batches // 2, 1)
        elif read == self._batches and 2 * len(listed) < limit and 2 * places < MAX_PLACES:
            self._batches = min(2 * self._batches, MAX_BATCHES)
        return LogPage(listed, None if upto is None else upto.decode())

    def _messages(self, id_: bytes, fields: Sequence[bytes]) -> list[Logged]:
        try:
            return _messages(id_, fields)
        except StoredError as error:
            # It would hold up all that came after it.
            self.log_.error("{why}: its messages cause no events", why=error)
            return []

    def joins(self, limit: int) -> Deferred[list[Join]]:
        asked = self._client.ask("XRANGE", f"{self._key}:joins", "-", "+", "COUNT", limit)
        return asked.addCallback(lambda found: [_join(id_, fields) for id_, fields in found])

    def mark(self, users: Sequence[str]) -> Deferred[None]:
        return self._client.read("hookMark", packing.pack(MAX_MARKS, list(users))).addCallback(_nothing)

    def mark_connected(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._mark_connected())

    async def _mark_connected(self) -> None:
        cursor = b"0"
        while True:
            cursor, users = await self._client.ask("SSCAN", f"{self._key}:connected", cursor, "COUNT", MARK_USERS)
            if users:
                await self.mark([user.decode() for user in users])
            if cursor == b"0":
                return

    def marks(self, limit: int) -> Deferred[list[Mark]]:
        asked = self._client.ask("ZRANGEBYSCORE", f"{self._key}:marks", "-inf", "+inf", "WITHSCORES", "LIMIT", 0, limit)
        return asked.addCallback(_marks)

    def connected(self, users: Sequence[str]) -> Deferred[set[str]]:
        asked = self._client.read("hookConnected", packing.pack(*users))
        return asked.addCallback(lambda found: {user for user, is_one in zip(users, found, strict=True) if is_one})

    def cursors(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        asked = self._client.read("hookCursors", packing.pack(*users))
        return asked.addCallback(
            lambda found: {user: int(cursor) for user, cursor in zip(users, found, strict=True) if cursor}
        )

    def waiting(self, before: int, limit: int) -> Deferred[list[WaitingUser]]:
        return self._client.read("hookWaiting", before, limit).addCallback(_waiting)

    def commit(self, holder: str, commit: Commit) -> Deferred[int]:
        if commit.log is None:
            log = ""
        else:
            milliseconds, _, count = commit.log.partition("-")
            log = f"{milliseconds}-{int(count or 0) + 1}"
        events = [
            part
            for consumer, some in commit.events.items()
            for event in some
            for part in (consumer, packing.text(_packed(event)), event.at)
        ]
        argument = packing.pack(
            holder,
            log,
            id_of(commit.joins + 1) if commit.joins else "",
            [part for mark in commit.marks for part in (mark.user, mark.number)],
            list(commit.connected),
            list(commit.disconnected),
            [part for one in commit.undelivered.items() for part in one],
            [part for one in commit.waiting for part in (one.user, one.due, one.told)],
            list(commit.settled),
            events,
            commit.most,
            MAX_DROPPED,
        )
        return self._client.read("hookCommit", argument).addCallback(_committed)

    def queued(self, consumer: str, before: int, limit: int) -> Deferred[list[Queued]]:
        return self._client.read("hookQueued", consumer, before, limit).addCallback(_queued)

    def settle(self, consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
        retries = [part for one in again for part in (one.number, one.due, one.attempts, packing.text(one.note))]
        return self._client.read("hookSettle", packing.pack(consumer, list(done), retries)).addCallback(_nothing)

    def expire(self, before: int, limit: int) -> Deferred[int]:
        return self._client.read("hookExpire", before, limit)

    def backlog(self) -> Deferred[Backlog]:
        return self._client.read("hookBacklog").addCallback(_backlog)


async def erase(client: StoreClient, user: str) -> None:
    """Delete what is kept of a user for hooks, also if those are off now."""
    after = 0
    while True:
        after = await client.read("hookErase", packing.pack(user, after, ERASE_EVENTS))
        if not after:
            return


def _nothing(_: object) -> None:
    """It is done."""


def _committed(dropped: int) -> int:
    if dropped < 0:
        raise LeaseLost
    return dropped


def _packed(event: Event) -> bytes:
    return _pack((event.at, event.id, event.type, event.user, bytes(event.data).decode(), event.named))


def _unpacked(data: bytes) -> Event:
    try:
        at, id_, type_, user, text, named = _event.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoredError("an event of hooks can't be read") from None
    return Event(id_, type_, user, at, Raw(text.encode()), named)


def _messages(id_: bytes, fields: Sequence[bytes]) -> list[Logged]:
    """The messages of one batch."""
    try:
        values: list[Any] = _logged.decode(fields[1])
        at = int(id_.partition(b"-")[0])
        rooms = iter(fields[3::2])
        listed = []
        for start in range(0, len(values), 6):
            first, count, suffix, sender, recipient, offset = values[start : start + 6]
            number = number_of_id(first.encode()) if isinstance(first, str) else first << COUNT_BITS | count
            mid = mid_of(number, suffix)
            if is_room(recipient):
                listed.append(Logged(mid, sender, recipient, at, unpacked_places(next(rooms))))
            else:
                listed.append(Logged(mid, sender, None, at, ((recipient, offset),)))
    except (msgspec.MsgspecError, ValueError, IndexError, AttributeError, StopIteration, RecursionError):
        raise StoredError("a batch in the log of hooks can't be read") from None
    return listed


def _join(id_: bytes, fields: Sequence[bytes]) -> Join:
    _, room, _, user = fields
    return Join(number_of_id(id_), room.decode(), user.decode(), int(id_.partition(b"-")[0]))


def _marks(found: Sequence[bytes]) -> list[Mark]:
    return [Mark(user.decode(), int(number)) for user, number in zip(found[::2], found[1::2], strict=True)]


def _waiting(found: Sequence[bytes]) -> list[WaitingUser]:
    listed = zip(found[::3], found[1::3], found[2::3], strict=True)
    return [WaitingUser(user.decode(), int(due), int(told)) for user, due, told in listed]


def _queued(found: Sequence[tuple[bytes, int, bytes, bytes]]) -> list[Queued]:
    return [Queued(int(number), _unpacked(event), attempts, note) for number, attempts, note, event in found]


def _backlog(found: tuple[int, bytes, int, int, int]) -> Backlog:
    count, oldest, *lost = found
    return Backlog(count, _unpacked(oldest).at if oldest else None, *lost)
