"""Turns messages into rows: ids, offsets, repeats. Only the writer thread uses it.

Its caches are valid only while every write is committed. After a failure a new one is made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.backends.ids import ids_of
from kschat.backends.packed import extra_of, packed
from kschat.backends.sqlite.identities import IdentityMap, User
from kschat.backends.sqlite.rows import COLUMNS, message_of
from kschat.chat.changes import without_text
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import MAX_READ_BACK, Stored, repeat_of
from kschat.chat.lines import MAX_LINE, line_of
from kschat.chat.message import Error, Message
from kschat.chat.mids import first_mid, number_of, renumbered, suffix_of

_FIELDS: Final = (
    "id, suffix, conversation, sender, recipient, place, places, total, own, ids, time, cid, msg, attachments"
)
_ROW: Final = "(" + ", ".join("?" * 14) + ")"

#: Rows of one statement, most first. Each call into SQLite gives Python's lock away and has to win
#: it back from a busy reactor, so that a statement a row would take many times as long.
_ROWS: Final = (256, 128, 64, 32, 16, 8, 4, 2, 1)

_INSERT: Final = {count: f"INSERT INTO messages ({_FIELDS}) VALUES " + ", ".join([_ROW] * count) for count in _ROWS}

_json: Final = msgspec.json.Encoder().encode

#: ``COLUMNS`` of a first message, and whether it is whole: of a large one neither msg nor attachments are read.
_SMALL: Final = f"length(m.msg) + coalesce(length(m.attachments), 0) <= {MAX_READ_BACK}"
_READ_BACK: Final = (
    COLUMNS.removesuffix("m.msg, m.time, m.cid, m.attachments")
    + f"CASE WHEN {_SMALL} THEN m.msg ELSE x'' END, m.time, m.cid, CASE WHEN {_SMALL} THEN m.attachments END, {_SMALL}"
)

#: Pairs of a sender and a cid that are asked for at once.
_CIDS: Final = 64


class MessageAppender:
    """Appends messages to one open database.

    Args:
        connection: must be in a transaction while messages are appended or flushed.
        base: new offsets are greater than this.

    Attributes:
        number: the greatest id of a message.
        identities: the cache of users, directions and rooms.
        waiting: inbox rows of messages to rooms since the last ``take_places``.
        rows: inbox rows of messages to rooms since the last ``flush``.
    """

    def __init__(self, connection: sqlite3.Connection, base: int) -> None:
        self._connection = connection
        (self.number,) = connection.execute(
            "SELECT max(indexed, coalesce((SELECT max(id) FROM messages), 0)) FROM progress"
        ).fetchone()
        self.identities = IdentityMap(connection, base)
        self._directions = self.identities.directions
        # By sender and cid, what is not in all tables yet.
        self._known: dict[tuple[str, str], Stored] = {}
        # What ``flush`` has yet to write: messages, the columns of their rows, bytes of their bodies.
        self._fresh: list[Stored] = []
        self._values: list[Any] = []
        self._size = 0
        self._lines: dict[str, Raw] = {}
        # Whose inboxes are yet to have messages to rooms, and how many places that is; and in this transaction.
        self._behind: list[User] = []
        self.waiting = 0
        self.rows = 0

    def rows_of(self, message: Message) -> int:
        """About how many inbox rows ``message`` will need, if it is to a room; else 0."""
        room = self.identities.room(message.recipient) if is_room(message.recipient) else None
        return 0 if room is None else len(room.members)

    def take_places(self) -> Iterator[int]:
        """The inbox rows of flushed messages to rooms, sorted by user and offset.

        Returns:
            User, offset, message, user, ….
        """
        behind = sorted([(user.id, user.behind) for user in self._behind])
        for user in self._behind:
            user.behind = []
        self._behind = []
        self.waiting = 0
        return _in_turn(behind)

    def append(self, batch: Sequence[Message]) -> list[Stored]:
        """Append a batch. The next ``flush`` writes it."""
        numbers = [number_of(message.mid) for message in batch]
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
                stored.append(repeat_of(first, message))
                continue
            one = self._append(message, number)
            if one.refused is None:
                known[key] = one
            stored.append(one)
        return stored

    def _append(self, message: Message, number: int) -> Stored:
        name = message.recipient
        if is_room(name):
            return self._append_to_room(message, number)
        direction = self._directions.get((message.sender, name)) or self.identities.open_direction(message.sender, name)
        if direction.blocked:
            return Stored(message, (), False, Error.NOT_ALLOWED)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        conversation = direction.conversation
        recipient = direction.recipient
        conversation.total += 1
        direction.own += 1
        recipient.last = place = recipient.last + 1
        body = message.msg
        attachments = packed(message.attachments) if message.attachments else None
        size = len(body)
        if attachments is not None or size > MAX_LINE:
            self._add_line(message)
            size = message.size
        self._size += size
        self._values += (
            number,
            suffix_of(message.mid),
            conversation.id,
            direction.sender.id,
            recipient.id,
            place,
            None,
            conversation.total,
            direction.own,
            0 if message.uId == message.sender and message.pId == name and message.name is None else ids_of(message),
            message.time,
            message.cid,
            body,
            attachments,
        )
        stored = Stored(message, ((name, place),))
        self._fresh.append(stored)
        return stored

    def _append_to_room(self, message: Message, number: int) -> Stored:
        room = self.identities.room(message.recipient)
        sender = room.members.get(message.sender) if room is not None else None
        if room is None or sender is None:
            return Stored(message, (), False, Error.NOT_ALLOWED)
        if number <= self.number:
            number = self.number + 1
            message = renumbered(message, number)
        self.number = number
        room.total += 1
        own = self.identities.count_own(room, sender)
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
        size = len(body)
        if attachments is not None or size > MAX_LINE:
            self._add_line(message)
            size = message.size
        self._size += size
        self.waiting += len(pairs)
        self.rows += len(pairs)
        self._values += (
            number,
            suffix_of(message.mid),
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

    def knows(self, update: Message) -> bool:
        """Whether the ``cid`` of an update is known."""
        if update.cid is None:
            return False
        return (update.sender, update.cid) in self._known or bool(self._look_up_cids([update]))

    def users_of(self, update: Message, also_blocked: bool) -> list[User] | None:
        """Whose inboxes an update goes into: of all in its conversation, which exists.

        Args:
            update: it.
            also_blocked: whether it does not matter that the recipient blocks the sender.

        Returns:
            None if the sender is no member of the room, or is blocked.
        """
        if is_room(update.recipient):
            room = self.identities.room(update.recipient)
            return None if room is None or update.sender not in room.members else list(room.members.values())
        key = (update.sender, update.recipient)
        direction = self._directions.get(key) or self.identities.open_direction(*key)
        if direction.blocked and not also_blocked:
            return None
        users = [direction.sender, direction.recipient]
        return users[:1] if users[0] is users[1] else users

    def append_update(self, update: Message, conversation: int, users: Sequence[User]) -> Stored:
        """Append an update, whose text is kept with its message alone, to the inboxes of ``users``."""
        number = max(number_of(update.mid), self.number + 1)
        update = renumbered(update, number)
        self.number = number
        kept = without_text(update)
        sender = self.identities.user(update.sender)
        recipient = None if is_room(update.recipient) else self.identities.user(update.recipient)
        assert sender is not None
        places = []
        for user in users:
            user.last = place = user.last + 1
            places.append((user, place))
            if not user.behind:
                self._behind.append(user)
            user.behind += (place, number)
        self.waiting += len(places)
        self.rows += len(places)
        self._size += len(kept.msg)
        self._connection.execute(
            f"INSERT INTO messages ({_FIELDS}, extra) VALUES ({', '.join('?' * 15)})",
            (
                number,
                suffix_of(update.mid),
                conversation,
                sender.id,
                None if recipient is None else recipient.id,
                None,
                _json([(user.id, place) for user, place in places]).decode(),
                0,
                0,
                ids_of(update),
                update.time,
                update.cid,
                bytes(kept.msg),
                None,
                extra_of(update),
            ),
        )
        named = tuple([(user.name, place) for user, place in places])
        stored = Stored(kept, named)
        if update.cid is not None:
            self._known[(update.sender, update.cid)] = stored
        self._fresh.append(stored)
        return Stored(update, named)

    def replace(self, message: Message) -> None:
        """A message was changed in the table: it is the first of its repeats from now on."""
        if message.cid is not None:
            known = self._known.get((message.sender, message.cid))
            if known is not None:
                self._known[(message.sender, message.cid)] = Stored(message, known.places)

    def _add_line(self, message: Message) -> None:
        line = line_of(message)
        if line is not None:
            self._lines[message.mid] = line

    def flush(self) -> tuple[list[Stored], dict[str, Raw], int]:
        """Write all appended messages; return them, the lines of those that have one, and the bytes of their bodies."""
        values = self._values
        execute = self._connection.execute
        start = 0
        for count in _ROWS:
            width = 14 * count
            while len(values) - start >= width:
                execute(_INSERT[count], values[start : start + width])
                start += width
        values.clear()
        fresh, lines, size = self._fresh, self._lines, self._size
        self._fresh, self._size, self.rows = [], 0, 0
        if lines:
            self._lines = {}
            rows = [(number_of(mid), bytes(line)) for mid, line in lines.items()]
            self._connection.executemany("INSERT INTO lines VALUES (?, ?)", rows)
        return fresh, lines, size

    def indexed(self, upto: int, most: int) -> None:
        """Messages up to ``upto`` are indexed. If these are all, keep at most ``most`` identities cached."""
        if upto < self.number:
            bound = first_mid(upto + 1)
            self._known = {key: one for key, one in self._known.items() if one.message.mid >= bound}
            return
        self._known.clear()
        if self.identities.size > most:
            self.identities.forget()

    def forget(self) -> None:
        """Empty the caches, since ids may have changed their meaning. All messages are indexed."""
        self._known.clear()
        self.identities.forget()

    def _look_up_cids(self, batch: Sequence[Message]) -> dict[tuple[str, str], Stored]:
        """The messages in the tables that messages of ``batch`` are repeats of, by sender and cid."""
        asked: list[tuple[int, str]] = []
        for message in batch:
            if message.cid is not None and (message.sender, message.cid) not in self._known:
                sender = self.identities.user(message.sender, make=False)
                if sender is not None:
                    asked.append((sender.id, message.cid))
        earlier: dict[tuple[str, str], Stored] = {}
        for start in range(0, len(asked), _CIDS):
            some = asked[start : start + _CIDS]
            # Padded to a power of two, so that there are few statements.
            some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
            rows = self._connection.execute(
                f"WITH asked (sender, cid) AS (VALUES {', '.join(['(?, ?)'] * len(some))}) "
                f"SELECT {_READ_BACK}, m.place, m.places FROM asked CROSS JOIN cids USING (sender, cid) "
                "CROSS JOIN messages m ON m.id = cids.message",
                list(chain.from_iterable(some)),
            ).fetchall()
            for row in rows:
                *head, whole, place, places = row
                message = message_of(head)
                assert message.cid is not None
                earlier[(message.sender, message.cid)] = Stored(
                    message, self._places(message, place, places), whole=bool(whole)
                )
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
