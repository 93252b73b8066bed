"""``SqliteStore``: ``IStore`` on top of the threads; what happens while the file cannot be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.backends.lag import Lag
from kschat.backends.rounds import rest
from kschat.backends.sqlite.database import FileIdentity, SchemaVersions, Settings
from kschat.backends.sqlite.outbox import SqliteOutbox
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.reader import Reader
from kschat.backends.sqlite.transactions import Transactions
from kschat.backends.sqlite.writer import Writer
from kschat.chat.clocks import WallClock
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import (
    NO_BOUND,
    Blocks,
    Conversation,
    IMeasured,
    InboxPage,
    InboxState,
    IStore,
    Page,
    Progress,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation
from kschat.outage_log import OutageLog

T = TypeVar("T")

#: Seconds between attempts to open a file that failed: doubled each time, from the first number up to the second.
FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 5.0

#: Seconds between rounds of retention.
TIDY_EVERY: Final = 60.0

#: After a step of erasing a user, senders are served for so many times as long as it took. Seconds that count of a
#: step: on a busy machine it seems to take longer than it does.
ERASE_REST: Final = 5.0
MAX_STEP: Final = 0.02

#: Seconds between two checks of the file.
CHECK_EVERY: Final = 1.0


@implementer(IStore, IMeasured)
class SqliteStore:
    """Keeps messages in an SQLite file.

    Args:
        settings: which, and how.
        reactor: whose thread calls and is answered.
        clock: says when a file that failed is tried again.
        versions: of the schema.
        wall: the time of day, in seconds since 1970.
    """

    log = Logger()
    keeps = True
    measures: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        settings: Settings,
        reactor: IReactorFromThreads,
        clock: IReactorTime,
        versions: SchemaVersions | None = None,
        wall: WallClock = time.time,
    ) -> None:
        #: See ``IStore``; "" until the file is open.
        self.epoch = ""
        self._file: FileIdentity | None = None
        self._settings = settings
        self._clock = clock
        self._wall = wall
        versions = versions or SchemaVersions.shipped()
        self._writer = Writer(
            reactor,
            lambda: Transactions(settings, versions, self._file, wall=wall),
            self._let_go,
            lambda: self._checkpointer.checkpoint(),
            self,
        )
        # Clients that connect must not wait for history queries of others.
        self._reader = Reader(reactor, self._writer, self._not_read, "kschat store reader")
        self._browser = Reader(reactor, self._writer, self._not_read, "kschat store browser")
        # Senders must not wait for checkpoints.
        self._checkpointer = Reader(reactor, self._writer, self._not_read, "kschat store checkpointer", "rw")
        self.outbox = SqliteOutbox(self._writer, self._browser) if settings.hooks else None
        self._readers = (self._reader, self._browser, self._checkpointer)
        self._timer: IDelayedCall | None = None
        self._retry = FIRST_RETRY
        self._outages = OutageLog(self.log, name=settings.path)
        # Of reading: never over, since nothing tells when it is.
        self._reading_outages = OutageLog(self.log, name=settings.path)
        self._lag = Lag(clock)
        self._tidy_at = 0.0
        self._running = False
        self._open = False
        self._erasing: set[Deferred[int]] = set()

    @property
    def up(self) -> bool:
        return self._open

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``."""
        return self._lag.seconds

    def attach(self, listener: StoreListener) -> None:
        """See ``IStore``. It stays the same for as long as it runs."""

    def start(self) -> None:
        self._running = True
        for reader in self._readers:
            reader.start()
        self._writer.start()

    def stop(self) -> Deferred[None]:
        if not self._running:
            return succeed(None)
        self._running = False
        self._set_timer(None)
        for erasing in list(self._erasing):
            erasing.cancel()
        # The writer first: it closes the readers' connections, so that its own is the last to close.
        for reader in self._readers:
            reader.refuse()
        stopped = self._writer.stop().addCallback(lambda _: gatherResults([one.stop() for one in self._readers]))
        return stopped.addCallback(lambda _: None)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. What is answered is on the disk."""
        if not self._running:
            return _stopped()
        if any(is_room(message.recipient) for message in batch):
            return self._writer.do_in_parts(Transactions.append_in_parts, batch)
        return self._writer.do(Transactions.append, batch)

    def change(self, update: Message) -> Deferred[Stored]:
        """See ``IStore``. What is answered is on the disk; the log beside the file is emptied in a quiet second."""
        return self._writer.do(Transactions.change, update) if self._running else _stopped()

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return self._reader.ask(Queries.find, user, mid, peer) if self._running else _stopped()

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return self._browser.ask(Queries.readers, room, user, mid) if self._running else _stopped()

    def save_progress(self, progress: Progress) -> Deferred[None]:
        return self._writer.do(Transactions.save_progress, progress) if self._running else _stopped()

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        return self._writer.do(Transactions.mark_read, user, peer, mid) if self._running else _stopped()

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        return self._writer.do(Transactions.join, room, user, most, most_rooms) if self._running else _stopped()

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return self._writer.do(Transactions.leave, room, user) if self._running else _stopped()

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self._writer.do(Transactions.block, user, peer, most) if self._running else _stopped()

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self._writer.do(Transactions.unblock, user, peer) if self._running else _stopped()

    def blocked(self, user: str) -> Deferred[list[str]]:
        return self._reader.ask(Queries.blocked, user) if self._running else _stopped()

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        return self._reader.ask(Queries.blocks, user, peers) if self._running else _stopped()

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        return self._writer.do(Transactions.subscribe, user, subscription, most) if self._running else _stopped()

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return self._writer.do(Transactions.unsubscribe, user, endpoint) if self._running else _stopped()

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self._reader.ask(Queries.subscriptions, user) if self._running else _stopped()

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        return self._writer.do(Transactions.revoke, revocation, now, most) if self._running else _stopped()

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return self._reader.ask(Queries.revocations, after, limit) if self._running else _stopped()

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self._reader.ask(Queries.inbox, user) if self._running else _stopped()

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reader.ask(Queries.ends, users) if self._running else _stopped()

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return self._reader.ask(Queries.read, user, after, limit) if self._running else _stopped()

    def is_outdated(self, offset: int) -> None:
        """See ``IStore``. There is no other."""

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reader.ask(Queries.last_seen, users) if self._running else _stopped()

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return self._browser.ask(Queries.history, user, peer, before, limit) if self._running else _stopped()

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return self._browser.ask(Queries.conversations, user, limit, before) if self._running else _stopped()

    def members(self, room: str) -> Deferred[list[str]]:
        return self._reader.ask(Queries.members, room) if self._running else _stopped()

    def rooms(self, user: str) -> Deferred[list[str]]:
        return self._reader.ask(Queries.rooms, user) if self._running else _stopped()

    def erase(self, user: str) -> Deferred[int]:
        """See ``IStore``. All messages are looked through, beside history queries; senders are served in between."""
        if not self._running:
            return _stopped()
        erasing = Deferred.fromCoroutine(self._erase(user))
        self._erasing.add(erasing)

        def ended(result: Any) -> Any:
            self._erasing.discard(erasing)
            is_cancelled = isinstance(result, Failure) and result.check(CancelledError) is not None
            return Failure(StoreUnavailable("the store was stopped")) if is_cancelled else result

        return erasing.addBoth(ended)

    async def _step(self, work: Callable[[Transactions], T]) -> T:
        """Do a step of an erasure, and rest."""
        began = self._clock.seconds()
        result = await self._writer.between(work)
        if (took := self._clock.seconds() - began) > 0:
            await rest(self._clock, min(took, MAX_STEP), times=ERASE_REST, least=0.0)
        return result

    async def _erase(self, name: str) -> int:
        if self.outbox is not None:
            self.outbox.forget(name)
        user = await self._step(lambda transactions: transactions.begin_erasing(name))
        after: int | None = 0
        while after is not None:
            after = await self._step(partial(Transactions.erase_events, name=name, after=after))
        if user is None:
            return 0
        erased, after = 0, 0
        while after is not None:
            found, reacted, after = await self._browser.ask(Queries.messages_of, user, name, after)
            erased += len(found)
            if reacted:
                await self._step(partial(Transactions.erase_reactions, ids=reacted, name=name))
            while found:
                found = await self._step(partial(Transactions.erase_messages, ids=found))
        while (more := await self._step(partial(Transactions.finish_erasing, user=user))) is not None:
            erased += more
        return erased

    def settle(self) -> Deferred[None]:
        """Index all messages now. For tests and benches."""
        return self._writer.between(Transactions.index) if self._running else _stopped()

    # Called by the threads, on the reactor thread.

    def _let_go(self) -> None:
        for reader in self._readers:
            reader.let_go()

    def opened(self, which: FileIdentity, renewed: str | None) -> None:
        self._file, self.epoch = which, which.epoch
        self._open = True
        if not self._outages.is_open:
            self.log.info("the store is {path}", path=self._settings.path)
        if renewed is not None:
            self.log.warn(
                "the store {path} begins a new epoch, with offsets beyond all earlier ones: {why}",
                path=self._settings.path,
                why=renewed,
            )
        self._set_timer(CHECK_EVERY)

    def lost(self, why: str) -> None:
        self._open = False
        self._lag.lost()
        self._outages.down("the store {name} is not available: {reason}", why)
        self._set_timer(self._retry)
        self._retry = min(2 * self._retry, LAST_RETRY)

    def _not_read(self, why: str) -> None:
        self._reading_outages.down("the store {name} could not be read: {reason}", why)

    def _look_after(self) -> None:
        self._timer = None
        if not self._open:
            self._writer.open()
            return
        # On a full disk opening succeeds and the first batch fails: the store counts as back once it has stayed open.
        if self._outages.is_open:
            self._outages.up()
            self.log.info("the store {path} is available again", path=self._settings.path)
        self._retry = FIRST_RETRY
        self._probe()
        self._writer.check()
        now = self._clock.seconds()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY
            self._writer.tidy(self._wall())
        self._set_timer(CHECK_EVERY)

    def _probe(self) -> None:
        """Time the writer's queue: a batch that comes now waits as long."""
        if not self._lag.waits:
            asked = self._lag.ask()
            # If the file fails meanwhile, ``lost`` has been called by then.
            self._writer.between(lambda _: None).addBoth(lambda _: self._lag.answered(asked))

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._look_after) if seconds and self._running else None


def _stopped() -> Deferred[Any]:
    return fail(StoreUnavailable("the store is not running"))
