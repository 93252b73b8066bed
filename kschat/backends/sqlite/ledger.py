"""What messages become on their way into the tables: ids, offsets, repeats, rows. The writer's thread alone uses it.

What it knows is right only as long as all it was told to keep is committed: after a failure a new one begins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from kschat.backends.ids import ids_of
from kschat.backends.order import renumbered
from kschat.backends.sqlite.register import Register, User
from kschat.backends.sqlite.rows import COLUMNS, WIDTH, message_of, packed
from kschat.chat.interfaces import Stored
from kschat.chat.message import Error, Message

_FIELDS: Final = (
    "id, suffix, conversation, sender, recipient, place, places, total, own, ids, time, cid, msg, attachments"
)
_ROW: Final = "(" + ", ".join("?" * 14) + ")"

#: Rows of one statement, most first. Each call into SQLite gives Python's lock away and has to win
#: it back from a busy reactor, so that a statement a row would take many times as long.
_ROWS: Final = (256, 128, 64, 32, 16, 8, 4, 2, 1)

_INSERT: Final = {count: f"INSERT INTO messages ({_FIELDS}) VALUES " + ", ".join([_ROW] * count) for count in _ROWS}

_json: Final = msgspec.json.Encoder().encode

#: Pairs of a sender and a cid that are asked for at once.
_CIDS: Final = 64


class Ledger:
    """Keeps the books of one open database.

    Args:
        connection: in a transaction, whenever something is appended or flushed.
        base: offsets that are given are greater.

    Attributes:
        number: the greatest id that a message has.
        register: who has which id.
        waiting: how many places in inboxes messages to rooms have made since the last ``take_places``.
        rows: the same since the last ``flush``.
    """

    def __init__(self, connection: sqlite3.Connection, base: int) -> None:
        self._connection = connection
        (self.number,) = connection.execute(
            "SELECT max(indexed, coalesce((SELECT max(id) FROM messages), 0)) FROM progress"
        ).fetchone()
        self.register = Register(connection, base)
        self._routes = self.register.routes
        # By sender and cid, what is not in all tables yet.
        self._known: dict[tuple[str, str], Stored] = {}
        # What ``flush`` has yet to write: messages, the columns of their rows, bytes of their bodies.
        self._fresh: list[Stored] = []
        self._values: list[Any] = []
        self._size = 0
        # Whose inboxes are yet to have messages to rooms, and how many places that is; and in this transaction.
        self._behind: list[User] = []
        self.waiting = 0
        self.rows = 0

    def rows_of(self, message: Message) -> int:
        """How many places in inboxes a message to a room would have."""
        room = self.register.room(message.recipient) if message.recipient[0] == "#" else None
        return 0 if room is None else len(room.members)

    def take_places(self) -> Iterator[int]:
        """What is to be put into inboxes of the messages to rooms that were flushed, in the order of the inboxes.

        Returns:
            User, offset and message of each place in turn.
        """
        behind = sorted([(user.id, user.behind) for user in self._behind])
        for user in self._behind:
            user.behind = []
        self._behind = []
        self.waiting = 0
        return _in_turn(behind)

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Take a batch in. It is written by the next ``flush``."""
        numbers = [int(message.mid[:16], 16) for message in batch]
        earlier = self._look_up_cids(batch)
        known = self._known
        stored = []
        for message, number in zip(batch, numbers, strict=True):
            cid = message.cid
            if cid is None:
                stored.append(self._append(message, number))
                continue
            key = (message.sender, cid)
            first = known.get(key) or earlier.get(key)
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
        route = self._routes.get((message.sender, name)) or self.register.open_route(message.sender, name)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        talk = route.talk
        recipient = route.recipient
        talk.total += 1
        route.own += 1
        recipient.last = place = recipient.last + 1
        body = message.msg
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
        room = self.register.room(message.recipient)
        sender = room.members.get(message.sender) if room is not None else None
        if room is None or sender is None:
            return Stored(message, (), False, Error.NOT_ALLOWED)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        room.total += 1
        own = self.register.count_own(room, sender)
        places = []
        pairs = []
        for name, user in room.members.items():
            if user is not sender:
                user.last = place = user.last + 1
                places.append((name, place))
                pairs.append((user.id, place))
                if not user.behind:
                    self._behind.append(user)
                user.behind += (place, number)
        body, attachments = bytes(message.msg), packed(message.attachments)
        self._size += len(body) + len(attachments or b"")
        self.waiting += len(pairs)
        self.rows += len(pairs)
        self._values += (
            number,
            message.mid[16:],
            room.id,
            sender.id,
            None,
            None,
            _json(pairs).decode(),
            room.total,
            -own,
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
        self._fresh, self._size, self.rows = [], 0, 0
        return fresh, size

    def indexed(self, upto: int, most: int) -> None:
        """All up to a message is in all tables now. If that is all: remember ``most`` users, routes and members."""
        if upto < self.number:
            bound = f"{upto + 1:016x}"
            self._known = {key: one for key, one in self._known.items() if one.message.mid >= bound}
            return
        self._known.clear()
        if self.register.size > most:
            self.register.forget()

    def forget(self) -> None:
        """Ids may mean something else now. All that was written is in all tables."""
        self._known.clear()
        self.register.forget()

    def _look_up_cids(self, batch: Sequence[Message]) -> dict[tuple[str, str], Stored]:
        """The messages in the tables that messages of ``batch`` are repeats of, by sender and cid."""
        asked: list[tuple[int, str]] = []
        for message in batch:
            if message.cid is not None and (message.sender, message.cid) not in self._known:
                sender = self.register.user(message.sender, make=False)
                if sender is not None:
                    asked.append((sender.id, message.cid))
        earlier: dict[tuple[str, str], Stored] = {}
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
                earlier[(message.sender, message.cid)] = Stored(message, self._places(message, *row[WIDTH:]))
        return earlier

    def _places(self, message: Message, place: int | None, places: str | None) -> tuple[tuple[str, int], ...]:
        if place is not None:
            return ((message.recipient, place),)
        rows = self._connection.execute(
            "SELECT users.name, json_extract(value, '$[1]') FROM json_each(?) "
            "CROSS JOIN users ON users.id = json_extract(value, '$[0]') ORDER BY key",
            (places,),
        )
        return tuple(rows.fetchall())


def _in_turn(behind: list[tuple[int, list[int]]]) -> Iterator[int]:
    for user, places in behind:
        pairs = iter(places)
        for offset, message in zip(pairs, pairs, strict=True):
            yield user
            yield offset
            yield message
