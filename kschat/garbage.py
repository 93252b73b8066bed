"""Runs full garbage collections when they are short.

By default Python runs a full collection whenever the number of old objects has grown by a quarter. With 4,800 sessions
one took 41 ms, in which no client was served, and clients can trigger it by opening sessions. It finds almost nothing:
a connection that ended leaves no cycles (``tests/front/test_leftovers.py``). So Python collects young objects only, in
some milliseconds, and this module runs the full collections: often while they are short, otherwise rarely.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

#: Thresholds for ``gc.set_threshold``: new objects before a collection of the youngest generation, and collections of
#: that before one of the middle generation; Python runs no full collection by itself. The default (700, 10, 10) is for
#: short programs: under load it collects some hundred times a second. 25,000 objects take some 6 ms.
COLLECT_AFTER: Final = (5_000, 4, 1_000_000_000)

#: Seconds between two full collections while they are short.
PERIOD: Final = 2.0

#: Seconds of a collection that counts as short; and those that each client is expected to add.
QUICK: Final = 0.01
SECONDS_A_CONNECTION: Final = 10e-6

#: Seconds after which a full collection runs, however long it takes.
MAX_PERIOD: Final = 600.0


class Garbage(Service):
    """Runs full collections from time to time.

    Args:
        clock: the reactor.
        connections: how many clients there are.
        collect: runs one.
    """

    def __init__(
        self, clock: IReactorTime, connections: Callable[[], int], collect: Callable[[], object] = gc.collect
    ) -> None:
        self._clock = clock
        self._connections = connections
        self._collect = collect
        # When the last collection ended, how long it took, and how many connections there were.
        self._at = self._took = 0.0
        self._counted = 0
        self._made = 0
        self._call: Any = None

    def startService(self) -> None:
        """Start the timer."""
        super().startService()
        self._at = self._clock.seconds()
        self._made = _young_collections()
        self._call = self._clock.callLater(PERIOD, self._look)

    def stopService(self) -> None:
        """Stop the timer."""
        super().stopService()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _expected(self) -> float:
        """Seconds that a collection would take now."""
        connections = self._connections()
        # The part of the last one that connections do not explain.
        others = max(self._took - self._counted * SECONDS_A_CONNECTION, 0.0)
        return others + connections * SECONDS_A_CONNECTION

    def _look(self) -> None:
        began = self._clock.seconds()
        # Without a young collection since, few objects were made: the daemon is idle.
        due = _young_collections() != self._made
        if due and (self._expected() <= QUICK or began - self._at >= MAX_PERIOD):
            self._counted = self._connections()
            self._collect()
            self._at = self._clock.seconds()
            self._took = self._at - began
            self._made = _young_collections()
        self._call = self._clock.callLater(PERIOD, self._look)


def _young_collections() -> int:
    """How many collections of the youngest generation Python has run."""
    return int(gc.get_stats()[0]["collections"])
