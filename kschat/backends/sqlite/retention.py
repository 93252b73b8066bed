"""Deletes what is older or more than is to be kept, a little at a time. The writer's thread alone uses it.

An inbox and a conversation lose their oldest messages first, so that what is left of both is without a hole. A
message itself goes when neither refers to it any more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from kschat.backends.order import COUNT_BITS

#: Messages that go in one transaction.
STEP: Final = 200

#: Users, or conversations, that are looked at in one transaction.
LOOK: Final = 500

_OF_DOOMED: Final = "messages m WHERE m.id IN (SELECT id FROM temp.doomed)"
#: Takes what is doomed out of the inboxes and conversations.
UNLINK: Final = (
    f"INSERT INTO temp.gone SELECT recipient, place FROM {_OF_DOOMED} AND place IS NOT NULL",
    """INSERT INTO temp.gone SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')
    FROM messages m, json_each(m.places) WHERE m.id IN (SELECT id FROM temp.doomed) AND m.places IS NOT NULL""",
    """UPDATE users SET floor = max(floor, last.offset)
    FROM (SELECT user, max(offset) AS offset FROM temp.gone GROUP BY user) AS last WHERE users.id = last.user""",
    "DELETE FROM inbox WHERE (user, offset) IN (SELECT user, offset FROM temp.gone)",
    f"DELETE FROM thread WHERE (conversation, message) IN (SELECT conversation, id FROM {_OF_DOOMED})",
)

#: Spares, of what is doomed, what an inbox or a conversation still holds.
SPARE: Final = """DELETE FROM temp.doomed WHERE EXISTS (
    SELECT 1 FROM messages m CROSS JOIN thread ON thread.conversation = m.conversation AND thread.message = m.id
    WHERE m.id = doomed.id
) OR EXISTS (
    SELECT 1 FROM messages m CROSS JOIN inbox ON inbox.user = m.recipient AND inbox.offset = m.place
    WHERE m.id = doomed.id
) OR EXISTS (
    SELECT 1 FROM messages m CROSS JOIN json_each(m.places) CROSS JOIN inbox
    ON inbox.user = json_extract(value, '$[0]') AND inbox.offset = json_extract(value, '$[1]')
    WHERE m.id = doomed.id AND m.places IS NOT NULL
)"""

CIDS: Final = f"SELECT sender, cid FROM {_OF_DOOMED} AND cid IS NOT NULL"

#: One by one, since SQLite would not use both columns of the key for many.
DELETE_CID: Final = "DELETE FROM cids WHERE sender = ? AND cid = ?"

DELETE: Final = "DELETE FROM messages WHERE id IN (SELECT id FROM temp.doomed)"

OLD: Final = "INSERT INTO temp.doomed SELECT id FROM messages WHERE id < ? ORDER BY id LIMIT ?"

TALKS: Final = f"INSERT OR IGNORE INTO temp.touched SELECT conversation FROM {_OF_DOOMED}"

#: Conversations of two in which nothing is left.
EMPTY: Final = """DELETE FROM temp.touched WHERE EXISTS (SELECT 1 FROM thread WHERE conversation = touched.id)
    OR EXISTS (SELECT 1 FROM conversations c WHERE c.id = touched.id AND c.room IS NOT NULL)"""
DROP: Final = (
    "DELETE FROM participants WHERE conversation IN (SELECT id FROM temp.touched)",
    "DELETE FROM conversations WHERE id IN (SELECT id FROM temp.touched)",
)

#: Of the users (conversations) after one: which have too many messages, and how many.
FULL_INBOXES: Final = """SELECT id, last - floor - :most FROM (
    SELECT id, floor, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0) AS last
    FROM users WHERE id > :after ORDER BY id LIMIT :look
) WHERE last - floor > :most"""
FULL_THREADS: Final = """SELECT id, last - first + 1 - :most FROM (
    SELECT id, (SELECT total FROM thread WHERE conversation = c.id ORDER BY message DESC LIMIT 1) AS last,
    (SELECT total FROM thread WHERE conversation = c.id ORDER BY message LIMIT 1) AS first
    FROM conversations c WHERE id > :after ORDER BY id LIMIT :look
) WHERE last - first + 1 > :most"""
_NEXT: Final = "SELECT max(id) FROM (SELECT id FROM {} WHERE id > ? ORDER BY id LIMIT ?)"

OLDEST_OF_INBOX: Final = "INSERT INTO temp.doomed SELECT message FROM inbox WHERE user = ? ORDER BY offset LIMIT ?"
OLDEST_OF_THREAD: Final = (
    "INSERT INTO temp.doomed SELECT message FROM thread WHERE conversation = ? ORDER BY message LIMIT ?"
)


class Retention:
    """One round of deleting after the other, in steps.

    Args:
        connection: all that was written is in all tables, and a transaction is open, whenever ``step`` is called.
        seconds: the age at which messages go; 0 for none.
        most: messages that are kept in an inbox and in a conversation; 0 for all.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float, most: int) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._seconds = seconds
        self._most = most
        self._now: float | None = None
        self._inboxes_after: int | None = 0
        self._threads_after: int | None = 0
        self._execute("CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY)")
        self._execute("CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY)")
        self._execute("CREATE TEMP TABLE gone (user INTEGER, offset INTEGER)")

    @property
    def due(self) -> bool:
        """Whether a round is on its way."""
        return self._now is not None

    def begin(self, now: float) -> None:
        """Begin a round, unless one is on its way. ``now`` is in seconds since 1970."""
        if self._now is None and (self._seconds or self._most):
            self._now = now
            self._inboxes_after = self._threads_after = 0 if self._most else None

    def step(self) -> bool:
        """Delete some messages. Whether a conversation is gone, so that its id means nothing any more."""
        assert self._now is not None
        if self._seconds:
            cutoff = max(int((self._now - self._seconds) * 1000), 0) << COUNT_BITS
            if self._execute(OLD, (cutoff, STEP)).rowcount:
                return self._delete_old()
        if self._inboxes_after is not None:
            self._inboxes_after = self._trim(FULL_INBOXES, "users", self._trim_inbox, self._inboxes_after)
        elif self._threads_after is not None:
            self._threads_after = self._trim(FULL_THREADS, "conversations", self._trim_thread, self._threads_after)
        else:
            self._now = None
        return False

    def _delete_old(self) -> bool:
        self._execute(TALKS)
        for statement in UNLINK:
            self._execute(statement)
        self._delete()
        self._execute(EMPTY)
        for statement in DROP:
            gone = self._execute(statement).rowcount
        self._clear()
        return gone > 0

    def _trim(self, query: str, table: str, trim: Callable[[int, int], None], after: int) -> int | None:
        """Trim one that is too full among the next of a table; where to go on, None at the end."""
        full = self._execute(query, {"most": self._most, "after": after, "look": LOOK}).fetchone()
        if full is not None:
            id_, excess = full
            trim(id_, min(excess, STEP))
            # Once more from here, since it may have been more than one step.
            return int(id_) - 1 if excess > STEP else int(id_)
        last: int | None = self._execute(_NEXT.format(table), (after, LOOK)).fetchone()[0]
        return last

    def _trim_inbox(self, user: int, count: int) -> None:
        self._execute(OLDEST_OF_INBOX, (user, count))
        (upto,) = self._execute(
            "SELECT max(offset) FROM (SELECT offset FROM inbox WHERE user = ? ORDER BY offset LIMIT ?)", (user, count)
        ).fetchone()
        self._execute("DELETE FROM inbox WHERE user = ? AND offset <= ?", (user, upto))
        self._execute("UPDATE users SET floor = max(floor, ?) WHERE id = ?", (upto, user))
        self._delete_unheld()

    def _trim_thread(self, conversation: int, count: int) -> None:
        self._execute(OLDEST_OF_THREAD, (conversation, count))
        self._execute(
            "DELETE FROM thread WHERE conversation = ? AND message <= (SELECT max(id) FROM temp.doomed)",
            (conversation,),
        )
        self._delete_unheld()

    def _delete_unheld(self) -> None:
        self._execute(SPARE)
        self._delete()
        self._clear()

    def _delete(self) -> None:
        self._connection.executemany(DELETE_CID, self._execute(CIDS).fetchall())
        self._execute(DELETE)

    def _clear(self) -> None:
        for table in ("doomed", "touched", "gone"):
            self._execute(f"DELETE FROM temp.{table}")
