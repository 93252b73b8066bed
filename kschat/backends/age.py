"""The age of messages whose ids run ahead of the clock.

Message ids never go back. If the machine's clock was ahead for a while, all later ids count on from there until the
clock has caught up; the messages themselves carry the right time. Such a message is *late*: its id says a later time
than its own timestamp.

A late message alone does not show whether the clock was wrong before or is wrong now. It counts only once the clock has
run on like that for long enough: a clock that is wrong for a moment must not make earlier messages look old.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kschat.chat.mids import COUNT_BITS

#: Milliseconds by which a number may be ahead of its message's time: clocks of several machines differ.
LATE: Final = 60_000

#: Milliseconds by which it is at the most, to be believed: a machine that starts without a clock says 1970.
MOST_LATE: Final = 30 * 86_400_000


class Late(msgspec.Struct, frozen=True):
    """A late message: its number, and its time in milliseconds since 1970."""

    number: int
    time: int

    @property
    def by(self) -> int:
        """How far its number is ahead, in milliseconds."""
        return (self.number >> COUNT_BITS) - self.time


def is_late(number: int, time: int) -> bool:
    """Whether a message's number is ahead of its time, by no more than can be believed."""
    return LATE < (number >> COUNT_BITS) - time <= MOST_LATE


def oldest_kept(before: int, now: int, last: int, old: Late | None, newest: Late | None) -> int:
    """The number from which on messages are kept.

    Args:
        before: the time before which messages go, in milliseconds.
        now: the time, in milliseconds.
        last: the greatest number that was given.
        old: the newest of the late messages that are older than ``before``.
        newest: the newest late message.
    """
    kept = before << COUNT_BITS
    if old is None or newest is None or old.number < kept:
        return kept
    # The clock is still behind what it once said, or it was until it had made up for half of that.
    ran_on = now < last >> COUNT_BITS or newest.by <= old.by // 2
    return old.number + 1 if ran_on else kept
