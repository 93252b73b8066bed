"""Who is connected to this daemon; encode once, write to each socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import outgoing
from kschat.chat.bus import IBus
from kschat.chat.catchup import CatchUp
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.cluster_commands import Receipt
from kschat.chat.cursors import Cursors
from kschat.chat.inbox import Inbox
from kschat.chat.inflight import Written
from kschat.chat.ingest import ForeignIngest
from kschat.chat.interfaces import (
    RETRY_WAIT,
    InboxState,
    IRouter,
    IStore,
    RouterEvent,
    RouterUnavailable,
    Stored,
    StoreUnavailable,
)
from kschat.chat.message import Message
from kschat.chat.notifier import Notifier
from kschat.chat.outgoing import Status
from kschat.chat.session import ChatSession
from kschat.chat.stream import PAGE
from kschat.chat.write_behind import WRITE_BEHIND_WAIT, WriteBehindBuffer
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
        bus: tells other daemons what concerns sockets there.
        cork: holds writes back while a batch is written.
        counters: counts what was delivered.

    Attributes:
        write_behind: cursors and the like, on their way to the store.
        notifier: tells users' sockets, here and on other daemons.
        cursors: asks other daemons for users' cursors, and answers them.
        catch_up: what news did not tell.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: WallClock,
        store: IStore,
        router: IRouter,
        bus: IBus,
        cork: Cork,
        counters: Counters,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.store = store
        self.write_behind = WriteBehindBuffer(clock, store, shared=not router.alone)
        self.notifier = Notifier(clock, self.sessions, bus)
        self.cursors = Cursors(clock, self.write_behind, bus)
        self._bus = bus
        self._router = router
        self._counters = counters
        self._inboxes: dict[str, Inbox] = {}
        self._scope = _WriteScope(cork)
        self.catch_up = CatchUp(clock=clock, store=store, router=router, inboxes=self._inboxes)
        self._ingest = ForeignIngest(clock=clock, store=store, counters=counters, deliver=self.deliver)
        router.attach(self)
        store.attach(self)

    @property
    def users(self) -> int:
        """How many users have a socket here."""
        return len(self._inboxes)

    @property
    def sockets(self) -> int:
        """How many sockets of users there are."""
        return sum(len(inbox.sessions) for inbox in self._inboxes.values())

    def is_here(self, user: str) -> bool:
        """Whether ``user`` has a socket on this daemon that was let in."""
        inbox = self._inboxes.get(user)
        return inbox is not None and inbox.here

    @property
    def everybody(self) -> Iterable[str]:
        """The users of this daemon."""
        return self._inboxes.keys()

    def sessions(self, user: str | None) -> Sequence[ChatSession]:
        """The sockets of ``user`` here; of None everybody's."""
        if user is None:
            return [session for inbox in self._inboxes.values() for session in inbox.sessions.values()]
        inbox = self._inboxes.get(user)
        return () if inbox is None else tuple(inbox.sessions.values())

    # Coming and going.

    def join(self, session: ChatSession) -> Deferred[InboxState | None]:
        """Bind a socket's user, then look where the inbox stands.

        From here on the session is given messages. When this fires, ``begin`` is to be called.

        A user who can't be bound now is let in all the same: the router binds the user when it is up again, and what
        came meanwhile is in the store.

        Returns:
            The inbox's state; None where the store can't say now.
        """
        user = session.user
        inbox = self._inboxes.get(user)
        if inbox is None:
            # The store may look before it takes a note that is on its way, and answer after it.
            inbox = self._inboxes[user] = Inbox(user, self.write_behind.cursor(user))
        inbox.sessions[session.socket] = session
        session.join(self)
        self.notifier.joined(session)
        self.catch_up.look_now_and_then()
        bound = self._router.bind(user, session.socket.id).addErrback(_none_if_away)
        return gatherResults([bound, self._listen(user)], consumeErrors=True).addCallbacks(
            lambda _: self._look(user), _unwrapped
        )

    def let_in(self, session: ChatSession) -> bool:
        """A socket was let in. Whether it is the first one of its user."""
        inbox = self._inboxes[session.user]
        first, inbox.here = not inbox.here, True
        return first

    def _listen(self, user: str) -> Deferred[None]:
        # Whoever was let in may rely on it: what is told to all sockets of a user from then on reaches this one.
        listens = self._bus.listen(user)
        if not listens.called:
            listens.addTimeout(LISTEN_WAIT, self.clock, _let_in)
        return listens

    def _unlisten(self, user: str) -> None:
        if user not in self._inboxes:
            self._bus.unlisten(user)

    def _look(self, user: str) -> Deferred[InboxState | None]:
        # A socket begins at the cursor that the store has. If it began at one that is not stored yet, and the daemon
        # crashed, the skipped messages would be delivered again, after newer ones.
        if not self.store.keeps:
            return self._state(user)
        return self.cursors.settled(user).addCallback(lambda _: self._state(user))

    def _state(self, user: str) -> Deferred[InboxState | None]:
        return self.store.inbox(user).addErrback(self._not_known)

    def _not_known(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("where an inbox stands could not be read", failure)

    def begin(self, session: ChatSession, state: InboxState | None, claim: int | None = None) -> None:
        """A socket was let in: write what it missed, then what comes.

        Args:
            session: the socket's.
            state: of the user's inbox; None where the store can't say. Then it is asked again.
            claim: the offset up to which the client shows that it has all.
        """
        if session.closed:
            return
        if state is None:
            self.clock.callLater(RETRY_WAIT, self._look_again, session, claim)
            return
        inbox = self._inboxes[session.user]
        before = inbox.cursor = max(inbox.cursor, state.cursor, self.write_behind.cursor(session.user))
        if claim is None:
            session.stream.on_opened(min(state.cursor, state.last), state.last)
        else:
            self.delivered(session, claim, ())
            session.stream.on_opened(claim, state.last)
        if claim is not None and claim > before and self.notifier.receipts:
            Deferred.fromCoroutine(self._delivered_before(inbox, before, claim)).addErrback(self._failed)

    async def _delivered_before(self, inbox: Inbox, after: int, upto: int) -> None:
        """Tell the senders of what a client shows that it has, and no socket had confirmed."""
        after = max(after, upto - MAX_CLAIMED)
        while after < upto:
            try:
                page = await self.store.read(inbox.user, after, PAGE)
            except StoreUnavailable:
                return  # receipts may be lost
            self._tell_senders(inbox.user, [entry.message for entry in page.entries if entry.offset <= upto])
            after = page.entries[-1].offset if page.entries else upto

    def _look_again(self, session: ChatSession, claim: int | None) -> None:
        if not session.closed:
            looked = self._look(session.user)
            looked.addCallback(lambda state: self.begin(session, state, claim)).addErrback(self._failed)

    def leave(self, session: ChatSession) -> bool:
        """A socket is gone, or was not let in. Whether its user was here, and has no other."""
        user = session.user
        inbox = self._inboxes.get(user)
        if inbox is None or inbox.sessions.pop(session.socket, None) is None:
            return False
        session.leave()
        self._router.unbind(user, session.socket.id)
        self.notifier.left(session)
        if inbox.sessions:
            return False
        del self._inboxes[user]
        if self.write_behind.cursor(user):
            # Until the store knows it, a daemon that the user comes to next must be able to ask for it.
            self.clock.callLater(WRITE_BEHIND_WAIT, self._unlisten, user)
        else:
            self._bus.unlisten(user)
        if not self._inboxes:
            self.catch_up.rest()
        if not inbox.here:
            return False
        self.write_behind.left(user, milliseconds(self.wall))
        return True

    # Delivering.

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Write each message to every socket of its recipients, or to the one that is named. One write a socket."""
        inboxes = self._inboxes
        written = 0
        placeless: list[Message] = []
        keeps = self.store.keeps
        with self._scope:
            for stored in batch:
                message = stored.message
                for user, offset in stored.places:
                    inbox = inboxes.get(user)
                    if inbox is None:
                        continue
                    sessions = inbox.sessions.values() if socket is None else inbox.sessions_of(socket)
                    written += len(sessions)
                    if offset and keeps:
                        piece = outgoing.piece(message, offset)
                        for session in sessions:
                            session.stream.on_message(offset, message, piece)
                    elif keeps:
                        placeless.append(message)
                    else:
                        piece = outgoing.piece(message, None)
                        for session in sessions:
                            session.stream.on_transient(message, piece)
        self._counters.delivered += written
        if placeless:
            self._ingest.take(placeless)

    def missed(self, users: Iterable[str]) -> None:
        """See ``RouterListener``."""
        self.catch_up.resync(users)

    def on_router_event(self, event: RouterEvent, socket: str | None = None) -> None:
        """See ``RouterListener``."""
        self._counters.router_events[event.name.lower()] += 1
        if event is RouterEvent.UP:
            self.catch_up.resync(self._inboxes)
            self.catch_up.tell()
        elif event is RouterEvent.CANCELLED:
            with self._scope:
                for session in self.sessions(None):
                    if socket is None or session.socket.id == socket:
                        session.socket.emit(outgoing.CANCELLED, ask=True)

    def renewed(self) -> None:
        """See ``StoreListener``. Every socket is closed: its client comes back, and begins where the new store says."""
        self.write_behind.forget_cursors()
        self.catch_up.forget()
        sessions = self.sessions(None)
        self.log.error("the store is another one now: {count} sockets begin anew", count=len(sessions))
        for session in sessions:
            session.socket.connection.session.close(Reason.SERVER_ERROR)

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

    # See ``session.SessionContext``.

    def writing(self) -> AbstractContextManager[None]:
        """What is written within is sent together: one write a socket, at the end of the outermost."""
        return self._scope

    def wrote(self, session: ChatSession) -> None:
        """Call ``session.flush`` at the end of what is written together."""
        self._scope.wrote.append(session)

    def delivered(self, session: ChatSession, upto: int, entries: Sequence[Written]) -> None:
        """The client of ``session`` has all up to this offset. ``entries`` are the newest of it."""
        inbox = self._inboxes.get(session.user)
        if inbox is None:
            return
        if not self.store.keeps:
            # Each socket counts for itself, and there is no cursor.
            self._tell_senders(inbox.user, [entry[2] for entry in entries])
        elif upto > inbox.cursor:
            fresh = inbox.confirmed(upto, entries)
            self.write_behind.moved(inbox.user, upto)
            self._tell_senders(inbox.user, fresh)

    def _tell_senders(self, user: str, fresh: Sequence[Message]) -> None:
        """The first of the user's sockets has ``fresh``."""
        self._counters.confirmed += len(fresh)
        if self.notifier.receipts:
            with self._scope:
                for message in fresh:
                    if message.recipient == user:
                        self.notifier.receipt(message.sender, Receipt.of(message, Status.DELIVERED))

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the hub failed", failure)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RouterUnavailable)


def _let_in(_: object, __: float) -> None:
    """It is not known to listen, and is let in all the same: Redis stands still."""


def _unwrapped(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


class _WriteScope:
    """What is written within is sent together. It may be entered again within itself."""

    __slots__ = ("_cork", "_depth", "wrote")

    def __init__(self, cork: Cork) -> None:
        self._cork = cork
        self._depth = 0
        self.wrote: list[ChatSession] = []

    def __enter__(self) -> None:
        self._depth += 1
        self._cork.held = True

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            wrote, self.wrote = self.wrote, []
            try:
                for session in wrote:
                    session.flush()
            finally:
                self._cork.release()
