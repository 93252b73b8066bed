"""``ChatSession``: one socket of a user, and the I/O of its ``DeliveryStream``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import outgoing
from kschat.chat.changes import is_hidden, is_update
from kschat.chat.confirmations import Confirmations
from kschat.chat.inflight import Written
from kschat.chat.interfaces import InboxPage, IStore, StoreUnavailable
from kschat.chat.limiter import Allowance
from kschat.chat.message import Message
from kschat.chat.reads import ReadQueue
from kschat.chat.stream import SECONDS, DeliveryStream, StreamState, StreamTimer
from kschat.chat.tokens import Identity
from kschat.log_text import shown
from kschat.wire.connection import Socket
from kschat.wire.errors import Reason


class Options(msgspec.Struct, frozen=True):
    """What a socket asked for, by query or auth.

    Attributes:
        batch: several messages in one RESPRECEIVER.
        receipts: RESPSTATUS.
        carbons: RESPCARBON and RESPREAD.
        recover: connection state recovery.
        updates: RESPUPDATE.
        more: events that the tutorial does not know (Goodbye, TokenExpiring, RESPTYPING): ``goodbye=1`` or
            ``typing=1``, or any of the above. One that asked for nothing sees the tutorial's alone.
    """

    batch: bool = False
    receipts: bool = False
    carbons: bool = False
    recover: bool = False
    updates: bool = False
    more: bool = False


class SessionContext(Protocol):
    """What a session needs of its daemon: the hub."""

    clock: IReactorTime
    store: IStore
    reads: ReadQueue
    confirmations: Confirmations
    #: Called with a session: to call its ``flush`` at the end of what is written together.
    wrote: Callable[[ChatSession], None]

    def writing(self) -> AbstractContextManager[None]:
        """What is written within is sent together."""

    def delivered(self, session: ChatSession, upto: int, entries: Sequence[Written]) -> None:
        """The client of ``session`` has all up to this offset. ``entries`` are the newest of it."""


class ChatSession:
    """One socket of a user. It is the socket's ``record``.

    Args:
        socket: it.
        identity: whose it is.
        options: what it asked for.
        allowance: what it may do before the limiter is asked.

    Attributes:
        user: the id of whose it is.
        stream: the user's inbox on its way to this socket.
        requests: answers of the store that this socket awaits.
        more: whether it is told what the tutorial does not know. A client that uses such an event is told, too.
        watched: users whose presence it is told, and how each stood when it was last told.
        hidden: those of them who block its user, and so are told to be offline.
        due: the second of the wall clock in which something is due because of its token; see ``TokenExpiry``.
        is_told: whether it was told that its token is about to expire.
        pids: what its client shows when it comes back, and what it has shown now; none where it can't come back.
        asked, gathers: see ``confirmations``.
        answered: when a message of it was answered last; -1.0 if none was.
    """

    __slots__ = (
        "_context",
        "_group",
        "_group_upto",
        "_timers",
        "_wrote",
        "allowance",
        "answered",
        "asked",
        "due",
        "gathers",
        "hidden",
        "identity",
        "is_told",
        "more",
        "options",
        "pids",
        "requests",
        "socket",
        "stream",
        "user",
        "watched",
    )

    log = Logger()

    def __init__(self, socket: Socket, identity: Identity, options: Options, *, allowance: Allowance) -> None:
        self.socket = socket
        self.allowance = allowance
        self.identity = identity
        self.user = identity.user
        self.options = options
        self.more = options.more
        self.requests = 0
        self.due: int | None = None
        self.is_told = False
        self.hidden: frozenset[str] = frozenset()
        self.watched: dict[str, tuple[bool | None, int | None] | None] = {}
        self.pids: tuple[str, ...] = ()
        self.asked = -1.0
        self.gathers = 0.0
        self.answered = -1.0
        self.stream = DeliveryStream(self)
        self._context: SessionContext | None = None
        self._wrote = False
        # The messages of an event that is not written yet, where several go out in one; and the last offset of them.
        self._group: list[bytes] = []
        self._group_upto = 0
        self._timers: dict[StreamTimer, IDelayedCall] | None = None

    @property
    def congested(self) -> bool:
        """Whether it does not read as fast as it is written to: what may be lost is not written then."""
        return self.socket.connection.session.transport.congested

    @property
    def closed(self) -> bool:
        """Whether it has left."""
        return self.stream.state is StreamState.CLOSED

    def shows(self, message: Message) -> bool:
        """Whether its client is shown a message of an inbox: no text that is gone, and updates if it asked for them."""
        return message.extra is None or (not is_hidden(message) and (self.options.updates or not is_update(message)))

    def renew(self, identity: Identity) -> None:
        """The client has another token, of the same user: what that allows holds from now on."""
        self.identity = identity

    def join(self, context: SessionContext) -> None:
        """It is one of this daemon's from now on."""
        self._context = context

    def leave(self) -> None:
        """The socket is gone."""
        self.stream.on_closed()
        self._group.clear()
        context, self._context = self._context, None
        if context is not None:
            context.reads.forget(self.user, self)

    def flush(self) -> None:
        """The end of what was written together: write the last event, and ask for confirmation."""
        self._wrote = False
        context = self._context
        if context is not None:
            if self._group:
                self._write_group()
            if self.stream.in_flight.size:
                context.confirmations.ask(self)

    # ``StreamActions``.

    def write(self, offset: int, message: Message, piece: bytes) -> int | None:
        """Write a message, or keep it for an event with others."""
        if not self._wrote and self._context is not None:
            self._wrote = True
            self._context.wrote(self)
        if message.extra is not None and (is_update(message) or is_hidden(message)):
            self._write_update(offset, message, piece)
            return None
        options = self.options
        if options.batch:
            if not message.attachments:
                self._group.append(piece)
                self._group_upto = offset
                return None
            # A message with attachments has an event of its own.
            if self._group:
                self._write_group()
        if options.recover:
            return self.socket.emit(outgoing.received((piece,), offset), message.attachments)
        return self.socket.emit(outgoing.received((piece,)), message.attachments, True)

    def read_page(self, after: int, limit: int) -> None:
        """Ask the store."""
        context = self._context
        if context is not None:
            page = context.reads.ask(
                self.user, lambda: context.store.read(self.user, after, limit), reader=self, backlog=True
            )
            page.addCallbacks(self._page, self._no_page).addErrback(self._failed)

    def start(self, timer: StreamTimer) -> None:
        """Start a timer of the stream."""
        if self._context is not None:
            if self._timers is None:
                self._timers = {}
            self._timers[timer] = self._context.clock.callLater(SECONDS[timer], self._timeout, timer)

    def stop(self, timer: StreamTimer) -> None:
        """Stop a timer of the stream."""
        if self._timers is not None:
            self._timers.pop(timer).cancel()

    def delivered(self, upto: int, entries: Sequence[Written]) -> None:
        """Move the user's cursor, and tell the senders."""
        if self._context is not None:
            self._context.delivered(self, upto, entries)

    def ask_confirmation(self, offset: int) -> None:
        """Ask for a pong, unless more is written in this moment."""
        if not self._wrote and self._context is not None:
            self._context.confirmations.ask(self)

    def unknown(self, offset: int, final: bool) -> None:
        """Tell the store that it may be out of date."""
        if self._context is not None:
            self._context.store.is_outdated(offset)
        if final:
            self.log.warn("the store does not have a message that was announced for {user}", user=shown(self.user))

    # Answers.

    def _page(self, page: InboxPage) -> None:
        if self._context is not None:
            with self._context.writing():
                self.stream.on_page(page)

    def _no_page(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable, CancelledError) is None:
            self.log.failure("an inbox could not be read", failure)
        self.stream.on_page_failed()

    def _failed(self, failure: Failure) -> None:
        # The stream would read no further. Its client comes back and tries again.
        self.log.failure("an inbox could not be written to its socket", failure)
        self.socket.connection.session.close(Reason.SERVER_ERROR)

    def _timeout(self, timer: StreamTimer) -> None:
        if self._timers is not None:
            del self._timers[timer]
        self.stream.on_timeout(timer)

    def _write_update(self, offset: int, message: Message, piece: bytes) -> None:
        """Write RESPUPDATE to a socket that asked for it; of a text that is gone, nothing. No ack is asked for."""
        if self._group:
            # Messages of one event stand together in the stream's window.
            self._write_group()
        if self.shows(message):
            body = outgoing.updated(piece, offset if self.options.recover else None)
            self.socket.emit(body, message.attachments)

    def _write_group(self) -> None:
        """Write the messages that were kept, in one event."""
        group, self._group = self._group, []
        if self.options.recover:
            self.socket.emit(outgoing.received(group, self._group_upto))
        else:
            self.stream.in_flight.number(len(group), self.socket.emit(outgoing.received(group), ask=True))
