"""Converts a message to a row and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.backends.ids import written
from kschat.chat.message import Message
from kschat.chat.mids import mid_of

#: What ``message_of`` takes, of a message ``m``.
COLUMNS: Final = (
    "m.id, m.suffix, (SELECT name FROM users WHERE id = m.sender), "
    "CASE WHEN m.recipient IS NULL THEN (SELECT room FROM conversations WHERE id = m.conversation) "
    "ELSE (SELECT name FROM users WHERE id = m.recipient) END, m.ids, m.msg, m.time, m.cid, m.attachments"
)

#: How many columns those are.
WIDTH: Final = 9

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode


def packed(attachments: tuple[bytes, ...]) -> bytes | None:
    """Attachments as they are kept; without any: NULL."""
    return _pack(attachments) if attachments else None


def message_of(row: Sequence[Any]) -> Message:
    """The message that ``COLUMNS`` of it make."""
    number, suffix, sender, recipient, ids, msg, time, cid, attachments = row
    uid, pid = written(ids, sender, recipient) if ids else (sender, recipient)
    return Message(
        mid_of(number, suffix),
        sender,
        recipient,
        uid,
        pid,
        Raw(msg),
        time,
        cid,
        _unpack(attachments) if attachments is not None else (),
    )
