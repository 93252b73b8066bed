"""Who is connected to this daemon; encode once, write to each socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import bodies
from kschat.chat.adoption import Adoption
from kschat.chat.bodies import Status
from kschat.chat.catchup import CatchUp
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.cursors import Cursors
from kschat.chat.feed import PAGE, RETRY_WAIT, Feed, Way
from kschat.chat.inbox import Inbox
from kschat.chat.interfaces import InboxState, IRouter, IStore, RouterTurn, RouterUnavailable, Stored, StoreUnavailable
from kschat.chat.ireplica import IReplica
from kschat.chat.messages import Message
from kschat.chat.notes import NOTE_WAIT, Notebook
from kschat.chat.telling import Telling
from kschat.chat.words import Receipt
from kschat.counters import Counters
from kschat.wire.cork import Cork
from kschat.wire.errors import Reason

#: Seconds that a socket waits until it hears what other daemons tell its user. Beyond that it is let in without.
LISTEN_WAIT: Final = 1.0


#: Messages of which a client shows by one offset that it has them, and whose senders are told.
MAX_CLAIMED: Final = 1000


class Hub:
    """The users of this daemon, with their sockets.

    Args:
        clock: the reactor.
        wall: says when users were last seen.
        store: has the inboxes.
        router: is told which users are here.
        replica: tells other daemons what concerns sockets there.
        cork: holds writes back while a batch is written.
        counters: counts what was delivered.

    Attributes:
        notes: cursors and the like, on their way to the store.
        telling: tells users' sockets, here and on other daemons.
        cursors: asks other daemons for users' cursors, and answers them.
        catch_up: what news did not tell.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallClock,
        store: IStore,
        router: IRouter,
        replica: IReplica,
        cork: Cork,
        counters: Counters,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.store = store
        self.notes = Notebook(clock, store, shared=not router.alone)
        self.telling = Telling(clock, self.feeds, replica)
        self.cursors = Cursors(clock, self.notes, replica)
        self._replica = replica
        self._router = router
        self._cork = cork
        self._counters = counters
        self._inboxes: dict[str, Inbox] = {}
        self._batches = 0
        self._to_finish: list[Feed] = []
        self.catch_up = CatchUp(clock, store, router, self._inboxes)
        self._adoption = Adoption(clock, store, counters, self.deliver)
        router.attach(self)
        store.attach(self)

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

    @property
    def everybody(self) -> Iterable[str]:
        """The users of this daemon."""
        return self._inboxes.keys()

    def feeds(self, user: str | None) -> Sequence[Feed]:
        """The sockets of ``user`` here; of None everybody's."""
        if user is None:
            return [feed for inbox in self._inboxes.values() for feed in inbox.feeds.values()]
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
            inbox = self._inboxes[feed.user] = Inbox(feed.user, self.notes.cursor(feed.user), self)
        inbox.feeds[feed.socket] = feed
        feed.inbox = inbox
        self.telling.joined(feed)
        self.catch_up.look_now_and_then()
        bound = self._router.bind(feed.user, feed.socket.id).addErrback(_none_if_away)
        return gatherResults([bound, self._listen(feed.user)], consumeErrors=True).addCallbacks(
            lambda _: self._look(feed), _unwrapped
        )

    def _listen(self, user: str) -> Deferred[None]:
        # Whoever was let in may rely on it: what is told to all sockets of a user from then on reaches this one.
        listens = self._replica.listen(user)
        if not listens.called:
            listens.addTimeout(LISTEN_WAIT, self.clock, _let_in)
        return listens

    def _unlisten(self, user: str) -> None:
        if user not in self._inboxes:
            self._replica.unlisten(user)

    def _look(self, feed: Feed) -> Deferred[InboxState | None]:
        # A socket begins where the store knows the cursor to be. Of a cursor that only this process
        # knows, a crash would show it later what it was not shown now: behind what came after that.
        if not self.store.keeps:
            return self._state(feed.user)
        return self.cursors.settled(feed.user).addCallback(lambda _: self._state(feed.user))

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
        before = inbox.cursor = max(inbox.cursor, state.cursor, self.notes.cursor(feed.user))
        feed.begin(inbox, state, claim)
        if claim is not None and claim > before and self.telling.receipts:
            Deferred.fromCoroutine(self._delivered_before(inbox, before, claim)).addErrback(self._failed)

    async def _delivered_before(self, inbox: Inbox, after: int, upto: int) -> None:
        """Tell the senders of what a client shows that it has, and no socket had proved."""
        after = max(after, upto - MAX_CLAIMED)
        while after < upto:
            try:
                page = await self.store.read(inbox.user, after, PAGE)
            except StoreUnavailable:
                return  # receipts may be lost
            self.relayed(inbox, [entry.message for entry in page.entries if entry.offset <= upto])
            after = page.entries[-1].offset if page.entries else upto

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
        self.telling.left(feed)
        if inbox.feeds:
            return False
        del self._inboxes[feed.user]
        if self.notes.cursor(feed.user):
            # Until the store knows it, a daemon that the user comes to next must be able to ask for it.
            self.clock.callLater(NOTE_WAIT, self._unlisten, feed.user)
        else:
            self._replica.unlisten(feed.user)
        if not self._inboxes:
            self.catch_up.rest()
        if not inbox.here:
            return False
        self.notes.left(feed.user, milliseconds(self.wall))
        return True

    # Delivering.

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Write each message to every socket of its recipients, or to the one that is named. One write a socket."""
        inboxes = self._inboxes
        written = 0
        placeless: list[Message] = []
        keeps = self.store.keeps
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
                    if offset and keeps:
                        piece = bodies.piece(message, offset)
                        for feed in feeds:
                            feed.news(offset, message, piece)
                    elif keeps:
                        placeless.append(message)
                    else:
                        piece = bodies.piece(message, None)
                        for feed in feeds:
                            feed.relay(message, piece)
        finally:
            self._counters.delivered += written
            self.end_batch()
        if placeless:
            self._adoption.take(placeless)

    def missed(self, users: Iterable[str]) -> None:
        """See ``RouterListener``."""
        self.catch_up.resync(users)

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

    def renewed(self) -> None:
        """See ``StoreListener``. Every socket is closed: its client comes back, and begins where the new store says."""
        self.notes.forget_cursors()
        self.catch_up.forget()
        feeds = self.feeds(None)
        self.log.error("the store is another one now: {count} sockets begin anew", count=len(feeds))
        for feed in feeds:
            feed.socket.connection.session.close(Reason.SERVER_ERROR)

    def reconnected(self) -> None:
        """See ``StoreListener``. What the store said before may have been out of date, so all is looked at again."""
        self.catch_up.resync(self._inboxes)
        self.catch_up.tell()

    @property
    def routed(self) -> bool:
        """Whether messages are carried now."""
        return bool(self._router.up)

    @property
    def routing(self) -> Mapping[str, int]:
        """What the router counts."""
        figures: Mapping[str, int] = self._router.figures
        return figures

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
        self.notes.proved(inbox.user, inbox.cursor)
        self.relayed(inbox, fresh)

    def relayed(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """See ``inbox.Context``."""
        self._counters.proved += len(fresh)
        if self.telling.receipts:
            self.begin_batch()
            try:
                for message in fresh:
                    if message.recipient == inbox.user:
                        self.telling.receipt(message.sender, Receipt.of(message, Status.DELIVERED))
            finally:
                self.end_batch()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the hub failed", failure)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RouterUnavailable)


def _let_in(_: object, __: float) -> None:
    """It is not known to listen, and is let in all the same: Redis stands still."""


def _unwrapped(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
