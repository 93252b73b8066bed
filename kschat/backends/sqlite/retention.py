"""Deletes messages that are too old or too many, in small steps. Only the writer thread uses it.

An inbox and a conversation lose their oldest messages first, so that both stay dense. A message itself is deleted when
neither refers to it any more.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kschat.backends.age import LATE, MOST_LATE, Late, oldest_kept
from kschat.chat.mids import COUNT_BITS

#: A step, which is one transaction, ends after so many seconds or rows. Senders wait for it.
STEP_SECONDS: Final = 0.004
STEP_ROWS: Final = 1000

#: After a step retention rests for so many times as long as the step took: the disk must write what the step changed,
#: and senders wait for the disk. The second number holds once a round takes longer than the time between two rounds.
REST: Final = 30.0
HURRIED_REST: Final = 10.0

#: Rows that are deleted between two checks of the time; more only if a single message has more.
PIECE_ROWS: Final = 250

#: Users, or conversations, that are checked by one query.
SCAN_BATCH: Final = 500

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
    "DELETE FROM held WHERE message IN (SELECT id FROM temp.doomed)",
)

#: Spares, of what is doomed, what an inbox or a conversation still holds. Of a message to a room that is counted once,
#: and then counted down, since it may lie in a thousand inboxes.
SPARE: Final = (
    "UPDATE held SET places = places - 1 WHERE message IN (SELECT id FROM temp.doomed)",
    f"""INSERT INTO held SELECT m.id, (
        SELECT count(*) FROM json_each(m.places) CROSS JOIN inbox
        ON inbox.user = json_extract(value, '$[0]') AND inbox.offset = json_extract(value, '$[1]')
    ) + (
        SELECT count(*) FROM thread WHERE thread.conversation = m.conversation AND thread.message = m.id
    ) FROM {_OF_DOOMED} AND m.places IS NOT NULL AND NOT EXISTS (SELECT 1 FROM held WHERE message = m.id)""",
    "DELETE FROM temp.doomed WHERE EXISTS (SELECT 1 FROM held WHERE message = doomed.id AND places > 0)",
    "DELETE FROM held WHERE message IN (SELECT id FROM temp.doomed)",
    """DELETE FROM temp.doomed WHERE EXISTS (
        SELECT 1 FROM messages m CROSS JOIN thread ON thread.conversation = m.conversation AND thread.message = m.id
        WHERE m.id = doomed.id
    ) OR EXISTS (
        SELECT 1 FROM messages m CROSS JOIN inbox ON inbox.user = m.recipient AND inbox.offset = m.place
        WHERE m.id = doomed.id
    )""",
)

CIDS: Final = f"SELECT sender, cid FROM {_OF_DOOMED} AND cid IS NOT NULL"

#: One by one, since SQLite would not use both columns of the key for many.
DELETE_CID: Final = "DELETE FROM cids WHERE sender = ? AND cid = ?"

DELETE: Final = (
    "DELETE FROM lines WHERE message IN (SELECT id FROM temp.doomed)",
    "DELETE FROM messages WHERE id IN (SELECT id FROM temp.doomed)",
)

#: The oldest, with how many rows each has in all tables, about.
OLD: Final = (
    "SELECT id, 3 + coalesce(json_array_length(places), 1) FROM messages WHERE id < ? ORDER BY id "
    f"LIMIT {PIECE_ROWS // 4}"
)

_LATE: Final = (
    f"FROM messages WHERE time < (id >> {COUNT_BITS}) - {LATE} AND time >= (id >> {COUNT_BITS}) - {MOST_LATE}"
)
LATE_BEFORE: Final = f"SELECT id, time {_LATE} AND time < ? ORDER BY time DESC LIMIT 1"
NEWEST_LATE: Final = f"SELECT id, time {_LATE} AND time >= ? ORDER BY time DESC LIMIT 1"

DOOM: Final = "INSERT INTO temp.doomed VALUES (?)"

TALKS: Final = f"INSERT OR IGNORE INTO temp.touched SELECT conversation FROM {_OF_DOOMED}"

#: Conversations of two in which nothing is left.
EMPTY: Final = """DELETE FROM temp.touched WHERE EXISTS (SELECT 1 FROM thread WHERE conversation = touched.id)
    OR EXISTS (SELECT 1 FROM conversations c WHERE c.id = touched.id AND c.room IS NOT NULL)"""
DROP: Final = (
    "DELETE FROM participants WHERE conversation IN (SELECT id FROM temp.touched)",
    "DELETE FROM conversations WHERE id IN (SELECT id FROM temp.touched)",
)

#: Of the users (conversations) after one: which may have too many messages. Of an inbox whose offsets once jumped
#: (``progress.base``) the difference says too much.
FULL_INBOXES: Final = """SELECT id, floor, last FROM (
    SELECT id, floor, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0) AS last
    FROM users WHERE id > :after ORDER BY id LIMIT :look
) WHERE last - floor > :most"""
FULL_THREADS: Final = """SELECT id, first - 1, last FROM (
    SELECT id, (SELECT total FROM thread WHERE conversation = c.id ORDER BY message DESC LIMIT 1) AS last,
    (SELECT total FROM thread WHERE conversation = c.id ORDER BY message LIMIT 1) AS first
    FROM conversations c WHERE id > :after ORDER BY id LIMIT :look
) WHERE last - first + 1 > :most"""
_NEXT: Final = "SELECT max(id) FROM (SELECT id FROM {} WHERE id > ? ORDER BY id LIMIT ?)"

#: The greatest offset that is not among so many of the newest.
BEYOND_NEWEST: Final = "SELECT offset FROM inbox WHERE user = ? ORDER BY offset DESC LIMIT 1 OFFSET ?"

OLDEST_OF_INBOX: Final = (
    "INSERT INTO temp.doomed SELECT message FROM inbox WHERE user = ? AND offset <= ? ORDER BY offset LIMIT ?"
)
#: Of the oldest, those with these numbers: where messages were erased, the numbers have holes.
OLDEST_OF_THREAD: Final = (
    "INSERT INTO temp.doomed SELECT message FROM ("
    "SELECT message, total FROM thread WHERE conversation = ? ORDER BY message LIMIT ?) WHERE total <= ?"
)


class Retention:
    """One round of deleting after the other, in steps.

    Args:
        connection: all that was written is in all tables, and a transaction is open, whenever ``step`` is called.
        seconds: the age at which messages go; 0 for none.
        most: messages that are kept in an inbox and in a conversation; 0 for all.
        base: of the offsets; see the table ``progress``.
        stopwatch: seconds, from wherever.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        seconds: float,
        most: int,
        base: int = 0,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._seconds = seconds
        self._most = most
        self._base = base
        self._stopwatch = stopwatch
        self._now: float | None = None
        self._hurried = False
        self._rested_at = 0.0
        self._rows = 0
        # Where each table was looked at up to, and which of what was looked at has too much.
        self._inboxes_after: int | None = 0
        self._threads_after: int | None = 0
        self._inboxes: deque[tuple[int, int]] = deque()
        self._threads: deque[tuple[int, int]] = deque()
        self._execute("CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY)")
        self._execute("CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY)")
        self._execute("CREATE TEMP TABLE gone (user INTEGER, offset INTEGER)")

    @property
    def due(self) -> bool:
        """Whether a round is under way."""
        return self._now is not None

    @property
    def rest(self) -> float | None:
        """Seconds until the next step may begin; None if no round is under way."""
        return max(0.0, self._rested_at - self._stopwatch()) if self.due else None

    def begin(self, now: float) -> None:
        """Begin a round, unless one is under way. ``now`` is in seconds since 1970."""
        self._hurried = self.due
        if self._now is None and (self._seconds or self._most):
            self._now = now
            self._inboxes_after = self._threads_after = 0 if self._most else None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time a step, with its commit, and rest after it."""
        begun = self._stopwatch()
        yield
        ended = self._stopwatch()
        self._rested_at = ended + (HURRIED_REST if self._hurried else REST) * (ended - begun)

    def step(self) -> bool:
        """Delete some messages. Returns whether a conversation was deleted, so that its id is no longer valid."""
        begun = self._stopwatch()
        self._rows = 0
        gone = False
        while self.due and self._rows < STEP_ROWS and self._stopwatch() - begun < STEP_SECONDS:
            gone |= self._piece()
        return gone

    def _piece(self) -> bool:
        assert self._now is not None
        if self._seconds:
            old = self._execute(OLD, (self._oldest_kept(),)).fetchall()
            if old:
                return self._delete_old(old)
        if self._inboxes:
            self._trim_inbox(*self._inboxes.popleft())
        elif self._threads:
            self._trim_thread(*self._threads.popleft())
        elif self._inboxes_after is not None:
            full, self._inboxes_after = self._look(FULL_INBOXES, "users", self._inboxes_after)
            self._inboxes.extend(
                (user, beyond) for user, floor, last in full if (beyond := self._beyond(user, floor, last)) is not None
            )
        elif self._threads_after is not None:
            full, self._threads_after = self._look(FULL_THREADS, "conversations", self._threads_after)
            self._threads.extend((thread, last - self._most) for thread, _, last in full)
        else:
            self._now = None
        return False

    def _oldest_kept(self) -> int:
        assert self._now is not None
        now = int(self._now * 1000)
        before = max(now - int(self._seconds * 1000), 0)
        old = self._execute(LATE_BEFORE, (before,)).fetchone()
        if old is None:
            return before << COUNT_BITS
        newest = self._execute(NEWEST_LATE, (old[1],)).fetchone()
        (last,) = self._execute("SELECT max(id) FROM messages").fetchone()
        return oldest_kept(before, now, last, Late(*old), Late(*newest))

    def _delete_old(self, old: list[tuple[int, int]]) -> bool:
        doomed = []
        rows = 0
        for id_, count in old:
            doomed.append((id_,))
            rows += count
            if rows >= PIECE_ROWS:
                break
        self._rows += rows
        self._connection.executemany(DOOM, doomed)
        self._execute(TALKS)
        for statement in UNLINK:
            self._execute(statement)
        self._delete()
        self._execute(EMPTY)
        for statement in DROP:
            gone = self._execute(statement).rowcount
        self._clear()
        return gone > 0

    def _look(self, query: str, table: str, after: int) -> tuple[list[tuple[int, int, int]], int | None]:
        """Those of the next of a table that may be too full, and after which one to go on; None at the end."""
        self._rows += SCAN_BATCH
        full = self._execute(query, {"most": self._most, "after": after, "look": SCAN_BATCH}).fetchall()
        return full, self._execute(_NEXT.format(table), (after, SCAN_BATCH)).fetchone()[0]

    def _beyond(self, user: int, floor: int, last: int) -> int | None:
        """The greatest offset of an inbox that is to go; None where none is."""
        if floor >= self._base:
            return last - self._most
        self._rows += self._most
        row = self._execute(BEYOND_NEWEST, (user, self._most)).fetchone()
        return row[0] if row is not None else None

    def _trim_inbox(self, user: int, beyond: int) -> None:
        self._rows += 3 * self._execute(OLDEST_OF_INBOX, (user, beyond, PIECE_ROWS // 4)).rowcount
        (upto,) = self._execute(
            "SELECT max(offset) FROM (SELECT offset FROM inbox WHERE user = ? AND offset <= ? ORDER BY offset LIMIT ?)",
            (user, beyond, PIECE_ROWS // 4),
        ).fetchone()
        if upto is None:
            return
        self._execute("DELETE FROM inbox WHERE user = ? AND offset <= ?", (user, upto))
        self._execute("UPDATE users SET floor = max(floor, ?) WHERE id = ?", (upto, user))
        self._delete_unheld()
        if upto < beyond:
            self._inboxes.appendleft((user, beyond))

    def _trim_thread(self, conversation: int, beyond: int) -> None:
        piece = PIECE_ROWS // 4
        count = self._execute(OLDEST_OF_THREAD, (conversation, piece, beyond)).rowcount
        self._rows += 3 * count
        self._execute(
            "DELETE FROM thread WHERE conversation = ? AND message <= (SELECT max(id) FROM temp.doomed)",
            (conversation,),
        )
        self._delete_unheld()
        if count == piece:
            self._threads.appendleft((conversation, beyond))

    def _delete_unheld(self) -> None:
        for statement in SPARE:
            self._execute(statement)
        self._delete()
        self._clear()

    def _delete(self) -> None:
        self._connection.executemany(DELETE_CID, self._execute(CIDS).fetchall())
        for statement in DELETE:
            self._execute(statement)

    def _clear(self) -> None:
        for table in ("doomed", "touched", "gone"):
            self._execute(f"DELETE FROM temp.{table}")
