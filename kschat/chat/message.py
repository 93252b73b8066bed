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

    @property
    def size(self) -> int:
        """Bytes of ``msg`` and the attachments."""
        return len(self.msg) + sum(map(len, self.attachments)) if self.attachments else len(self.msg)
