"""``Marks``: tells the store whose sockets came or went on this daemon. The daemon that makes events looks at those."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred
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
        # Users who were dropped since the store was told last.
        self._lost = 0
        self.on = False

    def add(self, user: str) -> None:
        """The first socket of ``user`` on this daemon came, or the last one went."""
        if not self.on:
            return
        if len(self._users) >= MAX_MARKS and user not in self._users:
            self._counters.hook_dropped["marks"] += 1
            self._lost += 1
            return
        self._users[user] = None
        self._later(GATHER)

    def stop(self) -> Deferred[None]:
        """Tell all, and nobody after that. Fires when it is done, or the store can't be told."""
        self.on = False
        return Deferred.fromCoroutine(self._tell_rest())

    async def _tell_rest(self) -> None:
        told = True
        while told and (self._users or self._telling is not None):
            self._cancel()
            told = await (self._tell() if self._telling is None else self._telling)
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self, seconds: float) -> None:
        if self._timer is None and self._telling is None:
            self._timer = self._clock.callLater(seconds, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._tell()

    def _tell(self) -> Deferred[bool]:
        """Tell the first; whether the store knows them now."""
        users = list(islice(self._users, MAX_TOLD))
        for user in users:
            del self._users[user]
        telling: Deferred[Any] = self._outbox.mark(users)
        telling.addCallbacks(lambda _: True, self._not_told, errbackArgs=(users,))
        self._telling = telling
        return telling.addCallback(self._told)

    def _told(self, told: bool) -> bool:
        self._telling = None
        if told and self._lost:
            self.log.error("{count} users came or went without a hook: too many waited for the store", count=self._lost)
            self._lost = 0
        if self._users:
            self._later(0.0 if told else RETRY_WAIT)
        return told

    def _not_told(self, failure: Failure, users: list[str]) -> bool:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("who came and went could not be told to the store", failure)
        self._users = dict.fromkeys(users) | self._users
        return False
