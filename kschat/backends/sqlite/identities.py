"""Caches ids of users, ends of inboxes and members of rooms, so that appending a message needs no query.

The cache is valid only while every write is committed. After a failure a new one is made.
"""

from __future__ import annotations

import sqlite3
from typing import Final

#: Which of two users block each other.
_BLOCKS: Final = "SELECT user, peer FROM blocks WHERE user = ? AND peer = ? OR user = ? AND peer = ?"


class User:
    """A user.

    Attributes:
        id: the row's.
        name: the user's id in the chat.
        last: the next offset in this inbox is greater by one.
        behind: entries that the inbox table does not have yet, of messages to rooms: offset, message, offset, ….
    """

    __slots__ = ("behind", "id", "last", "name")

    def __init__(self, id_: int, name: str, last: int) -> None:
        self.id = id_
        self.name = name
        self.last = last
        self.behind: list[int] = []


class DirectConversation:
    """A conversation of two users. ``total``: how many messages it has had."""

    __slots__ = ("id", "total")

    def __init__(self, id_: int, total: int) -> None:
        self.id = id_
        self.total = total


class Direction:
    """One direction of a ``DirectConversation``.

    Attributes:
        own: how many messages the sender has written in it.
        blocked: whether the recipient blocks the sender.
    """

    __slots__ = ("blocked", "conversation", "own", "recipient", "sender")

    def __init__(self, conversation: DirectConversation, sender: User, recipient: User, own: int) -> None:
        self.conversation = conversation
        self.sender = sender
        self.recipient = recipient
        self.own = own
        self.blocked = False


class Room:
    """A room: its members by name, and by user id how many messages a member has written (once known)."""

    __slots__ = ("id", "members", "own", "total")

    def __init__(self, id_: int, total: int, members: dict[str, User]) -> None:
        self.id = id_
        self.total = total
        self.members = members
        self.own: dict[int, int] = {}


class IdentityMap:
    """The cache of one open database.

    Args:
        connection: must be in a transaction whenever a method may insert.
        base: new offsets are greater than this.
    """

    def __init__(self, connection: sqlite3.Connection, base: int) -> None:
        self._execute = connection.execute
        self._base = base
        self._floor = self._erased()
        self._users: dict[str, User] = {}
        self._rooms: dict[str, Room] = {}
        self._members = 0
        self.directions: dict[tuple[str, str], Direction] = {}
        # Whether there may be any; then each direction is looked for among them when it is opened.
        self._any_blocks = bool(self._execute("SELECT EXISTS (SELECT 1 FROM blocks)").fetchone()[0])

    @property
    def size(self) -> int:
        """About how many users, directions and members are cached."""
        return len(self._users) + len(self.directions) + self._members

    def user(self, name: str, make: bool = True) -> User | None:
        """The user ``name``; None if unknown and not ``make``."""
        user = self._users.get(name)
        if user is not None:
            return user
        row = self._execute(
            "SELECT id, max(floor, given, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0)) "
            "FROM users WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            if not make:
                return None
            made = self._execute("INSERT INTO users (name, floor) VALUES (?, ?)", (name, self._floor))
            row = (made.lastrowid, self._floor)
        user = self._users[name] = User(row[0], name, max(row[1], self._base))
        return user

    def room(self, name: str, make: bool = False) -> Room | None:
        """The room ``name`` (with its ``#``); None if unknown and not ``make``."""
        room = self._rooms.get(name)
        if room is not None:
            return room
        row = self._execute(
            "SELECT id, coalesce((SELECT total FROM thread WHERE conversation = conversations.id "
            "ORDER BY message DESC LIMIT 1), 0) FROM conversations WHERE room = ?",
            (name,),
        ).fetchone()
        if row is None:
            if not make:
                return None
            row = (self._execute("INSERT INTO conversations (room) VALUES (?)", (name,)).lastrowid, 0)
        names = self._execute(
            "SELECT users.name FROM participants JOIN users ON users.id = participants.user WHERE conversation = ?",
            (row[0],),
        ).fetchall()
        self._members += len(names) + 1
        room = self._rooms[name] = Room(row[0], row[1], {member: self._sure_user(member) for (member,) in names})
        return room

    def count_own(self, room: Room, sender: User) -> int:
        """Count one more message of ``sender`` in ``room``, and return the sender's count."""
        own = room.own.get(sender.id)
        if own is None:
            row = self._execute(
                "SELECT -own FROM thread WHERE conversation = ? AND sender = ? AND own < 0 "
                "ORDER BY message DESC LIMIT 1",
                (room.id, sender.id),
            ).fetchone()
            own = row[0] if row is not None else 0
            self._members += 1
        room.own[sender.id] = own = own + 1
        return own

    def open_direction(self, sender_name: str, recipient_name: str) -> Direction:
        """Cache the direction from sender to recipient, and the one back; neither is cached yet."""
        sender, recipient = self._sure_user(sender_name), self._sure_user(recipient_name)
        pair = (min(sender.id, recipient.id), max(sender.id, recipient.id))
        row = self._execute("SELECT id FROM conversations WHERE one = ? AND other = ?", pair).fetchone()
        total = own = theirs = 0
        if row is None:
            id_ = self._execute("INSERT INTO conversations (one, other) VALUES (?, ?)", pair).lastrowid
            for user in dict.fromkeys(pair):
                self._execute("INSERT INTO participants (user, conversation) VALUES (?, ?)", (user, id_))
        else:
            (id_,) = row
            last = self._execute(
                "SELECT sender, total, own FROM thread WHERE conversation = ? ORDER BY message DESC LIMIT 1", (id_,)
            ).fetchone()
            if last is not None:
                total = last[1]
                own, theirs = (last[2], total - last[2]) if last[0] == sender.id else (total - last[2], last[2])
        assert id_ is not None
        conversation = DirectConversation(id_, total)
        if recipient is not sender:
            self.directions[(recipient_name, sender_name)] = Direction(conversation, recipient, sender, theirs)
        direction = self.directions[(sender_name, recipient_name)] = Direction(conversation, sender, recipient, own)
        if self._any_blocks:
            for user, peer in self._execute(_BLOCKS, (*pair, *reversed(pair))):
                blocked = direction if user == recipient.id else self.directions[(recipient_name, sender_name)]
                blocked.blocked = peer == blocked.sender.id
        return direction

    def blocks(self, name: str, peer: str, blocked: bool) -> None:
        """``name`` blocks ``peer`` from now on, or does so no more."""
        self._any_blocks = self._any_blocks or blocked
        direction = self.directions.get((peer, name))
        if direction is not None:
            direction.blocked = blocked

    def _erased(self) -> int:
        """The greatest offset in an inbox that was erased."""
        (erased,) = self._execute("SELECT erased FROM progress").fetchone()
        return int(erased)

    def forget(self) -> None:
        """Empty the cache. All messages must be in the index tables."""
        self._floor = self._erased()
        self._users.clear()
        self._rooms.clear()
        self._members = 0
        self.directions.clear()

    def _sure_user(self, name: str) -> User:
        user = self.user(name)
        assert user is not None
        return user
