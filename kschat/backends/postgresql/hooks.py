"""What is kept for hooks: the tables ``hook_*``, by functions that get a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from msgspec import Raw, structs

from kschat.backends.postgresql.wire import Call
from kschat.chat.mids import mid_of
from kschat.chat.outbox import (
    MAX_DROPPED,
    MAX_JOINS,
    MAX_LOG,
    MAX_MARKS,
    MAX_PLACES,
    Backlog,
    Commit,
    Event,
    Join,
    Logged,
    LogPage,
    Mark,
    Queued,
    Retry,
    WaitingUser,
)

Connection = psycopg.Connection[Any]

#: Events that one step of erasing a user looks at.
ERASE_EVENTS: Final = 1000

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

#: Around a call of ``append``: what it has kept is logged, in its transaction. While the log is full, it is counted.
LOGGED: Final = (
    "WITH r AS MATERIALIZED ({}), b AS MATERIALIZED (SELECT array_agg(first ORDER BY n) AS talks, "
    "array_agg(number ORDER BY n) AS ids, (SELECT last_value FROM hook_log_number_seq) "
    f"- (SELECT number FROM hook_log ORDER BY number LIMIT 1) >= {MAX_LOG} IS TRUE AS is_full "
    "FROM r WHERE outcome = 0 HAVING count(*) > 0), "
    f"logged AS (INSERT INTO hook_log (at, talks, ids) SELECT {_NOW}, talks, ids FROM b WHERE NOT is_full), "
    "lost AS (UPDATE hook_state SET lost_messages = lost_messages + cardinality(ids) FROM b WHERE is_full) "
    "SELECT * FROM r"
)

#: A call of ``join_room``, which logs that the user is a member now. The oldest joins are dropped, beyond the bound.
JOIN: Final = (
    "WITH r AS MATERIALIZED (SELECT join_room(%(room)s, %(user)s, %(most)s, %(most_rooms)s) AS answer), "
    f"i AS (INSERT INTO hook_joins (room, user_name, at) SELECT %(room)s, %(user)s, {_NOW} FROM r WHERE answer = 1 "
    "RETURNING number), "
    f"d AS (DELETE FROM hook_joins WHERE number <= (SELECT number FROM i) - {MAX_JOINS} RETURNING 1), "
    "c AS (UPDATE hook_state SET lost_joins = lost_joins + (SELECT count(*) FROM d) WHERE EXISTS (SELECT FROM d)) "
    "SELECT answer FROM r"
)

_ACQUIRE: Final = (
    "UPDATE hook_state SET holder = %(holder)s, until = clock_timestamp() + %(seconds)s * interval '1 second' "
    "WHERE holder = %(holder)s OR holder IS NULL OR until < clock_timestamp() RETURNING true"
)

#: Batches up to a number, as many as have so many messages; of these, as many as have so many places.
_LOG: Final = (
    "WITH l AS MATERIALIZED (SELECT number, at, talks, ids FROM ("
    "SELECT *, sum(cardinality(ids)) OVER (ORDER BY number) - cardinality(ids) AS before FROM ("
    "SELECT * FROM hook_log WHERE number <= %(upto)s ORDER BY number LIMIT %(limit)s) AS s) AS s "
    "WHERE before < %(limit)s), "
    "k AS MATERIALIZED (SELECT l.number, l.at, t.n, m.id, m.suffix, m.sender, m.recipient, m.place, m.members, "
    "m.places, m.conversation, sum(coalesce(cardinality(m.members), 1)) OVER (ORDER BY l.number, t.n) "
    "- coalesce(cardinality(m.members), 1) AS before "
    "FROM l CROSS JOIN LATERAL unnest(l.talks, l.ids) WITH ORDINALITY AS t (talk, id, n) "
    "LEFT JOIN messages m ON m.conversation = t.talk AND m.id = t.id), "
    f"w AS MATERIALIZED (SELECT k.*, min(before) OVER (PARTITION BY number) < {MAX_PLACES} AS fits FROM k) "
    "SELECT w.number, w.at, w.id, w.suffix, s.name, c.room, r.name, w.place, o.names, o.places FROM w "
    "LEFT JOIN users s ON s.id = w.sender LEFT JOIN users r ON r.id = w.recipient "
    "LEFT JOIN conversations c ON c.id = w.conversation LEFT JOIN LATERAL ("
    "SELECT array_agg(u.name ORDER BY x.n) AS names, array_agg(x.place ORDER BY x.n) AS places "
    "FROM unnest(w.members, w.places) WITH ORDINALITY AS x (id, place, n) "
    "JOIN users u ON u.id = x.id WHERE u.name IS NOT NULL) AS o ON true WHERE w.fits ORDER BY w.number, w.n"
)

#: Marks users who are marked already, and others as far as there is room; how many were not.
_MARK: Final = (
    "WITH w AS MATERIALIZED (SELECT DISTINCT u.name, m.user_name IS NULL AS is_new FROM unnest(%(users)s::bytea[]) "
    "AS u (name) LEFT JOIN hook_marks m ON m.user_name = u.name), "
    "t AS MATERIALIZED (SELECT name, is_new, row_number() OVER (PARTITION BY is_new ORDER BY name) AS n FROM w), "
    f"f AS MATERIALIZED (SELECT name FROM t WHERE NOT is_new OR n <= {MAX_MARKS} - (SELECT count(*) FROM hook_marks)), "
    "i AS (INSERT INTO hook_marks (user_name) SELECT name FROM f ORDER BY name "
    "ON CONFLICT (user_name) DO UPDATE SET number = excluded.number) "
    "SELECT (SELECT count(*) FROM w) - (SELECT count(*) FROM f)"
)

_QUEUED: Final = (
    "SELECT number, id, type, user_name, at, data, named, attempts, note FROM hook_events "
    "WHERE consumer = %s AND due <= %s ORDER BY due, number LIMIT %s"
)

_INSERT: Final = (
    "INSERT INTO hook_events (consumer, id, type, user_name, at, data, named, due) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s::bytea[], %s)"
)

_COUNT: Final = "UPDATE hook_state SET events = events + %s RETURNING events"

_OLDEST: Final = "SELECT number, at FROM hook_events ORDER BY number LIMIT %s"

#: A part of the events: the last one's number, and those that are of a user or name the user.
_NAMED: Final = (
    "SELECT max(number), count(*), array_agg(number) FILTER (WHERE user_name = %(user)s OR %(user)s = ANY (named)) "
    f"FROM (SELECT * FROM hook_events WHERE number > %(after)s ORDER BY number LIMIT {ERASE_EVENTS}) AS s"
)

_BACKLOG: Final = (
    "WITH before AS MATERIALIZED (SELECT * FROM hook_state FOR UPDATE) "
    "UPDATE hook_state h SET lost_messages = 0, lost_joins = 0, lost_marks = 0 FROM before b "
    "RETURNING b.events, (SELECT at FROM hook_events ORDER BY number LIMIT 1), "
    "b.lost_messages, b.lost_joins, b.lost_marks"
)


def logged(call: Call) -> Call:
    """The same call of ``append``, which logs what it keeps."""
    return structs.replace(call, sql=LOGGED.replace("{}", call.sql.decode()).encode())


def acquire(connection: Connection, holder: str, seconds: float) -> bool:
    """See ``IOutbox.acquire``."""
    return bool(_rows(connection, _ACQUIRE, {"holder": holder, "seconds": seconds}))


def release(connection: Connection, holder: str) -> None:
    """See ``IOutbox.release``."""
    connection.execute("UPDATE hook_state SET holder = NULL WHERE holder = %s", (holder,))


def end(connection: Connection) -> str:
    """See ``IOutbox.end``."""
    return str(_rows(connection, "SELECT coalesce(max(number), 0) FROM hook_log")[0][0])


def log(connection: Connection, upto: str, limit: int) -> LogPage:
    """See ``IOutbox.log``. ``LogPage.upto``: the numbers of the batches."""
    listed: list[Logged] = []
    numbers: dict[int, None] = {}
    rows = _rows(connection, _LOG, {"upto": int(upto), "limit": limit})
    for number, at, id_, suffix, sender, room, recipient, place, names, places in rows:
        numbers[number] = None
        # (It may have been deleted since, or its sender erased.)
        if id_ is None or sender is None:
            continue
        if room is not None:
            found = tuple([(name.decode(), offset) for name, offset in zip(names or (), places or (), strict=True)])
        else:
            found = ((recipient.decode(), place),) if recipient is not None else ()
        mid = mid_of(id_, suffix.decode())
        listed.append(Logged(mid, sender.decode(), None if room is None else room.decode(), at, found))
    return LogPage(listed, ",".join(map(str, numbers)) or None)


def joins(connection: Connection, limit: int) -> list[Join]:
    """See ``IOutbox.joins``."""
    rows = _rows(connection, "SELECT number, room, user_name, at FROM hook_joins ORDER BY number LIMIT %s", (limit,))
    return [Join(number, room.decode(), user.decode(), at) for number, room, user, at in rows]


def mark(connection: Connection, users: Sequence[str]) -> None:
    """See ``IOutbox.mark``."""
    (lost,) = _rows(connection, _MARK, {"users": _encoded(users)})[0]
    if lost:
        connection.execute("UPDATE hook_state SET lost_marks = lost_marks + %s", (lost,))


def marks(connection: Connection, limit: int) -> list[Mark]:
    """See ``IOutbox.marks``."""
    rows = _rows(connection, "SELECT user_name, number FROM hook_marks ORDER BY number LIMIT %s", (limit,))
    return [Mark(user.decode(), number) for user, number in rows]


def connected(connection: Connection, users: Sequence[str]) -> set[str]:
    """See ``IOutbox.connected``."""
    statement = "SELECT user_name FROM hook_connected WHERE user_name = ANY (%s::bytea[])"
    return {user.decode() for (user,) in _rows(connection, statement, (_encoded(users),))}


def all_connected(connection: Connection, after: str, limit: int) -> list[str]:
    """Users who are known as connected, in the order of their ids, from one on."""
    statement = "SELECT user_name FROM hook_connected WHERE user_name > %s ORDER BY user_name LIMIT %s"
    return [user.decode() for (user,) in _rows(connection, statement, (after.encode(), limit))]


def cursors(connection: Connection, users: Sequence[str]) -> dict[str, int]:
    """See ``IOutbox.cursors``."""
    statement = "SELECT name, cursor FROM users WHERE name = ANY (%s::bytea[])"
    return {user.decode(): cursor for user, cursor in _rows(connection, statement, (_encoded(users),))}


def waiting(connection: Connection, before: int, limit: int) -> list[WaitingUser]:
    """See ``IOutbox.waiting``."""
    statement = "SELECT user_name, due, told FROM hook_waiting WHERE due <= %s ORDER BY due, user_name LIMIT %s"
    return [WaitingUser(user.decode(), due, told) for user, due, told in _rows(connection, statement, (before, limit))]


def commit(connection: Connection, holder: str, commit: Commit) -> int:
    """See ``IOutbox.commit``. -1: another daemon has the lease."""
    execute = connection.execute
    with connection.transaction(), connection.cursor() as cursor:
        many = cursor.executemany
        found = execute("SELECT holder FROM hook_state FOR UPDATE").fetchone()
        if found is None or found[0] != holder:
            return -1
        if commit.log is not None:
            numbers = [int(number) for number in commit.log.split(",")]
            execute("DELETE FROM hook_log WHERE number = ANY (%s::bigint[])", (numbers,))
        if commit.joins:
            execute("DELETE FROM hook_joins WHERE number <= %s", (commit.joins,))
        many(
            "DELETE FROM hook_marks WHERE user_name = %s AND number = %s",
            [(one.user.encode(), one.number) for one in commit.marks],
        )
        many(
            "INSERT INTO hook_connected VALUES (%s) ON CONFLICT DO NOTHING",
            [(user,) for user in _encoded(commit.connected)],
        )
        for table, users in (("connected", commit.disconnected), ("waiting", commit.settled)):
            if users:
                execute(f"DELETE FROM hook_{table} WHERE user_name = ANY (%s::bytea[])", (_encoded(users),))
        many(
            "INSERT INTO hook_waiting VALUES (%s, %s, %s) "
            "ON CONFLICT (user_name) DO UPDATE SET due = excluded.due, told = excluded.told",
            [(one.user.encode(), one.due, one.told) for one in commit.waiting],
        )
        many(
            "INSERT INTO hook_waiting VALUES (%s, %s, 0) ON CONFLICT DO NOTHING",
            [(user.encode(), due) for user, due in commit.undelivered.items()],
        )
        rows = [_row_of(consumer, event) for consumer, events in commit.events.items() for event in events]
        many(_INSERT, rows)
        (events,) = _rows(connection, _COUNT, (len(rows),))[0]
        dropped = min(max(events - commit.most, 0), MAX_DROPPED + len(rows))
        if dropped:
            _delete(connection, [number for number, _ in _rows(connection, _OLDEST, (dropped,))])
        return int(dropped)


def queued(connection: Connection, consumer: str, before: int, limit: int) -> list[Queued]:
    """See ``IOutbox.queued``."""
    found = []
    for number, id_, type_, user, at, data, named, attempts, note in _rows(
        connection, _QUEUED, (consumer, before, limit)
    ):
        event = Event(id_, type_, user.decode(), at, Raw(data), tuple([name.decode() for name in named]))
        found.append(Queued(number, event, attempts, note))
    return found


def settle(connection: Connection, done: Sequence[int], again: Sequence[Retry]) -> None:
    """See ``IOutbox.settle``."""
    with connection.transaction(), connection.cursor() as cursor:
        if done:
            _delete(connection, done)
        cursor.executemany(
            "UPDATE hook_events SET due = %s, attempts = %s, note = %s WHERE number = %s",
            [(one.due, one.attempts, one.note, one.number) for one in again],
        )


def expire(connection: Connection, before: int, limit: int) -> int:
    """See ``IOutbox.expire``."""
    with connection.transaction():
        return _delete(connection, [number for number, at in _rows(connection, _OLDEST, (limit,)) if at < before])


def backlog(connection: Connection) -> Backlog:
    """See ``IOutbox.backlog``."""
    return Backlog(*_rows(connection, _BACKLOG)[0])


def erase(connection: Connection, user: str) -> None:
    """Delete what is kept of a user, but for events, in the open transaction."""
    for table in ("joins", "marks", "connected", "waiting"):
        connection.execute(f"DELETE FROM hook_{table} WHERE user_name = %s", (user.encode(),))


def erase_events(connection: Connection, user: str, after: int) -> int | None:
    """Delete some of the events that are about a user, or name the user, in the open transaction.

    Args:
        connection: to the database.
        user: who is erased.
        after: the last event that was looked at; 0 at first.

    Returns:
        The same for the next call; None if all were looked at.
    """
    last, looked, numbers = _rows(connection, _NAMED, {"user": user.encode(), "after": after})[0]
    if numbers:
        _delete(connection, numbers)
    return int(last) if looked == ERASE_EVENTS else None


def _delete(connection: Connection, numbers: Sequence[int]) -> int:
    """Delete events, in the open transaction. The lock of the count comes first, as in ``commit``."""
    connection.execute("SELECT FROM hook_state FOR UPDATE")
    deleted = connection.execute("DELETE FROM hook_events WHERE number = ANY (%s::bigint[])", (list(numbers),)).rowcount
    connection.execute(_COUNT, (-deleted,))
    return deleted


def _row_of(consumer: str, event: Event) -> tuple[Any, ...]:
    user = event.user.encode()
    return (consumer, event.id, event.type, user, event.at, bytes(event.data), _encoded(event.named), event.at)


def _encoded(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names]


def _rows(connection: Connection, statement: str, parameters: Any = None) -> list[Any]:
    return connection.execute(statement.encode(), parameters, binary=True).fetchall()
