"""What is written to many sockets, spread over turns of the reactor.

One message of a megabyte to a hundred sockets of one user took 124 ms in one turn, in which nobody else was served:
each socket gets a copy of its own. So a copy counts by its bytes, and the copies of one turn are bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
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

#: Events that wait for another turn. Beyond it one that comes is dropped, and counted; for a message, the sockets are
#: told to read it from the store.
MAX_LATE: Final = 1000

#: Bytes of the events that wait. Beyond it no batch is begun.
MAX_LATE_BYTES: Final = 8_000_000

#: Seconds of the rest after a turn, which is as long as the turn was, at most.
MAX_REST: Final = 0.05


def copies_of(size: int) -> int:
    """How many copies a copy of ``size`` bytes counts as."""
    return 1 + size // COPY_BYTES


def _nothing() -> None:
    """Nothing is to be done."""


class _Late:
    """One event on its way.

    Attributes:
        sessions: those that have not got it, in their order.
        write: writes it to one.
        done: called when all have it.
        size: its bytes.
    """

    __slots__ = ("done", "sessions", "size", "write")

    def __init__(
        self,
        sessions: Iterable[ChatSession],
        write: Callable[[ChatSession], object],
        *,
        size: int,
        done: Callable[[], None],
    ) -> None:
        self.sessions = deque(sessions)
        self.write = write
        self.size = size
        self.done = done


class Spread:
    """Events on their way to many sockets. They keep their order.

    Args:
        clock: the reactor.
        writing: a context; everything that is written in it is sent together.
        counters: counts what was dropped.

    Attributes:
        size: the bytes of the events that wait.
        is_full: whether these are more than ``MAX_LATE_BYTES``; then no batch is to be begun.
        eased: called when it is no longer full.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, writing: Callable[[], AbstractContextManager[None]], counters: Counters
    ) -> None:
        self.size = 0
        self.eased: Callable[[], None] = _nothing
        self._clock = clock
        self._writing = writing
        self._counters = counters
        self._late: deque[_Late] = deque()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._late)

    @property
    def is_full(self) -> bool:
        return self.size > MAX_LATE_BYTES

    def each(self, sessions: Sequence[ChatSession], write: Callable[[ChatSession], object], size: int = 0) -> None:
        """Call ``write`` for each of ``sessions``, now or in later turns. What comes when too much waits is dropped.

        Args:
            sessions: who is meant.
            write: writes to one. It is not called for one that has closed meanwhile.
            size: bytes of what it writes.
        """
        if not self._late and len(sessions) * copies_of(size) <= MAX_WRITES:
            for session in sessions:
                write(session)
        elif not self.later(sessions, write, size=size):
            self._counters.full["copies"] += len(sessions)

    def later(
        self,
        sessions: Sequence[ChatSession],
        write: Callable[[ChatSession], object],
        *,
        size: int,
        done: Callable[[], None] = _nothing,
    ) -> bool:
        """The same in later turns. Returns whether it will be; not if too many events wait.

        ``done``: called when all have it. It must not raise.
        """
        if len(self._late) >= MAX_LATE:
            return False
        self._late.append(_Late(sessions, write, size=size, done=done))
        self.size += size
        if len(self._late) == 1:
            self._clock.callLater(0, self._turn)
        return True

    def finish(self) -> None:
        """Write all that waits now."""
        with self._writing():
            while self._late:
                self._write_one()

    def _turn(self) -> None:
        left, was_full, began = MAX_WRITES, self.is_full, self._clock.seconds()
        with self._writing():
            while self._late and left > 0:
                left -= self._write_one()
        if self._late:
            # Others are served meanwhile.
            self._clock.callLater(min(self._clock.seconds() - began, MAX_REST), self._turn)
        if was_full and not self.is_full:
            self.eased()

    def _write_one(self) -> int:
        """Write the first event to its next socket, if that is open. Returns what that counts as."""
        first = self._late[0]
        session = first.sessions.popleft() if first.sessions else None
        cost = 0
        if session is not None and not session.closed:
            cost = copies_of(first.size)
            try:
                first.write(session)
            except Exception:  # noqa: BLE001 - one socket's bug must not cost the others their events
                self.log.failure("an event could not be written")
        if not first.sessions:
            self._late.popleft()
            self.size -= first.size
            first.done()
        return cost
