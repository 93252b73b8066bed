"""Lists the conversations of a user in slices: of tens of thousands, one script would block Redis for 40 ms."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from kschat.backends.redis.store.codec import number_of_id
from kschat.chat.mids import MidNumber

#: Conversations that one script examines: some milliseconds of Redis's time.
SLICE: Final = 1000

#: Milliseconds by which the list in Redis may be out of date: ``LISTED_EVERY`` of the script ``append``, and one second
#: for a server's clock that is corrected.
LATE: Final = 61_000


class Listing:
    """The conversations of a user that have messages, the one with the newest message first.

    What is written while it is read may be missing.

    Args:
        read: runs a script.
        user: whose.
        upto: the id that the newest message of each must come before; "" for any.
    """

    def __init__(self, read: Callable[..., Deferred[Any]], user: str, upto: str) -> None:
        self._read = read
        self._user = user
        self._upto = upto
        # Where the next slice begins; None behind the last one.
        self._next: tuple[bytes, int] | None = (b"", 0)
        # What was read: each by the number of its newest message, the newest first, with its side and name, and its id.
        self._found: list[tuple[MidNumber, bytes, bytes]] = []
        # Times before which the newest messages were not written, in milliseconds, the latest first; and how many of
        # those that were read are known to be newer than all others.
        self._times: deque[int] = deque()
        self._sure = 0

    async def take(self, count: int) -> list[bytes]:
        """The next ones: of each its side and name, and the id of its newest message. Fails with StoreUnavailable."""
        while self._next is not None and self._sure < count:
            await self._read_slice(*self._next)
        taken = [heapq.heappop(self._found)[1:] for _ in range(min(count, len(self._found)))]
        self._sure -= len(taken)
        return [part for pair in taken for part in pair]

    async def _read_slice(self, score: bytes, passed: int) -> None:
        score, passed, *found = await self._read("candidates", self._user, score, passed, SLICE, self._upto, LATE)
        self._next = (score, passed) if score else None
        for name, time, id_ in zip(found[::3], found[1::3], found[2::3], strict=True):
            heapq.heappush(self._found, (-number_of_id(id_), name, id_))
            self._times.append(int(time))
        if score:
            # The conversations of other slices had their newest messages before this time.
            until = int(score) + LATE
            while self._times and self._times[0] >= until:
                self._times.popleft()
                self._sure += 1
