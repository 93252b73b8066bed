"""Converts a message to a row and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.backends.ids import written
from kschat.backends.packed import unpacked, unpacked_extra
from kschat.chat.lines import MAX_LINE, line_of
from kschat.chat.message import Message
from kschat.chat.mids import mid_of

#: What ``message_of`` takes, of a message ``m``.
COLUMNS: Final = (
    "m.id, m.suffix, (SELECT name FROM users WHERE id = m.sender), "
    "CASE WHEN m.recipient IS NULL THEN (SELECT room FROM conversations WHERE id = m.conversation) "
    "ELSE (SELECT name FROM users WHERE id = m.recipient) END, m.ids, m.extra, m.msg, m.time, m.cid, m.attachments"
)

#: How many columns those are.
WIDTH: Final = 10

#: The last of ``LINE_COLUMNS``: the message has a line; it has none, but attachments.
_LINE: Final = 2
_BINARY: Final = 1

#: What ``listed_of`` takes, of a message ``m`` and its row of ``lines``, ``s``. The lengths and types of columns are
#: known without reading them, and a large message is not read.
LINE_COLUMNS: Final = (
    COLUMNS.removesuffix("m.msg, m.time, m.cid, m.attachments")
    + f"CASE WHEN s.line IS NOT NULL THEN s.line WHEN length(m.msg) <= {MAX_LINE} THEN m.msg END, m.time, m.cid, "
    f"CASE WHEN s.line IS NOT NULL THEN {_LINE} ELSE typeof(m.attachments) <> 'null' END"
)


def listed_of(row: Sequence[Any]) -> tuple[Message, bool]:
    """The message that ``LINE_COLUMNS`` of it make, with its line; whether that is not the whole ``msg``."""
    *rest, msg, time, cid, kind = row
    message = message_of((*rest, b"null" if msg is None else msg, time, cid, None))
    if kind == _BINARY and msg is not None:
        # It was stored by a version that made no lines.
        line = line_of(msgspec.structs.replace(message, attachments=(b"",)))
        message = msgspec.structs.replace(message, msg=line)
    return message, bool(kind) or msg is None


def message_of(row: Sequence[Any]) -> Message:
    """The message that ``COLUMNS`` of it make."""
    number, suffix, sender, recipient, ids, extra, msg, time, cid, attachments = row
    uid, pid, name = written(ids, sender, recipient) if ids else (sender, recipient, None)
    return Message(
        mid_of(number, suffix),
        sender,
        recipient,
        uid,
        pid,
        Raw(msg),
        time,
        cid,
        unpacked(attachments) if attachments is not None else (),
        name,
        None if extra is None else unpacked_extra(extra),
    )
