"""Looks for garbage in cycles when that holds no client up.

Python looks through all its objects by itself whenever there are a quarter more of them: with 4,800 sessions that took
41 ms, in which nobody was served, and a client chooses the moment by opening sessions. Nearly always it finds nothing:
what a connection leaves behind is in no cycle (``tests/front/test_leftovers.py``). So Python looks through young
objects only, in steps of some milliseconds, and through all of them when this module says so: at once while that is
quick, and otherwise seldom.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

#: After how many new objects Python looks through them, and after how many such looks through those that have stayed;
#: all objects it never looks through by itself. Its own (700, 10, 10) is for short programs: under load it looks some
#: hundred times a second. 25,000 objects take some 6 ms.
COLLECT_AFTER: Final = (5_000, 4, 1_000_000_000)

#: Seconds between two looks through all objects, while these are quick.
PERIOD: Final = 2.0

#: Seconds of a look that is quick, and that one is expected to take for each client.
QUICK: Final = 0.01
SECONDS_A_CONNECTION: Final = 10e-6

#: Seconds after which all objects are looked through, however long that takes.
MAX_PERIOD: Final = 600.0


class Garbage(Service):
    """Looks through all objects from time to time.

    Args:
        clock: the reactor.
        connections: how many clients there are.
        collect: looks.
    """

    def __init__(
        self, clock: IReactorTime, connections: Callable[[], int], collect: Callable[[], object] = gc.collect
    ) -> None:
        self._clock = clock
        self._connections = connections
        self._collect = collect
        # When it was looked last, how long that took, and for how many connections.
        self._at = self._took = 0.0
        self._of = 0
        self._made = 0
        self._call: Any = None

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._at = self._clock.seconds()
        self._made = _looks()
        self._call = self._clock.callLater(PERIOD, self._look)

    def stopService(self) -> None:
        """Stop looking."""
        super().stopService()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _expected(self) -> float:
        """Seconds that a look may take now."""
        connections = self._connections()
        # The part of the last one that is not the connections'.
        others = max(self._took - self._of * SECONDS_A_CONNECTION, 0.0)
        return others + connections * SECONDS_A_CONNECTION

    def _look(self) -> None:
        began = self._clock.seconds()
        # An idle daemon makes no objects.
        due = _looks() != self._made
        if due and (self._expected() <= QUICK or began - self._at >= MAX_PERIOD):
            self._of = self._connections()
            self._collect()
            self._at = self._clock.seconds()
            self._took = self._at - began
            self._made = _looks()
        self._call = self._clock.callLater(PERIOD, self._look)


def _looks() -> int:
    """How often Python has looked through new objects."""
    return int(gc.get_stats()[0]["collections"])
