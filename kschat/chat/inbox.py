"""A user's inbox as this daemon sees it, and each socket's way through it.

The store is the truth: an inbox's messages have the offsets 1, 2, 3, … without a hole. News of a
message (from the router) only says that there is more. A ``Feed`` writes offsets to its socket in their
order, each once, whatever order the news came in:

::

    READING   a page is being read from the store; news are only noted
    LAGGING   what was written is not proved yet; the next page waits for that
    LIVE      all that is known was written; news of the next offset are written at once,
              earlier ones are cut, later ones wait a moment for the gap to fill

Only proof moves the cursor: the pong of a ping that followed the message (every client's
WebSocket answers it by itself), the ack of the event, or an offset that the client shows. What
was not proved is written again to the user's next socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Protocol

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import bodies
from kschat.chat.interfaces import Entry, InboxState, IStore, StoreUnavailable
from kschat.chat.messages import Message
from kschat.chat.tokens import Identity
from kschat.wire.connection import Socket

#: Messages of one page of the backlog.
PAGE: Final = 200

#: Messages that are written to one socket without proof; more wait in the store.
MAX_UNPROVED: Final = 2000

#: Messages that wait for a gap before them to fill, one socket.
MAX_EARLY: Final = 500

#: Seconds that a gap may take to fill before it is read from the store.
GAP_WAIT: Final = 0.05

#: Seconds after which an inbox that could not be read is tried again.
RETRY_WAIT: Final = 1.0


class Options(msgspec.Struct, frozen=True):
    """What a socket asked for, by query or auth. One that asked for nothing sees the tutorial's events alone."""

    batch: bool = False
    receipts: bool = False
    carbons: bool = False
    recover: bool = False
    goodbye: bool = False


class Context(Protocol):
    """What a feed needs of the daemon it is in."""

    clock: IReactorTime
    store: IStore

    def delivered(self, inbox: Inbox, fresh: Sequence[Message]) -> None:
        """The cursor of ``inbox`` has moved over ``fresh``."""

    def touched(self, feed: Feed) -> None:
        """Call ``feed.finish()`` when the batch that is being written is whole."""

    def begin_batch(self) -> None:
        """What is written from here on belongs together."""

    def end_batch(self) -> None:
        """The outermost batch is whole."""


class Inbox:
    """One user on this daemon.

    Attributes:
        cursor: all up to this offset was proved, without a hole.
        feeds: the user's sockets here.
    """

    __slots__ = ("context", "cursor", "feeds", "user")

    def __init__(self, user: str, cursor: int, context: Context) -> None:
        self.user = user
        self.cursor = cursor
        self.context = context
        self.feeds: dict[Socket, Feed] = {}

    def proved(self, offset: int, entries: Sequence[tuple[int, int | None, Message]]) -> None:
        """A socket has all up to ``offset``; ``entries`` are the newest of it that it was written."""
        before = self.cursor
        if offset > before:
            self.cursor = offset
            self.context.delivered(self, [entry[2] for entry in entries if entry[0] > before])


class Way(Enum):
    """How a feed stands to its inbox's end."""

    OPENING = auto()
    READING = auto()
    LAGGING = auto()
    LIVE = auto()
    GONE = auto()


class Feed:
    """One socket's way through its user's inbox. It is the socket's ``record``.

    Attributes:
        user: whose.
        at: all up to this offset was written to the socket (or was proved before).
        requests: answers of the store that this socket awaits.
        watched: users whose presence it is told.
    """

    __slots__ = (
        "_early",
        "_grouped",
        "_newest",
        "_timer",
        "_touched",
        "_unproved",
        "at",
        "identity",
        "inbox",
        "options",
        "requests",
        "socket",
        "user",
        "watched",
        "way",
    )

    log = Logger()

    def __init__(self, socket: Socket, identity: Identity, options: Options) -> None:
        self.socket = socket
        self.identity = identity
        self.user = identity.user
        self.options = options
        self.inbox: Inbox | None = None
        self.at = 0
        self.way = Way.OPENING
        self.requests = 0
        self.watched: tuple[str, ...] = ()
        self._newest = 0
        self._early: dict[int, tuple[Message, bytes]] = {}
        self._unproved: deque[tuple[int, int | None, Message]] = deque()
        self._grouped: list[tuple[int, Message, bytes]] = []
        self._touched = False
        self._timer: IDelayedCall | None = None

    # From the hub.

    def begin(self, inbox: Inbox, state: InboxState, claim: int | None) -> None:
        """The socket is let in: write what it missed.

        Args:
            inbox: the user's.
            state: as the store has it.
            claim: the offset up to which the client shows that it has all.
        """
        if claim is None:
            self.at = state.cursor
        else:
            self.at = claim
            inbox.proved(claim, ())
        self._newest = max(self._newest, state.last)
        self._go_on()

    def news(self, offset: int, message: Message, piece: bytes) -> None:
        """A message has come. ``piece`` is it in the form of RESPRECEIVER."""
        if self.way is not Way.LIVE:
            if offset > self._newest:
                self._newest = offset
            return
        gap = offset - self.at
        if gap == 1:
            if len(self._unproved) >= MAX_UNPROVED:
                self._newest = max(self._newest, offset)
                self.way = Way.LAGGING
                return
            self._write(offset, message, piece)
            if self._early:
                self._fill()
        elif gap > 1:
            if len(self._early) < MAX_EARLY:
                self._early[offset] = (message, piece)
            self._newest = max(self._newest, offset)
            if self._timer is None and self.inbox is not None:
                self._timer = self.inbox.context.clock.callLater(GAP_WAIT, self._gap_stays)

    def finish(self) -> None:
        """The batch is whole: write what was grouped, and ask for proof of all."""
        self._touched = False
        if self.way is not Way.GONE:
            if self._grouped:
                self._write_group()
            self._ask_proof()

    def leave(self) -> None:
        """The socket is gone."""
        self.way = Way.GONE
        self._early.clear()
        self._unproved.clear()
        self._grouped.clear()
        self._stop_timer()

    # Proof.

    def proved(self, offset: int) -> None:
        """The client's WebSocket has read all up to ``offset``."""
        self._proved(offset)
        if not self._touched and self.way is not Way.GONE:
            self._ask_proof()

    def acked(self, number: int) -> None:
        """The client has called the ack ``number``; what was written before it, it had read."""
        offset = 0
        for entry_offset, asked, _ in self._unproved:
            if asked is None or asked > number:
                break
            offset = entry_offset
        if offset:
            self._proved(offset)

    def _proved(self, offset: int) -> None:
        done = []
        unproved = self._unproved
        while unproved and unproved[0][0] <= offset:
            done.append(unproved.popleft())
        if self.inbox is not None and done:
            self.inbox.proved(done[-1][0], done)
        if self.way is Way.LAGGING and len(unproved) < PAGE:
            self._go_on()

    def _ask_proof(self) -> None:
        if self._unproved:
            self.socket.prove(self.at)

    # The way.

    def _go_on(self) -> None:
        """Read what lies before us, or be live."""
        inbox = self.inbox
        if inbox is None or self.way is Way.GONE:
            return
        if self._newest <= self.at:
            self.way = Way.LIVE
            return
        self.way = Way.READING
        inbox.context.store.read(self.user, self.at, PAGE).addCallbacks(
            self._page, self._no_page, callbackArgs=(self._newest,)
        ).addErrback(self._failed)

    def _page(self, entries: list[Entry], newest: int) -> None:
        if self.way is not Way.READING or self.inbox is None:
            return
        if not entries:
            # What the news had spoken of when this was asked is kept no longer. (What they spoke of since may be.)
            self.at = max(self.at, newest)
        context = self.inbox.context
        context.begin_batch()
        try:
            for entry in entries:
                self._write(entry.offset, entry.message, bodies.piece(entry.message, entry.offset))
        finally:
            context.end_batch()
        self.way = Way.LAGGING
        if len(self._unproved) < PAGE:
            self._go_on()

    def _no_page(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("an inbox could not be read", failure)
        if self.way is Way.READING and self.inbox is not None:
            self._timer = self.inbox.context.clock.callLater(RETRY_WAIT, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("an inbox could not be written to its socket", failure)

    def _gap_stays(self) -> None:
        self._timer = None
        if self.way is Way.LIVE and self._early:
            self._early.clear()
            self._go_on()

    def _fill(self) -> None:
        early = self._early
        while (found := early.pop(self.at + 1, None)) is not None:
            self._write(self.at + 1, *found)
        for offset in [offset for offset in early if offset <= self.at]:
            del early[offset]
        if not early:
            self._stop_timer()
            if self._newest > self.at:
                self._go_on()  # more came early than is kept

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Writing.

    def _write(self, offset: int, message: Message, piece: bytes) -> None:
        self.at = offset
        options = self.options
        if options.batch:
            self._grouped.append((offset, message, piece))
            if message.attachments or (len(self._grouped) > 1 and self._grouped[-2][1].attachments):
                self._write_group()
        elif options.recover:
            self.socket.emit(bodies.received((piece,), offset), message.attachments)
            self._unproved.append((offset, None, message))
        else:
            number = self.socket.emit(bodies.received((piece,)), message.attachments, True)
            self._unproved.append((offset, number, message))
        if not self._touched and self.inbox is not None:
            self._touched = True
            self.inbox.context.touched(self)

    def _write_group(self) -> None:
        """One event for several messages; one with attachments goes alone."""
        group, self._grouped = self._grouped, []
        if group[-1][1].attachments and len(group) > 1:
            self._emit_group(group[:-1])
            group = group[-1:]
        self._emit_group(group)

    def _emit_group(self, group: list[tuple[int, Message, bytes]]) -> None:
        pieces = [piece for _, _, piece in group]
        attachments = group[0][1].attachments
        if self.options.recover:
            self.socket.emit(bodies.received(pieces, group[-1][0]), attachments)
            number = None
        else:
            number = self.socket.emit(bodies.received(pieces), attachments, True)
        for offset, message, _ in group:
            self._unproved.append((offset, number, message))
