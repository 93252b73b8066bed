"""Fills the tables of the PostgreSQL store by COPY, as if all of it had been sent: what ``bench.fill`` makes, and cids.

It writes what ``append`` (``schema/``) would have written. The counts of conversations, participants and inboxes are
those of the messages.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg

from kschat.chat.conversations import is_room
from kschat.chat.message import Message
from kschat.chat.mids import number_of, suffix_of

#: Characters of lines that are handed to PostgreSQL at once.
_CHUNK: Final = 1_000_000

#: Every user is so many messages behind, at most.
BEHIND: Final = 200

_MESSAGES: Final = (
    "conversation, id, suffix, sender, recipient, place, members, places, total, own, time, cid, size, msg"
)
_TABLES: Final = {
    "messages": _MESSAGES,
    "inbox": "user_id, place, conversation, message",
    "users": "id, name, last, cursor, seen, rooms",
    "conversations": "id, one, other, room, last, newest, tail, total, members",
    "participants": "user_id, conversation, own, joined",
}


class _Lines:
    """The lines of one COPY, on a connection of its own."""

    def __init__(self, conninfo: str, table: str) -> None:
        self._connection = psycopg.connect(conninfo)
        self._copying: Any = self._connection.cursor().copy(
            f"COPY kschat.{table} ({_TABLES[table]}) FROM STDIN".encode()
        )
        self._copy = self._copying.__enter__()
        self._lines: list[str] = []
        self._size = 0

    def add(self, line: str) -> None:
        """Add one line."""
        self._lines.append(line)
        self._size += len(line)
        if self._size > _CHUNK:
            self._flush()

    def end(self) -> None:
        """Commit."""
        self._flush()
        self._copying.__exit__(None, None, None)
        self._connection.commit()
        self._connection.close()

    def _flush(self) -> None:
        self._copy.write("".join(self._lines))
        self._lines.clear()
        self._size = 0


class _Conversation:
    """What is counted of one conversation."""

    __slots__ = ("last", "members", "number", "own", "room", "tail", "total", "users")

    def __init__(self, number: int, users: tuple[int, int] | None, room: str) -> None:
        self.number = number
        self.users = users
        self.room = room
        self.members: list[int] = []
        self.last = self.total = 0
        self.tail = ""
        self.own: defaultdict[int, int] = defaultdict(int)


class _Filler:
    """Numbers users, conversations and inboxes, and writes the lines.

    Args:
        conninfo: of the database, whose schema is made and empty.
        members: the members of each room.
    """

    def __init__(self, conninfo: str, members: Mapping[str, Sequence[str]]) -> None:
        self._conninfo = conninfo
        self._chance = random.Random(2)
        self._users: dict[str, int] = {}
        self._rooms: defaultdict[int, int] = defaultdict(int)
        self._places: defaultdict[int, int] = defaultdict(int)
        self._conversations: dict[object, _Conversation] = {}
        self._messages = _Lines(conninfo, "messages")
        self._inbox = _Lines(conninfo, "inbox")
        for room, names in members.items():
            talk = self._conversation(room, None, room)
            talk.members = [self._user(name) for name in names]
            for user in talk.members:
                self._rooms[user] += 1
                talk.own[user] = 0

    def _user(self, name: str) -> int:
        return self._users.setdefault(name, len(self._users) + 1)

    def _conversation(self, key: object, users: tuple[int, int] | None, room: str = "") -> _Conversation:
        found = self._conversations.get(key)
        if found is None:
            found = self._conversations[key] = _Conversation(len(self._conversations) + 1, users, room)
        return found

    def keep(self, message: Message) -> None:
        """One message."""
        sender = self._user(message.sender)
        number = number_of(message.mid)
        if is_room(message.recipient):
            talk = self._conversation(message.recipient, None)
            recipients = [user for user in talk.members if user != sender]
            recipient = "\\N"
        else:
            user = self._user(message.recipient)
            pair = (sender, user) if sender < user else (user, sender)
            talk = self._conversation(pair, pair)
            recipients = [user]
            recipient = str(user)
        talk.total += 1
        talk.own[sender] += 1
        talk.last, talk.tail = number, suffix_of(message.mid)
        places = []
        for user in recipients:
            self._places[user] += 1
            places.append(self._places[user])
            self._inbox.add(f"{user}\t{places[-1]}\t{talk.number}\t{number}\n")
        where = f"{places[0]}\t\\N\t\\N" if recipient != "\\N" else f"\\N\t{_array(recipients)}\t{_array(places)}"
        self._messages.add(
            f"{talk.number}\t{number}\t{_bytes(talk.tail)}\t{sender}\t{recipient}\t{where}\t{talk.total}\t"
            f"{talk.own[sender]}\t{message.time}\t{_bytes(f'{self._chance.getrandbits(64):016x}')}\t{message.size}\t"
            f"{_bytes(bytes(message.msg))}\n"
        )

    def end(self, now: int) -> None:
        """Write all that was counted. ``now``: milliseconds since 1970."""
        self._messages.end()
        self._inbox.end()
        users = _Lines(self._conninfo, "users")
        for name, user in self._users.items():
            last = self._places[user]
            cursor = max(0, last - self._chance.randrange(BEHIND))
            seen = now - self._chance.randrange(86_400_000)
            users.add(f"{user}\t{_bytes(name)}\t{last}\t{cursor}\t{seen}\t{self._rooms[user]}\n")
        users.end()
        talks, participants = _Lines(self._conninfo, "conversations"), _Lines(self._conninfo, "participants")
        for talk in self._conversations.values():
            who = "\\N\t\\N" if talk.users is None else f"{talk.users[0]}\t{talk.users[1]}"
            room = _bytes(talk.room) if talk.room else "\\N"
            talks.add(
                f"{talk.number}\t{who}\t{room}\t{talk.last}\t{talk.last}\t{_bytes(talk.tail)}\t{talk.total}\t"
                f"{len(talk.members)}\n"
            )
            for user in talk.members or set(talk.users or ()):
                participants.add(f"{user}\t{talk.number}\t{talk.own[user]}\t0\n")
        talks.end()
        participants.end()


def fill(conninfo: str, messages: Iterable[Message], members: Mapping[str, Sequence[str]], now: int) -> None:
    """Keep all of these messages, which rise in time.

    Args:
        conninfo: of a database in which a kschat has made its schema, and nothing else.
        messages: all of them.
        members: the members of each room that they are to.
        now: milliseconds since 1970.
    """
    filler = _Filler(conninfo, members)
    for message in messages:
        filler.keep(message)
    filler.end(now)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for table in ("users", "conversations"):
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('kschat.{table}', 'id'), max(id)) FROM kschat.{table}".encode()
            )
        for table in _TABLES:
            connection.execute(f"VACUUM (ANALYZE) kschat.{table}".encode())


def _bytes(value: str | bytes) -> str:
    """A bytea as COPY reads it."""
    return "\\\\x" + (value.encode() if isinstance(value, str) else value).hex()


def _array(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
