"""Who is connected to this daemon; encode once, write to each socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import bodies
from kschat.chat.bodies import Status
from kschat.chat.catchup import CatchUp
from kschat.chat.counters import Counters
from kschat.chat.feed import RETRY_WAIT, Feed, Way
from kschat.chat.inbox import Inbox
from kschat.chat.interfaces import (
    InboxState,
    IRouter,
    IStore,
    Notes,
    RouterTurn,
    RouterUnavailable,
    Stored,
    StoreUnavailable,
)
from kschat.chat.messages import Message
from kschat.wire.cork import Cork

#: Seconds that cursors and the like are gathered before the store is told. What a crash takes
#: of them is delivered again, with the same ``mid``.
NOTE_WAIT: Final = 0.25

#: Notes that are kept for a store that is away; the oldest give way (and are delivered again).
MAX_NOTES: Final = 100_000


class Hub:
    """The users of this daemon, with their sockets.

    Args:
        clock: the reactor.
        store: has the inboxes.
        router: is told which users are here.
        cork: holds writes back while a batch is written.
        counters: counts what was delivered.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, store: IStore, router: IRouter, cork: Cork, counters: Counters) -> None:
        self.clock = clock
        self.store = store
        self._router = router
        self._cork = cork
        self._counters = counters
        self._inboxes: dict[str, Inbox] = {}
        self._batches = 0
        self._to_finish: list[Feed] = []
        self._want_receipts = 0
        #: how many sockets asked for carbons
        self.want_carbons = 0
        # What the store was not told yet, or has not confirmed.
        self._cursors: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._note_timer: IDelayedCall | None = None
        self._telling = 0
        #: what news did not tell
        self.catch_up = CatchUp(clock, store, router, self._inboxes)
        router.attach(self)

    @property
    def users(self) -> int:
        """How many users have a socket here."""
        return len(self._inboxes)

    @property
    def sockets(self) -> int:
        """How many sockets of users there are."""
        return sum(len(inbox.feeds) for inbox in self._inboxes.values())

    def is_here(self, user: str) -> bool:
        """Whether ``user`` has a socket on this daemon that was let in."""
        inbox = self._inboxes.get(user)
        return inbox is not None and inbox.here

    def feeds(self, user: str) -> Sequence[Feed]:
        """The sockets of ``user`` here."""
        inbox = self._inboxes.get(user)
        return () if inbox is None else tuple(inbox.feeds.values())

    # Coming and going.

    def join(self, feed: Feed) -> Deferred[InboxState | None]:
        """Bind a socket's user, then look where the inbox stands.

        From here on the feed hears of news. When this fires, ``begin`` is to be called.

        A user who can't be bound now is let in all the same: the router binds it when it is up again, and what
        came meanwhile is in the store.

        Returns:
            The inbox's state; None where the store can't say now.
        """
        inbox = self._inboxes.get(feed.user)
        if inbox is None:
            # The store may look before it takes a note that is on its way, and answer after it.
            inbox = self._inboxes[feed.user] = Inbox(feed.user, self._cursors.get(feed.user, 0), self)
        inbox.feeds[feed.socket] = feed
        feed.inbox = inbox
        self.catch_up.look_now_and_then()
        self._want_receipts += feed.options.receipts
        self.want_carbons += feed.options.carbons
        bound = self._router.bind(feed.user, feed.socket.id).addErrback(_none_if_away)
        return bound.addCallback(lambda _: self._look(feed))

    def _look(self, feed: Feed) -> Deferred[InboxState | None]:
        # A socket begins where the store knows the cursor to be. Of a cursor that only this process
        # knows, a crash would show it later what it was not shown now: behind what came after that.
        user = feed.user
        if user not in self._cursors:
            return self._state(user)
        self._dirty.add(user)  # also where it is on its way to the store: what is noted now comes after that
        return self.write_notes().addCallback(lambda _: self._state(user))

    def _state(self, user: str) -> Deferred[InboxState | None]:
        return self.store.inbox(user).addErrback(self._not_known)

    def _not_known(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("where an inbox stands could not be read", failure)

    def begin(self, feed: Feed, state: InboxState | None, claim: int | None = None) -> None:
        """A socket was let in: write what it missed, then what comes."""
        inbox = feed.inbox
        if inbox is None or feed.way is Way.GONE:
            return
        if state is None:
            self.clock.callLater(RETRY_WAIT, self._look_again, feed, claim)
            return
        inbox.cursor = max(inbox.cursor, state.cursor, self._cursors.get(feed.user, 0))
        feed.begin(inbox, state, claim)

    def _look_again(self, feed: Feed, claim: int | None) -> None:
        if feed.way is not Way.GONE:
            self._look(feed).addCallback(lambda state: self.begin(feed, state, claim)).addErrback(self._failed)

    def leave(self, feed: Feed) -> bool:
        """A socket is gone, or was not let in. Whether its user was here, and is no more."""
        inbox = feed.inbox
        if inbox is None or inbox.feeds.pop(feed.socket, None) is None:
            return False
        feed.leave()
        self._router.unbind(feed.user, feed.socket.id)
        self._want_receipts -= feed.options.receipts
        self.want_carbons -= feed.options.carbons
        if inbox.feeds:
            return False
        del self._inboxes[feed.user]
        if not self._inboxes:
            self.catch_up.rest()
        if not inbox.here:
            return False
        self._seen[feed.user] = int(self.clock.seconds() * 1000)
        self._dirty.add(feed.user)
        self._note_soon()
        return True

    # Delivering.

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Write each message to every socket of its recipients, or to the one that is named. One write a socket."""
        inboxes = self._inboxes
        written = 0
        self.begin_batch()
        try:
            for stored in batch:
                message = stored.message
                for user, offset in stored.places:
                    inbox = inboxes.get(user)
                    if inbox is None:
                        continue
                    feeds = inbox.feeds.values() if socket is None else inbox.feeds_of(socket)
                    written += len(feeds)
                    if offset:
                        piece = bodies.piece(message, offset)
                        for feed in feeds:
                            feed.news(offset, message, piece)
                    else:
                        piece = bodies.piece(message, None)
                        for feed in feeds:
                            feed.relay(message, piece)
        finally:
            self._counters.delivered += written
            self.end_batch()

    def turned(self, turn: RouterTurn, socket: str | None = None) -> None:
        """See ``RouterListener``."""
        self._counters.turns[turn.name.lower()] += 1
        if turn is RouterTurn.UP:
            self.catch_up.resync(self._inboxes)
            self.catch_up.tell()
        elif turn is RouterTurn.CANCELLED:
            self.begin_batch()
            try:
                for inbox in list(self._inboxes.values()):
                    for feed in list(inbox.feeds.values()) if socket is None else inbox.feeds_of(socket):
                        feed.socket.emit(bodies.CANCELLED, ask=True)
            finally:
                self.end_batch()

    @property
    def routed(self) -> bool:
        """Whether messages are carried now."""
        return bool(self._router.up)

    def begin_batch(self) -> None:
        """See ``inbox.Context``."""
        self._batches += 1
        self._cork.held = True

    def end_batch(self) -> None:
        """See ``inbox.Context``."""
        self._batches -= 1
        if not self._batches:
            finish, self._to_finish = self._to_finish, []
            try:
                for feed in finish:
                    feed.finish()
            finally:
                self._cork.release()

    def touched(self, feed: Feed) -> None:
        """See ``inbox.Context``."""
        self._to_finish.append(feed)

    def delivered(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """See ``inbox.Context``."""
        self._cursors[inbox.user] = inbox.cursor
        self._dirty.add(inbox.user)
        self._note_soon()
        self.relayed(inbox, fresh)

    def relayed(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """See ``inbox.Context``."""
        self._counters.proved += len(fresh)
        if self._want_receipts:
            self.begin_batch()
            try:
                for message in fresh:
                    if message.recipient == inbox.user:
                        self.receipt(message.sender, bodies.status(message.pId, message.mid, Status.DELIVERED))
            finally:
                self.end_batch()

    def receipt(self, sender: str, body: bytes) -> None:
        """Tell those sockets of ``sender`` that asked for it what became of a message."""
        for feed in self.feeds(sender):
            if feed.options.receipts and not feed.socket.connection.session.transport.congested:
                feed.socket.emit(body)

    def wants_receipts(self, user: str) -> bool:
        """Whether a socket of ``user`` here asked for receipts."""
        return bool(self._want_receipts) and any(feed.options.receipts for feed in self.feeds(user))

    def carbon(self, message: Message, origin: Feed) -> None:
        """Show the sender's other sockets, those that asked for it, what was sent."""
        body = b""
        for feed in self.feeds(origin.user):
            if feed.options.carbons and feed is not origin and feed.socket.accepted:
                body = body or bodies.carbon(message)
                feed.socket.emit(body, message.attachments)

    # What is kept beside the messages.

    def _note_soon(self, wait: float = NOTE_WAIT) -> None:
        if self._note_timer is None:
            self._note_timer = self.clock.callLater(wait, self._note)

    def _note(self) -> None:
        self._note_timer = None
        # One at a time: what comes meanwhile waits for the answer, however slow the store is.
        if not self._telling:
            self.write_notes()

    def write_notes(self) -> Deferred[None]:
        """Tell the store what was gathered; it is told again later where it is away. Never fails."""
        dirty, self._dirty = self._dirty, set()
        cursors = {user: cursor for user, cursor in self._cursors.items() if user in dirty}
        seen = {user: time for user, time in self._seen.items() if user in dirty}
        if not dirty:
            return succeed(None)
        try:
            told = self.store.note(Notes(cursors, seen))
        except Exception:  # noqa: BLE001 - no store may, but what was gathered must not be lost
            told = fail()
        self._telling += 1
        return told.addCallbacks(self._noted, self._not_noted, callbackArgs=(cursors, seen), errbackArgs=(dirty,))

    def _noted(self, _: None, cursors: Mapping[str, int], seen: Mapping[str, int]) -> None:
        self._telling -= 1
        for mine, told in ((self._cursors, cursors), (self._seen, seen)):
            for user, value in told.items():
                if mine.get(user) == value:
                    del mine[user]
        if self._dirty:
            self._note_soon()

    def _not_noted(self, failure: Failure, dirty: set[str]) -> None:
        self._telling -= 1
        if failure.check(StoreUnavailable) is None:
            self.log.failure("cursors could not be stored", failure)
        self._dirty |= dirty
        for mine in (self._cursors, self._seen):
            for user in list(mine)[: max(len(mine) - MAX_NOTES, 0)]:
                del mine[user]
        if len(self._dirty) > MAX_NOTES:
            self._dirty &= self._cursors.keys() | self._seen.keys()
        self._note_soon(RETRY_WAIT)

    def seen(self, user: str) -> int | None:
        """When ``user`` was last seen, as far as the store was not told yet."""
        return self._seen.get(user)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        """When each of ``users`` was last seen, for those of whom it is known."""
        mine = {user: self._seen[user] for user in users if user in self._seen}
        others = [user for user in users if user not in mine]
        if not others:
            return succeed(mine)
        asked = self.store.last_seen(others).addErrback(_none_if_unavailable)
        return asked.addCallback(lambda found: {**(found or {}), **mine})

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the hub failed", failure)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RouterUnavailable)


def _none_if_unavailable(failure: Failure) -> None:
    failure.trap(StoreUnavailable)
