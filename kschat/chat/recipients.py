"""The claim ``data.to``: to whom a user may write. Pure.

Patterns have ``*`` for any characters, and are matched in time linear in the id and the pattern.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kschat.chat.message import MAX_ID, Error, Refused
from kschat.wire.jsonnumbers import whole_number

#: Ids in the claim.
MAX_TO: Final = 1000

#: Patterns with ``*`` among them: each message is compared with these one after another.
MAX_PATTERNS: Final = 32

#: What a pattern has for any characters.
_ANY: Final = "*"


class Recipients(msgspec.Struct, frozen=True):
    """Some users.

    Attributes:
        ids: these,
        patterns: and those whose ids match any of these: what stands before, between and after the ``*``.
    """

    ids: frozenset[str] = frozenset()
    patterns: tuple[tuple[str, ...], ...] = ()

    def allow(self, user: str) -> bool:
        """Whether ``user`` is one of them."""
        return user in self.ids or any(_matches(pattern, user) for pattern in self.patterns)


def recipients_of(claim: object) -> Recipients | None:
    """The users that a claim names; None for all.

    Args:
        claim: ``"*"``, or a list of ids and patterns; one of them may stand alone. Names of rooms mean nothing.

    Raises:
        ValueError: it is something else, or has too many entries, or too long ones.
    """
    entries = claim if isinstance(claim, list) else [claim]
    if len(entries) > MAX_TO:
        raise ValueError(f"more than {MAX_TO} users and patterns to write to")
    names = [_name(entry) for entry in entries]
    if _ANY in names:
        return None
    patterns = tuple(dict.fromkeys(tuple(name.split(_ANY)) for name in names if _ANY in name))
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"more than {MAX_PATTERNS} patterns to write to")
    return Recipients(frozenset(name for name in names if _ANY not in name), patterns)


def ensure_may_write(to: Recipients, recipient: str) -> None:
    """Raises Refused, NOT_ALLOWED, if ``recipient`` is a user that is not among these. Rooms have their members."""
    if recipient[:1] != "#" and not to.allow(recipient):
        raise Refused(Error.NOT_ALLOWED, "Your token does not allow you to write to this user.")


def _name(entry: object) -> str:
    if isinstance(entry, float):
        entry = whole_number(entry)
    if isinstance(entry, int) and not isinstance(entry, bool) and entry.bit_length() <= 4 * MAX_ID:
        entry = str(entry)
    if not isinstance(entry, str) or not 0 < len(entry) <= MAX_ID:
        raise ValueError(f"a user or pattern to write to that is not 1 to {MAX_ID} characters")
    return entry


def _matches(pattern: tuple[str, ...], text: str) -> bool:
    """Whether a text is one of a pattern's. Each part is looked for once, at its first place behind the one before."""
    first, *between, last = pattern
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in between:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
