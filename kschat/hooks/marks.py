"""``Marks``: tells the store whose sockets came or went on this daemon. The daemon that makes events looks at those."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.interfaces import RETRY_WAIT, StoreUnavailable
from kschat.chat.outbox import MAX_MARKS, IOutbox
from kschat.counters import Counters

#: Seconds for which users are gathered.
GATHER: Final = 0.5

#: Users that are told at once.
MAX_TOLD: Final = 1000


class Marks:
    """Users to tell the store of. Nobody waits for it.

    Args:
        outbox: of the store.
        clock: the reactor.
        counters: count users that were dropped, since too many waited for the store.

    Attributes:
        on: whether anybody wants to know.
    """

    log = Logger()

    def __init__(self, outbox: IOutbox, clock: IReactorTime, counters: Counters) -> None:
        self._outbox = outbox
        self._clock = clock
        self._counters = counters
        self._users: dict[str, None] = {}
        self._timer: IDelayedCall | None = None
        self._telling: Deferred[Any] | None = None
        self.on = False

    def add(self, user: str) -> None:
        """The first socket of ``user`` on this daemon came, or the last one went."""
        if not self.on:
            return
        if len(self._users) >= MAX_MARKS and user not in self._users:
            self._counters.hook_dropped["marks"] += 1
            return
        self._users[user] = None
        self._later(GATHER)

    def flush(self) -> Deferred[None]:
        """Tell all now; fires when it was tried."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell()
        telling = self._telling
        if telling is None:
            return succeed(None)
        told: Deferred[None] = Deferred()
        telling.addBoth(lambda _: told.callback(None))
        return told

    def _later(self, seconds: float) -> None:
        if self._timer is None and self._telling is None:
            self._timer = self._clock.callLater(seconds, self._tell)

    def _tell(self) -> None:
        self._timer = None
        users = list(islice(self._users, MAX_TOLD))
        for user in users:
            del self._users[user]
        told = self._outbox.mark(users).addErrback(self._not_told, users)
        self._telling = told
        told.addCallback(self._told)

    def _told(self, wait: float | None) -> None:
        self._telling = None
        if self._users:
            self._later(wait or 0.0)

    def _not_told(self, failure: Failure, users: list[str]) -> float:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("who came and went could not be told to the store", failure)
        self._users = dict.fromkeys(users) | self._users
        return RETRY_WAIT
