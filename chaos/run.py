"""One run: clients talk, the daemon is killed, connections break; then all is awaited, and counted."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from twisted.internet import defer
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater

from chaos import archive
from chaos.actors import Actors
from chaos.cast import ROOM, make_cast
from chaos.daemon import Daemon
from chaos.ledger import Ledger
from chaos.options import Options
from chaos.proxy import Proxy

SECRET = "a secret of the chaos that is long enough for HS256"

#: Acks until the next kill, and until the next fault.
KILL_AFTER = (150, 800)
FAULT_AFTER = (10, 110)

#: Seconds without any progress that end a run, and until all must be quiet after the last fault.
STUCK = 40.0
QUIET = 60.0

#: Names of the faults, some more likely than others.
FAULTS = ("cut", "cut", "stall and cut", "stall and cut", "stall", "ghost", "half-close", "half-close", "away", "away")


class Stuck(Exception):
    """Something did not come in time. The text says what."""


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
        self.actors, self._members = make_cast(options.seed)
        self.file = directory / "chaos.db"
        self.ledger = Ledger(self.actors, self._members)
        store = "memory" if options.memory else f"sqlite:{self.file}"
        port = _free_port()
        # Soon enough for a connection that is half dead to be noticed in a run.
        settings = ("--store", store, "--ping-interval", "5", "--ping-timeout", "4")
        self.daemon = Daemon(reactor, port, SECRET, settings)
        self._proxy = Proxy(reactor, port)
        self._node = Actors(reactor, self._noted, self._turned)
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._mending: list[tuple[IDelayedCall, Callable[[], None]]] = []
        self._asked: Counter[str] = Counter()
        self._joined: set[str] = set()
        self.faults: Counter[str] = Counter()
        self.status = 0
        self.stuck = ""

    async def run(self) -> None:
        """Do it. Where something does not come in time, ``stuck`` says what; the counts hold all the same."""
        try:
            await self.daemon.start()
            await self._proxy.start()
            self._node.start()
            try:
                await self._all()
            except Stuck as stuck:
                self.stuck = str(stuck)
            await self._node.end()
            await self._proxy.stop()
            self.status = await self.daemon.stop()
        finally:
            await self._node.end()
            await self._proxy.stop()
            await self.daemon.abandon()

    async def _all(self) -> None:
        self._connect()
        await self._until(lambda: len(self.ledger.here) == len(self.actors), "all clients to connect")
        for member in self._members:
            self._node.tell("join", actor=f"{member}.0", room=ROOM)
        await self._until(lambda: len(self._joined) == len(self._members), "all members to join the room")
        self._node.tell("talk")
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
            self._node.tell("hush")
            self._mend()
        await self._until(lambda: self.ledger.quiet, "all to be answered and received", QUIET)
        # What should not come, repeats above all, would come before the answers to these.
        for times in (1, 2):
            await self._ask_all(times)

    async def _ask_all(self, times: int) -> None:
        """A round trip of each client; ``times`` counts those of each, with this one."""
        for actor in self.actors:
            self._node.tell("ask", actor=actor.name)
        done = lambda: all(self._asked[actor.name] >= times for actor in self.actors)  # noqa: E731
        await self._until(done, "every client's last round trip")

    def _connect(self) -> None:
        url = f"http://127.0.0.1:{self._proxy.port}/kschat"
        for number, actor in enumerate(self.actors):
            claims = {"data": {"id": actor.user, "rooms": "*"}, "exp": int(time.time()) + 86400}
            self._node.open(actor, url, jwt.encode(claims, SECRET, "HS256"), self._options.seed * 1000 + number)

    # What breaks.

    async def _kill(self) -> None:
        chance = random.Random(self._options.seed + 1)
        for _ in range(self._options.kills):
            await self._progress(chance.randrange(*KILL_AFTER))
            await deferLater(self._reactor, chance.random() * 0.02)
            await self.daemon.kill()
            self.faults["kill"] += 1
            await deferLater(self._reactor, chance.random() * 0.2)
            await self.daemon.start()

    async def _break(self) -> None:
        for _ in range(self._options.faults):
            await self._progress(self._chance.randrange(*FAULT_AFTER))
            self._fault(self._chance.choice(FAULTS))

    def _fault(self, kind: str) -> None:
        chance = self._chance
        links = [link for link in self._proxy.links if link.whole]
        if not links:
            return  # the daemon was killed at this very moment
        link = chance.choice(links)
        self.faults[kind] += 1
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
            actor = chance.choice(self.actors).name
            self._node.tell("away", actor=actor)
            self._later(chance.uniform(0.05, 1.5), lambda: self._node.tell("back", actor=actor))

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        self._mending = [one for one in self._mending if one[0].active()]
        self._mending.append((self._reactor.callLater(seconds, mend), mend))

    def _mend(self) -> None:
        """Do now what was to be done later."""
        for call, mend in self._mending:
            if call.active():
                call.cancel()
                mend()
        self._mending.clear()

    # What is awaited.

    async def _progress(self, acks: int) -> None:
        goal = len(self.ledger.acked) + acks
        await self._until(lambda: len(self.ledger.acked) >= goal, f"{acks} more acks")

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float = STUCK) -> None:
        if condition():
            return
        wait: tuple[Callable[[], bool], Deferred[None]] = (condition, Deferred())
        self._waits.append(wait)
        try:
            await wait[1].addTimeout(seconds, self._reactor)
        except defer.TimeoutError:
            raise Stuck(f"waited {seconds} s in vain for {what}: {self._state()}") from None
        finally:
            if wait in self._waits:
                self._waits.remove(wait)

    def _turned(self) -> None:
        for wait in list(self._waits):
            if wait[0]():
                self._waits.remove(wait)
                wait[1].callback(None)

    def _state(self) -> str:
        ledger = self.ledger
        away = sorted(actor.name for actor in self.actors if actor.name not in ledger.here)
        unanswered, awaited = sorted(ledger.unanswered)[:10], list(ledger.awaited.items())[:10]
        return f"not connected {away}, unanswered {unanswered}, not received {awaited}, odd {ledger.odd[:5]}"

    def _noted(self, note: Sequence[Any]) -> None:
        kind, name, *rest = note
        ledger = self.ledger
        if kind == "got":
            ledger.received(name, *rest)
        elif kind == "ack":
            ledger.acknowledged(name, *rest)
        elif kind == "sent":
            ledger.sent(name, *rest)
        elif kind == "open":
            ledger.opened(name, *rest)
        elif kind == "shut":
            ledger.shut(name)
        elif kind == "no":
            ledger.refused(rest[1])
        elif kind == "joined":
            self._joined.add(name)
        elif kind == "left":
            ledger.counts["disconnect()"] += rest[0]
        elif kind == "asked":
            self._asked[name] += 1
        else:
            ledger.odd.append(f"{name}: {rest[0]}")


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0 and is not."""
    directory = Path(tempfile.mkdtemp(prefix="kschat-chaos-"))
    try:
        one = Run(reactor, options, directory)
        kinds = Counter(actor.version for actor in one.actors)
        users = len({actor.user for actor in one.actors})
        say(f"seed {options.seed}: {users} users with {kinds[2]} clients 2.5.0 and {kinds[4]} clients 4.8.4")
        await one.run()
        wrong = dict(one.ledger.verdict())
        if not options.memory:
            wrong |= archive.verdict(one.file, one.ledger.acked)
        wrong["errors in the daemon's log"] = len(one.daemon.faults)
        wrong["status of the daemon's end"] = abs(one.status)
        _report(one, wrong, say)
        if one.stuck:
            wrong[one.stuck] = 1
        return [name for name, count in wrong.items() if count]
    finally:
        if options.keep:
            say(f"the files are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _report(one: Run, wrong: Mapping[str, int], say: Callable[[str], object]) -> None:
    counts = one.ledger.counts
    got, cut = one.ledger.receipts
    say("faults done: " + ", ".join(f"{count} {kind}" for kind, count in sorted(one.faults.items())))
    rows = {
        "connections": counts["connections"],
        "of them recovered": counts["recovered"],
        "ended by the program's disconnect()": counts["disconnect()"],
        "sent": counts["sent"],
        "acknowledged": len(one.ledger.acked),
        "of them as a repeat": counts["repeats"],
        "refused, and sent again": counts["refused"],
        "received": got,
        "repeats that clients cut": cut,
        **wrong,
    }
    for name, count in rows.items():
        say(f"{name:45}{count:9,}" + ("   must be 0" if name in wrong and count else ""))
    ledger = one.ledger
    texts = [f"{key} did not come to {', '.join(users)}" for key, users in ledger.awaited.items()]
    texts += [f"{key} came to {device} behind a later one" for device, key in ledger.disordered()]
    for text in (*texts[:10], *ledger.odd[:10], *one.daemon.faults[:10]):
        say(f"  {text}")
    if one.stuck or one.daemon.faults:
        say(one.daemon.tail)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
