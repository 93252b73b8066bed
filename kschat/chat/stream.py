"""``DeliveryStream``: the messages of one inbox on their way to one socket, in order and each once.

The store is the truth: an inbox's messages have the offsets 1, 2, 3, … without a hole. A message that the router
delivers is only a hint: it may arrive early, late, twice or never. The stream writes offsets in their order. What
arrives early waits a moment for the gap to fill, what arrives twice is dropped, and a gap is read from the store.

The stream does no I/O and has no clock. Its inputs are the ``on_…`` methods; its outputs are ``StreamActions``. What
may happen when is in ``TRANSITIONS``, the one table at the end:

::

    OPENING --caught up--> LIVE               OPENING --behind--> READING
    READING --caught up--> LIVE               READING --full--> LAGGING
    READING --page failed--> WAITING          WAITING --behind--> READING
    WAITING --caught up--> LIVE               LAGGING --behind--> READING
    LIVE --behind--> READING                  LIVE --full--> LAGGING
                         any --closed--> CLOSED

``caught up``, ``behind`` and ``full`` are what the stream finds when it looks where it is: at the end of what it knows
to be in the inbox, before it, or before it with too much in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final, Protocol

from kschat.chat import inflight, outgoing
from kschat.chat.inflight import InFlightWindow, Written
from kschat.chat.interfaces import RETRY_WAIT, InboxPage
from kschat.chat.message import Message

#: Messages of one page of the backlog. Writing a page blocks the reactor: a page of 200 blocks it about three times as
#: long as one of 50.
PAGE: Final = 50

#: Messages of the first page. Each further page may have twice as many. Their size is not known beforehand.
FIRST_PAGE: Final = 25

#: Early messages that wait for a gap before them to fill, one socket.
MAX_EARLY: Final = 500

#: Seconds that a gap may take to fill before it is read from the store.
GAP_WAIT: Final = 0.05

#: How often an inbox is read again because a message was announced that the store does not have. After a failover the
#: server that answers may be the old one for some seconds. Later reads come when the store has reconnected, every
#: ``catchup.LOOK_EVERY`` seconds, and with further messages.
MAX_REREADS: Final = 10


class _Hashed(Enum):
    """Found in a table by identity: the hash of an Enum is a function in Python."""

    __hash__ = object.__hash__


class StreamState(_Hashed):
    """How a stream stands to the end of its inbox."""

    #: The store has not said yet where the inbox stands.
    OPENING = auto()
    #: A page is being read. Messages that arrive are only noted.
    READING = auto()
    #: A page could not be read, and is tried again in a moment.
    WAITING = auto()
    #: There is more to read, and so much in flight that the client must confirm some of it first.
    LAGGING = auto()
    #: All that is known was written. The next message is written at once.
    LIVE = auto()
    CLOSED = auto()


class StreamInput(_Hashed):
    """What can happen to a stream."""

    OPENED = auto()
    MESSAGE = auto()
    TRANSIENT = auto()
    INBOX_END = auto()
    PAGE = auto()
    PAGE_FAILED = auto()
    GAP_TIMEOUT = auto()
    RETRY_TIMEOUT = auto()
    CLAIM_TIMEOUT = auto()
    CONFIRMED = auto()
    ACKED = auto()
    CLOSED = auto()
    #: found by the stream itself
    CAUGHT_UP = auto()
    BEHIND = auto()
    FULL = auto()


class StreamTimer(_Hashed):
    """What a stream waits for, and the input that ends the wait."""

    #: A gap may fill.
    GAP = StreamInput.GAP_TIMEOUT
    #: A page that could not be read is tried again.
    RETRY = StreamInput.RETRY_TIMEOUT
    #: The store is asked again for what it did not have.
    CLAIM = StreamInput.CLAIM_TIMEOUT


#: How long each wait is.
SECONDS: Final = {StreamTimer.GAP: GAP_WAIT, StreamTimer.RETRY: RETRY_WAIT, StreamTimer.CLAIM: RETRY_WAIT}


class StreamActions(Protocol):
    """The outputs of a stream."""

    def write(self, offset: int, message: Message, piece: bytes) -> int | None:
        """Write a message to the socket. ``piece`` is its JSON.

        Returns:
            The number of the ack that was asked for; None where none was, or where it is told later
            (``InFlightWindow.number``).
        """

    def read_page(self, after: int, limit: int) -> None:
        """Read a page; ``on_page`` or ``on_page_failed`` is called then. One page is read at a time."""

    def start(self, timer: StreamTimer) -> None:
        """Call ``on_timeout`` in ``SECONDS[timer]`` seconds. It does not run now."""

    def stop(self, timer: StreamTimer) -> None:
        """Do not call it. It runs now."""

    def delivered(self, upto: int, entries: Sequence[Written]) -> None:
        """The client has all up to this offset. ``entries`` are the newest of it; there is at least one."""

    def ask_confirmation(self, offset: int) -> None:
        """Ask the client to confirm all that was written, which goes up to this offset."""

    def unknown(self, offset: int, final: bool) -> None:
        """The store does not have a message that was announced. ``final``: it was asked often enough."""


class _Nobody:
    """Does nothing, for a stream that is closed: it may be closed while it writes a page."""

    def write(self, offset: int, message: Message, piece: bytes) -> int | None:
        return None

    def read_page(self, after: int, limit: int) -> None:
        pass

    def start(self, timer: StreamTimer) -> None:
        pass

    def stop(self, timer: StreamTimer) -> None:
        pass

    def delivered(self, upto: int, entries: Sequence[Written]) -> None:
        pass

    def ask_confirmation(self, offset: int) -> None:
        pass

    def unknown(self, offset: int, final: bool) -> None:
        pass


_NOBODY: Final = _Nobody()


class DeliveryStream:
    """One inbox on its way to one socket.

    Args:
        actions: the outputs.

    Attributes:
        at: all up to this offset was written to the socket, or the client had it before.
        state: how it stands to the inbox's end.
        in_flight: what was written and is not confirmed.
    """

    __slots__ = (
        "_actions",
        "_asked_upto",
        "_claimed",
        "_early",
        "_end",
        "_page",
        "_rereads",
        "_running",
        "at",
        "in_flight",
        "state",
    )

    def __init__(self, actions: StreamActions) -> None:
        self._actions = actions
        self.at = 0
        self.state = StreamState.OPENING
        self.in_flight = InFlightWindow()
        # The inbox is known to reach at least to here; and what was known when the page that is read was asked for.
        self._end = 0
        self._asked_upto = 0
        self._page = FIRST_PAGE
        self._early: dict[int, tuple[Message, bytes]] = {}
        # The greatest offset that was announced and that the store does not have, or 0; how often it was read again.
        self._claimed = 0
        self._rereads = 0
        self._running = _NO_TIMERS

    # Inputs.

    def on_opened(self, at: int, last: int) -> None:
        """The store says where the inbox stands.

        Args:
            at: the client has all up to this offset.
            last: the greatest offset in the inbox.
        """
        self._happens(StreamInput.OPENED, at, last)

    def on_message(self, offset: int, message: Message, piece: bytes) -> None:
        """A message arrived from the router. ``piece`` is its JSON."""
        if self.state is _LIVE and offset == self.at + 1 and not self._early and not self.in_flight.full:
            # The hot path, by the same way that the table gives it.
            self._write(offset, message, piece)
        else:
            self._happens(StreamInput.MESSAGE, offset, message, piece)

    def on_transient(self, message: Message, piece: bytes) -> None:
        """A message arrived that no store keeps. It is written now; its offset is this stream's own."""
        self._happens(StreamInput.TRANSIENT, message, piece)

    def on_inbox_end(self, last: int) -> None:
        """The inbox reaches to ``last``."""
        self._happens(StreamInput.INBOX_END, last)

    def on_page(self, page: InboxPage) -> None:
        """The store answered ``read_page``."""
        self._happens(StreamInput.PAGE, page)

    def on_page_failed(self) -> None:
        """The store could not answer ``read_page``."""
        self._happens(StreamInput.PAGE_FAILED)

    def on_timeout(self, timer: StreamTimer) -> None:
        """A timer ended."""
        self._running = self._running - {timer}
        self._happens(timer.value)

    def on_confirmed(self, offset: int) -> None:
        """A pong confirms all up to ``offset``."""
        if self.state is _LIVE:
            # The hot path, as above.
            self._confirm(offset)
        else:
            self._happens(StreamInput.CONFIRMED, offset)

    def on_acked(self, number: int) -> None:
        """The client called the ack ``number``."""
        if self.state is _LIVE:
            # The hot path, as above.
            self._ack(number)
        else:
            self._happens(StreamInput.ACKED, number)

    def on_closed(self) -> None:
        """The socket is gone."""
        self._happens(StreamInput.CLOSED)

    # The machine. ``write`` may close the stream from within, where the reader is too slow.

    def _happens(self, what: StreamInput, *arguments: Any) -> None:
        entry = TRANSITIONS.get((self.state, what))
        if entry is not None:
            self.state, action = entry
            action(self, *arguments)

    def _look(self) -> None:
        """Find out where the stream is, and go on unless too much is in flight."""
        if self._end > self.at and self.in_flight.lags:
            self._happens(StreamInput.FULL)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._happens(StreamInput.BEHIND if self._end > self.at else StreamInput.CAUGHT_UP)

    def _nothing(self) -> None:
        """Nothing is to be done."""

    def _open(self, at: int, last: int) -> None:
        self.at = at
        self._end = max(self._end, last)
        self._go_on()

    # Messages that arrive.

    def _note_message(self, offset: int, _message: Message, _piece: bytes) -> None:
        self._end = max(self._end, offset)

    def _note_end(self, last: int) -> None:
        self._end = max(self._end, last)

    def _take_end(self, last: int) -> None:
        self._end = max(self._end, last)
        self._go_on()

    def _take_message(self, offset: int, message: Message, piece: bytes) -> None:
        if offset <= self.at:
            return
        if offset > self.at + 1:
            if len(self._early) < MAX_EARLY:
                self._early[offset] = (message, piece)
            self._end = max(self._end, offset)
            self._start(StreamTimer.GAP)
        elif self.in_flight.full:
            self._end = max(self._end, offset)
            self._happens(StreamInput.FULL)
        else:
            self._write(offset, message, piece)
            self._fill()

    def _take_transient(self, message: Message, piece: bytes) -> None:
        if self.in_flight.full:
            self.in_flight.drop_oldest()
        self._write(self.at + 1, message, piece)

    def _fill(self) -> None:
        """Write the early messages that follow now."""
        early = self._early
        if not early:
            return
        while (found := early.pop(self.at + 1, None)) is not None:
            self._write(self.at + 1, *found)
        for offset in [offset for offset in early if offset <= self.at]:
            del early[offset]
        if not early:
            self._stop(StreamTimer.GAP)
            self._go_on()  # more came early than is kept

    def _gap_stays(self) -> None:
        if self._early:
            self._go_on()

    def _forget_early(self) -> None:
        """They are read with all the others."""
        self._early.clear()
        self._stop(StreamTimer.GAP)

    # Pages.

    def _read(self) -> None:
        self._asked_upto = self._end
        self._actions.read_page(self.at, min(self._page, PAGE))

    def _leave_live(self) -> None:
        self._forget_early()
        self._read()

    def _wait(self) -> None:
        self._start(StreamTimer.RETRY)

    def _take_page(self, page: InboxPage) -> None:
        if page.entries:
            self._write_page(page)
        else:
            # What the store gave beyond this is kept no longer. Of what others announced it may know nothing.
            self.at = max(self.at, page.last)
            if self._asked_upto > self.at:
                self._claim(self._asked_upto)
        self._look()

    def _write_page(self, page: InboxPage) -> None:
        self._page = min(2 * self._page, PAGE)
        for written, entry in enumerate(page.entries):
            if self.in_flight.size >= inflight.LAG_BYTES:
                # The rest is read again, in pages of about what fits.
                self._end = max(self._end, page.entries[-1].offset)
                self._page = max(written, 1)
                return
            self._write(entry.offset, entry.message, outgoing.piece(entry.message, entry.offset))

    # Messages that were announced, and that the store does not have: its server is out of date, or it was a mistake.

    def _claim(self, offset: int) -> None:
        if self._end == offset:
            self._end = self.at
        if offset > self._claimed:
            self._claimed, self._rereads = offset, 0
        final = False
        if StreamTimer.CLAIM not in self._running and self._rereads <= MAX_REREADS:
            final = self._rereads == MAX_REREADS
            self._rereads += 1
            if not final:
                self._start(StreamTimer.CLAIM)
        self._actions.unknown(offset, final)

    def _note_claim(self) -> None:
        if self._claimed > self.at:
            self._end = max(self._end, self._claimed)
        else:
            self._claimed = 0

    def _take_claim(self) -> None:
        if self._claimed > self.at:
            self._end = max(self._end, self._claimed)
            self._go_on()
        else:
            self._claimed = 0

    # Confirmation.

    def _confirm(self, offset: int) -> None:
        delivered = self.in_flight.confirm(offset)
        if delivered:
            self._actions.delivered(delivered[-1][0], delivered)
        if self.in_flight.size:
            self._actions.ask_confirmation(self.at)

    def _confirm_and_look(self, offset: int) -> None:
        self._confirm(offset)
        if not self.in_flight.lags:
            self._go_on()

    def _ack(self, number: int) -> None:
        delivered = self.in_flight.ack(number)
        if delivered:
            self._actions.delivered(delivered[-1][0], delivered)

    def _ack_and_look(self, number: int) -> None:
        self._ack(number)
        if not self.in_flight.lags:
            self._go_on()

    def _close(self) -> None:
        self._early.clear()
        self.in_flight.clear()
        for timer in self._running:
            self._actions.stop(timer)
        self._running = _NO_TIMERS
        # Who acts has the stream: so they are in no cycle, and are freed at once.
        self._actions = _NOBODY

    # Writing, and timers.

    def _write(self, offset: int, message: Message, piece: bytes) -> None:
        self.at = offset
        size = len(piece)
        if message.attachments:
            size += sum(map(len, message.attachments))
        number = self._actions.write(offset, message, piece)
        self.in_flight.push(offset, number, message, size=size)

    def _start(self, timer: StreamTimer) -> None:
        if timer not in self._running:
            self._running = self._running | {timer}
            self._actions.start(timer)

    def _stop(self, timer: StreamTimer) -> None:
        if timer in self._running:
            self._running = self._running - {timer}
            self._actions.stop(timer)


# Enums look their members up in Python.
_LIVE: Final = StreamState.LIVE

_NO_TIMERS: Final[frozenset[StreamTimer]] = frozenset()

Action = Callable[..., None]
_S = DeliveryStream

#: (state, input) -> (next state, what is done). What is not here means nothing in that state.
TRANSITIONS: Final[dict[tuple[StreamState, StreamInput], tuple[StreamState, Action]]] = {
    (StreamState.OPENING, StreamInput.OPENED): (StreamState.OPENING, _S._open),
    (StreamState.OPENING, StreamInput.MESSAGE): (StreamState.OPENING, _S._note_message),
    (StreamState.OPENING, StreamInput.INBOX_END): (StreamState.OPENING, _S._note_end),
    (StreamState.OPENING, StreamInput.CAUGHT_UP): (StreamState.LIVE, _S._nothing),
    (StreamState.OPENING, StreamInput.BEHIND): (StreamState.READING, _S._read),
    (StreamState.OPENING, StreamInput.CLOSED): (StreamState.CLOSED, _S._close),
    (StreamState.READING, StreamInput.MESSAGE): (StreamState.READING, _S._note_message),
    (StreamState.READING, StreamInput.TRANSIENT): (StreamState.READING, _S._take_transient),
    (StreamState.READING, StreamInput.INBOX_END): (StreamState.READING, _S._note_end),
    (StreamState.READING, StreamInput.PAGE): (StreamState.READING, _S._take_page),
    (StreamState.READING, StreamInput.PAGE_FAILED): (StreamState.WAITING, _S._wait),
    (StreamState.READING, StreamInput.CLAIM_TIMEOUT): (StreamState.READING, _S._note_claim),
    (StreamState.READING, StreamInput.CONFIRMED): (StreamState.READING, _S._confirm),
    (StreamState.READING, StreamInput.ACKED): (StreamState.READING, _S._ack),
    (StreamState.READING, StreamInput.CAUGHT_UP): (StreamState.LIVE, _S._nothing),
    (StreamState.READING, StreamInput.BEHIND): (StreamState.READING, _S._read),
    (StreamState.READING, StreamInput.FULL): (StreamState.LAGGING, _S._nothing),
    (StreamState.READING, StreamInput.CLOSED): (StreamState.CLOSED, _S._close),
    (StreamState.WAITING, StreamInput.MESSAGE): (StreamState.WAITING, _S._note_message),
    (StreamState.WAITING, StreamInput.TRANSIENT): (StreamState.WAITING, _S._take_transient),
    (StreamState.WAITING, StreamInput.INBOX_END): (StreamState.WAITING, _S._note_end),
    (StreamState.WAITING, StreamInput.RETRY_TIMEOUT): (StreamState.WAITING, _S._go_on),
    (StreamState.WAITING, StreamInput.CLAIM_TIMEOUT): (StreamState.WAITING, _S._note_claim),
    (StreamState.WAITING, StreamInput.CONFIRMED): (StreamState.WAITING, _S._confirm),
    (StreamState.WAITING, StreamInput.ACKED): (StreamState.WAITING, _S._ack),
    (StreamState.WAITING, StreamInput.CAUGHT_UP): (StreamState.LIVE, _S._nothing),
    (StreamState.WAITING, StreamInput.BEHIND): (StreamState.READING, _S._read),
    (StreamState.WAITING, StreamInput.CLOSED): (StreamState.CLOSED, _S._close),
    (StreamState.LAGGING, StreamInput.MESSAGE): (StreamState.LAGGING, _S._note_message),
    (StreamState.LAGGING, StreamInput.TRANSIENT): (StreamState.LAGGING, _S._take_transient),
    (StreamState.LAGGING, StreamInput.INBOX_END): (StreamState.LAGGING, _S._note_end),
    (StreamState.LAGGING, StreamInput.CLAIM_TIMEOUT): (StreamState.LAGGING, _S._note_claim),
    (StreamState.LAGGING, StreamInput.CONFIRMED): (StreamState.LAGGING, _S._confirm_and_look),
    (StreamState.LAGGING, StreamInput.ACKED): (StreamState.LAGGING, _S._ack_and_look),
    (StreamState.LAGGING, StreamInput.BEHIND): (StreamState.READING, _S._read),
    (StreamState.LAGGING, StreamInput.CLOSED): (StreamState.CLOSED, _S._close),
    (StreamState.LIVE, StreamInput.MESSAGE): (StreamState.LIVE, _S._take_message),
    (StreamState.LIVE, StreamInput.TRANSIENT): (StreamState.LIVE, _S._take_transient),
    (StreamState.LIVE, StreamInput.INBOX_END): (StreamState.LIVE, _S._take_end),
    (StreamState.LIVE, StreamInput.GAP_TIMEOUT): (StreamState.LIVE, _S._gap_stays),
    (StreamState.LIVE, StreamInput.CLAIM_TIMEOUT): (StreamState.LIVE, _S._take_claim),
    (StreamState.LIVE, StreamInput.CONFIRMED): (StreamState.LIVE, _S._confirm),
    (StreamState.LIVE, StreamInput.ACKED): (StreamState.LIVE, _S._ack),
    (StreamState.LIVE, StreamInput.CAUGHT_UP): (StreamState.LIVE, _S._nothing),
    (StreamState.LIVE, StreamInput.BEHIND): (StreamState.READING, _S._leave_live),
    (StreamState.LIVE, StreamInput.FULL): (StreamState.LAGGING, _S._forget_early),
    (StreamState.LIVE, StreamInput.CLOSED): (StreamState.CLOSED, _S._close),
}
