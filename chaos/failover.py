"""One run on a Redis that is replaced by its replica again and again, or a PostgreSQL whose standby takes over, while
clients on two daemons talk.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater

from chaos import report
from chaos.cast import Actor
from chaos.cluster_run import ClusterRun
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.pairs import Pair
from chaos.proxy import Proxy
from chaos.replicas import Replicas
from chaos.servers import Servers
from chaos.stage import SECRET, Stage
from chaos.standby import StandbyPair

#: The most milliseconds between two messages of an actor: so four of them send 50 messages a second.
PACE = 240

DAEMONS = 2

#: Seconds of talk between two faults.
TALK = (1.0, 3.0)

#: With ``--wait 0``: seconds without a receipt after which missing messages count as lost.
LULL = 10.0

#: Counts that must be 0 with ``--wait 0`` too.
ALWAYS = ("never answered", "odd events", "errors in the daemons' logs", "ends of daemons with a status")

#: Each stays with its daemon: those of one user and those it writes to are on different ones.
ACTORS = (
    Actor("ann", "ann", 2, targets=("ben", "dan"), pace=PACE),
    Actor("ben", "ben", 4, targets=("ann", "cem"), pace=PACE),
    Actor("cem", "cem", 4, asks={"recover": 1}, targets=("ben", "dan"), pace=PACE),
    Actor("dan", "dan", 4, asks={"batch": 1}, targets=("ann", "cem"), pace=PACE),
)


class Failover:
    """One run and its state.

    Attributes:
        faults: what was done, and how often.
        rate: messages a second that were acknowledged.
    """

    def __init__(self, reactor: Any, options: Options, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._options = options
        self._say = say
        self.pair = make_pair(reactor, options)
        self.servers = Servers(reactor, SECRET, pair=self.pair, daemons=DAEMONS)
        self.ledger = Ledger(ACTORS, (), unsure=True)
        members = self.servers.members
        proxies = {actor.name: Proxy(reactor, members[at % DAEMONS].port) for at, actor in enumerate(ACTORS)}
        self.stage = Stage(reactor, options.seed, self.ledger, (), proxies)
        self.faults: Counter[str] = Counter()
        self.rate = 0.0
        self.played = ClusterRun(reactor, self.servers, self.ledger, self.stage)

    async def run(self) -> None:
        """Do it."""
        try:
            await self.played.run(self._all)
        finally:
            await self.pair.close()

    async def _all(self) -> None:
        chance = random.Random(self._options.seed)
        await self.stage.begin()
        began = time.monotonic()
        for number in range(self._options.faults):
            kind = self.pair.kinds[number % len(self.pair.kinds)]
            await deferLater(self._reactor, chance.uniform(*TALK))
            self._say(f"{time.monotonic() - began:7.1f} s, {len(self.ledger.acked):6} acked: {kind}")
            self.faults[kind] += 1
            await self.pair.befall(kind)
            await self.stage.progress(1)
        self.rate = len(self.ledger.acked) / (time.monotonic() - began)
        self.stage.hush()
        if self._options.wait:
            await self.stage.settle()
        else:
            await self.stage.settle_without_all(LULL)


def make_pair(reactor: Any, options: Options) -> Pair:
    """The store of a run, with its copy."""
    if options.mode == "postgresql":
        return StandbyPair(reactor, DAEMONS, wait=options.wait > 0)
    return Replicas(reactor, options.fsync, wait=options.wait)


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0 and is not."""
    one = Failover(reactor, options, say)
    say(f"seed {options.seed}: {report.who(one.ledger)}, {DAEMONS} daemons, RabbitMQ, {one.pair.name}")
    await one.run()
    if not options.wait:
        may_be = {name: count for name, count in one.played.wrong.items() if name not in ALWAYS}
        one.played.wrong = {name: one.played.wrong[name] for name in ALWAYS if name in one.played.wrong}
        say("without waiting for the copy, of what was acknowledged:")
        for name, count in may_be.items():
            say(f"  {name:43}{count:9,}")
    wrong = one.played.tell(one.faults, say)
    say(f"{'acknowledged a second':45}{one.rate:9.1f}")
    return wrong
