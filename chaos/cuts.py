"""What breaks between clients and daemons, and mends again: connections, and clients that go away for a moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from chaos.proxy import Proxy
from chaos.stage import Stage

#: Names of the faults, some more likely than others.
FAULTS = ("cut", "cut", "stall and cut", "stall and cut", "stall", "ghost", "half-close", "half-close", "away", "away")


class Cuts:
    """Breaks what ``chance`` chooses.

    Attributes:
        counts: how often it did what.
    """

    def __init__(self, reactor: Any, chance: random.Random, stage: Stage, proxies: Sequence[Proxy]) -> None:
        self._reactor = reactor
        self._chance = chance
        self._stage = stage
        self._proxies = proxies
        self._mending: list[tuple[IDelayedCall, Callable[[], None]]] = []
        self.counts: Counter[str] = Counter()

    def one(self) -> None:
        """Do one fault."""
        chance = self._chance
        kind = chance.choice(FAULTS)
        links = [link for proxy in self._proxies for link in proxy.links if link.whole]
        if not links:
            return  # the daemon was killed at this very moment
        link = chance.choice(links)
        self.counts[kind] += 1
        if kind == "cut":
            link.cut()
        elif kind == "stall and cut":
            link.stall(to_server=chance.random() < 0.3)
            self._later(chance.uniform(0.01, 0.4), link.cut)
        elif kind == "stall":
            link.stall(*chance.choice(((True, False), (False, True), (True, True))))
            self._later(chance.uniform(0.01, 0.6), link.resume)
        elif kind == "ghost":
            link.haunt()
            self._later(chance.uniform(0.1, 2.0), link.cut)
        elif kind == "half-close":
            link.half_close(to_client=chance.random() < 0.5)
        else:
            actor = chance.choice(self._stage.actors).name
            self._stage.node.tell("away", actor=actor)
            self._later(chance.uniform(0.05, 1.5), lambda: self._stage.node.tell("back", actor=actor))

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        self._mending = [one for one in self._mending if one[0].active()]
        self._mending.append((self._reactor.callLater(seconds, mend), mend))

    def mend(self) -> None:
        """Do now what was to be done later."""
        for call, mend in self._mending:
            if call.active():
                call.cancel()
                mend()
        self._mending.clear()
