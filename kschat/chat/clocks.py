"""The two clocks. Waits and time-outs go by the reactor's, which is monotonic; people and tokens go by the wall's.

The wall clock can be set, forwards and backwards, while the daemon runs. Nothing may wait by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Seconds since 1970, as the machine's clock says now: ``time.time``, or a test's.
WallClock: TypeAlias = Callable[[], float]


def milliseconds(wall: WallClock) -> int:
    """Whole milliseconds since 1970, as ``msgTime``, ``mid`` and ``lastSeen`` have them."""
    return int(wall() * 1000)
