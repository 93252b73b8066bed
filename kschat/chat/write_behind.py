"""The write-behind buffer: cursors and last-seen times, written to the store at intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.interfaces import RETRY_WAIT, IStore, Progress, StoreUnavailable
from kschat.counters import Counters

#: Seconds that cursors and the like are gathered before the store is told. What a crash takes
#: of them is delivered again, with the same ``mid``.
WRITE_BEHIND_WAIT: Final = 0.25

#: Progress that are kept for a store that is away; the oldest give way (and are delivered again).
MAX_WRITE_BEHIND: Final = 100_000


class WriteBehindBuffer:
    """What the store was not told yet, or has not confirmed.

    Args:
        clock: the reactor.
        store: is told.
        counters: count what is dropped.
        shared: whether other daemons read there: a user who leaves this one may come to them at once.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, store: IStore, counters: Counters, *, shared: bool) -> None:
        self._clock = clock
        self._counters = counters
        self._store = store
        self._leave_wait = 0.0 if shared else WRITE_BEHIND_WAIT
        self._cursors: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._timer: IDelayedCall | None = None
        self._telling = 0

    def cursor(self, user: str) -> int:
        """The cursor of ``user`` as far as the store was not told of it; 0 where it was."""
        return self._cursors.get(user, 0)

    def moved(self, user: str, cursor: int) -> None:
        """The cursor of ``user`` has moved: all up to it is delivered."""
        self._cursors[user] = cursor
        self._dirty.add(user)
        self._soon()

    def forget_cursors(self) -> None:
        """They are of another store."""
        self._cursors.clear()

    def forget(self, user: str) -> None:
        """``user`` is erased: nothing is written of what was gathered."""
        self._cursors.pop(user, None)
        self._seen.pop(user, None)
        self._dirty.discard(user)

    def left(self, user: str, time: int) -> None:
        """``user`` was last seen then, in milliseconds since 1970."""
        self._seen[user] = max(time, self._seen.get(user, 0))
        self._dirty.add(user)
        self._soon(self._leave_wait)

    def confirmed(self, user: str) -> Deferred[None]:
        """Fires when the store has answered what it was told of the cursor of ``user``. Never fails."""
        if user not in self._cursors:
            return succeed(None)
        self._dirty.add(user)  # also where it is on its way to the store: what is noted now comes after that
        return self.write()

    def seen(self, user: str) -> int | None:
        """When ``user`` was last seen, as far as the store was not told yet."""
        return self._seen.get(user)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        """When each of ``users`` was last seen, for those of whom it is known."""
        if not users:
            return succeed({})

        def merged(found: dict[str, int] | None) -> dict[str, int]:
            # The store may know of a later time: another daemon had the user as well.
            seen = found or {}
            for user in users:
                if user in self._seen:
                    seen[user] = max(self._seen[user], seen.get(user, 0))
            return seen

        return self._store.last_seen(users).addErrback(_none_if_unavailable).addCallback(merged)

    def write(self) -> Deferred[None]:
        """Tell the store what was gathered; it is told again later where it is away. Never fails."""
        dirty, self._dirty = self._dirty, set()
        cursors = {user: cursor for user, cursor in self._cursors.items() if user in dirty}
        seen = {user: time for user, time in self._seen.items() if user in dirty}
        if not dirty:
            return succeed(None)
        try:
            told = self._store.save_progress(Progress(cursors, seen))
        except Exception:  # noqa: BLE001 - no store may, but what was gathered must not be lost
            told = fail()
        self._telling += 1
        return told.addCallbacks(self._noted, self._not_noted, callbackArgs=(cursors, seen), errbackArgs=(dirty,))

    def _soon(self, wait: float = WRITE_BEHIND_WAIT) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(wait, self._note)
        elif not wait:
            self._timer.reset(0)

    def _note(self) -> None:
        self._timer = None
        # One at a time: what comes meanwhile waits for the answer, however slow the store is.
        if not self._telling:
            self.write()

    def _noted(self, _: None, cursors: Mapping[str, int], seen: Mapping[str, int]) -> None:
        self._telling -= 1
        for mine, told in ((self._cursors, cursors), (self._seen, seen)):
            for user, value in told.items():
                if mine.get(user) == value:
                    del mine[user]
        if self._dirty:
            self._soon()

    def _not_noted(self, failure: Failure, dirty: set[str]) -> None:
        self._telling -= 1
        if failure.check(StoreUnavailable) is None:
            self.log.failure("cursors could not be stored", failure)
        self._dirty |= dirty
        for mine in (self._cursors, self._seen):
            for user in list(mine)[: max(len(mine) - MAX_WRITE_BEHIND, 0)]:
                del mine[user]
                self._counters.cursors_dropped += 1
        if len(self._dirty) > MAX_WRITE_BEHIND:
            self._dirty &= self._cursors.keys() | self._seen.keys()
        self._soon(RETRY_WAIT)


def _none_if_unavailable(failure: Failure) -> None:
    failure.trap(StoreUnavailable)
