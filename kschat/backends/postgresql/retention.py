"""Deletes messages that are too old or too many: in rounds of small steps, by one daemon at a time.

An inbox and a conversation lose their oldest messages first. A message itself is deleted when neither holds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.backends.age import Late, oldest_kept
from kschat.backends.postgresql.erasure import LOOK_THROUGH, STEP, STEP_MESSAGES, STEP_ROWS
from kschat.backends.postgresql.schema_versions import RETENTION_LOCK
from kschat.backends.rounds import REST, ROUND_INTERVAL, Rounds, rest
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.mids import COUNT_BITS

Connection = psycopg.Connection[Any]

#: In the place of ``REST``, once a round takes longer than the time between two rounds.
HURRIED_REST: Final = 1.0

#: The oldest messages before a number.
_OLD: Final = (
    (
        "SELECT conversation, id, 2 + coalesce(cardinality(members), 1) AS cost FROM messages WHERE id < %(before)s "
        f"ORDER BY id LIMIT {STEP_MESSAGES}"
    ),
    (
        "SELECT conversation, id, 2 + cardinality(members) AS cost FROM updates WHERE id < %(before)s "
        f"ORDER BY id LIMIT {STEP_MESSAGES}"
    ),
)

_IS_LATE: Final = "time < (id >> 16) - 60000 AND time >= (id >> 16) - 2592000000"
_LATE_BEFORE: Final = f"SELECT id, time FROM messages WHERE {_IS_LATE} AND time < %s ORDER BY time DESC LIMIT 1"
_NEWEST_LATE: Final = f"SELECT id, time FROM messages WHERE {_IS_LATE} ORDER BY time DESC LIMIT 1"

#: The next users, and those of them that may have too much. Of an inbox whose offsets once jumped the difference says
#: too much.
_FULL_INBOXES: Final = (
    "SELECT max(id), array_agg(id) FILTER (WHERE last - floor > %(most)s) "
    f"FROM (SELECT id, last, floor FROM users WHERE id > %(after)s ORDER BY id LIMIT {LOOK_THROUGH}) AS u"
)
_BEYOND_NEWEST: Final = "SELECT place FROM inbox WHERE user_id = %s ORDER BY place DESC OFFSET %s LIMIT 1"
_TRIM_INBOX: Final = (
    "WITH lost AS (DELETE FROM inbox WHERE user_id = %(user)s AND place IN (SELECT place FROM inbox "
    f"WHERE user_id = %(user)s AND place <= %(upto)s ORDER BY place LIMIT {STEP_ROWS}) RETURNING place) "
    "UPDATE users SET floor = greatest(floor, (SELECT max(place) FROM lost)) WHERE id = %(user)s "
    "RETURNING (SELECT count(*) FROM lost)"
)

#: The next conversations, and those of them that have too much, or anything that they show no more, or updates.
_FULL_CONVERSATIONS: Final = (
    "SELECT max(id), array_agg(id) FILTER (WHERE total - gone > %(most)s "
    "OR gone >= (SELECT m.total FROM messages m WHERE m.conversation = c.id ORDER BY m.id LIMIT 1) "
    "OR EXISTS (SELECT FROM updates u WHERE u.conversation = c.id)) "
    f"FROM (SELECT id, total, gone FROM conversations WHERE id > %(after)s ORDER BY id LIMIT {LOOK_THROUGH}) AS c"
)

#: What conversations show no more, and whether an inbox holds it.
_HIDDEN: Final = (
    "SELECT m.id, CASE WHEN m.recipient IS NULL THEN EXISTS (SELECT FROM unnest(m.members, m.places) AS x (id, place) "
    "JOIN users u ON u.id = x.id WHERE x.place > u.floor) "
    "ELSE m.place > (SELECT floor FROM users WHERE id = m.recipient) END "
    "FROM messages m JOIN conversations c ON c.id = m.conversation "
    "WHERE m.conversation = %(talk)s AND m.id > %(after)s AND m.total <= c.gone "
    f"ORDER BY m.id LIMIT {STEP_MESSAGES}"
)
_UPDATES: Final = (
    "SELECT d.id, EXISTS (SELECT FROM unnest(d.members, d.places) AS x (id, place) "
    "JOIN users u ON u.id = x.id WHERE x.place > u.floor) "
    f"FROM updates d WHERE d.conversation = %(talk)s ORDER BY d.id LIMIT {STEP_MESSAGES}"
)


class Retention:
    """The rounds of one daemon.

    Args:
        work: calls a function with the connection, on the writer thread, in a transaction.
        seconds: the age at which messages go; 0 for none.
        most: messages that are kept in an inbox and in a conversation; 0 for all.
        clock: the reactor, for the rests.
        wall: tells how old messages are.
    """

    def __init__(
        self,
        work: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        seconds: float,
        most: int,
        clock: IReactorTime,
        wall: WallClock,
    ) -> None:
        self._work = work
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._wall = wall
        self._begun = 0.0
        self._rounds = Rounds(clock, self._sweep, "old messages could not be deleted")

    def start(self) -> None:
        """Begin, where anything is bounded."""
        if self._seconds or self._most:
            self._rounds.start()

    def stop(self) -> Deferred[None]:
        """End, also amid a round: what was begun is done by the next."""
        return self._rounds.stop()

    def sweep(self) -> Deferred[None]:
        """One round, unless one is on its way, here or at another daemon."""
        return self._rounds.begin()

    async def _sweep(self) -> None:
        self._begun = self._clock.seconds()
        try:
            if self._seconds:
                before = await self._step(self._oldest_kept)
                for part in _OLD:
                    while await self._step(partial(_remove_old, part=part, before=before)):
                        pass
            if self._most:
                await self._trim_inboxes()
                await self._trim_conversations()
        except _ElsewhereError:
            return

    async def _step(self, work: Callable[[Connection], Any]) -> Any:
        """Do a step, and rest."""
        began = self._clock.seconds()
        got, result = await self._work(partial(_alone, work=work))
        if not got:
            raise _ElsewhereError
        ended = self._clock.seconds()
        hurried = ended - self._begun >= ROUND_INTERVAL
        await rest(self._clock, ended - began, times=HURRIED_REST if hurried else REST)
        return result

    def _oldest_kept(self, connection: Connection) -> int:
        now = milliseconds(self._wall)
        before = max(now - int(self._seconds * 1000), 0)
        old = _one(connection, _LATE_BEFORE, (before,))
        newest = _one(connection, _NEWEST_LATE, ())
        (last,) = _one(connection, "SELECT coalesce(max(last), 0) FROM conversations", ()) if old else (0,)
        if old is None or newest is None:
            return before << COUNT_BITS
        return oldest_kept(before, now, last, Late(*old), Late(*newest))

    async def _trim_inboxes(self) -> None:
        after: int | None = 0
        while after is not None:
            after, full = await self._step(partial(_found, query=_FULL_INBOXES, most=self._most, after=after))
            for user in full:
                upto = await self._step(partial(_beyond, user=user, most=self._most))
                while upto is not None and await self._step(partial(_trim_inbox, user=user, upto=upto)) == STEP_ROWS:
                    pass

    async def _trim_conversations(self) -> None:
        after: int | None = 0
        while after is not None:
            after, full = await self._step(partial(_found, query=_FULL_CONVERSATIONS, most=self._most, after=after))
            for talk in full:
                while await self._step(partial(_hide, talk=talk, most=self._most)):
                    pass
                last: int | None = 0
                while last is not None:
                    last = await self._step(partial(_remove_hidden, talk=talk, after=last))
                while await self._step(partial(_remove_updates, talk=talk)):
                    pass


class _ElsewhereError(Exception):
    """Another daemon deletes."""


def _alone(connection: Connection, work: Callable[[Connection], Any]) -> tuple[bool, Any]:
    """Whether no other daemon deletes right now, and what came of ``work`` then."""
    (got,) = _one(connection, "SELECT pg_try_advisory_xact_lock(%s)", (RETENTION_LOCK,))
    return (True, work(connection)) if got else (False, None)


def _one(connection: Connection, statement: str, parameters: Any) -> Any:
    return connection.execute(statement.encode(), parameters, binary=True).fetchone()


def _remove(connection: Connection, talks: Sequence[int], numbers: Sequence[int]) -> int:
    (removed,) = _one(connection, "SELECT remove(%s::bigint[], %s::bigint[], true)", (list(talks), list(numbers)))
    return int(removed)


def _remove_old(connection: Connection, part: str, before: int) -> int:
    talks, numbers = _one(connection, f"WITH k AS MATERIALIZED ({part}) {STEP}", {"before": before})
    return _remove(connection, talks, numbers) if talks else 0


def _found(connection: Connection, query: str, most: int, after: int) -> tuple[int | None, list[int]]:
    last, full = _one(connection, query, {"most": most, "after": after})
    return last, full or []


def _beyond(connection: Connection, user: int, most: int) -> int | None:
    row = _one(connection, _BEYOND_NEWEST, (user, most))
    return None if row is None else int(row[0])


def _trim_inbox(connection: Connection, user: int, upto: int) -> int:
    # First, as all others do who delete from inboxes.
    connection.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (user,))
    return int(_one(connection, _TRIM_INBOX, {"user": user, "upto": upto})[0])


def _hide(connection: Connection, talk: int, most: int) -> bool:
    return bool(_one(connection, f"SELECT hide(%s, %s, {STEP_MESSAGES})", (talk, most))[0])


def _remove_hidden(connection: Connection, talk: int, after: int) -> int | None:
    """Remove what no inbox holds; after which message to go on, None at the end."""
    rows = connection.execute(_HIDDEN.encode(), {"talk": talk, "after": after}, binary=True).fetchall()
    unheld = [id_ for id_, held in rows if not held]
    if unheld:
        _remove(connection, [talk] * len(unheld), unheld)
    return rows[-1][0] if len(rows) == STEP_MESSAGES else None


def _remove_updates(connection: Connection, talk: int) -> bool:
    """Remove the oldest updates, up to one that an inbox holds. Whether there may be more."""
    rows = connection.execute(_UPDATES.encode(), {"talk": talk}, binary=True).fetchall()
    unheld = []
    for id_, held in rows:
        if held:
            break
        unheld.append(id_)
    if unheld:
        _remove(connection, [talk] * len(unheld), unheld)
    return len(unheld) == STEP_MESSAGES
