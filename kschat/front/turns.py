"""Fair turns: what one connection sent at once is read in several turns of the reactor.

Twisted hands on up to 64 kB that a client sent, and nobody else is served while they are read: ten thousand packets of
six bytes, or one packet whose content takes long. So a connection reads a few packets when its bytes arrive. If there
are more, it stops reading from its socket and enters itself here: the rest is read in later turns, in which all such
connections take part in rotation, and which are bounded in time whatever their number is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: Packets that are read when they arrive, and in one round of the rotation.
PACKETS: Final = 64

#: The same while connections wait for their turn: then many may have sent much.
FEW_PACKETS: Final = 8

#: Bytes of a packet from which on it is read in the rotation alone: its content may take long.
LARGE: Final = 16_384

#: The same while connections wait for their turn.
LESS_LARGE: Final = 2_048

#: Seconds for the packets that are read when they arrive. A packet that was begun is read to its end.
ARRIVAL_SECONDS: Final = 0.001

#: Seconds of one turn for all connections that wait.
TURN_SECONDS: Final = 0.001

#: Seconds beyond which a turn counts as long, because of one packet; and the longest rest. A long turn is followed by a
#: rest of its length. Without it the next one would follow at once, and other work would wait for several such turns.
LONG_TURN: Final = 0.002
MAX_REST: Final = 0.05

#: While too many large messages wait, others are not read: seconds between two looks, connections that may read on at a
#: look, and seconds after which one reads on in any case, so that its client is told.
PARKED_LOOK: Final = 0.01
PARKED_AT_ONCE: Final = 4
MAX_PARKED_SECONDS: Final = 5.0

#: Rounds of one turn: a bound that holds for a clock that stands still, too.
MAX_ROUNDS: Final = 64

#: Bytes of a packet after which the clock is looked at.
LOOK_BYTES: Final = 1_024

#: The fraction of ``max_unsent`` that may wait for a client while more is read from it. The rest is for what the
#: packets that were read bring about later.
READ_ON_BELOW: Final = 0.25


class Reader(Protocol):
    """A connection with bytes that were not read yet."""

    def read_on(self, until: float) -> None:
        """Read up to ``PACKETS`` packets, and none after ``until``, of the clock. If there are more, enter again.

        Must read one packet at least, or not enter again. A reader whose connection has ended does nothing.
        """


class Turns:
    """The connections that wait for another turn. One a daemon.

    Args:
        clock: the reactor, or a test's clock.
        is_full: whether so many large packets wait for what they were sent for that others had better not be read.

    Attributes:
        is_full: see above.
        packets: that a connection may read when they arrive.
        large: bytes of a packet that must wait for the rotation.
    """

    log = Logger()

    __slots__ = ("_active", "_clock", "_looks", "_parked", "_readers", "is_full", "large", "packets")

    def __init__(self, clock: IReactorTime, is_full: Callable[[], bool] = lambda: False) -> None:
        self.packets = PACKETS
        self.large = LARGE
        self.is_full = is_full
        self._clock = clock
        self._readers: deque[Reader] = deque()
        # Whether a turn is scheduled, or runs.
        self._active = False
        # Those that wait until it is not full any more, each with the time when it came; and whether it is looked at.
        self._parked: deque[tuple[float, Reader]] = deque()
        self._looks = False

    def __len__(self) -> int:
        """How many connections wait for the next turn."""
        return len(self._readers)

    def seconds(self) -> float:
        """The time, of the clock that ``read_on`` is bounded by."""
        return self._clock.seconds()

    def enter(self, reader: Reader) -> None:
        """Call ``reader.read_on`` in a later turn. It must not be entered already."""
        self._readers.append(reader)
        if not self._active:
            self._schedule()

    def park(self, reader: Reader) -> None:
        """The same, once it is not full any more, or after ``MAX_PARKED_SECONDS``, though it is full then."""
        self._parked.append((self._clock.seconds(), reader))
        if not self._looks:
            self._looks = True
            self._clock.callLater(PARKED_LOOK, self._look)

    def _look(self) -> None:
        parked = self._parked
        # What they read shows only in the next turn whether it is full again.
        for _ in range(PARKED_AT_ONCE):
            if not parked or (self.is_full() and self._clock.seconds() - parked[0][0] < MAX_PARKED_SECONDS):
                break
            self.enter(parked.popleft()[1])
        self._looks = bool(parked)
        if parked:
            self._clock.callLater(PARKED_LOOK, self._look)

    def _schedule(self, rest: float = 0.0) -> None:
        self._active = True
        self.packets, self.large = FEW_PACKETS, LESS_LARGE
        self._clock.callLater(rest, self._turn)

    def _turn(self) -> None:
        readers = self._readers
        seconds = self._clock.seconds
        began = seconds()
        until = began + TURN_SECONDS
        for _ in range(MAX_ROUNDS):
            reader = readers.popleft()
            try:
                reader.read_on(until)
            except Exception:  # noqa: BLE001 - one connection's bug must not stop the others
                self.log.failure("a connection could not be read")
            if not readers or seconds() >= until:
                break
        if readers:
            took = seconds() - began
            self._schedule(min(took, MAX_REST) if took > LONG_TURN else 0.0)
        else:
            self._active = False
            self.packets, self.large = PACKETS, LARGE
