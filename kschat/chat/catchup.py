"""Catches up after an outage of the router: reads missed messages from the store, and republishes to other daemons.

The store has every message; the router only announces it. After an outage two things are repaired: this daemon reads
the ends of its users' inboxes from the store; and it publishes the messages that it could not publish, since the other
daemons may have had no reason to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.inbox import Inbox
from kschat.chat.interfaces import RETRY_WAIT, InboxPage, IRouter, IStore, RouterUnavailable, Stored, StoreUnavailable
from kschat.chat.reads import ReadQueue

#: Users whose inboxes' ends are asked for in one call.
MAX_ENDS: Final = 1000

#: Users of whom it is remembered that other daemons were not told; of those beyond it these see for themselves.
MAX_UNTOLD: Final = 10_000

#: Messages that are read and told together. Each may have a megabyte.
TOLD_AT_ONCE: Final = 20

#: Seconds between two looks at all inboxes of this daemon, where another one may have failed to tell of a message
#: (it may have been killed between store and router).
LOOK_EVERY: Final = 30.0


class CatchUp:
    """Keeps the users of one daemon up with the store.

    Args:
        clock: the reactor.
        store: has the inboxes.
        reads: asks the store for messages, in turns.
        router: carries the news.
        inboxes: of the users here; the hub's own.
        hint: tells other daemons to look into the inboxes of some users.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        store: IStore,
        reads: ReadQueue,
        router: IRouter,
        inboxes: Mapping[str, Inbox],
        hint: Callable[[Sequence[str]], None],
    ) -> None:
        self._clock = clock
        self._store = store
        self._reads = reads
        self._router = router
        self._inboxes = inboxes
        self._hint = hint
        # Of whom news may have been missed, and whether the store is being asked.
        self._unsure: dict[str, None] = {}
        self._asking = False
        # Of whom others were not told, up to which offset, and whether they are being told.
        self._untold: dict[str, int] = {}
        self._telling = False
        self._timer: IDelayedCall | None = None

    # For the users here.

    def look_now_and_then(self) -> None:
        """Somebody is here: look every ``LOOK_EVERY`` seconds, where there may be other daemons."""
        if self._timer is None and self._store.keeps and not self._router.alone:
            self._timer = self._clock.callLater(LOOK_EVERY, self._look)

    def rest(self) -> None:
        """Nobody is here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self.look_now_and_then()
        self.resync(self._inboxes)
        self.tell()

    def resync(self, users: Iterable[str]) -> None:
        """Look in the store whether there are messages to ``users`` that no news told of."""
        if self._store.keeps:
            self._unsure.update(dict.fromkeys(users))
            self._ask_ends()

    def _ask_ends(self) -> None:
        # One call at a time: there may be many users, and others wait for the store as well.
        if self._asking or not self._unsure:
            return
        users = list(islice(self._unsure, MAX_ENDS))
        for user in users:
            del self._unsure[user]
        self._asking = True
        here = [user for user in users if user in self._inboxes]
        asked = maybeDeferred(self._store.ends, here)
        asked.addCallbacks(self._ends, self._no_ends, errbackArgs=(here,)).addErrback(self._failed)

    def _ends(self, ends: Mapping[str, int]) -> None:
        self._asking = False
        try:
            for user, last in ends.items():
                inbox = self._inboxes.get(user)
                for session in () if inbox is None else tuple(inbox.sessions.values()):
                    session.stream.on_inbox_end(last)
        finally:
            self._ask_ends()  # the others' turn comes, whatever one socket did

    def _no_ends(self, failure: Failure, users: Sequence[str]) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("the ends of inboxes could not be read", failure)
        self._unsure.update(dict.fromkeys(users))
        self._clock.callLater(RETRY_WAIT, self._ask_ends_again)

    def _ask_ends_again(self) -> None:
        self._asking = False
        self._ask_ends()

    # For other daemons.

    def not_routed(self, batch: Iterable[Stored]) -> None:
        """A batch was stored, and not carried: look here at once, and tell others when that can be done."""
        untold = self._untold
        places = [place for one in batch for place in one.places]
        self.resync([user for user, _ in places])
        if self._router.alone:
            return
        for user, offset in places:
            # Out and in again, so that the first of the dict is the one who waits longest.
            untold[user] = max(untold.pop(user, 0), offset)
        while len(untold) > MAX_UNTOLD:
            del untold[next(iter(untold))]

    def forget(self) -> None:
        """What others were not told is of another store."""
        self._untold.clear()

    def tell(self) -> None:
        """Tell other daemons, if the router can, what they were not told."""
        if self._untold and not self._telling and self._router.up:
            self._telling = True
            Deferred.fromCoroutine(self._tell()).addErrback(self._failed)

    async def _tell(self) -> None:
        try:
            while self._untold and self._router.up:
                users = dict(islice(self._untold.items(), TOLD_AT_ONCE))
                # The newest is enough: whoever sees a gap before it reads that from the store.
                reads = [self._read(user, offset) for user, offset in users.items()]
                found: list[InboxPage] = await gatherResults(reads, consumeErrors=True)
                batch = []
                behind = set()
                for (user, offset), page in zip(users.items(), found, strict=True):
                    carried = [entry for entry in page.entries if entry.message.extra is None]
                    batch += [Stored(entry.message, ((user, entry.offset),)) for entry in carried]
                    if len(carried) < len(page.entries):
                        # No router carries updates, nor what was changed by one.
                        self._hint((user,))
                    if offset > page.ceiling:
                        # It is read from the server that was written to before the last failover.
                        self._store.is_outdated(offset)
                        behind.add(user)
                if batch:
                    await self._router.publish(batch)
                for user, offset in users.items():
                    if user not in behind and self._untold.get(user) == offset:
                        del self._untold[user]
                if behind:
                    return  # they are told when all is looked at again, or the store is connected again
        except Exception as error:  # noqa: BLE001 - gatherResults wraps what was raised; all are tried again
            inner = getattr(getattr(error, "subFailure", None), "value", error)
            if not isinstance(inner, StoreUnavailable | RouterUnavailable):
                self.log.failure("a command could not be sent to other daemons")
        finally:
            self._telling = False

    def _read(self, user: str, offset: int) -> Deferred[InboxPage]:
        return self._reads.ask(user, lambda: self._store.read(user, offset - 1, 1), backlog=True)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("catching up with the store failed", failure)
