"""The events: their types, ids and data. No event holds the text of a message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.chat.conversations import is_room
from kschat.chat.message import Message
from kschat.chat.outbox import Event, Join, Logged

#: A message was stored for a user who had no socket, and had not got it a second later.
STORED: Final = "message.stored-for-absent"

#: A user has messages that were not delivered for a time. At most one a user and period.
UNDELIVERED: Final = "message.undelivered"

#: A user who had no socket has one; and has none any more, on any daemon.
CONNECTED: Final = "user.connected"
DISCONNECTED: Final = "user.disconnected"

#: A user became a member of a room.
JOINED: Final = "room.joined"

#: All of them.
TYPES: Final = (STORED, UNDELIVERED, CONNECTED, DISCONNECTED, JOINED)

#: Those that are made of marks.
OF_PRESENCE: Final = frozenset({CONNECTED, DISCONNECTED})

#: Senders, and rooms, that an event names.
MAX_NAMED: Final = 20

_encode: Final = msgspec.json.Encoder().encode


class _StoredData(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    user: str
    sender: str
    to: str
    mid: str
    time: int


class UndeliveredData(msgspec.Struct, frozen=True):
    """The data of ``message.undelivered``.

    Attributes:
        user: who has not got them.
        count: how many messages these are.
        more: whether there are others.
        since: when the oldest was sent, in milliseconds since 1970.
        newest: the mid of the newest that is counted.
        senders: who wrote them, at most ``MAX_NAMED``.
        rooms: the rooms that they were written in, at most ``MAX_NAMED``.
        conversations: these rooms, and the users who wrote to this one alone; at most ``MAX_NAMED``.
    """

    user: str
    count: int
    more: bool
    since: int
    newest: str
    senders: tuple[str, ...]
    rooms: tuple[str, ...]
    conversations: tuple[str, ...]


class _UserData(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    user: str
    last_seen: int | None = None


class _JoinedData(msgspec.Struct, frozen=True):
    user: str
    room: str


def conversations_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """The rooms that messages are in, and the users who wrote the others to one alone; at most ``MAX_NAMED``."""
    found = (one.recipient if is_room(one.recipient) else one.sender for one in messages)
    return tuple(islice(dict.fromkeys(found), MAX_NAMED))


def stored(message: Logged, user: str) -> Event:
    """A message was stored for ``user``, who is absent. Its id is the same whenever it is made."""
    data = _StoredData(user, message.sender, message.room or user, message.mid, message.at)
    return Event(_id(STORED, message.mid, user), STORED, user, message.at, Raw(_encode(data)), (message.sender,))


def undelivered(data: UndeliveredData, at: int, last: int) -> Event:
    """Messages were not delivered to a user for a time. ``last``: the end of the user's inbox."""
    id_ = _id(UNDELIVERED, data.user, data.newest, str(last))
    return Event(id_, UNDELIVERED, data.user, at, Raw(_encode(data)), data.senders)


def connected(user: str, at: int, random: Callable[[], str]) -> Event:
    """A user is online."""
    return Event(f"msg_{random()}", CONNECTED, user, at, Raw(_encode(_UserData(user))))


def disconnected(user: str, at: int, last_seen: int | None, random: Callable[[], str]) -> Event:
    """A user is online no more."""
    return Event(f"msg_{random()}", DISCONNECTED, user, at, Raw(_encode(_UserData(user, last_seen))))


def joined(join: Join) -> Event:
    """A user became a member of a room. Its id is the same whenever it is made."""
    data = _JoinedData(join.user, join.room)
    id_ = _id(JOINED, join.room, join.user, str(join.number), str(join.at))
    return Event(id_, JOINED, join.user, join.at, Raw(_encode(data)))


def _id(*parts: str) -> str:
    whole: Sequence[Any] = parts
    return f"msg_{hashlib.sha256(_encode(whole)).hexdigest()[:32]}"
