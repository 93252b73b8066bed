"""What is kept for hooks: the tables ``hook_*``. Only the writer thread writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.chat.conversations import is_room
from kschat.chat.mids import mid_of
from kschat.chat.outbox import (
    MAX_DROPPED,
    MAX_JOINS,
    MAX_PLACES,
    Backlog,
    Commit,
    Event,
    Join,
    Logged,
    LogPage,
    Queued,
    Retry,
    WaitingUser,
)

#: Events that one step of erasing a user looks at.
ERASE_EVENTS: Final = 1000

#: Messages after a position; an update has ``total`` 0.
LOG: Final = (
    "SELECT m.id, m.suffix, (SELECT name FROM users WHERE id = m.sender), "
    "(SELECT room FROM conversations WHERE id = m.conversation), "
    "(SELECT name FROM users WHERE id = m.recipient), m.place, m.places, m.time, m.total "
    "FROM messages m WHERE m.id > (SELECT position FROM hook_progress) AND m.id <= ? ORDER BY m.id LIMIT ?"
)

PLACES: Final = (
    "SELECT users.name, json_extract(value, '$[1]') FROM json_each(?) "
    "CROSS JOIN users ON users.id = json_extract(value, '$[0]') ORDER BY key"
)

END: Final = "SELECT coalesce((SELECT max(id) FROM messages), 0)"

JOINS: Final = "SELECT number, room, user, at FROM hook_joins WHERE number > 0 ORDER BY number LIMIT ?"

CONNECTED: Final = "SELECT user FROM hook_connected WHERE user IN ({})"

ALL_CONNECTED: Final = "SELECT user FROM hook_connected WHERE user > ? ORDER BY user LIMIT ?"

CURSORS: Final = "SELECT name, cursor FROM users WHERE name IN ({})"

WAITING: Final = "SELECT user, due, told FROM hook_waiting WHERE due <= ? ORDER BY due LIMIT ?"

QUEUED: Final = (
    "SELECT number, id, type, user, at, data, named, attempts, note FROM hook_events "
    "WHERE consumer = ? AND due <= ? ORDER BY due, number LIMIT ?"
)

OLDEST: Final = "SELECT number, at FROM hook_events WHERE number > 0 ORDER BY number LIMIT ?"

#: Events, a part at a time: whom they name.
NAMED: Final = "SELECT number, user, named FROM hook_events WHERE number > ? ORDER BY number LIMIT ?"

_INSERT: Final = (
    "INSERT INTO hook_events (consumer, id, type, user, at, data, named, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

_names: Final = msgspec.json.Encoder().encode
_named: Final = msgspec.json.Decoder(tuple[str, ...]).decode


class HookTables:
    """Writes the tables of one open database, in a transaction of its caller.

    Args:
        connection: of the writer thread.
        on: whether hooks are on.

    Attributes:
        on: see above.
        events: how many events there are.
        lost_joins: joins that were dropped, and not told yet.
    """

    def __init__(self, connection: sqlite3.Connection, *, on: bool) -> None:
        self._connection = connection
        self._execute = connection.execute
        self.on = on
        self.lost_joins = 0
        self.events: int = self._execute("SELECT count(*) FROM hook_events").fetchone()[0]

    @property
    def has_turned(self) -> bool:
        """Whether hooks were off when the database was open before, and are on now, or the other way round."""
        (position,) = self._execute("SELECT position FROM hook_progress").fetchone()
        return (position is not None) is not self.on

    def turn(self, number: int) -> None:
        """Hooks are on from the message with this number on, or are off."""
        self._execute("UPDATE hook_progress SET position = ?", (number if self.on else None,))

    def joined(self, room: str, user: str, at: int) -> None:
        """A user became a member of a room."""
        self._execute("INSERT INTO hook_joins (room, user, at) VALUES (?, ?, ?)", (room, user, at))
        dropped = self._execute("DELETE FROM hook_joins WHERE number <= last_insert_rowid() - ?", (MAX_JOINS,)).rowcount
        self.lost_joins += dropped

    def commit(self, commit: Commit) -> int:
        """See ``IOutbox.commit``, without the marks."""
        many = self._connection.executemany
        if commit.log is not None:
            self._execute("UPDATE hook_progress SET position = max(position, ?)", (int(commit.log),))
        if commit.joins:
            self._execute("DELETE FROM hook_joins WHERE number <= ?", (commit.joins,))
        many("INSERT OR IGNORE INTO hook_connected VALUES (?)", [(user,) for user in commit.connected])
        many("DELETE FROM hook_connected WHERE user = ?", [(user,) for user in commit.disconnected])
        many("DELETE FROM hook_waiting WHERE user = ?", [(user,) for user in commit.settled])
        many(
            "INSERT OR REPLACE INTO hook_waiting VALUES (?, ?, ?)",
            [(one.user, one.due, one.told) for one in commit.waiting],
        )
        many("INSERT OR IGNORE INTO hook_waiting VALUES (?, ?, 0)", list(commit.undelivered.items()))
        added = 0
        for consumer, events in commit.events.items():
            many(_INSERT, [_row_of(consumer, event) for event in events])
            added += len(events)
        self.events += added
        dropped = min(max(self.events - commit.most, 0), MAX_DROPPED + added)
        if dropped:
            self._delete([number for number, _ in self._execute(OLDEST, (dropped,))])
        return dropped

    def settle(self, done: Sequence[int], again: Sequence[Retry]) -> None:
        """See ``IOutbox.settle``."""
        self._delete(done)
        self._connection.executemany(
            "UPDATE hook_events SET due = ?, attempts = ?, note = ? WHERE number = ?",
            [(one.due, one.attempts, one.note, one.number) for one in again],
        )

    def expire(self, before: int, limit: int) -> int:
        """See ``IOutbox.expire``."""
        # Nothing is too old, mostly: to see that, one is read.
        first = self._execute(OLDEST, (1,)).fetchone()
        if first is None or first[1] >= before:
            return 0
        oldest = self._execute(OLDEST, (limit,)).fetchall()
        return self._delete([number for number, _ in takewhile(lambda one: one[1] < before, oldest)])

    def _delete(self, numbers: Sequence[int]) -> int:
        rows = [(number,) for number in numbers]
        deleted: int = self._connection.executemany("DELETE FROM hook_events WHERE number = ?", rows).rowcount
        self.events -= deleted
        return deleted

    def backlog(self) -> Backlog:
        """See ``IOutbox.backlog``."""
        oldest = self._execute(OLDEST, (1,)).fetchone()
        lost_joins, self.lost_joins = self.lost_joins, 0
        return Backlog(self.events, None if oldest is None else oldest[1], lost_joins=lost_joins)

    def erase(self, user: str) -> None:
        """Delete what is kept of a user, but for events."""
        for table in ("hook_joins", "hook_connected", "hook_waiting"):
            self._execute(f"DELETE FROM {table} WHERE user = ?", (user,))

    def erase_events(self, user: str, after: int) -> int | None:
        """Delete some of the events that are about a user, or name the user.

        Args:
            user: who is erased.
            after: the last event that was looked at; 0 at first.

        Returns:
            The same for the next call; None if all were looked at.
        """
        rows = self._execute(NAMED, (after, ERASE_EVENTS)).fetchall()
        self._delete([number for number, about, named in rows if about == user or user in _named(named)])
        return int(rows[-1][0]) if len(rows) == ERASE_EVENTS else None


def _row_of(consumer: str, event: Event) -> tuple[Any, ...]:
    named = _names(event.named).decode()
    return (consumer, event.id, event.type, event.user, event.at, bytes(event.data), named, event.at)


# On a reader thread.


def log(connection: sqlite3.Connection, upto: int, limit: int) -> LogPage:
    """See ``IOutbox.log``."""
    listed: list[Logged] = []
    count = last = 0
    # Row by row: the places of one message may have 100 kB.
    with closing(connection.execute(LOG, (upto, limit))) as rows:
        for number, suffix, sender, room, recipient, place, places, time, total in rows:
            last = number
            if not total:
                continue
            if recipient is not None:
                found: list[tuple[str, int]] = [(recipient, place)]
            else:
                # (Of a user who was erased only the number is left, with a name that is a room's.)
                found = [one for one in connection.execute(PLACES, (places,)).fetchall() if not is_room(one[0])]
            listed.append(Logged(mid_of(number, suffix), sender, room, time, tuple(found)))
            count += len(found)
            if count >= MAX_PLACES:
                break
    if not last:
        (position,) = connection.execute("SELECT position FROM hook_progress").fetchone()
        return LogPage((), str(upto) if position is not None and upto > position else None)
    return LogPage(listed, str(last))


def end(connection: sqlite3.Connection) -> str:
    """See ``IOutbox.end``."""
    return str(connection.execute(END).fetchone()[0])


def joins(connection: sqlite3.Connection, limit: int) -> list[Join]:
    """See ``IOutbox.joins``."""
    return [Join(*row) for row in connection.execute(JOINS, (limit,)).fetchall()]


def connected(connection: sqlite3.Connection, users: Sequence[str]) -> set[str]:
    """See ``IOutbox.connected``."""
    found = connection.execute(CONNECTED.format(", ".join("?" * len(users))), list(users))
    return {user for (user,) in found.fetchall()}


def all_connected(connection: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Users who are known as connected, in the order of their ids, from one on."""
    return [user for (user,) in connection.execute(ALL_CONNECTED, (after, limit)).fetchall()]


def cursors(connection: sqlite3.Connection, users: Sequence[str]) -> dict[str, int]:
    """See ``IOutbox.cursors``."""
    return dict(connection.execute(CURSORS.format(", ".join("?" * len(users))), list(users)).fetchall())


def waiting(connection: sqlite3.Connection, before: int, limit: int) -> list[WaitingUser]:
    """See ``IOutbox.waiting``."""
    return [WaitingUser(*row) for row in connection.execute(WAITING, (before, limit)).fetchall()]


def queued(connection: sqlite3.Connection, consumer: str, before: int, limit: int) -> list[Queued]:
    """See ``IOutbox.queued``."""
    found = []
    for number, id_, type_, user, at, data, named, attempts, note in connection.execute(
        QUEUED, (consumer, before, limit)
    ).fetchall():
        event = Event(id_, type_, user, at, Raw(data), _named(named))
        found.append(Queued(number, event, attempts, note))
    return found
