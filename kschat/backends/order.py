"""The order that mids give to messages, as a number; what every store of its own counts by."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from kschat.chat.message import Message

#: Hex digits of a mid that tell its order: milliseconds since 1970 and a count (``chat.messages.Mids``).
DIGITS: Final = 16

#: Bits of the number that are the count within a millisecond.
COUNT_BITS: Final = 16

_MID: Final = re.compile(r"[0-7][0-9a-f]{15}[0-9a-f]*")


def number_of(mid: str) -> int | None:
    """The number by which ``mid`` is ordered, 63 bits; None for a text that is no mid. Clients may send any text."""
    return int(mid[:DIGITS], 16) if _MID.fullmatch(mid) else None


def renumbered(message: Message, number: int) -> Message:
    """``message`` with the mid that has this number."""
    return msgspec.structs.replace(message, mid=f"{number:0{DIGITS}x}{message.mid[DIGITS:]}")


def pair(one: str, other: str) -> tuple[str, str]:
    """The key of the conversation of two users, whoever writes. That of a room is its name."""
    return (one, other) if one < other else (other, one)
