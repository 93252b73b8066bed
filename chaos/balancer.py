"""A proxy before several daemons, as a balancer with sticky sessions is: each new session goes to another daemon."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from chaos.proxy import Link, Proxy


class Balancer(Proxy):
    """One client's way to the daemons.

    Whatever it wants of a session (the requests of long-polling, an upgrade) goes to the daemon that has it. It
    does not look whether a daemon is there: a client that comes to one that is not tries again, elsewhere.

    Args:
        reactor: the real one.
        targets: the daemons' ports.
        chance: chooses.
    """

    def __init__(self, reactor: Any, targets: Sequence[int], chance: random.Random) -> None:
        self._targets = tuple(targets)
        self._chance = chance
        super().__init__(reactor, chance.choice(self._targets))

    def begin(self, link: Link) -> None:
        """Where to is known when the client has said what it wants."""
        link.heard.addCallback(lambda said: self.connect(link, self._choose(said)))

    def _choose(self, said: bytes) -> int:
        line = said.partition(b"\r\n")[0]
        if b"sid=" not in line:
            others = [target for target in self._targets if target != self._target]
            self._target = self._chance.choice(others or self._targets)
        return self._target
