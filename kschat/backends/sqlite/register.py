"""Who has which number, how far each inbox goes and who is in which room: remembered, so that a message asks nothing.

What is remembered is right only as long as all that was written is committed: after a failure a new one begins.
"""

from __future__ import annotations

import sqlite3


class User:
    """Who has which id, and the offset in that inbox beyond which the next one is given.

    ``behind``: of messages to rooms that the inbox does not have yet, offset and message in turn.
    """

    __slots__ = ("behind", "id", "last", "name")

    def __init__(self, id_: int, name: str, last: int) -> None:
        self.id = id_
        self.name = name
        self.last = last
        self.behind: list[int] = []


class Talk:
    """A conversation of two."""

    __slots__ = ("id", "total")

    def __init__(self, id_: int, total: int) -> None:
        self.id = id_
        self.total = total


class Route:
    """From one user to another: all that a message between them needs."""

    __slots__ = ("own", "recipient", "sender", "talk")

    def __init__(self, talk: Talk, sender: User, recipient: User, own: int) -> None:
        self.talk = talk
        self.sender = sender
        self.recipient = recipient
        self.own = own


class Room:
    """A room, with its members by name, and how many messages those who wrote have written, by their ids."""

    __slots__ = ("id", "members", "own", "total")

    def __init__(self, id_: int, total: int, members: dict[str, User]) -> None:
        self.id = id_
        self.total = total
        self.members = members
        self.own: dict[int, int] = {}


class Register:
    """What is remembered of one open database.

    Args:
        connection: in a transaction, whenever something may be made.
        base: offsets that are given are greater.
    """

    def __init__(self, connection: sqlite3.Connection, base: int) -> None:
        self._execute = connection.execute
        self._base = base
        self._users: dict[str, User] = {}
        self._rooms: dict[str, Room] = {}
        self._members = 0
        self.routes: dict[tuple[str, str], Route] = {}

    @property
    def size(self) -> int:
        """How many users, routes and members of rooms are remembered, about."""
        return len(self._users) + len(self.routes) + self._members

    def user(self, name: str, make: bool = True) -> User | None:
        """Who ``name`` is; None for one who is not known, unless one is made."""
        user = self._users.get(name)
        if user is not None:
            return user
        row = self._execute(
            "SELECT id, max(floor, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0)) "
            "FROM users WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            if not make:
                return None
            row = (self._execute("INSERT INTO users (name) VALUES (?)", (name,)).lastrowid, 0)
        user = self._users[name] = User(row[0], name, max(row[1], self._base))
        return user

    def room(self, name: str, make: bool = False) -> Room | None:
        """The room ``name`` (with its ``#``); None where there is none, unless one is made."""
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
        """One more message of ``sender`` to ``room``; which number of theirs it is."""
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

    def open_route(self, sender_name: str, recipient_name: str) -> Route:
        """The route from one to the other, and the one back, of which neither is known yet."""
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
        talk = Talk(id_, total)
        if recipient is not sender:
            self.routes[(recipient_name, sender_name)] = Route(talk, recipient, sender, theirs)
        route = self.routes[(sender_name, recipient_name)] = Route(talk, sender, recipient, own)
        return route

    def forget(self) -> None:
        """Forget what the tables tell as well. All that was written must be in all of them."""
        self._users.clear()
        self._rooms.clear()
        self._members = 0
        self.routes.clear()

    def _sure_user(self, name: str) -> User:
        user = self.user(name)
        assert user is not None
        return user
