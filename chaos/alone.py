"""Each fault of a cluster alone, and for how long it was felt: until messages cross daemons again, both ways."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from chaos import report
from chaos.cast import Actor
from chaos.disclosed import LogSearch
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.proxy import Proxy
from chaos.servers import KINDS, Part, Servers, befall
from chaos.stage import SECRET, Stage, Stuck

#: Seconds that it may take, from when the part accepts connections again.
BOUND = 5.0

#: Seconds until what was killed is started again: long enough for daemons to try again as seldom as they ever do.
AWAY = (10.0, 14.0)

#: Messages between two faults.
BETWEEN = 200

#: Each stays with its daemon.
ANN = Actor("ann", "ann", 2, targets=("ben",))
BEN = Actor("ben", "ben", 4, targets=("ann",))


class Alone:
    """One run and its state.

    Attributes:
        search: of all logs.
        felt: for how many seconds each fault was felt.
    """

    def __init__(self, reactor: Any, options: Options, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._options = options
        self._say = say
        self.servers = Servers(reactor, SECRET, options.fsync)
        self.ledger = Ledger([ANN, BEN], (), unsure=True)
        places = zip((ANN, BEN), self.servers.members, strict=False)
        proxies = {actor.name: Proxy(reactor, member.port) for actor, member in places}
        self.stage = Stage(reactor, options.seed, self.ledger, (), proxies)
        self.search = LogSearch(self.stage.disclosed)
        self.felt: dict[str, float] = {}
        self.stuck = ""

    async def run(self) -> None:
        """Do each fault once. Where something does not come in time, ``stuck`` says what."""
        chance = random.Random(self._options.seed)
        try:
            await self.servers.start()
            await self.stage.open()
            try:
                await self.stage.begin()
                for name in ("RabbitMQ", "Redis", self.servers.members[1].name):
                    for kind in KINDS:
                        await self.stage.progress(BETWEEN)
                        seconds = await self._one(self.servers.parts[name], kind, chance)
                        self.felt[f"{name} {kind}"] = seconds
                        self._say(f"{f'{name} is {kind}: messages cross daemons again after':60}{seconds:6.2f} s")
                self.stage.hush()
                await self.stage.settle()
            except Stuck as stuck:
                self.stuck = str(stuck)
            await self.stage.close()
            await self.servers.end()
            self.search = self.servers.search(self.stage.disclosed)
        finally:
            await self.stage.close()
            await self.servers.abandon()

    async def _one(self, part: Part, kind: str, chance: random.Random) -> float:
        befalling = Deferred.fromCoroutine(
            befall(self._reactor, part, kind, away=chance.uniform(*AWAY), stopped=self._options.stopped)
        )
        if kind == "stopped":
            await befalling
        else:
            await self._accepts(part)
        began, events = time.monotonic(), self.ledger.events
        both = lambda: all(self.ledger.newest(actor.name) > events for actor in (ANN, BEN))  # noqa: E731
        await self.stage.until(both, f"messages to cross daemons after {part.name} was {kind}")
        seconds = time.monotonic() - began
        await befalling
        return seconds

    async def _accepts(self, part: Part) -> None:
        """Wait until the part accepts no connections any more, and then until it does again."""
        for state in (False, True):
            while await self._accepted(part) is not state:
                await deferLater(self._reactor, 0.01)

    async def _accepted(self, part: Part) -> bool:
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", part.port, timeout=1)
        try:
            await endpoint.connect(Factory.forProtocol(_Visitor))
        except ConnectError:
            return False
        return True


class _Visitor(Protocol):
    """Connects, and leaves."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        self.transport.abortConnection()


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0, or below 5 s, and is not."""
    one = Alone(reactor, options, say)
    say("each fault alone, and from when the service accepts connections again:")
    await one.run()
    members = one.servers.members
    wrong = dict(one.ledger.verdict())
    wrong |= report.disclosures(one.search, say)
    wrong["errors in the daemons' logs"] = sum(len(member.daemon.faults) for member in members)
    wrong["ends of daemons with a status"] = sum(any(member.statuses) for member in members)
    wrong[f"faults felt for more than {BOUND:g} s"] = sum(seconds > BOUND for seconds in one.felt.values())
    daemons = {member.name: member.daemon for member in members}
    faults = Counter(one.felt.keys())
    return report.verdict(one.ledger, faults, wrong=wrong, daemons=daemons, stuck=one.stuck, say=say)
