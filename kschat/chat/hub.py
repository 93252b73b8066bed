"""``Hub``: the users of this daemon; encodes once, writes to each socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.chat import outgoing
from kschat.chat.bus import IBus
from kschat.chat.catchup import CatchUp
from kschat.chat.changes import is_update
from kschat.chat.clocks import WallClock
from kschat.chat.cluster_commands import Receipt
from kschat.chat.confirmations import Confirmations
from kschat.chat.copies import COPY_BYTES, MAX_WRITES, Spread, copies_of
from kschat.chat.cursors import Cursors
from kschat.chat.inbox import Inbox
from kschat.chat.inflight import Written
from kschat.chat.ingest import ForeignIngest
from kschat.chat.interfaces import (
    IRouter,
    IStore,
    RouterEvent,
    Stored,
    StoreListener,
)
from kschat.chat.limiter import Limiter
from kschat.chat.message import Message
from kschat.chat.notifier import Notifier
from kschat.chat.outgoing import Status
from kschat.chat.reads import ReadQueue
from kschat.chat.session import ChatSession
from kschat.chat.write_behind import WriteBehindBuffer
from kschat.counters import Counters
from kschat.wire.cork import Cork
from kschat.wire.errors import Reason

#: Batches that wait to be written. Beyond it all is written at once.
MAX_UNDELIVERED: Final = 1000

#: Seconds after which a message counts as one that waited for its recipient, and its time as nobody's fault.
LIVE_SECONDS: Final = 60.0

#: No bound on what is written.
UNBOUNDED: Final = 2**62

#: Sockets that one user has with good reason: what is written to so many is not counted among a sender's copies.
FREE_COPIES: Final = 8


def _nobody() -> None:
    """Nobody waits."""


class Hub:
    """The users of this daemon, with their sockets.

    Args:
        clock: the reactor.
        wall: says when users were last seen.
        store: has the inboxes.
        reads: asks the store for pages of them, in turns.
        router: is told which users are here.
        bus: tells other daemons what concerns sockets there.
        cork: holds writes back while a batch is written.
        counters: counts what was delivered.
        limiter: says how many copies a user may cause.

    Attributes:
        write_behind: cursors and the like, on their way to the store.
        notifier: tells users' sockets, here and on other daemons.
        cursors: asks other daemons for users' cursors, and answers them.
        confirmations: asks sockets to confirm what they were sent.
        catch_up: what news did not tell.
        caught_up: called when all was written of what had to wait for later turns.
        store_listeners: who else is told what happens to the store, after the hub.
        sockets: how many sockets of users there are.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        wall: WallClock,
        store: IStore,
        reads: ReadQueue,
        router: IRouter,
        bus: IBus,
        cork: Cork,
        counters: Counters,
        limiter: Limiter,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.store = store
        self.reads = reads
        self.write_behind = WriteBehindBuffer(clock, store, counters, shared=not router.alone)
        self._spread = Spread(clock, self.writing, counters)
        self._spread.eased = self._eased
        self.notifier = Notifier(clock, self.sessions, bus, limiter=limiter, spread=self._spread)
        self.cursors = Cursors(clock, self.write_behind, bus)
        self.confirmations = Confirmations(clock)
        self._router = router
        self._counters = counters
        self._inboxes: dict[str, Inbox] = {}
        # Counted as they come and go: operators look every other second, and there are thousands.
        self.sockets = 0
        self._limiter = limiter
        self._undelivered: deque[tuple[Sequence[Stored], str | None]] = deque()
        self.caught_up: Callable[[], None] = _nobody
        self._scope = _WriteScope(cork)
        self.wrote = self._scope.wrote.append
        self.catch_up = CatchUp(
            clock=clock, store=store, reads=reads, router=router, inboxes=self._inboxes, hint=self.notifier.hint
        )
        self._ingest = ForeignIngest(clock=clock, store=store, counters=counters, deliver=self.deliver)
        self.store_listeners: list[StoreListener] = []
        router.attach(self)
        store.attach(self)

    @property
    def users(self) -> int:
        """How many users have a socket here."""
        return len(self._inboxes)

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

    # The registry.

    def inbox(self, user: str) -> Inbox | None:
        """The inbox of ``user``, who has a socket here; None otherwise."""
        return self._inboxes.get(user)

    def add(self, session: ChatSession) -> None:
        """A socket of a user is here, and is given messages from now on."""
        user = session.user
        inbox = self._inboxes.get(user)
        if inbox is None:
            # The store may look before it takes a note that is on its way, and answer after it.
            inbox = self._inboxes[user] = Inbox(user, self.write_behind.cursor(user))
        self.sockets += session.socket not in inbox.sessions
        inbox.sessions[session.socket] = session
        session.join(self)
        self.notifier.joined(session)
        self.catch_up.look_now_and_then()

    def remove(self, session: ChatSession) -> Inbox | None:
        """A socket is gone. Returns the inbox of its user; None where it was gone before."""
        inbox = self._inboxes.get(session.user)
        if inbox is None or inbox.sessions.pop(session.socket, None) is None:
            return None
        self.sockets -= 1
        session.leave()
        self.notifier.left(session)
        if not inbox.sessions:
            del self._inboxes[session.user]
            if not self._inboxes:
                self.catch_up.rest()
        return inbox

    # Delivering.

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Write each message to every socket of its recipients, or to the one that is named. One write a socket.

        Where those are very many, the rest is written in later turns of the reactor, and what comes meanwhile after it.
        """
        if self._undelivered:
            self._undelivered.append((batch, socket))
            if len(self._undelivered) > MAX_UNDELIVERED:
                self._deliver_all()
            return
        rest, _ = self._deliver(batch, socket, MAX_WRITES)
        if rest:
            self._undelivered.append((rest, socket))
            self.clock.callLater(0, self._deliver_more)

    @property
    def is_behind(self) -> bool:
        """Whether messages wait to be written. Until they are, no batch is to be stored."""
        return bool(self._undelivered)

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be written to many sockets that no other large message is to be stored."""
        return self._spread.is_full

    def deliver_rest(self) -> None:
        """Write all that waits for later turns, now."""
        self._deliver_all()
        self._spread.finish()

    def _deliver_all(self) -> None:
        while self._undelivered:
            batch, socket = self._undelivered.popleft()
            self._deliver(batch, socket, UNBOUNDED)

    def _deliver_more(self) -> None:
        try:
            left = MAX_WRITES
            while self._undelivered and left > 0:
                batch, socket = self._undelivered.popleft()
                rest, copies = self._deliver(batch, socket, left)
                left -= copies
                if rest:
                    self._undelivered.appendleft((rest, socket))
        finally:
            if self._undelivered:
                self.clock.callLater(0, self._deliver_more)
        self._eased()

    def _eased(self) -> None:
        if not self._undelivered:
            self.caught_up()

    def _deliver(self, batch: Sequence[Stored], socket: str | None, most: int) -> tuple[Sequence[Stored], int]:
        """Write up to ``most`` copies, and beyond that the rest of one user's sockets.

        Returns:
            What was not written, and how many copies were.
        """
        inboxes = self._inboxes
        copies = written = 0
        placeless: list[Message] = []
        keeps = self.store.keeps
        rest: Sequence[Stored] = ()
        with self._scope:
            for stored in batch:
                message = stored.message
                size = message.size if message.attachments else len(message.msg)
                cost = 1 if size < COPY_BYTES else copies_of(size)
                wide = cost > 1 and self._is_wide(stored, cost)
                late: list[tuple[Inbox, int, list[ChatSession]]] | None = None
                for user, offset in stored.places:
                    inbox = inboxes.get(user)
                    if inbox is None:
                        continue
                    if copies >= most:
                        rest = _from(batch, stored, user)
                        break
                    sessions = inbox.sessions.values() if socket is None else inbox.sessions_of(socket)
                    count = len(sessions)
                    written += count
                    if wide or count > FREE_COPIES:
                        self._limiter.copied_by(message.sender, count * cost)
                    if (offset or not keeps) and (wide or inbox.late):
                        if late is None:
                            late = []
                        late.append((inbox, offset, list(sessions)))
                        continue
                    copies += count * cost
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
                if late is not None:
                    self._deliver_late(message, late, size)
                if rest:
                    break
        if written:
            self._counters.delivered += written
            self._took("written", batch[0].message, written)
        if placeless:
            self._ingest.take(placeless)
        return rest, copies

    def _is_wide(self, stored: Stored, cost: int) -> bool:
        """Whether a large message has more copies here than one turn may write, of which each counts as ``cost``."""
        found = (self._inboxes.get(user) for user, _ in stored.places)
        return sum([len(inbox.sessions) for inbox in found if inbox is not None]) * cost > MAX_WRITES

    def _deliver_late(self, message: Message, late: Sequence[tuple[Inbox, int, list[ChatSession]]], size: int) -> None:
        """Write a message in later turns, since it is large and has many sockets; and what is for them after it.

        Others' messages do not wait for it.

        Args:
            message: this one.
            late: inboxes that it is in, its offset in each, and their sockets.
            size: its bytes.
        """
        keeps = self.store.keeps
        offsets = {session: offset for _, offset, sessions in late for session in sessions}

        def write(session: ChatSession) -> None:
            offset = offsets[session]
            if keeps:
                session.stream.on_message(offset, message, outgoing.piece(message, offset))
            else:
                session.stream.on_transient(message, outgoing.piece(message, None))

        def done() -> None:
            for inbox, _, _ in late:
                inbox.late -= 1

        if self._spread.later(list(offsets), write, size=size, done=done):
            for inbox, _, _ in late:
                inbox.late += 1
        elif keeps:
            for session, offset in offsets.items():
                session.stream.on_inbox_end(offset)
        else:
            self._counters.full["copies"] += len(offsets)

    def _took(self, until: str, message: Message, count: int) -> None:
        """Count the time of ``count`` messages, of which ``message`` is the first. The clock is read once for all."""
        seconds = self.wall() - message.time / 1000
        if seconds < LIVE_SECONDS:
            # Another daemon's clock may be ahead.
            self._counters.message_seconds[until].observe(max(0.0, seconds), count)

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
        self.log.error("the store was replaced: {count} sockets are closed and reconnect", count=len(sessions))
        for session in sessions:
            session.socket.connection.session.close(Reason.SERVER_ERROR)
        for listener in self.store_listeners:
            listener.renewed()

    def reconnected(self) -> None:
        """See ``StoreListener``. What the store said before may have been out of date, so all is looked at again."""
        self.catch_up.resync(self._inboxes)
        self.catch_up.tell()
        for listener in self.store_listeners:
            listener.reconnected()

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

    def delivered(self, session: ChatSession, upto: int, entries: Sequence[Written]) -> None:
        """The client of ``session`` has all up to this offset. ``entries`` are the newest of it."""
        inbox = self._inboxes.get(session.user)
        if inbox is None:
            return
        if not self.store.keeps:
            # Each socket counts for itself, and there is no cursor.
            self.tell_senders(inbox.user, [entry[2] for entry in entries])
        elif upto > inbox.cursor:
            fresh = inbox.confirmed(upto, entries)
            self.write_behind.moved(inbox.user, upto)
            self.tell_senders(inbox.user, fresh)

    def tell_senders(self, user: str, fresh: Sequence[Message]) -> None:
        """A socket of ``user`` has messages that none of the user's had before: tell who sent them."""
        if fresh:
            self._counters.confirmed += len(fresh)
            self._took("delivered", fresh[0], len(fresh))
        if self.notifier.receipts:
            with self._scope:
                for message in fresh:
                    if message.recipient == user and not is_update(message):
                        self.notifier.receipt(message.sender, Receipt.of(message, Status.DELIVERED))


def _from(batch: Sequence[Stored], stored: Stored, user: str) -> Sequence[Stored]:
    """What is left of a batch from the place of ``user`` in one of its messages on."""
    at = next(nth for nth, one in enumerate(batch) if one is stored)
    places = stored.places
    first = next(nth for nth, (one, _) in enumerate(places) if one == user)
    return [msgspec.structs.replace(stored, places=places[first:]), *batch[at + 1 :]]


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
            try:
                for session in self.wrote:
                    session.flush()
            finally:
                self.wrote.clear()
                self._cork.release()
