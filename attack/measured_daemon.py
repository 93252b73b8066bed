"""A daemon whose turns are measured from outside kschat: ``python -m attack.measured_daemon FIGURES OPTIONS``.

A turn is one round of the reactor: timed calls, the wait for events, reads and writes. What counts is the CPU time of
the reactor's thread, which a busy machine changes little. Each quarter of a second a line goes to FIGURES: the time
(monotonic), the longest turn in ms, the longest garbage collection in ms, the resident memory in bytes.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, TextIO

_PAGE: Final = os.sysconf("SC_PAGESIZE")
_EVERY: Final = 0.25


class Measure:
    """Stands around the reactor's turn.

    Args:
        reactor: Twisted's.
        figures: where the figures are written.
    """

    def __init__(self, reactor: Any, figures: TextIO) -> None:
        self._turn = reactor.doIteration
        self._figures = figures
        self._longest = self._collection = self._began = 0.0
        self._mark = time.thread_time()
        self._told = time.monotonic()
        reactor.doIteration = self.turn
        gc.callbacks.append(self.collected)

    def turn(self, timeout: float) -> None:
        """One turn."""
        self._turn(timeout)
        now = time.thread_time()
        self._longest = max(self._longest, now - self._mark)
        at = time.monotonic()
        if at - self._told > _EVERY:
            self._told = at
            self.write(at)
            now = time.thread_time()
        self._mark = now

    def write(self, at: float) -> None:
        """One line of figures."""
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
        self._figures.write(f"{at:.3f} {self._longest * 1000:.2f} {self._collection * 1000:.2f} {rss}\n")
        self._longest = self._collection = 0.0

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """See ``gc.callbacks``."""
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collection = max(self._collection, time.thread_time() - self._began)


def main() -> None:
    """Measure, and run twistd."""
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    Measure(reactor, open(sys.argv[1], "w", buffering=1))  # noqa: SIM115 - as long as the process
    sys.argv = ["twistd", *sys.argv[2:]]
    run()


if __name__ == "__main__":
    main()
