"""Converts a message to what is kept and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from kschat.backends.ids import ids_of, written
from kschat.backends.packed import packed, unpacked, unpacked_extra
from kschat.backends.postgresql.settings import SendRate
from kschat.backends.postgresql.wire import Parameters
from kschat.chat.lines import line_of
from kschat.chat.message import Message
from kschat.chat.mids import mid_of, number_of, suffix_of

#: What ``message_of`` takes, of a message ``m`` with its sender ``s``, its recipient ``r`` and its conversation ``c``.
COLUMNS: Final = "m.id, m.suffix, s.name, coalesce(r.name, c.room), m.ids, m.extra, m.msg, m.time, m.cid, m.attachments"

#: Those tables, for ``messages m``. What a user wrote into a room in the moment of being erased is shown to nobody.
NAMED: Final = (
    "JOIN users s ON s.id = m.sender AND s.name IS NOT NULL LEFT JOIN users r ON r.id = m.recipient "
    "JOIN conversations c ON c.id = m.conversation"
)


def spelled(message: Message) -> str | None:
    """How its sender wrote the ids, as it is kept."""
    if message.uId == message.sender and message.pId == message.recipient and message.name is None:
        return None
    ids = ids_of(message)
    return str(ids) if ids else None


def message_of(row: Sequence[Any]) -> Message:
    """The message that ``COLUMNS`` of it make."""
    number, suffix, sender, recipient, ids, extra, msg, time, cid, attachments = row
    sender, recipient = sender.decode(), recipient.decode()
    if ids is None:
        uid, pid, name = sender, recipient, None
    else:
        uid, pid, name = written(ids if ids[:1] == "[" else int(ids), sender, recipient)
    return Message(
        mid_of(number, suffix.decode()),
        sender,
        recipient,
        uid,
        pid,
        Raw(msg),
        time,
        None if cid is None else cid.decode(),
        unpacked(attachments) if attachments is not None else (),
        name,
        None if extra is None else unpacked_extra(extra),
    )


def append_parameters(
    batch: Sequence[Message], *, deadline: float, turns: tuple[int, int], rate: SendRate, beyond: int
) -> Parameters:
    """The arguments of ``append``.

    Args:
        batch: what is kept.
        deadline: when it is too late, in seconds since 1970 of the server's clock.
        turns: this call's, and that of the call before.
        rate: of a sender.
        beyond: all numbers are greater.
    """
    lines = [line_of(one) for one in batch]
    return (
        Parameters()
        .time(deadline)
        .numbers(*turns, rate.cost, rate.span, beyond)
        .bigints([number_of(one.mid) for one in batch])
        .byte_strings([suffix_of(one.mid).encode() for one in batch])
        .byte_strings([one.sender.encode() for one in batch])
        .byte_strings([one.recipient.encode() for one in batch])
        .texts([spelled(one) for one in batch])
        .bigints([one.time for one in batch])
        .byte_strings([None if one.cid is None else one.cid.encode() for one in batch])
        .bigints([one.size for one in batch])
        .byte_strings([bytes(one.msg) for one in batch])
        .byte_strings([packed(one.attachments) for one in batch])
        .byte_strings([None if line is None else bytes(line) for line in lines])
    )
