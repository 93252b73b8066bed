"""The whole content of a store as records, in pages: what moves from one store to another, and what is compared.

A store that can be read so has an ``ArchiveReader``, one that can be filled so an ``ArchiveWriter``. Both know the same
records, and a record that was written is read as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from msgspec import Raw

from kschat.chat.conversations import ConversationKey, conversation_key
from kschat.chat.message import Message
from kschat.chat.mids import MidNumber
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation

#: Bytes of messages in a page; a larger message has a page of its own.
PAGE_BYTES: Final = 1_000_000

#: Records of a page, except where one thing has more (the members of a room).
PAGE_RECORDS: Final = 1000


class Section(Enum):
    """The parts of a store, in the order in which they are moved."""

    USERS = "users"
    CONVERSATIONS = "conversations"
    PARTICIPANTS = "participants"
    MESSAGES = "messages"
    INBOXES = "inboxes"
    BLOCKS = "blocks"
    REVOCATIONS = "revocations"
    SUBSCRIPTIONS = "subscriptions"


class Origin(msgspec.Struct, frozen=True):
    """What a store says of itself as a whole.

    Attributes:
        epoch: of its offsets.
        last: the greatest offset that it gave to any user, or a greater one.
        erased: the greatest offset of an inbox that was erased.
        revoked: the number of the newest revocation.
        events: of a back end's: those that wait, and messages of which they are not made yet. They are not moved.
    """

    epoch: str
    last: int
    erased: int
    revoked: int
    events: int = 0


class UserRecord(msgspec.Struct, frozen=True, gc=False):
    """A user.

    Attributes:
        name: the user's id.
        cursor: all up to this offset was confirmed.
        last: the greatest offset that was given.
        seen: when the last socket ended, in milliseconds since 1970; None if that is not known.
    """

    name: str
    cursor: int
    last: int
    seen: int | None

    def is_only_a_name(self, origin: Origin) -> bool:
        """Whether nothing else is known, so that another store may know nothing of this user."""
        return not self.cursor and self.seen is None and self.last <= origin.erased


class ConversationRecord(msgspec.Struct, frozen=True, gc=False):
    """A conversation.

    Attributes:
        key: whose it is.
        total: how many messages there were.
        gone: how many of these, the oldest, are shown no more.
    """

    key: ConversationKey
    total: int
    gone: int


class ParticipantRecord(msgspec.Struct, frozen=True, gc=False):
    """One of two users, or a member of a room.

    Attributes:
        key: the conversation.
        user: the user.
        unread: how many messages of others are not read.
        read: the number of the newest message of another one that is read; 0 if there is none.
        own: how many messages of the user were counted (in a room since the user joined).
        own_gone: how many of these are shown no more.
        joined: the newest message when the user joined a room; 0 if that is not known, or there was none.
    """

    key: ConversationKey
    user: str
    unread: int
    read: MidNumber
    own: int
    own_gone: int
    joined: MidNumber


class MessageRecord(msgspec.Struct, frozen=True, gc=False):
    """A message that is no update.

    Attributes:
        message: as it is now.
        total: which number of its conversation it is.
        own: which number of its sender's there.
        place: the offset in the inbox of a recipient who is a user; 0 in a room.
        places: of one to a room: the recipients, and the offsets; None where the inboxes alone tell.
    """

    message: Message
    total: int
    own: int
    place: int
    places: tuple[tuple[str, int], ...] | None = None


class EntryRecord(msgspec.Struct, frozen=True, gc=False):
    """An entry of an inbox.

    Attributes:
        user: whose inbox it is.
        offset: where.
        key: the conversation of the message.
        number: of the message, or the update.
        update: the update, without the text of an edit; None for a message.
    """

    user: str
    offset: int
    key: ConversationKey
    number: MidNumber
    update: Message | None = None


class BlockRecord(msgspec.Struct, frozen=True, gc=False):
    """``user`` wants no messages of ``peer``."""

    user: str
    peer: str


class SubscriptionRecord(msgspec.Struct, frozen=True, gc=False):
    """A push subscription of ``user``. ``rank``: 1 for the oldest of that user's. They come in this order."""

    user: str
    rank: int
    subscription: PushSubscription


Record: TypeAlias = (
    UserRecord
    | ConversationRecord
    | ParticipantRecord
    | MessageRecord
    | EntryRecord
    | BlockRecord
    | NumberedRevocation
    | SubscriptionRecord
)


class Page(msgspec.Struct, frozen=True, gc=False):
    """Some records of a section.

    Attributes:
        records: in an order of the store's own.
        position: where the next page begins; None after the last one.
    """

    records: Sequence[Record]
    position: bytes | None


class ArchiveReader(Protocol):
    """Reads a store that nobody writes to.

    Each method fails with StoreUnavailable, whose text is one sentence.
    """

    async def origin(self) -> Origin:
        """What it says of itself. Refuses a store that a daemon uses."""

    async def page(self, section: Section, position: bytes) -> Page:
        """A page of a section; ``position``: that of the page before, b"" for the first one."""

    async def count(self) -> int:
        """About how many messages there are; 0 where that is not known. For a line on how far it is."""

    async def close(self) -> None:
        """Let others use it."""


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a store was moved.

    Attributes:
        source: the epoch of the store that is moved here.
        section: the section whose next page is written next; None if all is written.
        position: where that page begins.
    """

    source: str
    section: Section | None
    position: bytes = b""


class ArchiveWriter(Protocol):
    """Fills a store that nobody else uses. As long as it is not done, no daemon can use it.

    Each method fails with StoreUnavailable, whose text is one sentence.
    """

    async def begin(self, origin: Origin) -> Checkpoint:
        """How far it is, also after a crash. Refuses a store with content, unless it is filled from this origin."""

    async def write(self, section: Section, records: Sequence[Record], checkpoint: Checkpoint) -> None:
        """Write a page, and how far it is then: both or nothing."""

    async def reader(self) -> ArchiveReader:
        """Reads what was written. Closed with this."""

    async def finish(self) -> None:
        """It is whole, and daemons may use it."""

    async def close(self) -> None:
        """Leave it as it is."""


class Digest:
    """The count and the checksum of records, in whatever order they come."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, records: Iterable[Record], origin: Origin) -> None:
        """Count those records that say something."""
        for record in records:
            if isinstance(record, UserRecord) and record.is_only_a_name(origin):
                continue
            self.count += 1
            hashed = hashlib.blake2b(_encode(_compared(record)), digest_size=16).digest()
            self._sum = (self._sum + int.from_bytes(hashed, "big")) % (1 << 128)

    @property
    def checksum(self) -> str:
        """Hexadecimal."""
        return f"{self._sum:032x}"


def key_of(message: Message) -> ConversationKey:
    """The conversation of a message."""
    return conversation_key(message.sender, message.recipient)


_encode: Final = msgspec.msgpack.Encoder().encode


def _compared(record: Record) -> Any:
    """What of a record every store tells alike."""
    if isinstance(record, ConversationRecord):
        return (record.key, record.total - record.gone)
    if isinstance(record, ParticipantRecord):
        return (record.key, record.user, record.unread, record.read)
    if isinstance(record, MessageRecord):
        return (_told(record.message), record.total, record.own, record.place)
    if isinstance(record, EntryRecord):
        update = None if record.update is None else _told(record.update)
        return (record.user, record.offset, record.key, record.number, update)
    return record


def _told(message: Message) -> Any:
    # Ids may be numbers of any size.
    rest = msgspec.structs.replace(message, uId=repr(message.uId), pId=repr(message.pId), msg=_NOTHING)
    return (rest, bytes(message.msg))


_NOTHING: Final = Raw(b"\xc0")
