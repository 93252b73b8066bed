"""What is written to many sockets, spread over turns of the reactor.

One message of a megabyte to a hundred sockets of one user took 124 ms in one turn, in which nobody else was served:
each socket gets a copy of its own. So a copy counts by its bytes, and the copies of one turn are bounded.
"""

from __future__ import annotations

from collections import Counter, deque
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

#: Events that wait for another turn; their bytes, of each event once, which are held; and the copies that are to be
#: written, some 200 MB. Beyond it no batch of large messages is begun, and no large event is taken.
MAX_LATE: Final = 10_000
MAX_LATE_BYTES: Final = 8_000_000
MAX_LATE_COPIES: Final = 100_000

#: Users: an event to more of them counts as large, whatever its bytes.
MANY_USERS: Final = 100

#: Times as much beyond which what comes is dropped, and counted; for a message, the sockets are told to read the store.
#: (What other daemons send can't be refused.)
MOST_TIMES: Final = 2

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
        cost: what it counts as for each of them.
    """

    __slots__ = ("cost", "done", "sessions", "size", "write")

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
        self.cost = copies_of(size)
        self.done = done


class Spread:
    """Events on their way to many sockets. On each socket they keep their order.

    Args:
        clock: the reactor.
        writing: a context; everything that is written in it is sent together.
        counters: counts what was dropped.

    Attributes:
        size: the bytes of the events that wait, of each once.
        copies: the copies of them that are to be written.
        eased: called when it is no longer full.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, writing: Callable[[], AbstractContextManager[None]], counters: Counters
    ) -> None:
        self.size = self.copies = 0
        self.eased: Callable[[], None] = _nothing
        self._clock = clock
        self._writing = writing
        self._counters = counters
        self._late: deque[_Late] = deque()
        # How many events each socket waits for.
        self._waiting: Counter[ChatSession] = Counter()
        # Copies that were written at once, since the last reset.
        self._written = 0

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._late)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing large is to be added, if that can wait or be refused."""
        return self._holds_more_than(1)

    def _holds_more_than(self, times: int) -> bool:
        return (
            self.copies > MAX_LATE_COPIES * times
            or self.size > MAX_LATE_BYTES * times
            or len(self._late) > MAX_LATE * times
        )

    def each(
        self,
        sessions: Sequence[ChatSession],
        write: Callable[[ChatSession], object],
        size: int = 0,
        *,
        needed: bool = False,
    ) -> None:
        """Call ``write`` for each of ``sessions``, now or in later turns. What comes when too much waits is dropped.

        Args:
            sessions: who is meant.
            write: writes to one. It is not called for one that has closed meanwhile.
            size: bytes of what it writes.
            needed: it is never dropped.
        """
        waiting = self._waiting
        late: Sequence[ChatSession] = [session for session in sessions if session in waiting] if waiting else ()
        at_once = [session for session in sessions if session not in waiting] if late else sessions
        copies = len(at_once) * copies_of(size)
        if self._written + copies > MAX_WRITES:
            # Many events to few sockets each are as much work as one to many.
            late, at_once = sessions, ()
        else:
            self._count(copies)
        for session in at_once:
            write(session)
        if late and not self.later(late, write, size=size, needed=needed):
            self._counters.full["copies"] += len(late)

    def _count(self, copies: int) -> None:
        """Count copies that are written at once. (The count is reset in the next turn, once it is large.)"""
        before = self._written
        self._written += copies
        if before * 2 <= MAX_WRITES < self._written * 2:
            self._clock.callLater(0, self._renew)

    def _renew(self) -> None:
        self._written = 0

    def later(
        self,
        sessions: Sequence[ChatSession],
        write: Callable[[ChatSession], object],
        *,
        size: int,
        done: Callable[[], None] = _nothing,
        needed: bool = False,
    ) -> bool:
        """The same in later turns. Returns whether it will be; not if too much waits, unless it is ``needed``.

        ``done``: called when all have it. It must not raise.
        """
        if self._holds_more_than(MOST_TIMES) and not needed:
            return False
        event = _Late(sessions, write, size=size, done=done)
        self._late.append(event)
        self._waiting.update(event.sessions)
        self.size += size
        self.copies += event.cost * len(event.sessions)
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
        if session is not None:
            self._passed(session)
            self.copies -= first.cost
            if not session.closed:
                cost = first.cost
                try:
                    first.write(session)
                except Exception:  # noqa: BLE001 - one socket's bug must not cost the others their events
                    self.log.failure("an event could not be written")
        if not first.sessions:
            self._late.popleft()
            self.size -= first.size
            first.done()
        return cost

    def _passed(self, session: ChatSession) -> None:
        """A socket waits for one event less."""
        if self._waiting[session] > 1:
            self._waiting[session] -= 1
        else:
            del self._waiting[session]
