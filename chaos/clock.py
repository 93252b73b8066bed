"""The wall clock is set, an hour forwards and backwards, under daemons of each kind: nothing may wait for it.

Two clients write to each other all the time, on two daemons where there are several. Between two steps messages must
cross both ways; every third step falls into a time in which a part that the daemons stand on is away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from twisted.internet.task import deferLater

from chaos import report
from chaos.cast import Actor
from chaos.daemon import Daemon
from chaos.disclosed import LogSearch
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.proxy import Proxy
from chaos.stage import SECRET, Stage, Stuck
from tests.support.faketime import WallClock
from tests.support.launch import free_port
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis

#: Where the clock stands after each step, in seconds from the machine's; then from the beginning.
HOUR: Final = 3600
OFFSETS: Final = (HOUR, 0, -HOUR, 0)

#: Every so many steps a part is away meanwhile.
AWAY_EVERY: Final = 3

#: Seconds that messages may take to cross after a step; where a part was away, from when it serves again: daemons
#: try again every 3 seconds or so.
BOUND: Final = 5.0
BOUND_AFTER: Final = 10.0

#: Seconds between two heartbeats, and for their answers: what starts a service may hold the machine up.
PING: Final = 2
PONG: Final = 8

#: Seconds without any step, of the first kind: a client leaves when it hears of no heartbeat for so long.
REST: Final = PING + PONG + 1.0

ANN: Final = Actor("ann", "ann", 2, targets=("ben",))
BEN: Final = Actor("ben", "ben", 4, targets=("ann",))


class Part:
    """Something that daemons stand on.

    Args:
        name: what it is called.
        take: takes it away.
        bring: brings it back; it serves when this returns.
    """

    def __init__(self, name: str, take: Callable[[], None], bring: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.take = take
        self.bring = bring


class Kind:
    """Daemons of one kind on one clock, and what they stand on.

    Args:
        reactor: the real one.
        name: ``memory``, ``sqlite``, ``relay`` or ``cluster``.

    Attributes:
        daemons: one, or two.
        parts: what can be away.
        keeps: whether there is a store, so that what is acknowledged must not be lost.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self.name = name
        self.keeps = name != "relay"
        self.clock = WallClock()
        self._directory = Path(tempfile.mkdtemp(prefix="kschat-chaos-"))
        self._services: list[RabbitMQ | Redis] = []
        self.parts: list[Part] = []
        settings: dict[str, object] = {"ping_interval": PING, "ping_timeout": PONG, "no_access_log": True}
        if name in ("relay", "cluster"):
            broker = RabbitMQ()
            self._serve("RabbitMQ", broker)
            settings["amqp"] = broker.url
        if name == "cluster":
            redis = Redis("appendonly yes\nappendfsync always")
            self._serve("Redis", redis)
            settings["redis"] = redis.url
        if name == "sqlite":
            self.parts.append(Part("the file", self._hide, self._show))
        file = f"sqlite:{self._directory}/clock.db"
        settings["store"] = {"memory": "memory", "sqlite": file, "relay": "none", "cluster": "redis"}[name]
        count = 2 if name in ("relay", "cluster") else 1
        self.daemons = [Daemon(reactor, free_port(), SECRET, settings, self.clock.environment) for _ in range(count)]

    def _serve(self, name: str, service: RabbitMQ | Redis) -> None:
        self._services.append(service)
        self.parts.append(Part(name, service.kill, service.start))

    def _hide(self) -> None:
        for path in self._directory.glob("clock.db*"):
            path.rename(path.with_name(f"hidden-{path.name}"))

    async def _show(self) -> None:
        for path in self._directory.glob("hidden-*"):
            path.rename(path.with_name(path.name.removeprefix("hidden-")))

    async def start(self) -> None:
        """Start all; it serves when this returns."""
        for service in self._services:
            await service.start()
        for daemon in self.daemons:
            await daemon.start()

    async def end(self) -> list[int]:
        """End the daemons in order; their statuses."""
        return [await daemon.stop() for daemon in self.daemons]

    def logs(self) -> Iterator[tuple[str, Iterator[str]]]:
        """The lines of each server's log, by name."""
        for number, daemon in enumerate(self.daemons):
            yield f"daemon {number}", daemon.log_lines()
        for service in self._services:
            yield type(service).__name__, service.log_lines()

    async def abandon(self) -> None:
        """End all in any case, and remove its files."""
        for daemon in self.daemons:
            await daemon.abandon()
        for service in self._services:
            service.stop()
        self.clock.remove()
        shutil.rmtree(self._directory, ignore_errors=True)


class Steps:
    """One kind of daemons, and the steps of its clock.

    Attributes:
        search: of all logs.
        felt: for how many seconds each step was felt at the most, by what it was.
        wrong: what must be 0, by name.
    """

    def __init__(self, reactor: Any, name: str, count: int, seed: int) -> None:
        self._reactor = reactor
        self._count = count
        self.kind = Kind(reactor, name)
        # A ``Send`` whose answer was lost may have been stored.
        self.ledger = Ledger([ANN, BEN], (), unsure=True)
        daemons = self.kind.daemons
        proxies = {ANN.name: Proxy(reactor, daemons[0].port), BEN.name: Proxy(reactor, daemons[-1].port)}
        self._stage = Stage(reactor, seed, self.ledger, (), proxies)
        self.search = LogSearch(self._stage.disclosed)
        self.done: Counter[str] = Counter()
        self.felt: dict[str, float] = {}
        self.wrong: dict[str, int] = {}

    async def run(self) -> None:
        """Do all steps."""
        try:
            await self.kind.start()
            await self._stage.open()
            try:
                await self._all()
                if self.kind.keeps:
                    self.wrong |= self.ledger.verdict()
                # No client was let down, whatever was away.
                self.wrong["connections that ended"] = self.ledger.counts["connections"] - 2
            except Stuck as stuck:
                self.wrong[str(stuck)] = 1
            await self._stage.close()
            self.wrong["ends of daemons with a status"] = sum(map(bool, await self.kind.end()))
            for name, lines in self.kind.logs():
                self.search.read(name, lines)
            self.wrong["errors in the daemons' logs"] = sum(len(daemon.faults) for daemon in self.kind.daemons)
        finally:
            await self._stage.close()
            await self.kind.abandon()

    async def _all(self) -> None:
        await self._stage.begin()
        await self._cross("the beginning", BOUND_AFTER)
        for number in range(self._count):
            offset = OFFSETS[number % len(OFFSETS)]
            parts = self.kind.parts
            away = parts[number // AWAY_EVERY % len(parts)] if parts and number % AWAY_EVERY == 2 else None
            if away is None:
                self.kind.clock.set(offset)
                await self._cross(f"a step to {offset:+d} s", BOUND)
            else:
                await self._step_without(away, offset)
            if number == len(OFFSETS) - 2 and self.kind.name == "memory":
                await deferLater(self._reactor, REST)
        self._stage.hush()
        if self.kind.keeps:
            await self._stage.settle()

    async def _step_without(self, part: Part, offset: int) -> None:
        """A step while a part is away, long enough that daemons have noticed and try again."""
        part.take()
        await deferLater(self._reactor, 1.0)
        self.kind.clock.set(offset)
        await deferLater(self._reactor, 1.0)
        await part.bring()
        await self._cross(f"a step to {offset:+d} s without {part.name}", BOUND_AFTER)

    async def _cross(self, after: str, bound: float) -> None:
        """Wait until messages that are sent from here on cross both ways."""
        began, events = monotonic(), self.ledger.events
        both = lambda: all(self.ledger.newest(actor.name) > events for actor in (ANN, BEN))  # noqa: E731
        await self._stage.until(both, f"messages to cross after {after}")
        seconds = monotonic() - began
        self.done[after] += 1
        self.felt[after] = max(seconds, self.felt.get(after, 0.0))
        if seconds > bound:
            self.wrong[f"steps felt for more than {bound:g} s"] = 1


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """All kinds of daemons, told to ``say`` line by line; what must be 0 and is not."""
    wrong: list[str] = []
    for number, name in enumerate(options.kinds):
        share = options.steps // len(options.kinds) + (number < options.steps % len(options.kinds))
        one = Steps(reactor, name, share, options.seed)
        await one.run()
        one.wrong |= report.disclosures(one.search, say)
        _tell(name, share, one, say)
        wrong += [f"{name}: {what}" for what, count in one.wrong.items() if count]
    return wrong


def _tell(name: str, share: int, one: Steps, say: Callable[[str], object]) -> None:
    faults: Mapping[str, int] = one.wrong
    say(f"{name}: the clock was set {share} times, {len(one.ledger.acked):,} messages acknowledged")
    for after, seconds in sorted(one.felt.items()):
        say(f"  {f'after {after} messages cross within':60}{seconds:6.2f} s")
    bad: Sequence[str] = [what for what, count in faults.items() if count]
    for what in bad:
        say(f"  {what}: {faults[what]}")
    if bad:
        for daemon in one.kind.daemons:
            report.tell_log(daemon, say)
