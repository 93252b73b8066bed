"""The transactions of the writer thread. All methods are called on that thread."""

from __future__ import annotations

import sqlite3
import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

from kschat.backends.sqlite import revoked, subscriptions, updates
from kschat.backends.sqlite.appender import MessageAppender
from kschat.backends.sqlite.database import Database, FileIdentity, SchemaVersions, Settings
from kschat.backends.sqlite.erasure import Erasure
from kschat.backends.sqlite.hooks import HookTables
from kschat.backends.sqlite.index import index, index_places, index_what_was_left, renumber
from kschat.backends.sqlite.memtable import MemTable
from kschat.backends.sqlite.retention import Retention
from kschat.chat.clocks import milliseconds
from kschat.chat.conversations import conversation_key, is_room
from kschat.chat.interfaces import BlockListFull, Progress, RoomFull, Stored, TooManyRooms
from kschat.chat.message import Message
from kschat.chat.mids import first_mid, number_of, parse_number
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import Revocation

#: Messages, bytes of messages, and inbox rows of messages to rooms after which a round of indexing begins. A larger
#: round costs less a message, because each changed page takes in more rows. But the ``MemTable`` holds so much, and
#: after a crash so much is indexed before the file is open. (Microseconds a message, 100 users: 2.0 at 2,000 messages,
#: 1.5 at 5,000, 1.35 at 20,000.)
INDEX_MESSAGES: Final = 5000
INDEX_BYTES: Final = 8_000_000
INDEX_PLACES: Final = 100_000

#: Inbox rows of one transaction of indexing. New messages are written between two such transactions.
STEP_PLACES: Final = 6_000

#: Inbox rows after which a batch continues in another transaction. This is less than ``STEP_PLACES``, so that indexing
#: keeps up with any load.
TRANSACTION_PLACES: Final = 4_000

#: Users, directions and room members that are cached, at about 300 bytes each.
MOST_REMEMBERED: Final = 100_000


#: For bisect.
_MID: Final = attrgetter("mid")


class Transactions:
    """The transactions of an open database, from opening to its first failure.

    Attributes:
        retention: deletes messages that are too old or too many.
        hooks: the tables of hooks.
        recent: messages that are committed and not indexed yet. Other threads may read it.

    Raises:
        StoreUnavailable: the file cannot be opened.
        sqlite3.Error: the database failed. Each method may raise this; afterwards only ``close`` may be called.
    """

    def __init__(
        self,
        settings: Settings,
        versions: SchemaVersions,
        known: FileIdentity | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.database = Database(settings, versions, known, wall=wall)
        self._wall = wall
        self._execute = self.database.connection.execute
        self._memtable_bytes = 0
        # The round of indexing: messages of ``memtable`` in it, the last one's id, and the inbox rows that are left.
        self._round = 0
        self._upto = 0
        self._places: Iterator[int] = iter(())
        self._quiet = False
        # Messages that the open transaction has changed.
        self._changed: list[Message] = []
        self.memtable = MemTable()
        try:
            self._index_what_was_left(known)
            self._appender = MessageAppender(self.database.connection, self.database.base)
            self._identities = self._appender.identities
            self.retention = Retention(
                self.database.connection,
                settings.retention_seconds,
                settings.retention_messages,
                self.database.base,
            )
            self._erasure = Erasure(self.database.connection)
            self.hooks = HookTables(self.database.connection, on=settings.hooks)
            if self.hooks.has_turned:
                with self.database.in_passing():
                    self.hooks.turn(self._appender.number)
        except BaseException:
            self.database.close()
            raise

    def begin(self) -> None:
        """Begin a transaction. Raises StoreUnavailable if the file is no longer this daemon's."""
        self.database.begin()
        self._quiet = False

    def commit(self) -> None:
        """Make everything since ``begin`` durable."""
        fresh, lines, size = self._appender.flush()
        self._execute("COMMIT")
        if fresh:
            self.database.gave(self._appender.number)
            self.memtable.extend(fresh, lines)
            self._memtable_bytes += size
            self.database.wrote(size)
        if self._changed:
            for message in self._changed:
                self.memtable.replace(message)
            self._changed = []

    @property
    def full(self) -> bool:
        """Whether the open transaction has so many inbox rows that it should end."""
        return self._appender.rows >= TRANSACTION_PLACES

    def close(self) -> None:
        """Close the file. What was not committed is lost."""
        self.database.close()

    # Inside a transaction; see the methods of IStore.

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Append a batch."""
        return self._appender.append(batch)

    def append_in_parts(self, batch: Sequence[Message]) -> Generator[list[Stored], None, list[Stored]]:
        """Append a batch that may need many rows. Yields what is appended so far whenever a commit is due."""
        stored: list[Stored] = []
        part: list[Message] = []
        rows = self._appender.rows
        for message in batch:
            part.append(message)
            rows += self._appender.rows_of(message)
            if rows >= TRANSACTION_PLACES:
                stored += self._appender.append(part)
                part, rows = [], 0
                yield stored
        if part:
            stored += self._appender.append(part)
        return stored

    def change(self, update: Message) -> Stored:
        """Change a message, and append the update."""
        stored, after = updates.change(self.database.connection, self._appender, update)
        if after is not None:
            self._changed.append(after)
            self._appender.replace(after)
        return stored

    def save_progress(self, progress: Progress) -> None:
        """Keep cursors and times."""
        cursors = []
        for name, cursor in progress.cursors.items():
            user = self._identities.user(name, make=False)
            if user is not None:
                cursors.append((min(cursor, user.last), user.id))
        many = self.database.connection.executemany
        many("UPDATE users SET cursor = max(cursor, ?) WHERE id = ?", cursors)
        many(
            "INSERT INTO users (name, seen, floor) VALUES (?, ?, (SELECT erased FROM progress)) "
            "ON CONFLICT (name) DO UPDATE SET seen = max(coalesce(seen, 0), excluded.seen)",
            list(progress.seen.items()),
        )

    def mark_read(self, name: str, peer: str, mid: str) -> bool:
        """Mark a conversation as read; return whether anything was unread."""
        number = parse_number(mid)
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
        """The newest message of a conversation in the MemTable (0 for none); whether a peer wrote one in the range."""
        newest, fresh = 0, False
        messages = self.memtable.threads.get(conversation_key(name, peer), ())
        if messages:
            newest = number_of(messages[-1].mid)
        # Newest first: a read mark is seldom far from the end.
        for at in range(bisect_right(messages, first_mid(upto + 1), key=_MID) - 1, -1, -1):
            message = messages[at]
            fresh = number_of(message.mid) > read and message.sender != name
            if fresh or number_of(message.mid) <= read:
                break
        return newest, fresh

    def join(self, name: str, user_name: str, most: int, most_rooms: int) -> bool:
        """Add a member. Raises RoomFull, TooManyRooms, without any change."""
        room = self._identities.room(name)
        if room is not None and user_name in room.members:
            return False
        if most <= (0 if room is None else len(room.members)):
            raise RoomFull
        rooms = self._execute("SELECT rooms FROM users WHERE name = ?", (user_name,)).fetchone()
        if rooms is not None and rooms[0] >= most_rooms:
            raise TooManyRooms
        room = self._identities.room(name, make=True)
        user = self._identities.user(user_name)
        assert room is not None and user is not None
        # What was written before counts as read.
        self._execute("INSERT INTO participants VALUES (?, ?, ?)", (user.id, room.id, self._appender.number))
        self._execute("UPDATE users SET rooms = rooms + 1 WHERE id = ?", (user.id,))
        room.members[user_name] = user
        if self.hooks.on:
            self.hooks.joined(name, user_name, milliseconds(self._wall))
        return True

    def leave(self, name: str, user_name: str) -> bool:
        """Remove a member."""
        room = self._identities.room(name)
        user = room.members.pop(user_name, None) if room is not None else None
        if room is None or user is None:
            return False
        self._execute("DELETE FROM participants WHERE user = ? AND conversation = ?", (user.id, room.id))
        self._execute("UPDATE users SET rooms = rooms - 1 WHERE id = ?", (user.id,))
        return True

    def block(self, name: str, peer: str, most: int) -> bool:
        """Add to a block list. Raises BlockListFull, without any change."""
        user, blocked = self._identities.user(name), self._identities.user(peer)
        assert user is not None and blocked is not None
        if self._execute("SELECT 1 FROM blocks WHERE user = ? AND peer = ?", (user.id, blocked.id)).fetchone():
            return False
        if self._execute("SELECT count(*) FROM blocks WHERE user = ?", (user.id,)).fetchone()[0] >= most:
            raise BlockListFull
        self._execute("INSERT INTO blocks VALUES (?, ?)", (user.id, blocked.id))
        self._identities.blocks(name, peer, True)
        return True

    def unblock(self, name: str, peer: str) -> bool:
        """Remove from a block list."""
        user, blocked = self._identities.user(name, make=False), self._identities.user(peer, make=False)
        if user is None or blocked is None:
            return False
        removed = self._execute("DELETE FROM blocks WHERE user = ? AND peer = ?", (user.id, blocked.id)).rowcount
        self._identities.blocks(name, peer, False)
        return removed > 0

    def subscribe(self, name: str, subscription: PushSubscription, most: int) -> None:
        """Keep a push subscription."""
        user = self._identities.user(name)
        assert user is not None
        subscriptions.keep(self.database.connection, user.id, subscription, most)

    def unsubscribe(self, name: str, endpoint: str | None) -> int:
        """Forget a push subscription, or all of a user; return how many."""
        user = self._identities.user(name, make=False)
        return 0 if user is None else subscriptions.forget(self.database.connection, user.id, endpoint)

    def revoke(self, revocation: Revocation, now: int, most: int) -> None:
        """Keep a revocation. Raises RevocationsFull, without any change."""
        revoked.keep(self.database.connection, revocation, now, most)

    def _conversation(self, name: str, peer: str) -> tuple[int, int, int] | None:
        """The ids of a user and of one of the user's conversations, and its read mark."""
        user = self._identities.user(name, make=False)
        if user is None:
            return None
        arguments: tuple[Any, ...]
        if is_room(peer):
            which, arguments = "room = ?", (peer,)
        else:
            other = self._identities.user(peer, make=False)
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
        """Whether a round of indexing is under way or should begin."""
        return (
            self._round > 0
            or len(self.memtable) >= INDEX_MESSAGES
            or self._memtable_bytes >= INDEX_BYTES
            or self._appender.waiting >= INDEX_PLACES
            or self._identities.size > MOST_REMEMBERED
        )

    def index_some(self) -> None:
        """Do one step of indexing."""
        if not self._round:
            self._round, self._upto = len(self.memtable), self._appender.number
            self._places = self._appender.take_places()
            self._memtable_bytes = 0
        connection = self.database.connection
        with self.database.in_passing():
            more = index_places(connection, self._places, STEP_PLACES)
            if not more:
                index(connection, self._upto)
        if more:
            return
        self.memtable = self.memtable.after(self._round)
        self._appender.indexed(self._upto, MOST_REMEMBERED)
        self._round = 0

    def index(self) -> None:
        """Index all messages."""
        self.index_some()
        while self._round or len(self.memtable):
            self.index_some()

    def look_after(self) -> None:
        """Maintenance, once a second. In a quiet one, what waits in memory is indexed, and so needs no memory."""
        if self._quiet and len(self.memtable):
            self.index_some()
        self.database.look_after(self._quiet)
        self._quiet = True

    def tidy(self) -> None:
        """Do one step of retention."""
        with self.retention.timed():
            if len(self.memtable):
                self.index()
            with self.database.in_passing():
                gone = self.retention.step()
        if gone:
            self._appender.forget()

    def begin_erasing(self, name: str) -> int | None:
        """Begin to erase a user: the user is in no room any more. Returns the user's number; None if there is none."""
        with self._erasing():
            self.hooks.erase(name)
            user = self._erasure.user(name)
            if user is not None:
                self._erasure.leave(user)
        self._appender.forget()
        return user

    def erase_events(self, name: str, after: int) -> int | None:
        """Delete some of the events for hooks that name a user; see ``HookTables.erase_events``."""
        with self._erasing():
            return self.hooks.erase_events(name, after)

    def erase_messages(self, ids: Sequence[int]) -> list[int]:
        """Delete the first of some messages; return the others."""
        with self._erasing():
            return self._erasure.messages(ids)

    def erase_reactions(self, ids: Sequence[int], name: str) -> None:
        """Take the reactions of a user to some messages back."""
        with self._erasing():
            self._erasure.reactions(ids, name)

    def finish_erasing(self, user: int) -> int | None:
        """Do one of the last steps of erasing; return how many messages were deleted, None if this was the last."""
        with self._erasing():
            erased = self._erasure.left_over(user)
            if erased or self._erasure.inbox(user):
                return erased
            self._erasure.forget(user)
        self._appender.forget()
        # What is reported as erased must not come back after a loss of power: this waits for the disk.
        self.database.begin()
        self._execute("UPDATE progress SET erased = erased")
        self._execute("COMMIT")
        return None

    @contextmanager
    def _erasing(self) -> Iterator[None]:
        """See ``wiping``. All messages are in all tables."""
        if len(self.memtable):
            self.index()
        with self.wiping():
            yield

    @contextmanager
    def wiping(self) -> Iterator[None]:
        """A background transaction in which what is deleted is overwritten in the file."""
        (before,) = self._execute("PRAGMA secure_delete").fetchone()
        self._execute("PRAGMA secure_delete = ON")
        try:
            with self.database.in_passing():
                yield
        finally:
            self._execute(f"PRAGMA secure_delete = {before}")

    def _index_what_was_left(self, known: FileIdentity | None) -> None:
        """Index the messages that a crash left unindexed."""
        database = self.database
        database.begin()
        try:
            index_what_was_left(database.connection)
        except sqlite3.IntegrityError:
            # Two daemons wrote at the same time, and used the same offsets.
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
