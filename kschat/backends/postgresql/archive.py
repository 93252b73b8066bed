"""Reads and fills the tables as a whole, for ``kschat migrate-store``. No daemon uses them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

import msgspec
import psycopg
from twisted.internet.threads import deferToThreadPool

from kschat.backends.archive import (
    PAGE_BYTES,
    PAGE_RECORDS,
    BlockRecord,
    Checkpoint,
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
    key_of,
)
from kschat.backends.generations import generation_of
from kschat.backends.packed import extra_of, packed
from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.rows import COLUMNS, message_of, spelled
from kschat.backends.postgresql.schema_versions import USE_LOCK, check_whole, shipped, version_of
from kschat.backends.postgresql.session import Session, find
from kschat.backends.postgresql.settings import Settings
from kschat.chat.changes import update_of
from kschat.chat.conversations import ConversationKey
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.lines import line_of
from kschat.chat.message import EDIT, Message
from kschat.chat.mids import number_of, suffix_of
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

T = TypeVar("T")

Connection = psycopg.Connection[Any]

#: For reading and filling all: no statement is given up.
_SET: Final = b"SET statement_timeout TO 0"

#: For what goes through whole tables, in the end. (A page is found by indexes, as a daemon does: the tables have no
#: statistics yet.)
_SET_WHOLE: Final = (
    b"SET LOCAL enable_seqscan TO on; SET LOCAL enable_mergejoin TO on; SET LOCAL plan_cache_mode TO auto; "
    b"ANALYZE users, conversations, participants, messages, updates, inbox"
)

#: The names of a message's conversation ``c``, its users ``x`` and ``y``.
_KEY: Final = "c.room, x.name, y.name"
_NAMED: Final = (
    "JOIN conversations c ON c.id = {}.conversation LEFT JOIN users x ON x.id = c.one LEFT JOIN users y "
    "ON y.id = c.other"
)

USERS: Final = (
    "SELECT id, name, cursor, last, seen FROM users WHERE id > %(after)s AND name IS NOT NULL ORDER BY "
    "id LIMIT %(limit)s"
)

CONVERSATIONS: Final = (
    f"SELECT c.id, {_KEY}, c.total, c.gone FROM conversations c "
    "LEFT JOIN users x ON x.id = c.one LEFT JOIN users y ON y.id = c.other "
    "WHERE c.id > %(after)s ORDER BY c.id LIMIT %(limit)s"
)

#: The newest message of another one up to the mark.
PARTICIPANTS: Final = (
    f"SELECT p.conversation, p.user_id, {_KEY}, u.name, c.total - p.own - greatest(p.read_count, c.gone - p.own_gone), "
    "coalesce((SELECT m.id FROM messages m WHERE m.conversation = p.conversation AND m.id <= p.read "
    "AND m.sender <> p.user_id AND m.total > c.gone ORDER BY m.id DESC LIMIT 1), 0), p.own, p.own_gone, p.joined "
    "FROM (SELECT * FROM participants WHERE (conversation, user_id) > (%(talk)s, %(after)s) "
    f"ORDER BY conversation, user_id LIMIT %(limit)s) AS p JOIN users u ON u.id = p.user_id {_NAMED.format('p')} "
    "ORDER BY p.conversation, p.user_id"
)

MESSAGES: Final = (
    "WITH k AS MATERIALIZED (SELECT conversation, id, row_number() OVER (ORDER BY conversation, id) AS n, "
    "sum(size) OVER (ORDER BY conversation, id) AS size FROM (SELECT conversation, id, size FROM messages "
    "WHERE (conversation, id) > (%(talk)s, %(after)s) ORDER BY conversation, id LIMIT %(limit)s) AS listed) "
    f"SELECT k.conversation, k.id, m.total, m.own, m.place, {COLUMNS} FROM k "
    "JOIN messages m ON m.conversation = k.conversation AND m.id = k.id JOIN conversations c ON c.id = k.conversation "
    "LEFT JOIN users s ON s.id = m.sender LEFT JOIN users r ON r.id = m.recipient "
    f"WHERE k.n = 1 OR k.size <= {PAGE_BYTES} ORDER BY k.conversation, k.id"
)

INBOXES: Final = (
    f"SELECT i.user_id, i.place, o.name, {_KEY}, i.message, d.id IS NOT NULL, "
    + COLUMNS.replace("m.msg", "'\\x6e756c6c'::bytea").replace("m.attachments", "NULL::bytea").replace("m.", "d.")
    + " FROM (SELECT * FROM inbox WHERE (user_id, place) > (%(talk)s, %(after)s) ORDER BY user_id, place LIMIT "
    "%(limit)s) "
    f"AS i JOIN users o ON o.id = i.user_id {_NAMED.format('i')} "
    "LEFT JOIN messages m ON m.conversation = i.conversation AND m.id = i.message "
    "LEFT JOIN users w ON w.id = m.sender "
    "LEFT JOIN updates d ON d.conversation = i.conversation AND d.id = i.message AND m.id IS NULL "
    "LEFT JOIN users s ON s.id = d.sender LEFT JOIN users r ON r.id = d.recipient "
    "WHERE w.name IS NOT NULL OR s.name IS NOT NULL ORDER BY i.user_id, i.place"
)
#: Where the page before ends, also where none of its entries is shown.
INBOXES_END: Final = (
    "SELECT user_id, place FROM (SELECT user_id, place FROM inbox WHERE (user_id, place) > (%(talk)s, %(after)s) "
    "ORDER BY user_id, place LIMIT %(limit)s) AS i ORDER BY user_id DESC, place DESC LIMIT 1"
)

BLOCKS: Final = (
    "SELECT b.user_id, b.peer, u.name, v.name FROM blocks b JOIN users u ON u.id = b.user_id JOIN users v ON v.id = "
    "b.peer "
    "WHERE (b.user_id, b.peer) > (%(talk)s, %(after)s) ORDER BY b.user_id, b.peer LIMIT %(limit)s"
)

REVOCATIONS: Final = (
    "SELECT number, key, before, until, lifted FROM revocations WHERE number > %(after)s ORDER BY number "
    "LIMIT %(limit)s"
)

SUBSCRIPTIONS: Final = (
    "SELECT s.number, u.name, (SELECT count(*) FROM subscriptions o WHERE o.user_id = s.user_id AND o.number <= "
    "s.number), "
    "s.endpoint, s.p256dh, s.auth FROM subscriptions s JOIN users u ON u.id = s.user_id "
    "WHERE s.number > %(after)s ORDER BY s.number LIMIT %(limit)s"
)

#: Finds the conversation of rows ``t`` with ``one``, ``other`` and ``room``: ``c1`` or ``c2``.
_TALK: Final = (
    "LEFT JOIN users a ON a.name = t.one LEFT JOIN users b ON b.name = t.other "
    "LEFT JOIN conversations c1 ON c1.one = least(a.id, b.id) AND c1.other = greatest(a.id, b.id) "
    "LEFT JOIN conversations c2 ON c2.room = t.room"
)
_TALK_ID: Final = "coalesce(c1.id, c2.id)"

_WRITE_USERS: Final = (
    "INSERT INTO users (name, cursor, last, floor, seen) SELECT name, cursor, last, last, seen "
    "FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[]) AS t (name, cursor, last, seen)"
)
_WRITE_CONVERSATIONS: Final = (
    "INSERT INTO conversations (one, other, room, total, gone) SELECT least(a.id, b.id), greatest(a.id, b.id), t.room, "
    "t.total, t.gone FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[]) "
    "AS t (one, other, room, total, gone) LEFT JOIN users a ON a.name = t.one LEFT JOIN users b ON b.name = t.other"
)
_WRITE_PARTICIPANTS: Final = (
    "INSERT INTO participants (user_id, conversation, read, read_count, own, own_gone, joined) "
    f"SELECT u.id, {_TALK_ID}, t.read, coalesce(c1.total, c2.total) - t.own - t.unread, t.own, t.own_gone, t.joined "
    "FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], "
    "%s::bigint[], %s::bigint[]) AS t (one, other, room, name, unread, read, own, own_gone, joined) "
    f"JOIN users u ON u.name = t.name {_TALK}"
)
_WRITE_MESSAGES: Final = (
    "INSERT INTO messages (conversation, id, suffix, sender, recipient, place, members, places, total, own, ids, "
    "time, cid, "
    f"size, msg, attachments, extra, line) SELECT {_TALK_ID}, t.id, t.suffix, s.id, r.id, "
    "CASE WHEN t.room IS NULL THEN t.place END, CASE WHEN t.room IS NOT NULL THEN g.ids END, "
    "CASE WHEN t.room IS NOT NULL THEN g.places END, t.total, t.own, t.ids, t.time, t.cid, t.size, t.msg, "
    "t.attachments, "
    "t.extra, t.line FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[], "
    "%s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bytea[], %s::bigint[], "
    "%s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[]) WITH ORDINALITY AS t (one, other, room, id, suffix, sender, "
    "recipient, place, total, own, ids, time, cid, size, msg, attachments, extra, line, n) "
    f"JOIN users s ON s.name = t.sender LEFT JOIN users r ON r.name = t.recipient {_TALK} "
    "LEFT JOIN (SELECT p.n, array_agg(u.id ORDER BY u.id) AS ids, array_agg(p.place ORDER BY u.id) AS places "
    "FROM unnest(%s::bigint[], %s::bytea[], %s::bigint[]) AS p (n, name, place) JOIN users u ON u.name = p.name "
    "GROUP BY p.n) AS g ON g.n = t.n"
)
_WRITE_UPDATES: Final = (
    "INSERT INTO updates (conversation, id, suffix, sender, recipient, members, places, target, edits, ids, time, "
    "cid, extra) "
    f"SELECT {_TALK_ID}, t.id, t.suffix, s.id, r.id, '{{}}', '{{}}', t.target, t.edits, t.ids, t.time, t.cid, t.extra "
    "FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[], "
    "%s::bigint[], %s::boolean[], %s::text[], %s::bigint[], %s::bytea[], %s::bytea[]) "
    "AS t (one, other, room, id, suffix, sender, recipient, target, edits, ids, time, cid, extra) "
    f"JOIN users s ON s.name = t.sender LEFT JOIN users r ON r.name = t.recipient {_TALK} ON CONFLICT DO NOTHING"
)
_WRITE_INBOXES: Final = (
    f"INSERT INTO inbox (user_id, place, conversation, message) SELECT u.id, t.place, {_TALK_ID}, t.message "
    "FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[]) "
    f"AS t (one, other, room, name, place, message) JOIN users u ON u.name = t.name {_TALK}"
)
_WRITE_BLOCKS: Final = (
    "INSERT INTO blocks (user_id, peer) SELECT u.id, v.id FROM unnest(%s::bytea[], %s::bytea[]) AS t (name, peer) "
    "JOIN users u ON u.name = t.name JOIN users v ON v.name = t.peer"
)
_WRITE_REVOCATIONS: Final = (
    "INSERT INTO revocations (key, number, before, until, lifted) "
    "SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[])"
)
_WRITE_SUBSCRIPTIONS: Final = (
    "INSERT INTO subscriptions (endpoint, user_id, p256dh, auth) SELECT t.endpoint, u.id, t.p256dh, t.auth "
    "FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[]) WITH ORDINALITY AS t (name, endpoint, p256dh, "
    "auth, n) "
    "JOIN users u ON u.name = t.name ORDER BY t.n"
)

#: What follows from the rest, once all is written.
_COMPLETE: Final = (
    # Of one whose messages are all hidden, another store may have begun to count again.
    (
        "UPDATE conversations c SET total = m.total, gone = m.total FROM (SELECT conversation, max(total) AS total "
        "FROM messages GROUP BY conversation) AS m WHERE m.conversation = c.id AND m.total > c.total"
    ),
    (
        "UPDATE participants p SET own = 0, own_gone = 0, read_count = c.total FROM conversations c "
        "WHERE c.id = p.conversation AND c.total = c.gone AND c.total > 0"
    ),
    (
        "UPDATE conversations c SET newest = m.id, tail = m.suffix, last = m.id FROM messages m, "
        "(SELECT conversation, max(id) AS id FROM messages GROUP BY conversation) AS n "
        "WHERE m.conversation = n.conversation AND m.id = n.id AND c.id = n.conversation"
    ),
    (
        "UPDATE conversations c SET last = greatest(c.last, d.id) FROM (SELECT conversation, max(id) AS id FROM "
        "updates "
        "GROUP BY conversation) AS d WHERE d.conversation = c.id"
    ),
    (
        "UPDATE conversations c SET members = p.count FROM (SELECT conversation, count(*) FROM participants "
        "GROUP BY conversation) AS p WHERE p.conversation = c.id AND c.room IS NOT NULL"
    ),
    (
        "UPDATE users u SET rooms = p.count FROM (SELECT p.user_id, count(*) FROM participants p "
        "JOIN conversations c ON c.id = p.conversation WHERE c.room IS NOT NULL GROUP BY p.user_id) AS p WHERE "
        "p.user_id = u.id"
    ),
    (
        "UPDATE users u SET floor = i.place - 1 FROM (SELECT user_id, min(place) AS place FROM inbox GROUP BY "
        "user_id) AS i "
        "WHERE i.user_id = u.id"
    ),
    (
        "UPDATE messages m SET members = g.ids, places = g.places FROM (SELECT i.conversation, i.message, "
        "array_agg(i.user_id ORDER BY i.user_id) AS ids, array_agg(i.place ORDER BY i.user_id) AS places FROM inbox i "
        "JOIN conversations c ON c.id = i.conversation AND c.room IS NOT NULL GROUP BY i.conversation, i.message) AS g "
        "WHERE m.conversation = g.conversation AND m.id = g.message AND m.recipient IS NULL AND m.members IS NULL"
    ),
    "UPDATE messages SET members = '{}', places = '{}' WHERE recipient IS NULL AND members IS NULL",
    (
        "UPDATE updates d SET members = g.ids, places = g.places FROM (SELECT i.conversation, i.message, "
        "array_agg(i.user_id ORDER BY i.user_id) AS ids, array_agg(i.place ORDER BY i.user_id) AS places FROM inbox i "
        "JOIN updates o ON o.conversation = i.conversation AND o.id = i.message GROUP BY i.conversation, i.message) "
        "AS g "
        "WHERE d.conversation = g.conversation AND d.id = g.message"
    ),
)

_position: Final = msgspec.msgpack.Decoder(tuple[int, int]).decode


class PostgresqlArchive:
    """``ArchiveReader`` and ``ArchiveWriter``.

    Args:
        settings: which database.
        reactor: the real one; threads of its pool wait for PostgreSQL.

    Raises:
        ValueError: the URL can't be read.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._places = places(settings.url)
        self._patience = settings.patience
        self._reactor = reactor
        self._opened: Session | None = None

    # Both.

    async def close(self) -> None:
        session, self._opened = self._opened, None
        if session is not None:
            session.close()

    async def _do(self, work: Callable[[Connection], T]) -> T:
        """Do something on a thread."""
        return cast(T, await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._done, work))

    def _done(self, work: Callable[[Connection], T]) -> T:
        session = self._session()
        try:
            result = work(session.connection)
            if session.doubt:
                raise StoreUnavailable(f"{session.place.name}: {session.doubt}")
            return result
        except psycopg.Error as error:
            raise StoreUnavailable(f"{session.place.name}: {why(error)}") from error

    def _session(self) -> Session:
        if self._opened is None:
            session = find(self._places, self._patience)
            try:
                (got,) = session.connection.execute("SELECT pg_try_advisory_lock(%s)", (USE_LOCK,)).fetchone() or (
                    False,
                )
                if not got:
                    raise StoreUnavailable(f"{session.place.name}: a kschat uses it: stop all of its daemons first")
                session.connection.execute(_SET)
            except BaseException:
                session.close()
                raise
            self._opened = session
        return self._opened

    # ArchiveReader.

    async def origin(self) -> Origin:
        return await self._do(_origin)

    async def count(self) -> int:
        return await self._do(lambda connection: int(_one(connection, "SELECT count(*) FROM messages", ())[0]))

    async def page(self, section: Section, position: bytes) -> Page:
        return await self._do(partial(_page, section=section, position=position))

    # ArchiveWriter.

    async def begin(self, origin: Origin) -> Checkpoint:
        def begin(connection: Connection) -> Checkpoint:
            assert self._opened is not None
            self._opened.upgrade(shipped(), lambda what: None)
            with connection.transaction():
                return _begin(connection, origin, self._opened.place.name)

        return await self._do(begin)

    async def write(self, section: Section, records: Sequence[Record], checkpoint: Checkpoint) -> None:
        def write(connection: Connection) -> None:
            with connection.transaction():
                if records:
                    _WRITERS[section](connection, records)
                if checkpoint.section is None:
                    connection.execute(_SET_WHOLE)
                    for statement in _COMPLETE:
                        connection.execute(statement.encode())
                name = None if checkpoint.section is None else checkpoint.section.value
                connection.execute("UPDATE moving SET section = %s, position = %s", (name, checkpoint.position))

        await self._do(write)

    async def reader(self) -> PostgresqlArchive:
        return self

    async def finish(self) -> None:
        await self._do(lambda connection: connection.execute("DELETE FROM moving"))


def _one(connection: Connection, statement: str, parameters: Any) -> Any:
    return connection.execute(statement.encode(), parameters, binary=True).fetchone()


def _origin(connection: Connection) -> Origin:
    if version_of(connection, shipped().version) != shipped().version:
        raise StoreUnavailable("its schema is an earlier one: start this version of kschat on it once")
    check_whole(connection)
    epoch, erased, revoked, last = _one(
        connection,
        "SELECT epoch, erased, revoked, greatest(base_of(generation), (SELECT max(last) FROM users)) FROM state",
        (),
    )
    return Origin(epoch, last or 0, erased, revoked)


def _begin(connection: Connection, origin: Origin, place: str) -> Checkpoint:
    row = _one(connection, "SELECT source, section, position FROM moving", ())
    if row is not None:
        source, section, position = row
        if source != origin.epoch:
            raise StoreUnavailable(
                f"{place}: it holds a part of another store that was moved there: go on with that one, or begin again "
                "after DROP SCHEMA kschat CASCADE"
            )
        return Checkpoint(source, None if section is None else Section(section), position)
    if _one(
        connection,
        "SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM conversations) OR EXISTS (SELECT FROM revocations)",
        (),
    )[0]:
        raise StoreUnavailable(
            f"{place}: a store is there already: name an empty database, or delete that store by DROP SCHEMA kschat "
            "CASCADE"
        )
    first = next(iter(Section))
    connection.execute("INSERT INTO moving VALUES (true, %s, %s, '')", (origin.epoch, first.value))
    connection.execute(
        "UPDATE state SET epoch = %s, erased = %s, revoked = %s, generation = greatest(generation, %s)",
        (origin.epoch, origin.erased, origin.revoked, generation_of(max(origin.last, origin.erased, 1))),
    )
    return Checkpoint(origin.epoch, first)


# What is read.


def _page(connection: Connection, section: Section, position: bytes) -> Page:
    talk, after = _position(position) if position else (0, 0)
    statement, record_of, at = _READERS[section]
    asked = {"talk": talk, "after": after, "limit": PAGE_RECORDS}
    rows = connection.execute(statement.encode(), asked, prepare=True, binary=True).fetchall()
    last = rows[-1] if rows else None
    if section is Section.INBOXES:
        # (Of an entry whose sender was erased nothing is shown.)
        last = connection.execute(INBOXES_END.encode(), asked, prepare=True, binary=True).fetchone()
    if last is None:
        return Page([], None)
    reached = (0, last[0]) if at == 1 else (last[0], last[1])
    records = [record for row in rows if (record := record_of(row)) is not None]
    return Page(records, msgspec.msgpack.encode(reached))


def _key(room: bytes | None, one: bytes | None, other: bytes | None) -> ConversationKey | None:
    """None for that of an erased user."""
    if room is not None:
        return room.decode()
    if one is None or other is None:
        return None
    first, second = sorted((one.decode(), other.decode()))
    return (first, second)


def _user(row: Sequence[Any]) -> Record:
    _, name, cursor, last, seen = row
    return UserRecord(name.decode(), cursor, last, seen)


def _conversation(row: Sequence[Any]) -> Record | None:
    key = _key(*row[1:4])
    return None if key is None else ConversationRecord(key, row[4], row[5])


def _participant(row: Sequence[Any]) -> Record | None:
    key = _key(*row[2:5])
    name, unread, *rest = row[5:]
    # (Without a name: it was erased.)
    return None if key is None or name is None else ParticipantRecord(key, name.decode(), max(unread, 0), *rest)


def _message(row: Sequence[Any]) -> Record | None:
    total, own, place, *rest = row[2:]
    if rest[2] is None or rest[3] is None:
        return None
    return MessageRecord(message_of(rest), total, own, place or 0)


def _entry(row: Sequence[Any]) -> Record | None:
    _, place, name, *of, number, is_update = row[:8]
    key = _key(*of)
    if name is None or key is None:
        return None
    return EntryRecord(name.decode(), place, key, number, message_of(row[8:]) if is_update else None)


def _block(row: Sequence[Any]) -> Record | None:
    return None if row[2] is None or row[3] is None else BlockRecord(row[2].decode(), row[3].decode())


def _revocation(row: Sequence[Any]) -> Record:
    number, key, before, until, lifted = row
    return NumberedRevocation(number, Revocation(key.decode(), before, until, lifted))


def _subscription(row: Sequence[Any]) -> Record | None:
    _, name, rank, *parts = row
    if name is None:
        return None
    return SubscriptionRecord(name.decode(), rank, PushSubscription(*(part.decode() for part in parts)))


#: Of each section: the statement, what makes a record of a row, and how many numbers a position has.
_READERS: Final[dict[Section, tuple[str, Callable[[Sequence[Any]], Record | None], int]]] = {
    Section.USERS: (USERS, _user, 1),
    Section.CONVERSATIONS: (CONVERSATIONS, _conversation, 1),
    Section.PARTICIPANTS: (PARTICIPANTS, _participant, 2),
    Section.MESSAGES: (MESSAGES, _message, 2),
    Section.INBOXES: (INBOXES, _entry, 2),
    Section.BLOCKS: (BLOCKS, _block, 2),
    Section.REVOCATIONS: (REVOCATIONS, _revocation, 1),
    Section.SUBSCRIPTIONS: (SUBSCRIPTIONS, _subscription, 1),
}


# What is written.


def _execute(connection: Connection, statement: str, columns: Sequence[Sequence[Any]]) -> None:
    connection.execute(statement.encode(), [list(column) for column in columns], prepare=True)


def _encoded(names: Sequence[str | None]) -> list[bytes | None]:
    return [None if name is None else name.encode() for name in names]


def _keys(keys: Sequence[ConversationKey]) -> list[list[bytes | None]]:
    """Columns: the one user, the other, the room."""
    rooms = [key if isinstance(key, str) else None for key in keys]
    pairs = [(None, None) if isinstance(key, str) else key for key in keys]
    return [_encoded([one for one, _ in pairs]), _encoded([other for _, other in pairs]), _encoded(rooms)]


def _make_users(connection: Connection, names: Sequence[str]) -> None:
    """Of whom no more is known than the name."""
    connection.execute("SELECT make_users(%s::bytea[])", (_encoded(sorted(set(names))),))


def _write_users(connection: Connection, records: Sequence[Any]) -> None:
    _execute(
        connection,
        _WRITE_USERS,
        [
            _encoded([one.name for one in records]),
            [one.cursor for one in records],
            [one.last for one in records],
            [one.seen for one in records],
        ],
    )


def _write_conversations(connection: Connection, records: Sequence[Any]) -> None:
    _make_users(connection, [name for one in records if not isinstance(one.key, str) for name in one.key])
    columns = [[one.total for one in records], [one.gone for one in records]]
    _execute(connection, _WRITE_CONVERSATIONS, [*_keys([one.key for one in records]), *columns])


def _write_participants(connection: Connection, records: Sequence[Any]) -> None:
    _make_users(connection, [one.user for one in records])
    _execute(
        connection,
        _WRITE_PARTICIPANTS,
        [
            *_keys([one.key for one in records]),
            _encoded([one.user for one in records]),
            [one.unread for one in records],
            [one.read for one in records],
            [one.own for one in records],
            [one.own_gone for one in records],
            [one.joined for one in records],
        ],
    )


def _write_messages(connection: Connection, records: Sequence[MessageRecord]) -> None:
    messages = [one.message for one in records]
    keys = [key_of(message) for message in messages]
    lines = [line_of(message) for message in messages]
    held = [(n, name, place) for n, one in enumerate(records, 1) for name, place in one.places or ()]
    _make_users(connection, [message.sender for message in messages])
    _execute(
        connection,
        _WRITE_MESSAGES,
        [
            *_keys(keys),
            [number_of(message.mid) for message in messages],
            _encoded([suffix_of(message.mid) for message in messages]),
            _encoded([message.sender for message in messages]),
            _encoded(
                [None if isinstance(key, str) else one.recipient for key, one in zip(keys, messages, strict=True)]
            ),
            [one.place for one in records],
            [one.total for one in records],
            [one.own for one in records],
            [spelled(message) for message in messages],
            [message.time for message in messages],
            _encoded([message.cid for message in messages]),
            [message.size for message in messages],
            [bytes(message.msg) for message in messages],
            [packed(message.attachments) for message in messages],
            [extra_of(message) for message in messages],
            [None if line is None else bytes(line) for line in lines],
            [n for n, _, _ in held],
            _encoded([name for _, name, _ in held]),
            [place for _, _, place in held],
        ],
    )


def _write_inboxes(connection: Connection, records: Sequence[EntryRecord]) -> None:
    _make_users(connection, [one.user for one in records])
    updates = {(one.key, one.number): one.update for one in records if one.update is not None}
    if updates:
        _write_updates(connection, list(updates.values()))
    _execute(
        connection,
        _WRITE_INBOXES,
        [
            *_keys([one.key for one in records]),
            _encoded([one.user for one in records]),
            [one.offset for one in records],
            [one.number for one in records],
        ],
    )


def _write_updates(connection: Connection, updates: Sequence[Message]) -> None:
    keys = [key_of(update) for update in updates]
    about = [update_of(update) for update in updates]
    _make_users(connection, [update.sender for update in updates])
    _execute(
        connection,
        _WRITE_UPDATES,
        [
            *_keys(keys),
            [number_of(update.mid) for update in updates],
            _encoded([suffix_of(update.mid) for update in updates]),
            _encoded([update.sender for update in updates]),
            _encoded([None if isinstance(key, str) else one.recipient for key, one in zip(keys, updates, strict=True)]),
            [number_of(one.target) for one in about],
            [one.kind == EDIT for one in about],
            [spelled(update) for update in updates],
            [update.time for update in updates],
            _encoded([update.cid for update in updates]),
            [extra_of(update) for update in updates],
        ],
    )


def _write_blocks(connection: Connection, records: Sequence[Any]) -> None:
    _make_users(connection, [name for one in records for name in (one.user, one.peer)])
    _execute(
        connection, _WRITE_BLOCKS, [_encoded([one.user for one in records]), _encoded([one.peer for one in records])]
    )


def _write_revocations(connection: Connection, records: Sequence[Any]) -> None:
    all_ = [one.revocation for one in records]
    _execute(
        connection,
        _WRITE_REVOCATIONS,
        [
            _encoded([one.key for one in all_]),
            [one.number for one in records],
            [one.before for one in all_],
            [one.until for one in all_],
            [one.lifted for one in all_],
        ],
    )


def _write_subscriptions(connection: Connection, records: Sequence[Any]) -> None:
    all_ = [one.subscription for one in records]
    _make_users(connection, [one.user for one in records])
    _execute(
        connection,
        _WRITE_SUBSCRIPTIONS,
        [
            _encoded([one.user for one in records]),
            _encoded([one.endpoint for one in all_]),
            _encoded([one.p256dh for one in all_]),
            _encoded([one.auth for one in all_]),
        ],
    )


_WRITERS: Final[dict[Section, Callable[[Connection, Sequence[Any]], None]]] = {
    Section.USERS: _write_users,
    Section.CONVERSATIONS: _write_conversations,
    Section.PARTICIPANTS: _write_participants,
    Section.MESSAGES: _write_messages,
    Section.INBOXES: _write_inboxes,
    Section.BLOCKS: _write_blocks,
    Section.REVOCATIONS: _write_revocations,
    Section.SUBSCRIPTIONS: _write_subscriptions,
}
