"""Whom the pipeline answers: a socket, or whoever waits for a Deferred."""

from __future__ import annotations

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from kschat.chat import outgoing
from kschat.chat.interfaces import Stored
from kschat.chat.limiter import Limiter, UserBuckets
from kschat.chat.message import Refused
from kschat.wire.connection import Socket


class SocketReply(msgspec.Struct, frozen=True, gc=False):
    """The answers to a ``Send``: its ack, and RESPSEND. A socket that is gone gets none.

    Attributes:
        socket: the sender's.
        ack: the id of the ack that was asked for.
        uid: the sender, as written.
        rno: what RESPSEND returns.
    """

    socket: Socket
    ack: int | None
    uid: int | str | None
    rno: Raw

    def stored(self, stored: Stored) -> None:
        """See ``Reply``."""
        socket, message = self.socket, stored.message
        if socket.accepted:
            if self.ack is not None:
                socket.ack(self.ack, outgoing.ack_sent(message, stored.repeat))
            socket.emit(outgoing.sent(message, self.rno), message.attachments, True)

    def refused(self, refused: Refused) -> None:
        """See ``Reply``.

        RESPSEND asks for an ack, as the tutorial's does: a client may call its callback without looking.
        """
        socket = self.socket
        if socket.accepted:
            if self.ack is not None:
                socket.ack(self.ack, outgoing.ack_failed(self.uid, refused))
            socket.emit(outgoing.failed(refused, self.rno), ask=True)


class RoomReply(SocketReply, frozen=True, gc=False):
    """The answers to a ``Send`` to a room, whose members are counted among what the sender causes.

    Attributes:
        limiter: counts.
        user: the sender's buckets.
        copies: what was counted beforehand, lest all messages of a turn are stored before the first is counted.
    """

    limiter: Limiter
    user: UserBuckets
    copies: int

    def stored(self, stored: Stored) -> None:
        """See ``Reply``."""
        if not stored.repeat:
            self.limiter.learn_room(stored.message.recipient, len(stored.places))
        self.limiter.copied(self.user, (0 if stored.repeat else len(stored.places)) - self.copies)
        SocketReply.stored(self, stored)

    def refused(self, refused: Refused) -> None:
        """See ``Reply``."""
        self.limiter.copied(self.user, -self.copies)
        SocketReply.refused(self, refused)


class DeferredReply:
    """Fires a Deferred.

    Attributes:
        answer: what is stored; fails with Refused.
    """

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: Deferred[Stored] = Deferred()

    def stored(self, stored: Stored) -> None:
        """See ``Reply``."""
        self.answer.callback(stored)

    def refused(self, refused: Refused) -> None:
        """See ``Reply``."""
        self.answer.errback(refused)
