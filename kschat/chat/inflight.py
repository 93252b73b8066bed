"""What was written to one socket, and whether its client has it.

A message is in flight from the moment it is written until the client confirms it. There are two signs:

- A pong: the client's WebSocket has read all that was written before the ping.
- An ack: the client's program has called the callback of an event.

A pong confirms the message, and lets more be written. It counts as delivered at once, unless the client calls the acks
of RESPRECEIVER. The library of such a client may drop what arrives while its program disconnects, so its messages
count as delivered when they are acked, or when far too many acks are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from kschat.chat.message import Message

#: Messages in flight to one socket. The others wait in the store.
MAX_IN_FLIGHT: Final = 2000

#: The same in bytes.
MAX_IN_FLIGHT_BYTES: Final = 1_000_000

#: Messages in flight from which on a socket lags: no further page is read for it. A smaller number makes a backlog slow
#: on a connection with a long round trip.
LAG: Final = 200

#: The same in bytes. A slow reader is closed at some bytes unsent. With larger pages it would come back for the same
#: page again and again.
LAG_BYTES: Final = 256_000

#: Confirmed messages of a client that calls acks, whose acks are missing. Beyond, the oldest count as delivered.
MAX_UNACKED: Final = 1000

#: The same in bytes.
MAX_UNACKED_BYTES: Final = 500_000

#: Acks that are recognised although their messages count as delivered already: a client may call them late.
MAX_LATE_ACKS: Final = 256

#: A message that was written: its offset, the number of the ack that was asked for, itself, its bytes.
Written: TypeAlias = tuple[int, int | None, Message, int]


class InFlightWindow:
    """The messages in flight to one socket, by count and by bytes.

    Attributes:
        size: the bytes of the messages in flight.
        full: whether nothing more may be written.
    """

    __slots__ = ("_acks", "_in_flight", "_late", "_unacked", "_unacked_size", "full", "size")

    def __init__(self) -> None:
        self._in_flight: deque[Written] = deque()
        self.size = 0
        self.full = False
        self._acks = False
        # The numbers of acks whose messages pongs alone have confirmed, the newest.
        self._late: deque[int | None] | None = None
        # Confirmed and not acked. There is none before the first ack.
        self._unacked: deque[Written] | None = None
        self._unacked_size = 0

    def __len__(self) -> int:
        """How many messages are in flight."""
        return len(self._in_flight)

    @property
    def entries(self) -> Sequence[Written]:
        """The messages in flight, the oldest first."""
        return self._in_flight

    @property
    def lags(self) -> bool:
        """Whether so much is in flight that no further page is to be read."""
        return len(self._in_flight) >= LAG or self.size >= LAG_BYTES

    def push(self, offset: int, number: int | None, message: Message, *, size: int) -> None:
        """A message was written.

        Args:
            offset: greater than all before.
            number: of the ack that was asked for; None where none was, or where it is not known yet.
            message: it.
            size: its bytes.
        """
        in_flight = self._in_flight
        in_flight.append((offset, number, message, size))
        self.size = size = self.size + size
        if len(in_flight) >= MAX_IN_FLIGHT or size >= MAX_IN_FLIGHT_BYTES:
            self.full = True

    def number(self, count: int, number: int | None) -> None:
        """The newest ``count`` messages went out in one event, which asked for the ack ``number``."""
        in_flight = self._in_flight
        for at in range(len(in_flight) - min(count, len(in_flight)), len(in_flight)):
            offset, _, message, size = in_flight[at]
            in_flight[at] = (offset, number, message, size)

    def drop_oldest(self) -> None:
        """Nobody will be told what became of the oldest message."""
        if self._in_flight:
            self.size -= self._in_flight.popleft()[3]
            self.full = len(self._in_flight) >= MAX_IN_FLIGHT or self.size >= MAX_IN_FLIGHT_BYTES

    def confirm(self, offset: int) -> list[Written]:
        """A pong confirms all up to ``offset``. Returns what counts as delivered now."""
        confirmed = []
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= offset:
            entry = in_flight.popleft()
            self.size -= entry[3]
            confirmed.append(entry)
        if self.full:
            self.full = len(in_flight) >= MAX_IN_FLIGHT or self.size >= MAX_IN_FLIGHT_BYTES
        if self._acks:
            return self._await_acks(confirmed)
        if confirmed:
            if self._late is None:
                self._late = deque(maxlen=MAX_LATE_ACKS)
            self._late.extend([entry[1] for entry in confirmed])
        return confirmed

    def ack(self, number: int) -> list[Written]:
        """The client called the ack ``number``, so it had all that was written before. Returns what is delivered."""
        delivered: list[Written] = []
        unacked = self._unacked
        while unacked and (unacked[0][1] is None or unacked[0][1] <= number):
            entry = unacked.popleft()
            self._unacked_size -= entry[3]
            delivered.append(entry)
        if not unacked:
            upto = 0
            for offset, asked, _, _ in self._in_flight:
                if asked is None:
                    continue  # an update asks for no ack, and is covered by a later one
                if asked > number:
                    break
                upto = offset
            while self._in_flight and self._in_flight[0][0] <= upto:
                delivered.append(self._in_flight[0])
                self.drop_oldest()
        if not self._acks and ((delivered and delivered[-1][1] == number) or (self._late and number in self._late)):
            self._acks = True  # it is the ack of a RESPRECEIVER, and not of another event
            self._late = None
        return delivered

    def clear(self) -> None:
        """The socket is gone."""
        self._in_flight.clear()
        self._unacked = self._late = None
        self.size = self._unacked_size = 0
        self.full = False

    def _await_acks(self, confirmed: Sequence[Written]) -> list[Written]:
        """Keep what is not acked. Returns the oldest of what is too much."""
        if self._unacked is None:
            self._unacked = deque()
        unacked = self._unacked
        given_up = []
        for entry in confirmed:
            if entry[1] is None and not unacked:
                # No ack was asked for: it is an update, which such a client may not even see.
                given_up.append(entry)
                continue
            unacked.append(entry)
            self._unacked_size += entry[3]
        while len(unacked) > MAX_UNACKED or self._unacked_size > MAX_UNACKED_BYTES:
            entry = unacked.popleft()
            self._unacked_size -= entry[3]
            given_up.append(entry)
        return given_up
