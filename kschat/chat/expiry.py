"""``TokenExpiry``: tells live sockets that their tokens are about to expire, and ends those whose tokens did.

No socket has a timer of its own: it is an entry under the second of the wall clock in which something is due, and one
delayed call waits for the earliest. The wall clock can be set at any time, so the call waits for a second at most and
then compares again: when the clock jumps forward by an hour, the tokens of that hour end within a second, and when it
jumps back, none ends before its time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kschat.chat import outgoing
from kschat.chat.clocks import WallClock
from kschat.chat.session import ChatSession
from kschat.counters import Counters
from kschat.wire.errors import Reason

#: Seconds until the wall clock is looked at again, at most.
LOOK_EVERY: Final = 1.0

#: Sockets that are told or ended in one turn of the reactor; the others wait for the next turn.
TURN: Final = 50

#: Seconds in which clients whose tokens have expired are asked to come back: not all at once.
SPREAD: Final = 1.0

#: Stale seconds that may wait in the heap beside as many that are used.
_STALE: Final = 64


class TokenTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How the end of a token is announced. In seconds.

    Attributes:
        notice: how long before the end TokenExpiring is sent; 0: never. A token that lasts no longer than twice that is
            announced after half of its time, so that a client which renews at each notice does not do so all the time.
        grace: how long a socket stays after its token has expired.
    """

    notice: float = 60.0
    grace: float = 0.0


class TokenExpiry:
    """The sockets of one daemon whose tokens expire.

    Args:
        clock: the reactor.
        wall: the clock that tokens are compared with.
        times: when sockets are told and ended.
        writing: what is written within is sent together (``Hub.writing``).
        counters: counts.
        uniform: gives a random number between two others.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: WallClock,
        times: TokenTimes,
        writing: Callable[[], AbstractContextManager[None]],
        counters: Counters,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._times = times
        self._writing = writing
        self._counters = counters
        self._uniform = uniform
        self._seconds: dict[int, dict[ChatSession, None]] = {}
        # Each second of the above, and some that nobody waits for any more.
        self._order: list[int] = []
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many sockets have a token that expires."""
        return sum(map(len, self._seconds.values()))

    def watch(self, session: ChatSession) -> None:
        """A socket was let in, or has another token: what was due before is not due any more."""
        self.forget(session)
        expires = session.identity.expires
        if expires is None or session.closed:
            return
        now = self._wall()
        notice = expires - min(self._times.notice, (expires - now) / 2)
        end = expires + self._times.grace
        session.is_told = not self._times.notice or math.ceil(notice) >= math.ceil(end)
        self._enter(session, end if session.is_told else notice)

    def forget(self, session: ChatSession) -> None:
        """A socket is gone."""
        due, session.due = session.due, None
        if due is None:
            return
        row = self._seconds[due]
        del row[session]
        if not row:
            del self._seconds[due]
            if len(self._order) > 2 * len(self._seconds) + _STALE:
                self._order = sorted(self._seconds)
            if not self._seconds and self._call is not None:
                self._call.cancel()
                self._call = None

    def _enter(self, session: ChatSession, due: float) -> None:
        second = session.due = math.ceil(due)
        row = self._seconds.get(second)
        if row is None:
            self._seconds[second] = {session: None}
            heapq.heappush(self._order, second)
            self._wait()
        else:
            row[session] = None

    def _wait(self, at_once: bool = False) -> None:
        """Look again when the next one is due, or in a second."""
        while self._order and self._order[0] not in self._seconds:
            heapq.heappop(self._order)
        if not self._order:
            return
        # A millisecond more, since the two clocks do not agree to the last bit.
        left = 0.0 if at_once else min(max(self._order[0] - self._wall(), 0.0) + 0.001, LOOK_EVERY)
        if self._call is None:
            self._call = self._clock.callLater(left, self._look)
        elif self._call.getTime() > self._clock.seconds() + left:
            self._call.reset(left)

    def _look(self) -> None:
        self._call = None
        now = self._wall()
        due = self._due(now)
        with self._writing():
            for session in due:
                try:
                    self._do(session, now)
                except Exception:  # noqa: BLE001 - one socket's bug must not keep the others beyond their end
                    self.log.failure("a socket could not be told that its token expires")
        self._wait(at_once=len(due) == TURN)

    def _due(self, now: float) -> list[ChatSession]:
        """Some that are due, each taken out."""
        found: list[ChatSession] = []
        while self._order and self._order[0] <= now and len(found) < TURN:
            row = self._seconds.get(self._order[0], {})
            while row and len(found) < TURN:
                session, _ = row.popitem()
                session.due = None
                found.append(session)
            if not row:
                self._seconds.pop(heapq.heappop(self._order), None)
        return found

    def _do(self, session: ChatSession, now: float) -> None:
        expires = session.identity.expires
        if expires is None or session.closed:
            return  # the end of one before it has ended it, or renewed it
        end = expires + self._times.grace
        if now >= end:
            self._counters.tokens["expired"] += 1
            if session.more:
                session.socket.emit(outgoing.goodbye("token", self._uniform(0.0, SPREAD)))
            # No stock client comes back by itself after this packet, so none does so with the old token.
            session.socket.disconnect(Reason.TOKEN_EXPIRED)
            return
        if not session.is_told:
            session.is_told = True
            if session.more:
                self._counters.tokens["expiring"] += 1
                session.socket.emit(outgoing.token_expiring(expires - now))
        self._enter(session, end)
