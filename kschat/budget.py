"""The bytes that a whole daemon holds for its clients: what they do not read, and what they have not sent to its end.

Each connection has a bound of its own, which so many connections multiply. So all of them together have another, and
beyond it the largest holder is ended: the largest connection of the address that holds the most, so that nobody ends
others by many connections that are small.

What a connection holds is known where bytes are queued; what has left since is often not: Twisted says so only when all
has. So ``set`` is told what is held at most, and the holders are measured before one is ended.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Final, Protocol

#: Bytes that a daemon holds for all clients, unless it is told otherwise.
MAX_BUFFERED: Final = 256 * 2**20

#: The part of it that may be messages which wait for the store. The rest is for what clients do not read or send.
PENDING_PART: Final = 0.5

#: The part of the limit down to which holders are ended, so that the next bytes don't begin another search.
DOWN_TO: Final = 0.9


class BufferHolder(Protocol):
    """Holds bytes of one client."""

    @property
    def held_for(self) -> str:
        """Whose address it counts as."""

    def measure(self) -> int:
        """The bytes that it holds now."""

    def end_largest(self) -> None:
        """It holds more than anybody else, and too much is held: end it, and hold nothing."""


class Budget:
    """The bytes that one daemon holds. One a daemon.

    Args:
        limit: bytes.
        evicted: counts holders that were ended, by ``buffered``.

    Attributes:
        held: bytes that are held, at most.
        limit: bytes.
    """

    __slots__ = ("_evicted", "_searching", "_sizes", "held", "limit")

    def __init__(self, limit: int, evicted: Counter[str]) -> None:
        self.held = 0
        self.limit = limit
        self._evicted = evicted
        self._sizes: dict[BufferHolder, int] = {}
        self._searching = False

    def set(self, holder: BufferHolder, size: int) -> None:
        """A holder holds so many bytes now, at most. It may be ended within this call."""
        sizes = self._sizes
        self.held += size - sizes.get(holder, 0)
        if size:
            sizes[holder] = size
            if self.held > self.limit and not self._searching:
                self._end_largest()
        else:
            sizes.pop(holder, None)

    def add(self, size: int) -> None:
        """Bytes are held, or with a negative number held no longer, that nobody can be ended for: messages."""
        self.held += size

    def _end_largest(self) -> None:
        self._searching = True
        try:
            self._measure()
            enough = self.limit * DOWN_TO
            if self.held <= enough:
                return
            # Of each address what it holds, and its holders, the largest last.
            sums: Counter[str] = Counter()
            holders: dict[str, list[BufferHolder]] = {}
            for holder in sorted(self._sizes, key=self._sizes.__getitem__):
                sums[holder.held_for] += self._sizes[holder]
                holders.setdefault(holder.held_for, []).append(holder)
            largest = [(-size, address) for address, size in sums.items()]
            heapq.heapify(largest)
            while largest and self.held > enough:
                size, address = heapq.heappop(largest)
                holder = holders[address].pop()
                size += self._sizes.get(holder, 0)
                self._evicted["buffered"] += 1
                self.set(holder, 0)
                holder.end_largest()
                self.set(holder, 0)
                if holders[address]:
                    heapq.heappush(largest, (size, address))
        finally:
            self._searching = False

    def _measure(self) -> None:
        for holder in list(self._sizes):
            self.set(holder, holder.measure())
