"""What messages become on their way into the tables: ids, offsets, repeats, rows. The writer's thread alone uses it.

It remembers who has which number and how far each inbox goes, so that a message costs one row and no question.
What it remembers is right only as long as all it was told to keep is committed: after a failure a new one begins.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from kschat.backends.order import renumbered
from kschat.backends.sqlite.rows import COLUMNS, WIDTH, ids_of, message_of, packed
from kschat.chat.interfaces import Stored
from kschat.chat.messages import Error, Message

_FIELDS: Final = (
    "id, suffix, conversation, sender, recipient, place, places, total, own, ids, time, cid, msg, attachments"
)
_ROW: Final = "(" + ", ".join("?" * 14) + ")"

#: Rows of one statement, most first. Each call into SQLite gives Python's lock away and has to win
#: it back from a busy reactor, so that a statement a row would take many times as long.
_ROWS: Final = (64, 32, 16, 8, 4, 2, 1)

_INSERT: Final = {count: f"INSERT INTO messages ({_FIELDS}) VALUES " + ", ".join([_ROW] * count) for count in _ROWS}

#: Pairs of a sender and a cid that are asked for at once.
_CIDS: Final = 64


class User:
    """Who has which id, and the greatest offset in that inbox."""

    __slots__ = ("id", "last", "name")

    def __init__(self, id_: int, name: str, last: int) -> None:
        self.id = id_
        self.name = name
        self.last = last


class _Talk:
    """A conversation of two."""

    __slots__ = ("id", "total")

    def __init__(self, id_: int, total: int) -> None:
        self.id = id_
        self.total = total


class _Route:
    """From one user to another: all that a message between them needs."""

    __slots__ = ("own", "recipient", "sender", "talk")

    def __init__(self, talk: _Talk, sender: User, recipient: User, own: int) -> None:
        self.talk = talk
        self.sender = sender
        self.recipient = recipient
        self.own = own


class Room:
    """A room, with its members by name."""

    __slots__ = ("id", "members", "total")

    def __init__(self, id_: int, total: int, members: dict[str, User]) -> None:
        self.id = id_
        self.total = total
        self.members = members


class Ledger:
    """Keeps the books of one open database.

    Args:
        connection: in a transaction, whenever a method but ``trim`` is called.

    Attributes:
        number: the greatest id that a message has.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (self.number,) = connection.execute(
            "SELECT max(indexed, coalesce((SELECT max(id) FROM messages), 0)) FROM progress"
        ).fetchone()
        self._users: dict[str, User] = {}
        self._routes: dict[tuple[str, str], _Route] = {}
        self._rooms: dict[str, Room] = {}
        self._known: dict[tuple[str, str], Stored] = {}
        # What ``flush`` has yet to write: messages, the columns of their rows, bytes of their bodies.
        self._fresh: list[Stored] = []
        self._values: list[Any] = []
        self._size = 0

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Take a batch in. It is written by the next ``flush``."""
        numbers = [int(message.mid[:16], 16) for message in batch]
        self._look_up_cids(batch)
        known = self._known
        stored = []
        for message, number in zip(batch, numbers, strict=True):
            cid = message.cid
            if cid is None:
                stored.append(self._append(message, number))
                continue
            key = (message.sender, cid)
            first = known.get(key)
            if first is not None:
                stored.append(Stored(first.message, first.places, True))
                continue
            one = self._append(message, number)
            if one.refused is None:
                known[key] = one
            stored.append(one)
        return stored

    def _append(self, message: Message, number: int) -> Stored:
        name = message.recipient
        if name[0] == "#":
            return self._append_to_room(message, number)
        route = self._routes.get((message.sender, name)) or self._open_route(message.sender, name)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        talk = route.talk
        recipient = route.recipient
        talk.total += 1
        route.own += 1
        recipient.last = place = recipient.last + 1
        body = bytes(message.msg)
        attachments = packed(message.attachments) if message.attachments else None
        self._size += len(body) if attachments is None else len(body) + len(attachments)
        self._values += (
            number,
            message.mid[16:],
            talk.id,
            route.sender.id,
            recipient.id,
            place,
            None,
            talk.total,
            route.own,
            0 if message.uId == message.sender and message.pId == name else ids_of(message),
            message.time,
            message.cid,
            body,
            attachments,
        )
        stored = Stored(message, ((name, place),))
        self._fresh.append(stored)
        return stored

    def _append_to_room(self, message: Message, number: int) -> Stored:
        room = self.room(message.recipient)
        sender = room.members.get(message.sender) if room is not None else None
        if room is None or sender is None:
            return Stored(message, (), False, Error.NOT_ALLOWED)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        room.total += 1
        places = []
        pairs = []
        for name, user in room.members.items():
            if user is not sender:
                user.last += 1
                places.append((name, user.last))
                pairs.append((user.id, user.last))
        body, attachments = bytes(message.msg), packed(message.attachments)
        self._size += len(body) + len(attachments or b"")
        self._values += (
            number,
            message.mid[16:],
            room.id,
            sender.id,
            None,
            None,
            json.dumps(pairs),
            room.total,
            0,
            ids_of(message),
            message.time,
            message.cid,
            body,
            attachments,
        )
        stored = Stored(message, tuple(places))
        self._fresh.append(stored)
        return stored

    def flush(self) -> tuple[list[Stored], int]:
        """Write what was taken in; which messages those are, and how many bytes their bodies have."""
        values = self._values
        execute = self._connection.execute
        start = 0
        for count in _ROWS:
            width = 14 * count
            while len(values) - start >= width:
                execute(_INSERT[count], values[start : start + width])
                start += width
        values.clear()
        fresh, size = self._fresh, self._size
        self._fresh, self._size = [], 0
        return fresh, size

    def user(self, name: str, make: bool = True) -> User | None:
        """Who ``name`` is; None for one who is not known, unless one is made."""
        user = self._users.get(name)
        if user is not None:
            return user
        execute = self._connection.execute
        row = execute(
            "SELECT id, max(floor, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0)) "
            "FROM users WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            if not make:
                return None
            row = (execute("INSERT INTO users (name) VALUES (?)", (name,)).lastrowid, 0)
        user = self._users[name] = User(row[0], name, row[1])
        return user

    def room(self, name: str, make: bool = False) -> Room | None:
        """The room ``name`` (with its ``#``); None where there is none, unless one is made."""
        room = self._rooms.get(name)
        if room is not None:
            return room
        execute = self._connection.execute
        row = execute(
            "SELECT id, coalesce((SELECT total FROM thread WHERE conversation = conversations.id "
            "ORDER BY message DESC LIMIT 1), 0) FROM conversations WHERE room = ?",
            (name,),
        ).fetchone()
        if row is None:
            if not make:
                return None
            row = (execute("INSERT INTO conversations (room) VALUES (?)", (name,)).lastrowid, 0)
        names = execute(
            "SELECT users.name FROM participants JOIN users ON users.id = participants.user WHERE conversation = ?",
            (row[0],),
        ).fetchall()
        room = self._rooms[name] = Room(row[0], row[1], {member: self._sure_user(member) for (member,) in names})
        return room

    def forget(self) -> None:
        """Forget what the tables tell as well. Nothing may be between them and here."""
        self._users.clear()
        self._routes.clear()
        self._rooms.clear()
        self._known.clear()

    def indexed(self, most: int) -> None:
        """All that was written is in the tables now: keep the memory below ``most`` users, routes and room members."""
        self._known.clear()
        if len(self._users) + len(self._routes) + sum(len(room.members) for room in self._rooms.values()) > most:
            self.forget()

    def _sure_user(self, name: str) -> User:
        user = self.user(name)
        assert user is not None
        return user

    def _open_route(self, sender_name: str, recipient_name: str) -> _Route:
        """The route from one to the other, and the one back, of which neither is known yet."""
        sender, recipient = self._sure_user(sender_name), self._sure_user(recipient_name)
        execute = self._connection.execute
        pair = (min(sender.id, recipient.id), max(sender.id, recipient.id))
        row = execute("SELECT id FROM conversations WHERE one = ? AND other = ?", pair).fetchone()
        total = own = theirs = 0
        if row is None:
            id_ = execute("INSERT INTO conversations (one, other) VALUES (?, ?)", pair).lastrowid
            for user in dict.fromkeys(pair):
                execute("INSERT INTO participants (user, conversation) VALUES (?, ?)", (user, id_))
        else:
            (id_,) = row
            last = execute(
                "SELECT sender, total, own FROM thread WHERE conversation = ? ORDER BY message DESC LIMIT 1", (id_,)
            ).fetchone()
            if last is not None:
                total = last[1]
                own, theirs = (last[2], total - last[2]) if last[0] == sender.id else (total - last[2], last[2])
        assert id_ is not None
        talk = _Talk(id_, total)
        if recipient is not sender:
            self._routes[(recipient_name, sender_name)] = _Route(talk, recipient, sender, theirs)
        route = self._routes[(sender_name, recipient_name)] = _Route(talk, sender, recipient, own)
        return route

    def _look_up_cids(self, batch: Sequence[Message]) -> None:
        """Find the messages, kept earlier, that messages of ``batch`` are repeats of."""
        asked: list[tuple[int, str]] = []
        for message in batch:
            if message.cid is not None and (message.sender, message.cid) not in self._known:
                sender = self.user(message.sender, make=False)
                if sender is not None:
                    asked.append((sender.id, message.cid))
        for start in range(0, len(asked), _CIDS):
            some = asked[start : start + _CIDS]
            # Padded to a power of two, so that there are few statements.
            some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
            rows = self._connection.execute(
                f"WITH asked (sender, cid) AS (VALUES {', '.join(['(?, ?)'] * len(some))}) "
                f"SELECT {COLUMNS}, m.place, m.places FROM asked CROSS JOIN cids USING (sender, cid) "
                "CROSS JOIN messages m ON m.id = cids.message",
                list(chain.from_iterable(some)),
            ).fetchall()
            for row in rows:
                message = message_of(row[:WIDTH])
                assert message.cid is not None
                self._known[(message.sender, message.cid)] = Stored(message, self._places(message, *row[WIDTH:]))

    def _places(self, message: Message, place: int | None, places: str | None) -> tuple[tuple[str, int], ...]:
        if place is not None:
            return ((message.recipient, place),)
        rows = self._connection.execute(
            "SELECT users.name, json_extract(value, '$[1]') FROM json_each(?) "
            "CROSS JOIN users ON users.id = json_extract(value, '$[0]') ORDER BY key",
            (places,),
        )
        return tuple(rows.fetchall())
