"""One alarm clock for all sessions: no session holds a timer of its own.

Twisted's timers cost a delayed call, a closure and a place in a heap each. Here a session
holds one integer, the slot its next alarm stands in, and one timer waits for the earliest slot. Slots are 1 ms
wide, but alarms that are a second or more away share those of 10 ms.
"""

from __future__ import annotations

import heapq
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How many slots make a second.
SLOTS_A_SECOND = 1000

#: Of alarms that are a second or more away only those slots are used that this divides: many sessions, few slots.
COARSE = 10


class Sleeper(Protocol):
    """What can be woken. ``slot`` is the timetable's own; it begins as None."""

    slot: int | None

    def alarm(self) -> None:
        """The time has come."""


class Alarms:
    """Wakes sleepers, each at one time; a new time replaces the one before.

    Args:
        clock: the reactor, or a test's clock.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, dict[Sleeper, None]] = {}
        self._order: list[int] = []
        self._timer: IDelayedCall | None = None
        self._timer_slot = 0
        # The slot that rings, while one does.
        self._ringing: int | None = None

    def __len__(self) -> int:
        """How many sleepers wait."""
        return sum(map(len, self._slots.values()))

    def schedule(self, sleeper: Sleeper, seconds: float) -> None:
        """Call ``sleeper.alarm()`` once, ``seconds`` from now; from a second on up to 10 ms later.

        For less than a second, "now" within an alarm is the time that it was set for, unless it is late by half of the
        new time: of two that follow one another, such as a ping and the end of the wait for its answer, the second
        must not be later by what the first was. Who was not served for longer gets its whole time.
        """
        self.cancel(sleeper)
        now, rings = self._clock.seconds(), self._ringing
        if seconds >= 1:
            slot = round((now + seconds) * SLOTS_A_SECOND)
            slot += -slot % COARSE
        else:
            if rings is not None and now - rings / SLOTS_A_SECOND < seconds / 2:
                now = rings / SLOTS_A_SECOND
            slot = round((now + seconds) * SLOTS_A_SECOND)
            slot += slot == rings
        sleeper.slot = slot
        row = self._slots.get(slot)
        if row is None:
            self._slots[slot] = {sleeper: None}
            heapq.heappush(self._order, slot)
            self._set_timer()
        else:
            row[sleeper] = None

    def cancel(self, sleeper: Sleeper) -> None:
        """Do not wake ``sleeper``. Where it does not wait: nothing happens."""
        if sleeper.slot is not None:
            row = self._slots.get(sleeper.slot)
            if row is not None:
                row.pop(sleeper, None)
            sleeper.slot = None

    def catch_up(self) -> None:
        """Wake those whose time has come, before something else is done.

        A reactor that was held up looks at what has arrived before it looks at its clock.
        """
        if self._order and self._ringing is None and self._order[0] < self._clock.seconds() * SLOTS_A_SECOND:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._ring()

    def _set_timer(self) -> None:
        if not self._order:
            return
        slot = self._order[0]
        timer = self._timer
        if timer is not None and timer.active():
            if self._timer_slot <= slot:
                return
            timer.cancel()
        self._timer_slot = slot
        delay = slot / SLOTS_A_SECOND - self._clock.seconds()
        self._timer = self._clock.callLater(max(delay, 0), self._ring)

    def _ring(self) -> None:
        self._timer = None
        # A slot's number times its width is not to the last bit the time it stands for; without a
        # microsecond's grace the reactor would spin until its clock has passed the difference.
        now = (self._clock.seconds() + 1e-6) * SLOTS_A_SECOND
        while self._order and self._order[0] <= now:
            slot = heapq.heappop(self._order)
            self._ringing = slot
            for sleeper in self._slots.pop(slot):
                if sleeper.slot != slot:
                    continue  # one before it in this slot cancelled it, or put it off
                sleeper.slot = None
                try:
                    sleeper.alarm()
                except Exception:  # noqa: BLE001 - one session's bug must not stop the others' clock
                    self.log.failure("an alarm of {sleeper} failed", sleeper=type(sleeper).__name__)
        self._ringing = None
        self._set_timer()
