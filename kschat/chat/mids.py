"""Message ids, and the number in each that orders messages.

A mid is 12 hex digits of milliseconds since 1970, 4 of a count within the millisecond, and 8 that tell one daemon from
others. The first 16 are its number: 63 bits, by which stores order messages and clients read backwards. No other module
takes a mid apart.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import msgspec

from kschat.chat.message import Message

#: A mid as text.
Mid: TypeAlias = str

#: What orders mids.
MidNumber: TypeAlias = int

#: Hex digits of a mid that are its number.
NUMBER_DIGITS: Final = 16

#: Bits of a number that are the count within a millisecond.
COUNT_BITS: Final = 16

#: Messages of one millisecond.
MAX_COUNT: Final = (1 << COUNT_BITS) - 1

#: The greatest number.
MAX_NUMBER: Final = 2**63 - 1

_MID: Final = re.compile(r"[0-7][0-9a-f]{15}[0-9a-f]*")


def number_of(mid: Mid) -> MidNumber:
    """The number of a mid that is one."""
    return int(mid[:NUMBER_DIGITS], 16)


def parse_number(text: str) -> MidNumber | None:
    """The number of what a client gives for a mid; None where it is none."""
    return number_of(text) if _MID.fullmatch(text) else None


def suffix_of(mid: Mid) -> str:
    """What follows the number."""
    return mid[NUMBER_DIGITS:]


def mid_of(number: MidNumber, suffix: str) -> Mid:
    """The mid with this number, and what follows it."""
    return f"{number:016x}{suffix}"


def first_mid(number: MidNumber) -> Mid:
    """The text that no mid with this number or a greater one comes before, and all with a lesser one do."""
    return mid_of(number, "")


def renumbered(message: Message, number: MidNumber) -> Message:
    """``message`` with the mid that has this number."""
    return msgspec.structs.replace(message, mid=mid_of(number, suffix_of(message.mid)))


class Mids:
    """Makes message ids that sort by time and never repeat.

    Args:
        daemon: 8 hex digits, random for each start of a daemon.
    """

    __slots__ = ("_count", "_daemon", "_last")

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon
        self._last = 0
        self._count = 0

    def make(self, time: int) -> Mid:
        """A new mid. ``time`` is milliseconds; where it went back, the last one counts on."""
        if time > self._last:
            self._last = time
            self._count = 0
        else:
            self._count += 1
            if self._count > MAX_COUNT:
                self._last += 1
                self._count = 0
        return f"{self._last << COUNT_BITS | self._count:016x}{self._daemon}"
