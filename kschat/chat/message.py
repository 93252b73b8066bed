"""``Message``, its id, and the reasons for refusing one."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec
from msgspec import Raw

#: Longest id of a user or a room, in characters; it becomes part of a routing key.
MAX_ID: Final = 128


class Error(IntEnum):
    """The ER codes."""

    DONE = 0
    INVALID = 1
    NO_BROKER = 2
    NO_STORE = 3
    TOO_MANY = 4
    TOO_LARGE = 5
    NOT_ALLOWED = 6
    GOING_DOWN = 7
    BUSY = 8


class Refused(Exception):
    """A command is refused.

    Attributes:
        error: the code.
        why: one plain sentence for the client.
        retry_in: seconds until it may be done, where that is known.
    """

    def __init__(self, error: Error, why: str, retry_in: float | None = None) -> None:
        super().__init__(why)
        self.error = error
        self.why = why
        self.retry_in = retry_in


class Update(msgspec.Struct, frozen=True, array_like=True, tag="u", gc=False):
    """Makes a message an update: an entry in inboxes that changes an earlier message, and is not shown as a message.

    The update's ``msg`` and ``attachments`` are the text after an edit, ``null`` otherwise.

    Attributes:
        kind: ``EDIT``, ``DELETE`` or ``REACT``; ``VOID`` for an edit of a text that is gone, which is not sent.
        target: the mid of the message that it changes, in the same conversation.
        emoji: the reaction; "" takes it back, and is that of other kinds.
    """

    kind: str
    target: str
    emoji: str = ""


EDIT: Final = "edit"
DELETE: Final = "delete"
REACT: Final = "react"
VOID: Final = ""


class Changes(msgspec.Struct, frozen=True, array_like=True, tag="c", gc=False):
    """What became of a message since it was sent.

    Attributes:
        edited, deleted: when, in milliseconds since 1970; None if it was not. The ``msg`` of a deleted one is ``null``.
        reactions: users with the reaction of each, the oldest first.
    """

    edited: int | None = None
    deleted: int | None = None
    reactions: tuple[tuple[str, str], ...] = ()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, from the moment it was found valid.

    Attributes:
        mid: its id, the same for ever; sorts by time.
        sender, recipient: user ids as strings.
        uId, pId: the same as the sender wrote them (see ``safe_id``).
        msg: JSON; ``{"_placeholder": true, "num": n}`` in it means ``attachments[n]``.
        time: milliseconds since 1970.
        cid: the sender's own id of it.
        attachments: binary parts, in the order of their first placeholders.
        name: what its sender was called when it was written (see ``names``); None where the token gave no name.
        extra: that it is an update, or what became of it; None for a message as it was sent.
    """

    mid: str
    sender: str
    recipient: str
    uId: int | str
    pId: int | str
    msg: Raw
    time: int
    cid: str | None = None
    attachments: tuple[bytes, ...] = ()
    name: str | None = None
    extra: Update | Changes | None = None

    @property
    def size(self) -> int:
        """Bytes of ``msg`` and the attachments."""
        return len(self.msg) + sum(map(len, self.attachments)) if self.attachments else len(self.msg)
