"""Admits handshakes at a configured rate; the others wait for their turn.

After a restart or a network outage all clients connect at once. Each costs a token to verify, an inbox to read and
presence to announce. If all were served at once, connected clients would wait for them; if the rest were refused, they
would retry. So they wait, the addresses in rotation. Requests of existing sessions do not wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kschat.counters import Counters
from kschat.rates import Bucket, Rate

#: Seconds' worth of handshakes that may begin at once.
BURST_SECONDS: Final = 0.1

#: Seconds between two looks at those that wait.
LOOK_SECONDS: Final = 0.01

#: Seconds after which a look stops, and is continued in the next turn of the reactor. The rate bounds a look, but not
#: after SIGHUP has removed the rate, nor at the end of the daemon.
MAX_LOOK_SECONDS: Final = 0.005

#: Seconds that one may wait at the most: npm's clients give up an attempt to connect after 20.
MAX_WAIT_SECONDS: Final = 10.0


class Waiting:
    """A handshake that waits.

    Attributes:
        address: the client address that it counts for.
        begin: called when it is its turn.
    """

    __slots__ = ("address", "begin")

    def __init__(self, address: str, begin: Callable[[], None]) -> None:
        self.address = address
        self.begin = begin


def _begun() -> None:
    """It has begun already."""


class HandshakeQueue:
    """The waiting handshakes of one daemon.

    Args:
        clock: the reactor.
        rate: that begin in a second; 0: any number.
        most: that wait.
        counters: ``queued`` counts those that waited, ``full["handshakes"]`` those that found no place.

    Attributes:
        most: see above; it may change.
    """

    def __init__(self, clock: IReactorTime, *, rate: float, most: int, counters: Counters) -> None:
        self.most = most
        self._clock = clock
        self._counters = counters
        self._rate = Rate("handshakes", rate, BURST_SECONDS)
        self._bucket = Bucket()
        # Those that wait, by address, in the order of the turns. (A plain dict finds its first entry slowly once many
        # before it were deleted.)
        self._waiting: OrderedDict[str, OrderedDict[Waiting, None]] = OrderedDict()
        self._count = 0
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def use(self, rate: float, most: int) -> None:
        """Other limits hold from now on."""
        self._rate.use(rate, BURST_SECONDS)
        self.most = most

    def admits(self) -> bool:
        """Whether one may begin now, which counts."""
        if not self._rate.cost:
            return True
        return not self._count and not self._rate.take(self._bucket, self._clock.seconds())

    @property
    def wait(self) -> float:
        """Seconds until all that wait have begun."""
        return self._count * self._rate.cost

    def enter(self, address: str, begin: Callable[[], None]) -> Waiting | None:
        """Wait. ``begin`` is called when it is its turn; it must not raise.

        Returns:
            Its place; None where there is none, which is counted.
        """
        row = self._waiting.get(address)
        if self._count >= self.most or self._ahead(row) * self._rate.cost >= MAX_WAIT_SECONDS:
            self._counters.full["handshakes"] += 1
            return None
        self._counters.queued += 1
        waiting = Waiting(address, begin)
        if row is None:
            row = self._waiting[address] = OrderedDict()
        row[waiting] = None
        self._count += 1
        self._set_call()
        return waiting

    def _ahead(self, row: OrderedDict[Waiting, None] | None) -> int:
        """How many have their turn before another one of an address, at most; ``row``: of that address.

        In each round each address has one turn. So one address that fills the queue does not keep others out.
        """
        before = len(row) if row else 0
        addresses = len(self._waiting) + (not row)
        return min(self._count, (before + 1) * addresses - 1)

    def leave(self, waiting: Waiting) -> None:
        """Remove one whose client has left. After its turn, or a second time, this does nothing."""
        row = self._waiting.get(waiting.address)
        if row is not None and waiting in row:
            del row[waiting]
            self._count -= 1
            if not row:
                del self._waiting[waiting.address]

    def close(self) -> None:
        """Let all that wait begin without a rate: they find that the daemon is going down."""
        self._rate.use(0, BURST_SECONDS)
        self._bucket = Bucket()
        if self._call is not None:
            self._call.cancel()
        self._look()

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        until = now + MAX_LOOK_SECONDS
        while self._count and not self._rate.take(self._bucket, now):
            self._pop()()
            now = self._clock.seconds()
            if now >= until:
                self._set_call(0)
                return
        self._set_call()

    def _set_call(self, seconds: float = LOOK_SECONDS) -> None:
        if self._call is None and self._count:
            self._call = self._clock.callLater(seconds, self._look)

    def _pop(self) -> Callable[[], None]:
        """What begins the next one."""
        address, row = self._waiting.popitem(last=False)
        waiting, _ = row.popitem(last=False)
        if row:
            self._waiting[address] = row
        self._count -= 1
        # It holds the request, and the request holds it: break the cycle.
        begin, waiting.begin = waiting.begin, _begun
        return begin
