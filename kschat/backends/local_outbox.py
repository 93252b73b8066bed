"""The parts of an outbox that need not outlive the process, if only one daemon has the store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from kschat.chat.outbox import MAX_MARKS, Mark


class Marks:
    """Users whose sockets came or went, of a store that one daemon has: they need not outlive it.

    A daemon that starts marks the users who are known as connected, and all who connect.

    Attributes:
        lost: users who were not marked, since there was no room.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._number = 0
        self.lost = 0

    def add(self, users: Sequence[str]) -> None:
        """Mark users, as far as there is room."""
        for user in users:
            if user in self._numbers or len(self._numbers) < MAX_MARKS:
                self._number += 1
                self._numbers[user] = self._number
            else:
                self.lost += 1

    def take_lost(self) -> int:
        """``lost``, which is 0 then."""
        lost, self.lost = self.lost, 0
        return lost

    def oldest(self, limit: int) -> list[Mark]:
        """The oldest."""
        return [Mark(user, number) for user, number in islice(self._numbers.items(), limit)]

    def remove(self, marks: Sequence[Mark]) -> None:
        """Those that were looked at, and have not come again since."""
        for mark in marks:
            if self._numbers.get(mark.user) == mark.number:
                del self._numbers[mark.user]

    def forget(self, user: str) -> None:
        """The user is erased."""
        self._numbers.pop(user, None)


class Lease:
    """The lease of a store that only one daemon has."""

    def __init__(self) -> None:
        self.holder: str | None = None

    def acquire(self, holder: str) -> bool:
        """Whether ``holder`` has it now."""
        if self.holder is None:
            self.holder = holder
        return self.holder == holder

    def release(self, holder: str) -> None:
        """Give it back."""
        if self.holder == holder:
            self.holder = None
