"""The parts of a message that the SQL stores keep as msgpack, each in a column of its own."""

from __future__ import annotations

from typing import Final

import msgspec

from kschat.chat.message import Changes, Message, Update

_pack: Final = msgspec.msgpack.Encoder().encode

#: The attachments that ``packed`` packed.
unpacked: Final = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode

#: The ``extra`` that ``extra_of`` packed.
unpacked_extra: Final = msgspec.msgpack.Decoder(Update | Changes).decode


def extra_of(message: Message) -> bytes | None:
    """The ``extra`` of a message, packed; None if it has none."""
    return None if message.extra is None else _pack(message.extra)


def packed(attachments: tuple[bytes, ...]) -> bytes | None:
    """Attachments, packed; None without any."""
    return _pack(attachments) if attachments else None
