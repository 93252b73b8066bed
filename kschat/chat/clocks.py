"""The two clocks. Waits and time-outs use the reactor's clock, which is monotonic; users and tokens use the wall clock.

The wall clock can be set, forwards and backwards, while the daemon runs. No wait may use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Seconds since 1970, as the machine's clock says now: ``time.time``, or a test's.
WallClock: TypeAlias = Callable[[], float]


def milliseconds(wall: WallClock) -> int:
    """Whole milliseconds since 1970, as ``msgTime``, ``mid`` and ``lastSeen`` have them."""
    return int(wall() * 1000)
