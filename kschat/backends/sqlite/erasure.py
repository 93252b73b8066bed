"""Erases a user, in small steps. Only the writer thread uses it.

Messages in the midst of an inbox or a conversation are deleted here, while retention deletes the oldest. Of the user a
row stays in the table ``users``, without the name, since messages to rooms refer to its number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from kschat.backends.packed import extra_of
from kschat.backends.sqlite.retention import CIDS, DELETE, DELETE_CID, DOOM, SPARE, UNLINK
from kschat.backends.sqlite.rows import COLUMNS, message_of
from kschat.chat.changes import without_reaction

#: Rows of one step, about; more only if a single message has more. Senders wait for it.
STEP_ROWS: Final = 500

#: The messages of a step, with how many rows each has in all tables, about.
_ROWS_OF: Final = "SELECT id, 3 + coalesce(json_array_length(places), 1) FROM messages WHERE id IN ({}) ORDER BY id"

#: In place of the floor, which would say that nothing before is kept.
_GIVEN: Final = """UPDATE users SET given = max(given, last.offset)
    FROM (SELECT user, max(offset) AS offset FROM temp.gone GROUP BY user) AS last WHERE users.id = last.user"""

_DIRECT: Final = (
    "SELECT p.conversation FROM participants p CROSS JOIN conversations c ON c.id = p.conversation "
    "WHERE p.user = :user AND c.room IS NULL"
)

_LEFT_OVER: Final = f"SELECT message FROM thread WHERE conversation IN ({_DIRECT}) LIMIT 100"

#: With how many rows are looked at for each, about.
_OLDEST: Final = (
    "SELECT i.offset, i.message, 3 + coalesce(json_array_length(m.places), 1) FROM inbox i "
    "LEFT JOIN messages m ON m.id = i.message WHERE i.user = ? ORDER BY i.offset LIMIT 100"
)

#: The last offset that was given to a user.
_LAST: Final = """SELECT max(floor, given, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0))
    FROM users WHERE id = :user"""

_LEAVE: Final = (
    f"UPDATE progress SET erased = max(erased, ({_LAST}))",
    f"UPDATE users SET given = ({_LAST}) WHERE id = :user",
    """DELETE FROM participants WHERE user = :user AND EXISTS (
        SELECT 1 FROM conversations c WHERE c.id = participants.conversation AND c.room IS NOT NULL)""",
    "DELETE FROM blocks WHERE user = :user",
    "DELETE FROM blocks WHERE peer = :user",
    "UPDATE users SET rooms = 0 WHERE id = :user",
)

_FORGET: Final = (
    f"UPDATE progress SET erased = max(erased, ({_LAST}))",
    f"INSERT INTO temp.touched {_DIRECT}",
    "DELETE FROM participants WHERE conversation IN (SELECT id FROM temp.touched)",
    "DELETE FROM conversations WHERE id IN (SELECT id FROM temp.touched)",
    "DELETE FROM temp.touched",
    "DELETE FROM subscriptions WHERE user = :user",
    # No user's id begins so.
    """UPDATE users SET name = '#' || id, cursor = 0, floor = 0, given = 0, seen = NULL, rooms = 0 WHERE id = :user""",
)


class Erasure:
    """Erases users of one open database.

    Args:
        connection: all messages are in all tables, and a transaction is open, whenever a method is called.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def user(self, name: str) -> int | None:
        """The number of a user; None if nothing is known of the user."""
        row = self._execute("SELECT id FROM users WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def leave(self, user: int) -> None:
        """The user is a member of no room from now on, and in no block list."""
        for statement in _LEAVE:
            self._execute(statement, {"user": user} if ":user" in statement else ())

    def messages(self, ids: Sequence[int]) -> list[int]:
        """Delete the first of some messages, wherever they are; return the others."""
        some = list(ids[:STEP_ROWS])
        doomed: list[tuple[int]] = []
        rows = 0
        for id_, count in self._execute(_ROWS_OF.format(", ".join("?" * len(some))), some):
            doomed.append((id_,))
            rows += count
            if rows >= STEP_ROWS:
                break
        done = doomed[-1][0] if rows >= STEP_ROWS else max(some, default=0)
        self._delete(doomed)
        return [id_ for id_ in ids if id_ > done]

    def reactions(self, ids: Sequence[int], name: str) -> None:
        """Take the reactions of a user back."""
        for id_ in ids:
            row = self._execute(f"SELECT {COLUMNS} FROM messages m WHERE m.id = ?", (id_,)).fetchone()
            if row is not None:
                after = without_reaction(message_of(row), name)
                self._execute("UPDATE messages SET extra = ? WHERE id = ?", (extra_of(after), id_))

    def left_over(self, user: int) -> int:
        """Delete some of what came in conversations of two since they were looked at; return how many messages."""
        found = [(id_,) for (id_,) in self._execute(_LEFT_OVER, {"user": user})]
        self._delete(found)
        return len(found)

    def inbox(self, user: int) -> bool:
        """Empty a part of the user's inbox: what is left are messages to rooms. Returns whether there may be more."""
        doomed: list[tuple[int]] = []
        upto = rows = 0
        for offset, message, count in self._execute(_OLDEST, (user,)).fetchall():
            doomed.append((message,))
            upto, rows = offset, rows + count
            if rows >= STEP_ROWS:
                break
        if not doomed:
            return False
        self._connection.executemany(DOOM, doomed)
        self._execute("DELETE FROM inbox WHERE user = ? AND offset <= ?", (user, upto))
        for statement in SPARE:
            self._execute(statement)
        self._delete_messages()
        return True

    def forget(self, user: int) -> None:
        """Nothing is left of the user but the number."""
        for statement in _FORGET:
            self._execute(statement, {"user": user} if ":user" in statement else ())

    def _delete(self, doomed: list[tuple[int]]) -> None:
        self._connection.executemany(DOOM, doomed)
        for statement in UNLINK:
            self._execute(_GIVEN if "SET floor" in statement else statement)
        self._delete_messages()

    def _delete_messages(self) -> None:
        self._connection.executemany(DELETE_CID, self._execute(CIDS).fetchall())
        for statement in DELETE:
            self._execute(statement)
        for table in ("doomed", "gone"):
            self._execute(f"DELETE FROM temp.{table}")
