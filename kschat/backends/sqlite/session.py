"""What the writer's thread does to an open database, in transactions. Each method is called on that thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kschat.backends.order import number_of
from kschat.backends.sqlite.database import Database, Settings, Versions, Which
from kschat.backends.sqlite.ledger import Ledger
from kschat.backends.sqlite.recent import Recent, thread_key
from kschat.backends.sqlite.retention import Retention
from kschat.chat.interfaces import Notes, RoomFull, Stored
from kschat.chat.messages import Message

#: How many messages, and bytes of them, are written before the inbox and thread tables follow. The more, the
#: less a message costs, since each page that is changed takes in more of them; but for that time nothing else is
#: written, and so many are kept in memory. (By microseconds a message, of 100 users: 2.0 at 2,000, 1.5 at 5,000,
#: 1.35 at 20,000.)
INDEX_MESSAGES: Final = 5000
INDEX_BYTES: Final = 8_000_000

#: Users, pairs of them and room members that are remembered, at about 300 bytes each.
MOST_REMEMBERED: Final = 100_000

#: What makes the other tables follow.
_INDEX: Final = (
    """INSERT INTO inbox SELECT recipient, place, id FROM messages
    WHERE id > (SELECT indexed FROM progress) AND place IS NOT NULL""",
    """INSERT INTO inbox SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), messages.id
    FROM messages, json_each(messages.places)
    WHERE messages.id > (SELECT indexed FROM progress) AND places IS NOT NULL""",
    """INSERT INTO thread SELECT conversation, id, sender, total, own FROM messages
    WHERE id > (SELECT indexed FROM progress)""",
    """INSERT INTO cids SELECT sender, cid, id FROM messages
    WHERE id > (SELECT indexed FROM progress) AND cid IS NOT NULL""",
    "UPDATE progress SET indexed = max(indexed, coalesce((SELECT max(id) FROM messages), 0))",
)


class Session:
    """An open database, from opening to the first failure.

    Attributes:
        retention: deletes old messages.
        recent: what is committed and not in all tables yet. Other threads may take it, and read it.

    Raises:
        StoreUnavailable: it can't be opened.
        sqlite3.Error: it fails in use; so may each method. Then only ``close`` is left.
    """

    def __init__(self, settings: Settings, versions: Versions, known: Which | None = None) -> None:
        self.database = Database(settings, versions, known)
        self._execute = self.database.connection.execute
        self._recent_messages = 0
        self._recent_bytes = 0
        self.recent = Recent()
        try:
            self._index_tables()
            self._ledger = Ledger(self.database.connection)
            self._register = self._ledger.register
            self.retention = Retention(
                self.database.connection, settings.retention_seconds, settings.retention_messages
            )
        except BaseException:
            self.database.close()
            raise

    def begin(self) -> None:
        """Begin a transaction. Raises StoreUnavailable where the file is not the one that was opened."""
        self.database.check()
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """What was done since ``begin`` is durable when this returns."""
        fresh, size = self._ledger.flush()
        self._execute("COMMIT")
        self.recent.extend(fresh)
        self._recent_messages += len(fresh)
        self._recent_bytes += size

    def close(self) -> None:
        """Let go of the file; what was not committed is gone."""
        self.database.close()

    # In a transaction, each as the method of IStore.

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Keep a batch."""
        return self._ledger.append(batch)

    def note(self, notes: Notes) -> None:
        """Keep cursors and times."""
        cursors = []
        for name, cursor in notes.cursors.items():
            user = self._register.user(name, make=False)
            if user is not None:
                cursors.append((min(cursor, user.last), user.id))
        many = self.database.connection.executemany
        many("UPDATE users SET cursor = max(cursor, ?) WHERE id = ?", cursors)
        many(
            "INSERT INTO users (name, seen) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET seen = max(coalesce(seen, 0), excluded.seen)",
            list(notes.seen.items()),
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
        """Whether enough was written that the other tables should follow, or so much remembered that it must be."""
        return (
            self._recent_messages >= INDEX_MESSAGES
            or self._recent_bytes >= INDEX_BYTES
            or self._register.size > MOST_REMEMBERED
        )

    def index(self) -> None:
        """Let the other tables follow."""
        self._index_tables()
        self._recent_messages = self._recent_bytes = 0
        self.recent = Recent()
        self._ledger.indexed(MOST_REMEMBERED)

    def tidy(self) -> None:
        """Delete a little of what is to be kept no longer."""
        if self._recent_messages:
            self.index()
        self._execute("BEGIN IMMEDIATE")
        gone = self.retention.step()
        self._execute("COMMIT")
        if gone:
            self._ledger.forget()

    def _index_tables(self) -> None:
        self._execute("BEGIN IMMEDIATE")
        for statement in _INDEX:
            self._execute(statement)
        self._execute("COMMIT")
