"""Gives memory that is free back to the system.

glibc's allocator keeps what was freed in the middle of its heap: after 150 clients had sent half a message of a
megabyte each, and were gone, the daemon held 150 MB for ever, which ``malloc_trim`` gave back in 12 ms (and where there
is nothing to give back, in 0.1 ms). So it is called soon after memory has grown: what is freed in a second is bounded
(``max_buffered``), and so is the time that it takes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

#: Bytes beyond what the daemon had at its start from which on it looks for memory to give back.
GROWTH: Final = 8_000_000

#: Seconds between two looks; and while there was nothing to give back twice as many each time, up to so many.
PERIOD: Final = 1.0
MAX_PERIOD: Final = 4.0

#: Bytes that are worth it.
WORTH: Final = 1_000_000

_PAGE: Final = os.sysconf("SC_PAGESIZE")
_STATM: Final = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of this process in memory. Raises OSError where the system does not say it."""
    return int(_STATM.read_text().split()[1]) * _PAGE


def trimmer() -> Callable[[], object] | None:
    """What gives memory back; None with a C library that has no such function."""
    try:
        trim: Any = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: trim(0)


class FreeMemory(Service):
    """Gives memory back while the daemon runs.

    Args:
        clock: the reactor.
        trim: gives it back.
        size: the bytes that the process has.
    """

    def __init__(self, clock: IReactorTime, trim: Callable[[], object], size: Callable[[], int] = resident) -> None:
        self._clock = clock
        self._trim = trim
        self._size = size
        self._start = 0
        self._period = PERIOD
        self._call: Any = None

    def startService(self) -> None:
        """What the daemon has now it needs."""
        super().startService()
        try:
            self._start = self._size()
        except OSError:
            return
        self._call = self._clock.callLater(PERIOD, self._look)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        before = self._size()
        if before < self._start + GROWTH:
            self._period = PERIOD
        else:
            self._trim()
            gained = before - self._size() >= WORTH
            self._period = PERIOD if gained else min(self._period * 2, MAX_PERIOD)
        self._call = self._clock.callLater(self._period, self._look)
