"""Gives memory that is free back to the system.

glibc's allocator keeps what was freed in the middle of its heap: after 150 clients had each sent half of a message of a
megabyte, and had left, the daemon held 150 MB for ever; ``malloc_trim`` gave them back in 12 ms.

On a fragmented heap the call takes some 7 ms for each 100 MB, each time, and no client is served meanwhile. So it is
not made in a large process, and not for a minute after it was slow and gave nothing back.
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

#: Bytes of a process beyond which it is not called: it could take longer than 25 ms, the bound for a turn.
MAX_RESIDENT: Final = 300_000_000

#: Seconds between two looks; and while there was nothing to give back twice as many each time, up to so many.
PERIOD: Final = 1.0
MAX_PERIOD: Final = 4.0

#: Bytes that are worth it.
WORTH: Final = 1_000_000

#: Seconds of a call that counts as slow; seconds without a call after a slow one that gave nothing back; and
#: the percentage of clients whose leaving ends that pause.
SLOW: Final = 0.005
SLOW_PERIOD: Final = 60.0
MANY_LEFT: Final = 20

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
        clients: how many are connected.
        size: the bytes that the process has.
    """

    def __init__(
        self,
        clock: IReactorTime,
        trim: Callable[[], object],
        clients: Callable[[], int],
        size: Callable[[], int] = resident,
    ) -> None:
        self._clock = clock
        self._trim = trim
        self._clients = clients
        self._size = size
        self._start = 0
        self._period = PERIOD
        # After a slow call that gave nothing back: when the pause ends, and how many clients there were.
        self._until = 0.0
        self._were = 0
        self._call: Any = None

    def startService(self) -> None:
        """Start the timer. The memory that is used now is the base."""
        super().startService()
        try:
            self._start = self._size()
        except OSError:
            return
        self._call = self._clock.callLater(PERIOD, self._look)

    def stopService(self) -> None:
        """Stop the timer."""
        super().stopService()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        before = self._size()
        if not self._start + GROWTH <= before <= MAX_RESIDENT:
            self._period = PERIOD
        else:
            began = self._clock.seconds()
            if began < self._until and self._clients() * 100 > self._were * (100 - MANY_LEFT):
                self._period = PERIOD
            else:
                self._trim()
                now = self._clock.seconds()
                self._until = 0.0
                if before - self._size() >= WORTH:
                    self._period = PERIOD
                elif now - began > SLOW:
                    self._period, self._until, self._were = PERIOD, now + SLOW_PERIOD, self._clients()
                else:
                    self._period = min(self._period * 2, MAX_PERIOD)
        self._call = self._clock.callLater(self._period, self._look)
