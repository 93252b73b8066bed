"""Each fault of one RabbitMQ node of a cluster of three, alone, and the time until messages cross daemons again.

The time is measured from the fault; if no node may serve, from when the nodes reach each other again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from chaos.alone import ANN, BEN, BETWEEN
from chaos.cluster_run import ClusterRun
from chaos.ledger import Ledger
from chaos.nodes import COUNT, Nodes
from chaos.options import Options
from chaos.proxy import Proxy
from chaos.servers import Servers
from chaos.stage import SECRET, Stage, Stuck

#: Most seconds until messages cross daemons again.
BOUND = 10.0

#: Seconds of a partition: long enough that all nodes notice it.
APART = 15.0

#: Seconds until all nodes must be one cluster again, and both daemons connected.
PATIENCE = 90.0


class Brokers:
    """One run and its state.

    Attributes:
        felt: how many seconds each fault was felt.
        played: the run's counts.
    """

    def __init__(self, reactor: Any, options: Options, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._options = options
        self._say = say
        self.nodes = Nodes(reactor, daemons=2)
        self.felt: dict[str, float] = {}
        self.ledger = Ledger([ANN, BEN], (), unsure=True)
        self.servers: Servers
        self.played: ClusterRun

    async def run(self) -> None:
        """Do each fault once."""
        try:
            await self.nodes.listen()
            self.servers = Servers(self._reactor, SECRET, self._options.fsync, 2, rabbitmq=self.nodes)
            places = zip((ANN, BEN), self.servers.members, strict=True)
            proxies = {actor.name: Proxy(self._reactor, member.port) for actor, member in places}
            self.stage = Stage(self._reactor, self._options.seed, self.ledger, (), proxies)
            self.played = ClusterRun(self._reactor, self.servers, self.ledger, self.stage)
            await self.played.run(self._all)
        finally:
            await self.nodes.close()
            self.nodes.stop()

    async def _all(self) -> None:
        await self.stage.begin()
        faults: tuple[tuple[str, Callable[[int], Awaitable[float]]], ...] = (
            ("is killed", self._killed),
            ("is stopped", self._stopped),
            ("is restarted", self._restarted),
            ("is cut off from the others", self._minority),
            ("and each other node are alone", self._nobody),
        )
        for text, fault in faults:
            for daemon in (0, 1):
                await self._whole()
                await self._apart()
                await self.stage.progress(BETWEEN)
                node = self.nodes.at(daemon)
                assert node is not None
                name = f"the node of daemon {daemon} {text}"
                self.felt[name] = seconds = await fault(node)
                self._say(f"{name + ': messages cross daemons again after':75}{seconds:6.2f} s")
        self.stage.hush()
        await self.stage.settle()

    async def _apart(self) -> None:
        """Wait until the daemons are connected to different nodes."""
        end = self._reactor.seconds() + PATIENCE
        while True:
            places = [self.nodes.at(daemon) for daemon in (0, 1)]
            if None not in places and places[0] != places[1]:
                return
            if self._reactor.seconds() > end:
                raise Stuck(f"waited {PATIENCE:g} s in vain for daemons on two nodes: they are on {places}")
            if None not in places:
                self.nodes.move(0)
            await deferLater(self._reactor, 1.0)

    async def _killed(self, number: int) -> float:
        node = self.nodes.nodes[number]
        await node.kill()
        seconds = await self._crossing()
        await node.start()
        return seconds

    async def _stopped(self, number: int) -> float:
        self.nodes.hold(number)
        try:
            seconds = await self._crossing()
            await deferLater(self._reactor, max(self._options.stopped - seconds, 0))
        finally:
            self.nodes.release(number)
        return seconds

    async def _restarted(self, number: int) -> float:
        node = self.nodes.nodes[number]
        ending = Deferred.fromCoroutine(node.end())
        seconds = await self._crossing()
        await ending
        await node.start()
        return seconds

    async def _minority(self, number: int) -> float:
        self.nodes.cut(number)
        seconds = await self._crossing()
        await deferLater(self._reactor, max(APART - seconds, 0))
        self.nodes.cut()
        return seconds

    async def _nobody(self, number: int) -> float:
        self.nodes.cut(*range(COUNT))
        await deferLater(self._reactor, APART)
        self.nodes.cut()
        return await self._crossing()

    async def _crossing(self) -> float:
        """Seconds until messages that are sent from now on have arrived both ways."""
        began, events = time.monotonic(), self.ledger.events
        both = lambda: all(self.ledger.newest(actor.name) > events for actor in (ANN, BEN))  # noqa: E731
        await self.stage.until(both, "messages to cross daemons")
        return time.monotonic() - began

    async def _whole(self) -> None:
        """Wait until all nodes are one cluster."""
        end = self._reactor.seconds() + PATIENCE
        while not await self.nodes.is_whole():
            if self._reactor.seconds() > end:
                raise Stuck(
                    f"waited {PATIENCE:g} s in vain for all nodes to be one cluster: {await self.nodes.state()}"
                )
            await deferLater(self._reactor, 1.0)


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, reported to ``say`` line by line; the counts that must be 0, or below 10 s, and are not."""
    one = Brokers(reactor, options, say)
    say("three RabbitMQ nodes, pause_minority; each fault alone, and from when it begins:")
    await one.run()
    one.played.wrong[f"faults felt for more than {BOUND:g} s"] = sum(seconds > BOUND for seconds in one.felt.values())
    return one.played.tell(Counter(one.felt.keys()), say)
