"""One run on a cluster: clients talk and move between daemons, while brokers, stores and daemons die and come back."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from chaos import disk, report
from chaos.balancer import Balancer
from chaos.cast import MIXED, make_cast
from chaos.cluster_run import ClusterRun
from chaos.cuts import Cuts
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.servers import Servers, befall, deck
from chaos.stage import SECRET, Stage, Stuck

#: Acks until the next fault begins, whether or not the last one has ended; and seconds after which it does in any
#: case: there are no acks while Redis is away.
FAULT_AFTER = (100, 600)
AT_THE_LATEST = 8.0

#: Seconds until what was killed is started again.
AWAY = (0.0, 3.0)

#: Seconds between two faults of connections, by which clients move to another daemon.
CUT_AFTER = (0.05, 0.6)


class Cluster:
    """One run and its state.

    Args:
        reactor: the real one.
        options: what is to be done.
        say: is told each fault.
    """

    def __init__(self, reactor: Any, options: Options, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._options = options
        self._say = say
        self._chance = random.Random(options.seed)
        actors, members = make_cast(options.seed, MIXED)
        self.servers = Servers(reactor, SECRET, options.fsync)
        self.ledger = Ledger(actors, members, unsure=True)
        ports = [member.port for member in self.servers.members]
        # Before every other client stands a balancer that knows no sessions.
        proxies = {
            actor.name: Balancer(reactor, ports, random.Random(f"{options.seed}{actor.name}"), number % 2 == 0)
            for number, actor in enumerate(actors)
        }
        self.stage = Stage(reactor, options.seed, self.ledger, members, proxies)
        self._cuts = Cuts(reactor, random.Random(options.seed + 1), self.stage, list(proxies.values()))
        self._under_way: dict[str, Deferred[None]] = {}
        self._began = 0.0
        self._faults: Counter[str] = Counter()
        self.played = ClusterRun(reactor, self.servers, self.ledger, self.stage)

    @property
    def faults(self) -> Counter[str]:
        """What was done, and how often."""
        return self._cuts.counts + self._faults

    async def run(self) -> None:
        """Do it."""
        await self.played.run(self._all)

    async def _all(self) -> None:
        self._began = time.monotonic()
        await self.stage.begin()
        breaking = Deferred.fromCoroutine(self._break())
        befalling = Deferred.fromCoroutine(self._befall())
        try:
            await befalling.addTimeout(self._options.seconds, self._reactor)
        except defer.TimeoutError:
            raise Stuck(f"not all faults were done in {self._options.seconds} s: {dict(self._faults)}") from None
        finally:
            breaking.addErrback(lambda failure: failure.trap(defer.CancelledError))
            breaking.cancel()
            self.stage.hush()
            self._cuts.mend()
        await self.stage.settle()

    async def _break(self) -> None:
        chance = random.Random(self._options.seed + 2)
        while True:
            await deferLater(self._reactor, chance.uniform(*CUT_AFTER))
            self._cuts.one()

    async def _befall(self) -> None:
        chance = self._chance
        waiting = deck(chance, self.servers.members, self._options.faults)
        all_faults: list[Deferred[None]] = []
        while waiting:
            with suppress(Stuck):
                await self.stage.progress(chance.randrange(*FAULT_AFTER), AT_THE_LATEST)
            # The next one whose part is not away already.
            found = next((one for one in waiting if self._is_there(one[0])), None)
            if found is not None:
                waiting.remove(found)
                all_faults.append(self._begin(*found))
        try:
            await gatherResults(all_faults, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()

    def _is_there(self, name: str) -> bool:
        return name not in self._under_way or bool(self._under_way[name].called)

    def _begin(self, name: str, kind: str) -> Deferred[None]:
        self._faults[f"{name} {kind}"] += 1
        self._say(f"{time.monotonic() - self._began:7.1f} s, {len(self.ledger.acked):6} acked: {name} is {kind}")
        away = self._chance.uniform(*AWAY)
        delay = self._chance.choice(disk.DELAYS)
        stopped = self._options.stopped
        one = befall(self._reactor, self.servers.parts[name], kind, away=away, stopped=stopped, delay=delay)
        self._under_way[name] = Deferred.fromCoroutine(one)
        return self._under_way[name]


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0 and is not."""
    one = Cluster(reactor, options, say)
    say(f"seed {options.seed}: {report.who(one.ledger)}, {len(one.servers.members)} daemons, RabbitMQ, Redis")
    await one.run()
    return one.played.tell(one.faults, say)
