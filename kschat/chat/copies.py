"""What is written to many sockets, spread over turns of the reactor.

One message of a megabyte to a hundred sockets of one user took 124 ms in one turn, in which nobody else was served:
each socket gets a copy of its own. So a copy counts by its bytes, and a turn writes so many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.chat.session import ChatSession
from kschat.counters import Counters

#: Copies that are written in one turn of the reactor; some milliseconds.
MAX_WRITES: Final = 2000

#: Bytes of a copy; a larger one counts as several.
COPY_BYTES: Final = 2048

#: Events that wait for another turn. They are such as may be lost; beyond it one that comes is dropped, and counted.
MAX_LATE: Final = 1000


def copies_of(size: int) -> int:
    """How many copies one of so many bytes counts as."""
    return 1 + size // COPY_BYTES


class Spread:
    """Events that may be lost, on their way to many sockets. They keep their order.

    Args:
        clock: the reactor.
        writing: what is written within is sent together.
        counters: counts what was dropped.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, writing: Callable[[], AbstractContextManager[None]], counters: Counters
    ) -> None:
        self._clock = clock
        self._writing = writing
        self._counters = counters
        # Of each: the sockets that have not got it, in their order; how it is written; what a copy counts.
        self._late: deque[tuple[deque[ChatSession], Callable[[ChatSession], object], int]] = deque()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._late)

    def each(self, sessions: Sequence[ChatSession], do: Callable[[ChatSession], object], size: int = 0) -> None:
        """Call ``do`` for each of ``sessions``, now or in later turns.

        Args:
            sessions: who is meant.
            do: writes to one. It is not called for one that has closed meanwhile.
            size: bytes of what it writes.
        """
        cost = copies_of(size)
        if not self._late and len(sessions) * cost <= MAX_WRITES:
            for session in sessions:
                do(session)
        elif len(self._late) >= MAX_LATE:
            self._counters.full["copies"] += len(sessions)
        elif sessions:
            self._late.append((deque(sessions), do, cost))
            if len(self._late) == 1:
                self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        left = MAX_WRITES
        late = self._late
        with self._writing():
            while late and left > 0:
                sessions, do, cost = late[0]
                session = sessions.popleft()
                if not sessions:
                    late.popleft()
                if not session.closed:
                    left -= cost
                    try:
                        do(session)
                    except Exception:  # noqa: BLE001 - one socket's bug must not cost the others their events
                        self.log.failure("an event could not be written")
        if late:
            self._clock.callLater(0, self._turn)
