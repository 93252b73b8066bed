"""One run on one daemon: clients talk, the daemon is killed, connections break, its disk is slow; then all is awaited,
and counted.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from chaos import archive, disk, report
from chaos.cast import make_cast
from chaos.cuts import Cuts
from chaos.daemon import Daemon
from chaos.disclosed import LogSearch
from chaos.disk import SlowDisk
from chaos.hooks import Hooks
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.proxy import Proxy
from chaos.stage import SECRET, Stage, Stuck
from tests.support.launch import free_port

#: Acks until the next kill, and until the next fault.
KILL_AFTER = (150, 800)
FAULT_AFTER = (10, 110)

#: One fault of so many is of the disk; and the seconds that it lasts.
DISK_EVERY = 10
SLOW_FOR = (0.5, 3.0)

#: Milliseconds that a sync takes longer then: acks go on, so that faults do.
DELAYS = disk.DELAYS[:-1]


class Run:
    """One run and its state.

    Args:
        reactor: the real one.
        options: what is to be done.
        directory: for the SQLite file.
    """

    def __init__(self, reactor: Any, options: Options, directory: Path) -> None:
        self._reactor = reactor
        self._options = options
        self._chance = random.Random(options.seed)
        actors, members = make_cast(options.seed)
        self.file = directory / "chaos.db"
        store = "memory" if options.memory else f"sqlite:{self.file}"
        port = free_port()
        # Soon enough for a connection that is half dead to be noticed in a run.
        self.hooks = Hooks(reactor, options.seed, directory)
        settings = {"store": store, "ping_interval": 5, "ping_timeout": 4, **self.hooks.settings}
        self._disk = SlowDisk(reactor)
        self.daemon = Daemon(reactor, port, SECRET, settings, self._disk.environ)
        proxy = Proxy(reactor, port)
        self.ledger = Ledger(actors, members)
        self.stage = Stage(reactor, options.seed, self.ledger, members, {actor.name: proxy for actor in actors})
        self._cuts = Cuts(reactor, self._chance, self.stage, [proxy])
        self._kills = self._slowed = 0
        self.search = LogSearch(self.stage.disclosed)
        self.status = 0
        self.stuck = ""

    @property
    def faults(self) -> Counter[str]:
        """What was done, and how often."""
        failed = self.hooks.receiver.faults
        return self._cuts.counts + Counter({"kill": self._kills, disk.KIND: self._slowed, "failure of hooks": failed})

    async def run(self) -> None:
        """Do it. Where something does not come in time, ``stuck`` says what; the counts hold all the same."""
        try:
            await self.hooks.start()
            await self.daemon.start()
            await self.stage.open()
            try:
                await self._all()
            except Stuck as stuck:
                self.stuck = str(stuck)
            await self.stage.close()
            self.status = await self.daemon.stop()
            self.search.read("the daemon", self.daemon.log_lines())
        finally:
            await self.stage.close()
            await self.daemon.abandon()
            await self.hooks.stop()
            self._disk.remove()

    async def _all(self) -> None:
        await self.stage.begin()
        self.hooks.begin()
        breaking = Deferred.fromCoroutine(self._break())
        killing = Deferred.fromCoroutine(self._kill())
        both = gatherResults([breaking, killing], consumeErrors=True)
        try:
            await both.addTimeout(self._options.seconds, self._reactor)
        except defer.TimeoutError:
            raise Stuck(f"not all faults were done in {self._options.seconds} s: {dict(self.faults)}") from None
        except FirstError as first:
            both.cancel()
            first.subFailure.raiseException()
        finally:
            self.stage.hush()
            self._cuts.mend()
            self._disk.mend()
        await self.hooks.settle(self._until)
        await self.stage.settle()

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        end = self._reactor.seconds() + seconds
        while not condition():
            if self._reactor.seconds() > end:
                raise Stuck(f"waited {seconds} s in vain for {what}")
            await deferLater(self._reactor, 0.1)

    async def _kill(self) -> None:
        chance = random.Random(self._options.seed + 1)
        for _ in range(self._options.kills):
            await self.stage.progress(chance.randrange(*KILL_AFTER))
            await deferLater(self._reactor, chance.random() * 0.02)
            await self.daemon.kill()
            self._kills += 1
            await deferLater(self._reactor, chance.random() * 0.2)
            await self.daemon.start()

    async def _break(self) -> None:
        for number in range(1, self._options.faults + 1):
            await self.stage.progress(self._chance.randrange(*FAULT_AFTER))
            if number % DISK_EVERY or self._options.memory:
                self._cuts.one()
            else:
                self._slow_disk()

    def _slow_disk(self) -> None:
        self._slowed += 1
        self._disk.slow(self._chance.choice(DELAYS), self._chance.uniform(*SLOW_FOR))


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0 and is not."""
    directory = Path(tempfile.mkdtemp(prefix="kschat-chaos-"))
    try:
        one = Run(reactor, options, directory)
        say(f"seed {options.seed}: {report.who(one.ledger)}, one daemon")
        await one.run()
        wrong = dict(one.ledger.verdict())
        if not options.memory:
            wrong |= archive.verdict(one.file, one.ledger.acked, one.ledger.texts)
        wrong |= one.hooks.wrong
        say(f"{'messages to absent users, each with an event':45}{len(one.hooks.stored):9,}")
        wrong |= report.disclosures(one.search, say)
        wrong["errors in the daemon's log"] = len(one.daemon.faults)
        wrong["status of the daemon's end"] = abs(one.status)
        return report.verdict(
            one.ledger, one.faults, wrong=wrong, daemons={"the daemon": one.daemon}, stuck=one.stuck, say=say
        )
    finally:
        if options.keep:
            say(f"the files are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
