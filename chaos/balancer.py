"""A proxy before several daemons, as balancers are, with sticky sessions or without."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from chaos.proxy import Link, Proxy


class Balancer(Proxy):
    """One client's way to the daemons: each new session goes to another one.

    Whatever is wanted of a session (the requests of long-polling, an upgrade) goes to the daemon that has it, or, where
    sessions are not sticky, to any. It does not look whether a daemon is there: a client that comes to one that is not
    tries again, elsewhere.

    Args:
        reactor: the real one.
        targets: the daemons' ports.
        chance: chooses.
        sticky: whether what belongs to a session goes where that began.
    """

    def __init__(self, reactor: Any, targets: Sequence[int], chance: random.Random, sticky: bool = True) -> None:
        self._sticky = sticky
        self._targets = tuple(targets)
        self._chance = chance
        super().__init__(reactor, chance.choice(self._targets))

    def begin(self, link: Link) -> None:
        """Where to is known when the client has said what it wants."""
        link.heard.addCallback(lambda said: self.connect(link, self._choose(said)))

    def _choose(self, said: bytes) -> int:
        line = said.partition(b"\r\n")[0]
        if b"sid=" in line and not self._sticky:
            return self._chance.choice(self._targets)
        if b"sid=" not in line:
            others = [target for target in self._targets if target != self._target]
            self._target = self._chance.choice(others or self._targets)
        return self._target
