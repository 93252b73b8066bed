"""Consumers and daemons for the tests of hooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from kschat.chat.interfaces import IStore
from kschat.chat.presence import State
from kschat.counters import Counters
from kschat.hooks.consumer import Delivered, Delivery, Outcome
from kschat.hooks.deriver import DeriverSettings
from kschat.hooks.engine import Hooks, HooksSettings
from kschat.hooks.events import TYPES

#: The time at which tests begin, in seconds since 1970.
NOW = 1_700_000_000.0


class Receiver:
    """A consumer that keeps what it is given, and answers as it is told.

    Attributes:
        got: the deliveries, in order.
        outcome: what it answers; None: it waits for ``answer``.
        pending: what waits.
        stopped: whether the daemon has ended.
        takes: seconds that it takes to begin a delivery, in which nobody else has the reactor.
        times: when each delivery began.
    """

    name = "webhook"

    def __init__(self, types: Sequence[str] = TYPES, max_in_flight: int = 4, clock: Clock | None = None) -> None:
        self.types = frozenset(types)
        self.max_in_flight = max_in_flight
        self.got: list[Delivery] = []
        self.outcome: Outcome | None = Delivered()
        self.pending: list[Deferred[Outcome]] = []
        self.stopped = False
        self.takes = 0.0
        self.times: list[float] = []
        self._clock = clock

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        self.got.append(delivery)
        if self._clock is not None:
            self.times.append(self._clock.seconds())
            self._clock.rightNow += self.takes
        if self.outcome is not None:
            return succeed(self.outcome)
        answer: Deferred[Outcome] = Deferred()
        self.pending.append(answer)
        return answer

    def stop(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)

    def answer(self, outcome: Outcome) -> None:
        """Answer what waits longest."""
        self.pending.pop(0).callback(outcome)

    @property
    def told(self) -> list[tuple[str, str]]:
        """The type and the user of each event."""
        return [(one.event.type, one.event.user) for one in self.got]

    @property
    def ids(self) -> list[str]:
        """The ids of the events."""
        return [one.event.id for one in self.got]

    def data(self, index: int = -1) -> Any:
        """The data of an event."""
        return json.loads(bytes(self.got[index].event.data))


class HookedDaemon:
    """The hooks of one daemon, on a clock that the test turns.

    Attributes:
        online: who is online, on whatever daemon; None for "that can't be known".
    """

    def __init__(
        self,
        store: IStore,
        *consumers: Any,
        clock: Clock | None = None,
        online: set[str] | None = None,
        max_age: float = 86_400.0,
        **settings: Any,
    ) -> None:
        if clock is None:
            clock = Clock()
            clock.advance(NOW)
        self.clock = clock
        self.online: set[str] | None = set() if online is None else online
        self.counters = Counters()
        self.consumers = consumers or (Receiver(),)
        self.hooks = Hooks(
            store,
            self._presence,
            self.consumers,
            clock=clock,
            wall=clock.seconds,
            settings=HooksSettings(deriver=DeriverSettings(**settings), max_age=max_age),
            counters=self.counters,
            uniform=lambda least, most: (least + most) / 2,
        )

    @property
    def receiver(self) -> Any:
        """The first consumer."""
        return self.consumers[0]

    def _presence(self, users: Sequence[str]) -> Deferred[dict[str, State]]:
        online = self.online
        if online is None:
            return succeed(dict.fromkeys(users, (None, None)))
        return succeed({user: (True, None) if user in online else (False, 123) for user in users})

    def run(self, seconds: float) -> None:
        """Turn the clock in small steps."""
        self.clock.pump([0.25] * int(seconds * 4))

    def comes(self, *users: str) -> None:
        """Users have a socket from now on."""
        assert self.online is not None
        self.online.update(users)
        for user in users:
            self.hooks.marks.add(user)

    def goes(self, *users: str) -> None:
        """Users have none any more."""
        assert self.online is not None
        self.online.difference_update(users)
        for user in users:
            self.hooks.marks.add(user)
