"""``ReadQueue``: what users ask of the store, one request of a user at a time, in turns.

A request of a few bytes can make the store read a megabyte. So the requests of one user run one after another, those of
different users take turns, and all together may expect only so many bytes of answers. A request of a socket that reads
slowly waits until the socket has caught up, and one of a socket that has closed is dropped.

Writing of live messages does not pass through here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kschat.chat.interfaces import PAGE_BYTES
from kschat.chat.message import Error, Refused

T = TypeVar("T")

#: Bytes that all answers of the store that are on their way to this daemon may be expected to have.
MAX_READ_BYTES: Final = 4_000_000

#: What is expected of an answer without messages, in bytes.
SMALL_READ: Final = 16_000

#: Requests of one user that wait, on all the user's sockets. Pages of backlogs are not refused, and not counted.
MAX_WAITING: Final = 64

#: Seconds for which requests are begun in one turn of the reactor; a store in memory answers at once.
TURN_SECONDS: Final = 0.005

#: Seconds between two looks at sockets that read slowly.
SLOW_WAIT: Final = 0.05


class Reader(Protocol):
    """The socket that a request is for."""

    @property
    def closed(self) -> bool:
        """Whether it is gone."""

    @property
    def congested(self) -> bool:
        """Whether it reads more slowly than it is written to."""


class _Request:
    __slots__ = ("answer", "begin", "counted", "expected", "reader")

    def __init__(
        self, begin: Callable[[], Deferred[Any]], reader: Reader | None, *, expected: int, counted: bool
    ) -> None:
        self.begin = begin
        self.reader = reader
        self.expected = expected
        self.counted = counted
        self.answer: Deferred[Any] = Deferred()


class _User:
    """One user's requests.

    Attributes:
        waiting: in their order.
        counted: how many of them count against ``MAX_WAITING``.
        busy: whether one is on its way.
        listed: whether it stands among those whose turn comes.
    """

    __slots__ = ("busy", "counted", "listed", "name", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[_Request] = deque()
        self.counted = 0
        self.busy = False
        self.listed = False

    def take(self) -> _Request | None:
        """The first request whose socket keeps up; None where there is none."""
        for request in self.waiting:
            if request.reader is None or not request.reader.congested:
                self.waiting.remove(request)
                self.counted -= request.counted
                return request
        return None

    def drop(self, reader: Reader) -> list[_Request]:
        """Remove the requests of a socket."""
        dropped = [request for request in self.waiting if request.reader is reader]
        if dropped:
            self.waiting = deque(request for request in self.waiting if request.reader is not reader)
            self.counted -= sum(request.counted for request in dropped)
        return dropped


class ReadQueue:
    """The requests of one daemon's users to the store.

    Args:
        clock: the reactor.

    Attributes:
        waiting: how many requests wait.
        in_flight: how many the store has not answered.
        expected: bytes that these may have.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.waiting = 0
        self.in_flight = 0
        self.expected = 0
        self._users: dict[str, _User] = {}
        # Whose turn it is, the one who waits longest first; and those whose sockets do not keep up.
        self._turns: deque[_User] = deque()
        self._slow: dict[_User, None] = {}
        # Until when requests are begun in this turn of the reactor, which ``_next`` is the end of.
        self._until = 0.0
        self._next: IDelayedCall | None = None
        self._look: IDelayedCall | None = None

    def ask(
        self,
        user: str,
        begin: Callable[[], Deferred[T]],
        *,
        expected: int = PAGE_BYTES,
        reader: Reader | None = None,
        backlog: bool = False,
    ) -> Deferred[T]:
        """Ask the store, at once or when it is this request's turn.

        Args:
            user: whose request it is.
            begin: asks the store.
            expected: bytes of the answer.
            reader: the socket that waits for it; None if no socket does. Its user is ``user``.
            backlog: a page of messages that the user is owed. A socket asks for one page at a time.

        Returns:
            The answer. Fails as the store does; with ``Refused`` (BUSY) if too many requests of the user wait; with
            ``CancelledError`` if the socket was closed first.
        """
        found = self._users.get(user)
        if found is None:
            found = self._users[user] = _User(user)
        elif not backlog and found.counted >= MAX_WAITING:
            return fail(Refused(Error.BUSY, "Too many of your requests wait; try again."))
        request = _Request(begin, reader, expected=expected, counted=not backlog)
        if not found.busy and not found.waiting and not _is_slow(request) and self._may_begin(request):
            self._begin(found, request)
            return request.answer
        found.waiting.append(request)
        found.counted += request.counted
        self.waiting += 1
        if not found.busy and not found.listed:
            self._enter(found)
            self._soon()
        return request.answer

    def forget(self, user: str, reader: Reader) -> None:
        """Drop the requests of a socket that has closed."""
        found = self._users.get(user)
        if found is not None:
            dropped = found.drop(reader)
            self.waiting -= len(dropped)
            if not found.waiting and found in self._slow:
                del self._slow[found]
                self._leave(found)
            if not self._slow and self._look is not None:
                self._look.cancel()
                self._look = None
            for request in dropped:
                request.answer.cancel()

    def _may_begin(self, request: _Request) -> bool:
        if self._turns or not self._fits(request):
            return False
        now = self._clock.seconds()
        if self._next is None:
            self._soon()
            self._until = now + TURN_SECONDS
        return now <= self._until

    def _fits(self, request: _Request) -> bool:
        return self.expected == 0 or self.expected + request.expected <= MAX_READ_BYTES

    def _begin(self, user: _User, request: _Request) -> None:
        user.busy = True
        self.in_flight += 1
        self.expected += request.expected
        maybeDeferred(request.begin).addBoth(self._answer, user, request)

    def _answer(self, result: Any, user: _User, request: _Request) -> None:
        self.in_flight -= 1
        self.expected -= request.expected
        user.busy = False
        if user.waiting:
            self._enter(user)
        else:
            self._leave(user)
        if self._turns:
            self._soon()
        if request.reader is not None and request.reader.closed:
            request.answer.cancel()
        else:
            request.answer.callback(result)

    def _soon(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Begin requests, one of each user, until the answers that are expected are too many or it takes too long."""
        self._next = None
        if not self._turns:
            return
        self._until = self._clock.seconds() + TURN_SECONDS
        while self._turns:
            user = self._turns[0]
            request = user.take()
            if request is None:
                self._turns.popleft()
                if user.waiting:
                    self._enter_slow(user)
                else:
                    self._leave(user)
            elif not self._fits(request):
                user.waiting.appendleft(request)
                user.counted += request.counted
                return  # an answer brings the next turn
            else:
                self._turns.popleft()
                user.listed = False
                self.waiting -= 1
                self._begin(user, request)
            if self._turns and self._clock.seconds() > self._until:
                self._soon()
                return

    def _enter(self, user: _User) -> None:
        user.listed = True
        self._turns.append(user)

    def _leave(self, user: _User) -> None:
        del self._users[user.name]

    def _enter_slow(self, user: _User) -> None:
        self._slow[user] = None
        if self._look is None:
            self._look = self._clock.callLater(SLOW_WAIT, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        slow, self._slow = self._slow, {}
        self._turns.extend(slow)
        self._soon()


def _is_slow(request: _Request) -> bool:
    return request.reader is not None and request.reader.congested
