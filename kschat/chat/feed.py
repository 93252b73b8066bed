"""Each socket's way through its user's inbox.

The store is the truth: an inbox's messages have the offsets 1, 2, 3, … without a hole. News of a
message (from the router) only says that there is more. A ``Feed`` writes offsets to its socket in their
order, each once, whatever order the news came in:

::

    READING   a page is being read from the store; news are only noted
    LAGGING   much of what was written is not proved yet; the next page waits for that
    LIVE      all that is known was written; news of the next offset are written at once,
              earlier ones are cut, later ones wait a moment for the gap to fill

What was written waits for proof. A pong shows that the client's WebSocket has read it, and lets more be written. It
also proves it delivered, but not of a client that calls the acks of RESPRECEIVER: its library may throw away what comes
while its program disconnects, so of such a client only an ack does, or that far too many acks are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import bodies
from kschat.chat.inbox import Inbox, Options, Written
from kschat.chat.interfaces import Entry, InboxPage, InboxState, StoreUnavailable
from kschat.chat.messages import Message
from kschat.chat.tokens import Identity
from kschat.wire.connection import Socket
from kschat.wire.errors import Reason

#: Messages of one page of the backlog. What others send waits while one is written: of 200, some three times as long.
PAGE: Final = 50

#: Messages without proof from which on no further page is read. What is less makes a backlog slow over a long way.
AHEAD: Final = 200

#: Messages of the first page; each further one may have twice as many. Nobody knows how large they are.
FIRST_PAGE: Final = 25

#: Bytes after which a page is cut. A slow reader is closed at some bytes unsent, and would come back
#: for the same page again and again.
PAGE_BYTES: Final = 256_000

#: Messages that are written to one socket without proof; more wait in the store.
MAX_UNPROVED: Final = 2000

#: The same in bytes.
MAX_UNPROVED_BYTES: Final = 1_000_000

#: Messages whose ack is awaited although a pong has come, of a client that acks; beyond, the oldest count as delivered.
MAX_UNACKED: Final = 1000

#: The same in bytes.
MAX_UNACKED_BYTES: Final = 500_000

#: Acks that are recognized although their messages count as delivered: a client may call them late.
MAX_LATE: Final = 256

#: Messages that wait for a gap before them to fill, one socket.
MAX_EARLY: Final = 500

#: Seconds that a gap may take to fill before it is read from the store.
GAP_WAIT: Final = 0.05

#: Seconds after which an inbox that could not be read, or not up to where news said, is tried again.
RETRY_WAIT: Final = 1.0

#: How often an inbox is read again because news spoke of more than the store has. After a failover the server that
#: answers may be the old one for some seconds. Later reads come when the store has reconnected, every
#: ``catchup.LOOK_EVERY`` seconds, and with further news.
MAX_REREADS: Final = 10


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
        more: whether it is told what the tutorial does not know; who uses that is, too.
        watched: users whose presence it is told, and how each stood when it was last told.
        pids: what its client shows when it comes back, and what it has shown now; none where it can't come back.
    """

    __slots__ = (
        "_acks",
        "_bytes",
        "_claimed",
        "_early",
        "_grouped",
        "_late",
        "_limit",
        "_newest",
        "_reread_timer",
        "_rereads",
        "_timer",
        "_touched",
        "_unacked",
        "_unacked_bytes",
        "_unproved",
        "at",
        "identity",
        "inbox",
        "more",
        "options",
        "pids",
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
        self.more = options.more
        self.inbox: Inbox | None = None
        self.at = 0
        self.way = Way.OPENING
        self.requests = 0
        self.watched: dict[str, tuple[bool | None, int | None] | None] = {}
        self.pids: tuple[str, ...] = ()
        self._newest = 0
        # The greatest offset that news spoke of and the store does not have, or 0; how often it was read again since.
        self._claimed = 0
        self._rereads = 0
        self._reread_timer: IDelayedCall | None = None
        self._early: dict[int, tuple[Message, bytes]] = {}
        self._unproved: deque[Written] = deque()
        self._bytes = 0
        self._acks = False
        # Of what pongs alone have proved, the newest.
        self._late: deque[int | None] | None = None
        self._unacked: deque[Written] = deque()
        self._unacked_bytes = 0
        self._limit = FIRST_PAGE
        self._grouped: list[tuple[int, Message, bytes, int]] = []
        self._touched = False
        self._timer: IDelayedCall | None = None

    @property
    def congested(self) -> bool:
        """Whether it does not read as fast as it is written to: what may be lost is not written then."""
        return self.socket.connection.session.transport.congested

    # From the hub.

    def begin(self, inbox: Inbox, state: InboxState, claim: int | None) -> None:
        """The socket is let in: write what it missed.

        Args:
            inbox: the user's.
            state: as the store has it.
            claim: the offset up to which the client shows that it has all.
        """
        if claim is None:
            self.at = min(state.cursor, state.last)
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
            if len(self._unproved) >= MAX_UNPROVED or self._bytes >= MAX_UNPROVED_BYTES:
                self._newest = max(self._newest, offset)
                self.way = Way.LAGGING
                # They are read with all the others.
                self._early.clear()
                self._stop_timer()
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

    def relay(self, message: Message, piece: bytes) -> None:
        """A message has come that no store keeps: it is written now. Its offset is this socket's own.

        Whoever does not read at all is closed for what is unsent, as always.
        """
        if self.way is Way.OPENING or self.way is Way.GONE:
            return
        if len(self._unproved) >= MAX_UNPROVED or self._bytes >= MAX_UNPROVED_BYTES:
            self._bytes -= self._unproved.popleft()[3]  # nobody will be told that it was delivered
        self._write(self.at + 1, message, piece)

    def there_is(self, last: int) -> None:
        """The inbox reaches to ``last``: read what of it no news has told."""
        self._newest = max(self._newest, last)
        if self.way is Way.LIVE and self._newest > self.at:
            self._early.clear()
            self._stop_timer()
            self._go_on()

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
        self._unacked.clear()
        self._grouped.clear()
        self._stop_timer()
        self._claim_is_settled()

    # Proof.

    def proved(self, offset: int) -> None:
        """The client's WebSocket has read all up to ``offset``."""
        read = self._take(offset)
        if self._acks:
            self._await_acks(read)
        elif read:
            if self._late is None:
                self._late = deque(maxlen=MAX_LATE)
            self._late.extend([entry[1] for entry in read])
            self._delivered(read)
        self._relieved()
        if not self._touched and self.way is not Way.GONE:
            self._ask_proof()

    def acked(self, number: int) -> None:
        """The client has called the ack ``number``; what was written before it, it had been given."""
        had = []
        unacked = self._unacked
        while unacked and (unacked[0][1] is None or unacked[0][1] <= number):
            entry = unacked.popleft()
            self._unacked_bytes -= entry[3]
            had.append(entry)
        offset = 0
        if not unacked:
            for entry_offset, asked, _, _ in self._unproved:
                if asked is None or asked > number:
                    break
                offset = entry_offset
        if offset:
            had += self._take(offset)
        if not self._acks and ((had and had[-1][1] == number) or (self._late and number in self._late)):
            self._acks = True  # of RESPRECEIVER itself, and not of another event that came behind it
            self._late = None
        self._delivered(had)
        self._relieved()

    def _take(self, offset: int) -> list[Written]:
        """What waited for proof up to ``offset``, and waits no more."""
        done = []
        unproved = self._unproved
        while unproved and unproved[0][0] <= offset:
            entry = unproved.popleft()
            self._bytes -= entry[3]
            done.append(entry)
        return done

    def _await_acks(self, read: list[Written]) -> None:
        """Keep in mind what was read and not acked; of too much, the oldest counts as delivered."""
        unacked = self._unacked
        for entry in read:
            unacked.append(entry)
            self._unacked_bytes += entry[3]
        given_up = []
        while len(unacked) > MAX_UNACKED or self._unacked_bytes > MAX_UNACKED_BYTES:
            entry = unacked.popleft()
            self._unacked_bytes -= entry[3]
            given_up.append(entry)
        self._delivered(given_up)

    def _delivered(self, entries: list[Written]) -> None:
        if entries and self.inbox is not None:
            self.inbox.proved(entries[-1][0], entries)

    def _relieved(self) -> None:
        if self.way is Way.LAGGING:
            self._go_on_unless_much_is_unproved()

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
        inbox.context.store.read(self.user, self.at, min(self._limit, PAGE)).addCallbacks(
            self._page, self._no_page, callbackArgs=(self._newest,)
        ).addErrback(self._failed)

    def _page(self, page: InboxPage, newest: int) -> None:
        if self.way is not Way.READING or self.inbox is None:
            return
        context = self.inbox.context
        if page.entries:
            context.begin_batch()
            try:
                self._write_page(page.entries)
            finally:
                context.end_batch()
        else:
            # What the store gave beyond this is kept no longer. Of what others claim to be there it knows nothing.
            self.at = max(self.at, page.last)
            if newest > self.at:
                self._is_claimed(newest)
        self.way = Way.LAGGING
        self._go_on_unless_much_is_unproved()

    def _is_claimed(self, newest: int) -> None:
        """News spoke of an offset that the store does not have: its server is out of date, or they were mistaken.

        So it is read again now and then, for a while. Meanwhile what comes is written as always.
        """
        inbox = self.inbox
        assert inbox is not None
        inbox.context.store.is_outdated(newest)
        if self._newest == newest:
            self._newest = self.at
        if newest > self._claimed:
            self._claimed, self._rereads = newest, 0
        if self._reread_timer is None and self._rereads < MAX_REREADS:
            self._rereads += 1
            self._reread_timer = inbox.context.clock.callLater(RETRY_WAIT, self._read_again)
        elif self._rereads == MAX_REREADS:
            self._rereads += 1
            self.log.warn("news for {user} spoke of messages that the store does not have", user=self.user)

    def _read_again(self) -> None:
        self._reread_timer = None
        if self._claimed <= self.at:
            self._claim_is_settled()
            return
        self._newest = max(self._newest, self._claimed)
        if self.way is Way.LIVE:
            self._go_on()

    def _claim_is_settled(self) -> None:
        self._claimed = self._rereads = 0
        if self._reread_timer is not None:
            self._reread_timer.cancel()
            self._reread_timer = None

    def _write_page(self, entries: Sequence[Entry]) -> None:
        self._limit = min(2 * self._limit, PAGE)
        for written, entry in enumerate(entries):
            if self._bytes >= PAGE_BYTES:
                # The rest is read again, in pages of about what fits.
                self._newest = max(self._newest, entries[-1].offset)
                self._limit = max(written, 1)
                return
            self._write(entry.offset, entry.message, bodies.piece(entry.message, entry.offset))

    def _go_on_unless_much_is_unproved(self) -> None:
        if len(self._unproved) + len(self._grouped) < AHEAD and self._bytes < PAGE_BYTES:
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
        # It would read no further, and never be told why: its client comes back and tries again.
        self.log.failure("an inbox could not be written to its socket", failure)
        self.socket.connection.session.close(Reason.SERVER_ERROR)

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
        size = len(piece)
        if message.attachments:
            size += sum(map(len, message.attachments))
        self._bytes += size
        options = self.options
        if options.batch:
            self._grouped.append((offset, message, piece, size))
            if message.attachments:
                self._write_group()
        elif options.recover:
            self.socket.emit(bodies.received((piece,), offset), message.attachments)
            self._unproved.append((offset, None, message, size))
        else:
            number = self.socket.emit(bodies.received((piece,)), message.attachments, True)
            self._unproved.append((offset, number, message, size))
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

    def _emit_group(self, group: list[tuple[int, Message, bytes, int]]) -> None:
        pieces = [piece for _, _, piece, _ in group]
        attachments = group[0][1].attachments
        if self.options.recover:
            self.socket.emit(bodies.received(pieces, group[-1][0]), attachments)
            number = None
        else:
            number = self.socket.emit(bodies.received(pieces), attachments, True)
        for offset, message, _, size in group:
            self._unproved.append((offset, number, message, size))
