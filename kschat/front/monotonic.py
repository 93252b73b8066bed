"""Makes a reactor use the monotonic clock.

Twisted's reactors use ``time.time`` as their clock (twisted #2424). When the machine's clock is set back by an hour,
every delayed call is an hour late: reconnects, heartbeats, time-outs, and even the next turn.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.python import runtime


def use_monotonic_clock(reactor: Any) -> None:
    """Let ``reactor.seconds()`` be ``time.monotonic()``. To be called before the reactor runs, as early as can be.

    Calls that wait already keep the time that is left to them. A clock that is not the wall's stays: a test's, or one
    that was changed before.

    Args:
        reactor: Twisted's. Its ``seconds()`` says nothing of the time of day from then on; ``time.time()`` does.
    """
    if reactor.seconds is not runtime.seconds:
        return
    now = reactor.seconds()
    waiting = [(call, call.getTime() - now) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, left in waiting:
        call.seconds = time.monotonic
        call.reset(max(left, 0.0))
