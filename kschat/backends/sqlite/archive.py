"""Reads the file as a whole, for ``kschat migrate-store``. It holds the file's lock, so that no daemon uses it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, TypeVar

import msgspec

from kschat.backends.archive import (
    PAGE_BYTES,
    PAGE_RECORDS,
    BlockRecord,
    ConversationRecord,
    EntryRecord,
    MessageRecord,
    Origin,
    Page,
    ParticipantRecord,
    Record,
    Section,
    SubscriptionRecord,
    UserRecord,
)
from kschat.backends.sqlite.backup import open_unused
from kschat.backends.sqlite.database import Database, SchemaVersions, why
from kschat.backends.sqlite.index import index_what_was_left
from kschat.backends.sqlite.queries import UNREAD
from kschat.backends.sqlite.rows import COLUMNS, message_of
from kschat.chat.changes import without_text
from kschat.chat.conversations import ConversationKey, is_room, pair_key
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

T = TypeVar("T")

ORIGIN: Final = (
    "SELECT epoch, max(base, erased, coalesce((SELECT max(max(floor, given)) FROM users), 0), "
    "coalesce((SELECT max(offset) FROM inbox), 0)), max(base, erased), "
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0), "
    "(SELECT count(*) FROM hook_events) + (SELECT count(*) FROM hook_joins WHERE position IS NOT NULL) + "
    "(SELECT count(*) FROM messages WHERE id > position AND total > 0) FROM progress CROSS JOIN hook_progress"
)

USERS: Final = (
    "SELECT id, 0, name, cursor, max(floor, given, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), "
    "0)), "
    "seen FROM users WHERE id > :one ORDER BY id LIMIT :limit"
)

#: The two names, or the room, of a conversation ``c``.
_KEY: Final = "c.room, (SELECT name FROM users WHERE id = c.one), (SELECT name FROM users WHERE id = c.other)"

CONVERSATIONS: Final = (
    f"SELECT c.id, 0, {_KEY}, (SELECT total FROM thread WHERE conversation = c.id ORDER BY message DESC LIMIT 1), "
    "(SELECT total - 1 FROM thread WHERE conversation = c.id ORDER BY message LIMIT 1) "
    "FROM conversations c WHERE c.id > :one ORDER BY c.id LIMIT :limit"
)

#: What a user has written: of all messages, and of those that are shown no more.
_OWN: Final = (
    "CASE WHEN c.room IS NOT NULL THEN (SELECT -own FROM thread WHERE conversation = c.id AND sender = mine.user "
    "AND own < 0 ORDER BY message DESC LIMIT 1) ELSE (SELECT CASE sender WHEN mine.user THEN own ELSE total - own END "
    "FROM thread WHERE conversation = c.id ORDER BY message DESC LIMIT 1) END"
)
_OWN_GONE: Final = (
    "CASE WHEN c.room IS NOT NULL THEN (SELECT -own - 1 FROM thread WHERE conversation = c.id AND sender = mine.user "
    "AND own < 0 ORDER BY message LIMIT 1) ELSE (SELECT CASE sender WHEN mine.user THEN own - 1 ELSE total - own END "
    "FROM thread WHERE conversation = c.id ORDER BY message LIMIT 1) END"
)

PARTICIPANTS: Final = (
    "WITH mine AS (SELECT p.conversation, p.user, p.read, "
    "(SELECT max(message) FROM thread WHERE conversation = p.conversation) AS newest "
    "FROM participants p WHERE p.conversation >= :one AND (p.conversation > :one OR p.user > :two) "
    "ORDER BY p.conversation, p.user LIMIT :limit) "
    f"SELECT mine.conversation, mine.user, {_KEY}, (SELECT name FROM users WHERE id = mine.user), {UNREAD}, "
    "(SELECT message FROM thread WHERE conversation = c.id AND message <= mine.read AND sender <> mine.user "
    f"ORDER BY message DESC LIMIT 1), {_OWN}, {_OWN_GONE} FROM mine CROSS JOIN conversations c ON c.id = "
    "mine.conversation "
    "LEFT JOIN thread l ON l.conversation = c.id AND l.message = mine.newest ORDER BY mine.conversation, mine.user"
)

MESSAGES: Final = (
    f"SELECT m.id, 0, m.total, m.own, m.place, m.places, {COLUMNS} FROM messages m "
    "WHERE m.id > :one AND m.total > 0 ORDER BY m.id LIMIT :limit"
)

PLACES: Final = (
    "SELECT users.name, json_extract(value, '$[1]') FROM json_each(?) "
    "CROSS JOIN users ON users.id = json_extract(value, '$[0]')"
)

INBOXES: Final = (
    f"SELECT i.user, i.offset, (SELECT name FROM users WHERE id = i.user), {_KEY}, i.message, m.total, "
    + COLUMNS.replace("m.msg", "x'6e756c6c'").replace("m.attachments", "NULL")
    + " FROM (SELECT * FROM inbox WHERE user >= :one AND (user > :one OR offset > :two) ORDER BY user, offset LIMIT "
    ":limit) i "
    "CROSS JOIN messages m ON m.id = i.message CROSS JOIN conversations c ON c.id = m.conversation "
    "ORDER BY i.user, i.offset"
)

BLOCKS: Final = (
    "SELECT b.user, b.peer, (SELECT name FROM users WHERE id = b.user), (SELECT name FROM users WHERE id = b.peer) "
    "FROM blocks b WHERE b.user >= :one AND (b.user > :one OR b.peer > :two) ORDER BY b.user, b.peer LIMIT :limit"
)

REVOCATIONS: Final = (
    "SELECT number, 0, key, before, until, lifted FROM revocations WHERE number > :one ORDER BY number LIMIT :limit"
)

SUBSCRIPTIONS: Final = (
    "SELECT s.number, 0, (SELECT name FROM users WHERE id = s.user), "
    "(SELECT count(*) FROM subscriptions o WHERE o.user = s.user AND o.number <= s.number), s.endpoint, s.p256dh, "
    "s.auth "
    "FROM subscriptions s WHERE s.number > :one ORDER BY s.number LIMIT :limit"
)

_position: Final = msgspec.msgpack.Decoder(tuple[int, int]).decode


class SqliteArchive:
    """``ArchiveReader``.

    Args:
        path: the file.

    Raises:
        StoreUnavailable: there is none, or a daemon uses it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._database: Database = open_unused(path, SchemaVersions.shipped(), time.time)
        self._execute = self._database.connection.execute
        try:
            # What was not in the tables of inboxes and conversations yet when its daemon was killed.
            self._database.begin()
            index_what_was_left(self._database.connection)
            self._execute("COMMIT")
        except (sqlite3.Error, StoreUnavailable) as error:
            self._database.close()
            raise StoreUnavailable(f"{path}: {why(error)}") from error

    async def close(self) -> None:
        self._database.close()

    async def origin(self) -> Origin:
        return self._do(lambda: Origin(*self._execute(ORIGIN).fetchone()))

    async def count(self) -> int:
        return self._do(lambda: int(self._execute("SELECT count(*) FROM messages").fetchone()[0]))

    async def page(self, section: Section, position: bytes) -> Page:
        return self._do(lambda: self._page(section, position))

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {why(error)}") from error

    def _page(self, section: Section, position: bytes) -> Page:
        one, two = _position(position) if position else (0, 0)
        statement, record_of = _READERS[section]
        records: list[Record] = []
        reached, size = None, 0
        # Row by row: the sizes of messages are not known before.
        with closing(self._execute(statement, {"one": one, "two": two, "limit": PAGE_RECORDS})) as rows:
            for row in rows:
                if section is Section.MESSAGES:
                    record: Record | None = self._message(row)
                else:
                    record = record_of(row)
                reached = row[:2]
                if record is not None:
                    records.append(record)
                    size += record.message.size if isinstance(record, MessageRecord) else 0
                if size >= PAGE_BYTES:
                    break
        return Page(records, None if reached is None else msgspec.msgpack.encode(reached))

    def _message(self, row: Sequence[Any]) -> Record | None:
        total, own, place, places, *rest = row[2:]
        if rest[2] is None or rest[3] is None or is_room(rest[2]):
            return None
        held = None
        if place is None:
            # (Of a user who was erased only the number is left, with a name that is a room's.)
            found = self._execute(PLACES, (places,)).fetchall()
            held = tuple([(name, offset) for name, offset in found if not is_room(name)])
        return MessageRecord(message_of(rest), total, abs(own), place or 0, held)


def _key(room: str | None, one: str | None, other: str | None) -> ConversationKey | None:
    """None for that of a user who was erased."""
    if room is not None:
        return room
    return None if one is None or other is None or is_room(one) or is_room(other) else pair_key(one, other)


def _user(row: Sequence[Any]) -> Record | None:
    return None if is_room(row[2]) else UserRecord(*row[2:])


def _conversation(row: Sequence[Any]) -> Record | None:
    key = _key(*row[2:5])
    return None if key is None else ConversationRecord(key, row[5] or 0, row[6] or 0)


def _participant(row: Sequence[Any]) -> Record | None:
    key = _key(*row[2:5])
    name, unread, read, own, own_gone = row[5:]
    if key is None or name is None or is_room(name):
        return None
    own = own or 0
    return ParticipantRecord(key, name, unread, read or 0, own, own if own_gone is None else own_gone, 0)


def _entry(row: Sequence[Any]) -> Record | None:
    _, offset, name, *of, number, total = row[:8]
    key = _key(*of)
    if name is None or key is None or is_room(name) or row[10] is None or is_room(row[10]):
        return None
    return EntryRecord(name, offset, key, number, None if total else without_text(message_of(row[8:])))


def _block(row: Sequence[Any]) -> Record | None:
    _, _, user, peer = row
    return None if user is None or peer is None or is_room(user) or is_room(peer) else BlockRecord(user, peer)


def _revocation(row: Sequence[Any]) -> Record:
    number, _, key, before, until, lifted = row
    return NumberedRevocation(number, Revocation(key, before, until, bool(lifted)))


def _subscription(row: Sequence[Any]) -> Record | None:
    _, _, name, rank, *parts = row
    return None if name is None or is_room(name) else SubscriptionRecord(name, rank, PushSubscription(*parts))


def _nothing(row: Sequence[Any]) -> Record | None:
    raise AssertionError("messages are read otherwise")


_READERS: Final[dict[Section, tuple[str, Callable[[Sequence[Any]], Record | None]]]] = {
    Section.USERS: (USERS, _user),
    Section.CONVERSATIONS: (CONVERSATIONS, _conversation),
    Section.PARTICIPANTS: (PARTICIPANTS, _participant),
    Section.MESSAGES: (MESSAGES, _nothing),
    Section.INBOXES: (INBOXES, _entry),
    Section.BLOCKS: (BLOCKS, _block),
    Section.REVOCATIONS: (REVOCATIONS, _revocation),
    Section.SUBSCRIPTIONS: (SUBSCRIPTIONS, _subscription),
}
