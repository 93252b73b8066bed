"""A user's inbox as this daemon sees it: how far it is proved to be delivered, and whose sockets are here.

Only proof moves the cursor: the pong of a ping that followed the message (every client's
WebSocket answers it by itself), the ack of the event, or an offset that the client shows. What
was not proved is written again to the user's next socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from kschat.chat.interfaces import IStore
from kschat.chat.messages import Message
from kschat.wire.connection import Socket

if TYPE_CHECKING:
    from kschat.chat.feed import Feed


class Options(msgspec.Struct, frozen=True):
    """What a socket asked for, by query or auth.

    Attributes:
        batch: several messages in one RESPRECEIVER.
        receipts: RESPSTATUS.
        carbons: RESPCARBON.
        recover: connection state recovery.
        more: events that the tutorial does not know (Goodbye, RESPTYPING): ``goodbye=1`` or
            ``typing=1``, or any of the above. One that asked for nothing sees the tutorial's alone.
    """

    batch: bool = False
    receipts: bool = False
    carbons: bool = False
    recover: bool = False
    more: bool = False


#: What a socket was sent and is not proved to have: the offset, the ack that was asked for, the message, its bytes.
Written = tuple[int, int | None, Message, int]


class Context(Protocol):
    """What a feed needs of the daemon it is in."""

    clock: IReactorTime
    store: IStore

    def delivered(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """The cursor of ``inbox`` has moved over ``fresh``."""

    def relayed(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """A socket of ``inbox`` has ``fresh``, which no store keeps."""

    def touched(self, feed: Feed) -> None:
        """Call ``feed.finish()`` when the batch that is being written is whole."""

    def begin_batch(self) -> None:
        """What is written from here on belongs together."""

    def end_batch(self) -> None:
        """The outermost batch is whole."""


class Inbox:
    """One user on this daemon.

    Attributes:
        cursor: all up to this offset was proved, without a hole.
        feeds: the user's sockets here, also those that were not let in yet.
        here: whether one was let in.
    """

    __slots__ = ("context", "cursor", "feeds", "here", "user")

    def __init__(self, user: str, cursor: int, context: Context) -> None:
        self.user = user
        self.cursor = cursor
        self.context = context
        self.feeds: dict[Socket, Feed] = {}
        self.here = False

    def feeds_of(self, socket: str) -> list[Feed]:
        """The feed of the socket with this id, if it is here."""
        return [feed for feed in self.feeds.values() if feed.socket.id == socket]

    def proved(self, offset: int, entries: Sequence[Written]) -> None:
        """A socket has all up to ``offset``; ``entries`` are the newest of it that it was written."""
        before = self.cursor
        if not self.context.store.keeps:
            # Each socket counts for itself, and there is no cursor.
            self.context.relayed(self, [entry[2] for entry in entries])
        elif offset > before:
            self.cursor = offset
            self.context.delivered(self, [entry[2] for entry in entries if entry[0] > before])
