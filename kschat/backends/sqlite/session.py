"""What the writer's thread does to an open database, in transactions. Each method is called on that thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final

from kschat.backends.order import number_of
from kschat.backends.sqlite.database import Database, Settings, Versions, Which
from kschat.backends.sqlite.index import index, index_places, index_what_was_left, renumber
from kschat.backends.sqlite.ledger import Ledger
from kschat.backends.sqlite.recent import Recent, thread_key
from kschat.backends.sqlite.retention import Retention
from kschat.chat.interfaces import Progress, RoomFull, Stored
from kschat.chat.message import Message

#: How many messages, bytes of them, and places of messages to rooms are written before the inbox and thread tables
#: follow. The more, the less one costs, since each page that is changed takes in more of them; but so much is kept in
#: memory, and after a crash so much is done before the file is open. (By microseconds a message, of 100 users: 2.0 at
#: 2,000, 1.5 at 5,000, 1.35 at 20,000.)
INDEX_MESSAGES: Final = 5000
INDEX_BYTES: Final = 8_000_000
INDEX_PLACES: Final = 100_000

#: Places that are put into inboxes in one transaction. Between two of them what was sent meanwhile is written.
STEP_PLACES: Final = 6_000

#: Places beyond which a batch goes on in another transaction. With fewer than ``STEP_PLACES`` the tables catch up
#: however much is sent.
TRANSACTION_PLACES: Final = 4_000

#: Users, pairs of them and room members that are remembered, at about 300 bytes each.
MOST_REMEMBERED: Final = 100_000


class Session:
    """An open database, from opening to the first failure.

    Attributes:
        retention: deletes old messages.
        recent: what is committed and not in all tables yet. Other threads may take it, and read it.

    Raises:
        StoreUnavailable: it can't be opened.
        sqlite3.Error: it fails in use; so may each method. Then only ``close`` is left.
    """

    def __init__(
        self,
        settings: Settings,
        versions: Versions,
        known: Which | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.database = Database(settings, versions, known, wall=wall)
        self._execute = self.database.connection.execute
        self._recent_bytes = 0
        # Of a round of indexing: how many messages of ``recent`` it has, up to which, and the places that are left.
        self._round = 0
        self._upto = 0
        self._places: Iterator[int] = iter(())
        self._quiet = False
        self.recent = Recent()
        try:
            self._index_what_was_left(known)
            self._ledger = Ledger(self.database.connection, self.database.base)
            self._register = self._ledger.register
            self.retention = Retention(
                self.database.connection,
                settings.retention_seconds,
                settings.retention_messages,
                self.database.base,
            )
        except BaseException:
            self.database.close()
            raise

    def begin(self) -> None:
        """Begin a transaction. Raises StoreUnavailable where the file is not the one that was opened."""
        self.database.begin()
        self._quiet = False

    def commit(self) -> None:
        """What was done since ``begin`` is durable when this returns."""
        fresh, size = self._ledger.flush()
        self._execute("COMMIT")
        if fresh:
            self.database.gave(self._ledger.number)
            self.recent.extend(fresh)
            self._recent_bytes += size

    @property
    def full(self) -> bool:
        """Whether the open transaction has so many places that it should end."""
        return self._ledger.rows >= TRANSACTION_PLACES

    def close(self) -> None:
        """Let go of the file; what was not committed is gone."""
        self.database.close()

    # In a transaction, each as the method of IStore.

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Keep a batch."""
        return self._ledger.append(batch)

    def append_in_parts(self, batch: Sequence[Message]) -> Generator[list[Stored], None, list[Stored]]:
        """Keep a batch that may make many rows: where it yields what is kept until then, a commit is due."""
        stored: list[Stored] = []
        part: list[Message] = []
        rows = self._ledger.rows
        for message in batch:
            part.append(message)
            rows += self._ledger.rows_of(message)
            if rows >= TRANSACTION_PLACES:
                stored += self._ledger.append(part)
                part, rows = [], 0
                yield stored
        if part:
            stored += self._ledger.append(part)
        return stored

    def save_progress(self, progress: Progress) -> None:
        """Keep cursors and times."""
        cursors = []
        for name, cursor in progress.cursors.items():
            user = self._register.user(name, make=False)
            if user is not None:
                cursors.append((min(cursor, user.last), user.id))
        many = self.database.connection.executemany
        many("UPDATE users SET cursor = max(cursor, ?) WHERE id = ?", cursors)
        many(
            "INSERT INTO users (name, seen) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET seen = max(coalesce(seen, 0), excluded.seen)",
            list(progress.seen.items()),
        )

    def mark_read(self, name: str, peer: str, mid: str) -> bool:
        """Mark a conversation as read; whether anything was not."""
        number = number_of(mid)
        found = self._conversation(name, peer)
        if number is None or found is None:
            return False
        user, conversation, read = found
        newest, fresh = self._recent_since(name, peer, read, number)
        if not newest:
            (newest,) = self._execute(
                "SELECT coalesce(max(message), 0) FROM thread WHERE conversation = ?", (conversation,)
            ).fetchone()
        upto = min(number, newest)
        if upto <= read:
            return False
        self._execute(
            "UPDATE participants SET read = ? WHERE user = ? AND conversation = ?", (upto, user, conversation)
        )
        if fresh:
            return True
        row = self._execute(
            "SELECT 1 FROM thread WHERE conversation = ? AND message > ? AND message <= ? AND sender <> ? LIMIT 1",
            (conversation, read, upto, user),
        ).fetchone()
        return row is not None

    def _recent_since(self, name: str, peer: str, read: int, upto: int) -> tuple[int, bool]:
        """The newest recent message of a conversation (0 for none), and whether another wrote one between the two."""
        newest, fresh = 0, False
        # From the newest backwards: what is marked is seldom far from it.
        for message in reversed(self.recent.threads.get(thread_key(name, peer), ())):
            number = int(message.mid[:16], 16)
            newest = newest or number
            fresh = number > read and number <= upto and message.sender != name
            if fresh or number <= read:
                break
        return newest, fresh

    def join(self, name: str, user_name: str, most: int) -> bool:
        """Make somebody a member. Raises RoomFull, and has done nothing then."""
        room = self._register.room(name)
        if room is not None and user_name in room.members:
            return False
        if most <= (0 if room is None else len(room.members)):
            raise RoomFull
        room = self._register.room(name, make=True)
        user = self._register.user(user_name)
        assert room is not None and user is not None
        # What was written before counts as read.
        self._execute("INSERT INTO participants VALUES (?, ?, ?)", (user.id, room.id, self._ledger.number))
        room.members[user_name] = user
        return True

    def leave(self, name: str, user_name: str) -> bool:
        """Make somebody no member."""
        room = self._register.room(name)
        user = room.members.pop(user_name, None) if room is not None else None
        if room is None or user is None:
            return False
        self._execute("DELETE FROM participants WHERE user = ? AND conversation = ?", (user.id, room.id))
        return True

    def _conversation(self, name: str, peer: str) -> tuple[int, int, int] | None:
        """The ids of a user and of a conversation that is the user's, and up to which message it is read."""
        user = self._register.user(name, make=False)
        if user is None:
            return None
        arguments: tuple[Any, ...]
        if peer[:1] == "#":
            which, arguments = "room = ?", (peer,)
        else:
            other = self._register.user(peer, make=False)
            if other is None:
                return None
            which, arguments = "one = ? AND other = ?", (min(user.id, other.id), max(user.id, other.id))
        row = self._execute(
            f"SELECT user, conversation, read FROM participants WHERE user = ? "
            f"AND conversation = (SELECT id FROM conversations WHERE {which})",
            (user.id, *arguments),
        ).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    # Between transactions.

    @property
    def index_due(self) -> bool:
        """Whether so much was written that the other tables should follow, or so much is remembered that they must."""
        return (
            self._round > 0
            or len(self.recent) >= INDEX_MESSAGES
            or self._recent_bytes >= INDEX_BYTES
            or self._ledger.waiting >= INDEX_PLACES
            or self._register.size > MOST_REMEMBERED
        )

    def index_some(self) -> None:
        """Let the other tables follow a step."""
        if not self._round:
            self._round, self._upto = len(self.recent), self._ledger.number
            self._places = self._ledger.take_places()
            self._recent_bytes = 0
        connection = self.database.connection
        self.database.begin()
        if index_places(connection, self._places, STEP_PLACES):
            self._execute("COMMIT")
            return
        index(connection, self._upto)
        self._execute("COMMIT")
        self.recent = self.recent.after(self._round)
        self._ledger.indexed(self._upto, MOST_REMEMBERED)
        self._round = 0

    def index(self) -> None:
        """Let the other tables follow up to the last message."""
        self.index_some()
        while self._round or len(self.recent):
            self.index_some()

    def look_after(self) -> None:
        """What is done every second."""
        self.database.look_after(self._quiet)
        self._quiet = True

    def tidy(self) -> None:
        """Delete a little of what is to be kept no longer."""
        if len(self.recent):
            self.index()
        self.database.begin()
        gone = self.retention.step()
        self._execute("COMMIT")
        if gone:
            self._ledger.forget()

    def _index_what_was_left(self, known: Which | None) -> None:
        """Let the other tables follow what was written before a crash."""
        database = self.database
        database.begin()
        try:
            index_what_was_left(database.connection)
        except sqlite3.IntegrityError:
            # Two daemons had the file at once, and gave the same offsets.
            self._execute("ROLLBACK")
            if known is not None:
                raise
            database.begin()
            database.renew("two daemons wrote to it at once, and gave the same offsets")
            renumber(database.connection)
            index_what_was_left(database.connection)
            self._execute("COMMIT")
            database.opened()
        else:
            self._execute("COMMIT")
