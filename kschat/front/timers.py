"""One timer wheel for all sessions; no session has a timer of its own.

Twisted's timers cost a delayed call, a closure and a place in a heap each. Here a timer costs one integer, the slot in
which it expires, and one delayed call waits for the earliest slot. Slots are 1 ms wide; timers that expire in a second
or later share slots of 10 ms.
"""

from __future__ import annotations

import heapq

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kschat.wire.roles import Timer

#: Slots a second.
SLOTS_A_SECOND = 1000

#: Timers that expire in a second or later use only slots that are multiples of this: many sessions, few slots.
COARSE = 10


class TimerWheel:
    """Calls ``alarm()`` of timers, each at one time; a new time replaces the one before.

    Args:
        clock: the reactor, or a test's clock.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, dict[Timer, None]] = {}
        self._order: list[int] = []
        self._call: IDelayedCall | None = None
        self._call_slot = 0
        # The slot whose timers are being called, while they are.
        self._firing: int | None = None

    def __len__(self) -> int:
        """How many timers are scheduled."""
        return sum(map(len, self._slots.values()))

    def seconds(self) -> float:
        """The time, of the clock that timers expire by."""
        return self._clock.seconds()

    def schedule(self, timer: Timer, seconds: float) -> None:
        """Call ``timer.alarm()`` once, ``seconds`` from now; from a second on up to 10 ms later.

        For less than a second, "now" within an alarm is the time that the alarm was set for, unless it is late by half
        of the new time: when one timer follows another, such as a ping and the end of the wait for its answer, the
        second must not inherit the lateness of the first. A timer that is scheduled for longer gets its whole time.
        """
        self.cancel(timer)
        now, firing = self._clock.seconds(), self._firing
        if seconds >= 1:
            slot = round((now + seconds) * SLOTS_A_SECOND)
            slot += -slot % COARSE
        else:
            if firing is not None and now - firing / SLOTS_A_SECOND < seconds / 2:
                now = firing / SLOTS_A_SECOND
            slot = round((now + seconds) * SLOTS_A_SECOND)
            slot += slot == firing
        timer.slot = slot
        row = self._slots.get(slot)
        if row is None:
            self._slots[slot] = {timer: None}
            heapq.heappush(self._order, slot)
            self._set_call()
        else:
            row[timer] = None

    def cancel(self, timer: Timer) -> None:
        """Do not call ``timer.alarm()``. A timer that is not scheduled is left alone."""
        if timer.slot is not None:
            row = self._slots.get(timer.slot)
            if row is not None:
                row.pop(timer, None)
            timer.slot = None

    def catch_up(self) -> None:
        """Call the timers that have expired, before something else is done.

        A reactor that was held up looks at what has arrived before it looks at its clock.
        """
        if self._order and self._firing is None and self._order[0] < self._clock.seconds() * SLOTS_A_SECOND:
            if self._call is not None and self._call.active():
                self._call.cancel()
            self._fire()

    def _set_call(self) -> None:
        if not self._order:
            return
        slot = self._order[0]
        call = self._call
        if call is not None and call.active():
            if self._call_slot <= slot:
                return
            call.cancel()
        self._call_slot = slot
        delay = slot / SLOTS_A_SECOND - self._clock.seconds()
        self._call = self._clock.callLater(max(delay, 0), self._fire)

    def _fire(self) -> None:
        self._call = None
        # A slot's number times its width is not to the last bit the time it stands for; without a
        # microsecond's grace the reactor would spin until its clock has passed the difference.
        now = (self._clock.seconds() + 1e-6) * SLOTS_A_SECOND
        while self._order and self._order[0] <= now:
            slot = heapq.heappop(self._order)
            self._firing = slot
            for timer in self._slots.pop(slot):
                if timer.slot != slot:
                    continue  # a timer before it in this slot cancelled or rescheduled it
                timer.slot = None
                try:
                    timer.alarm()
                except Exception:  # noqa: BLE001 - one session's bug must not stop the others' clock
                    self.log.failure("the timer of {timer} failed", timer=type(timer).__name__)
        self._firing = None
        self._set_call()
