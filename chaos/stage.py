"""The clients on their way through proxies, and what each says: let in, made to talk, waited for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jwt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from chaos.actors import Actors
from chaos.cast import ROOM, Actor
from chaos.disclosed import Disclosed
from chaos.ledger import Ledger

SECRET = "a secret of the chaos that is long enough for HS256"

#: Seconds until whoever is connected must be online for all others, and between two looks.
PRESENT = 20.0
LOOK = 0.5

#: Seconds without any progress that end a run, and until all must be quiet after the last fault.
STUCK = 40.0
QUIET = 60.0


class Way(Protocol):
    """The address that clients connect to: a proxy or a load balancer."""

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Stop listening."""


class Stuck(Exception):
    """Something did not come in time. The text says what."""


class Stage:
    """All clients of one run.

    Args:
        reactor: the real one.
        seed: of what each client chooses.
        ledger: has the actors, and is told what they say.
        members: users in the room.
        proxies: by actor, its way to a daemon; several may share one.

    Attributes:
        watch: called with each note of the clients, before the ledger.
    """

    def __init__(
        self, reactor: Any, seed: int, ledger: Ledger, members: Sequence[str], proxies: Mapping[str, Way]
    ) -> None:
        self._reactor = reactor
        self._seed = seed
        self._members = tuple(members)
        self._proxies = proxies
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._asked: Counter[str] = Counter()
        self._joined: set[str] = set()
        self.watch: Callable[[Sequence[Any]], None] = lambda note: None
        self.ledger = ledger
        self.disclosed = Disclosed(SECRET)
        self.node = Actors(reactor, self._noted, self._turned)

    @property
    def actors(self) -> Sequence[Actor]:
        """Who takes part."""
        return self.ledger.actors

    async def open(self) -> None:
        """Start the proxies and the process of the clients."""
        for proxy in set(self._proxies.values()):
            await proxy.start()
        self.node.start()

    async def close(self) -> None:
        """End all clients, and the proxies."""
        await self.node.end()
        for proxy in set(self._proxies.values()):
            await proxy.stop()

    async def begin(self) -> None:
        """Let all clients connect and join the room, and talk. Raises Stuck."""
        for number, actor in enumerate(self.actors):
            url = f"http://127.0.0.1:{self._proxies[actor.name].port}/kschat"
            claims = {"data": {"id": actor.user, "rooms": "*"}, "exp": int(time.time()) + 86400}
            token = jwt.encode(claims, SECRET, "HS256")
            self.disclosed.used(token)
            self.node.open(actor, url, token, self._seed * 1000 + number)
        await self.until(lambda: len(self.ledger.here) == len(self.actors), "all clients to connect")
        for member in self._members:
            self.node.tell("join", actor=f"{member}.0", room=ROOM)
        await self.until(lambda: len(self._joined) == len(self._members), "all members to join the room")
        self.node.tell("talk")

    def hush(self) -> None:
        """Let no client make a new message."""
        self.node.tell("hush")

    async def settle(self, look: bool = True) -> None:
        """Wait until all is answered and received, all see all online, and nothing more arrives. Raises Stuck.

        ``look``: whether each user must see all others online.
        """
        await self.until(lambda: self.ledger.quiet, "all to be answered and received", QUIET)
        if look:
            await self._look()
        # What should not come, repeats above all, would come before the answers to these.
        for times in (1, 2):
            await self._ask_all(times)

    async def settle_without_all(self, lull: float) -> None:
        """The same if messages may be lost: wait until all is answered, and nothing arrived for ``lull`` seconds."""
        ledger = self.ledger
        answered = lambda: not ledger.unanswered and len(ledger.here) == len(self.actors)  # noqa: E731
        await self.until(answered, "all to be answered", QUIET)
        received = -1
        while received != (received := ledger.receipts[0]):
            await deferLater(self._reactor, lull)

    async def _look(self) -> None:
        """Let all look for all; again, while somebody does not see another who is there."""
        ids = sorted({actor.user for actor in self.actors})
        end = self._reactor.seconds() + PRESENT
        while self._reactor.seconds() < end:
            self.ledger.absent.clear()
            for actor in self.actors:
                self.node.tell("look", actor=actor.name, ids=ids)
            await self.until(lambda: len(self.ledger.absent) == len(self.actors), "every client's look for others")
            if not any(self.ledger.absent.values()):
                return
            await deferLater(self._reactor, LOOK)

    async def _ask_all(self, times: int) -> None:
        """A round trip of each client; ``times`` counts those of each, with this one."""
        for actor in self.actors:
            self.node.tell("ask", actor=actor.name)
        done = lambda: all(self._asked[actor.name] >= times for actor in self.actors)  # noqa: E731
        await self.until(done, "every client's last round trip")

    # What is awaited.

    async def progress(self, acks: int, seconds: float = STUCK) -> None:
        """Wait for so many more acks. Raises Stuck."""
        goal = len(self.ledger.acked) + acks
        await self.until(lambda: len(self.ledger.acked) >= goal, f"{acks} more acks", seconds)

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = STUCK) -> None:
        """Wait for a condition, which is looked at whenever clients have said something. Raises Stuck."""
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
        changes = f"not changed {sorted(ledger.changing)[:5]}, outdated {sorted(ledger.outdated)[:5]}"
        return f"not connected {away}, unanswered {unanswered}, not received {awaited}, {changes}, odd {ledger.odd[:5]}"

    def _noted(self, note: Sequence[Any]) -> None:
        self.watch(note)
        kind, name, *rest = note
        ledger = self.ledger
        if kind == "got":
            ledger.received(name, *rest)
        elif kind == "ack":
            ledger.acknowledged(name, *rest)
        elif kind == "shows":
            ledger.shows(name, *rest)
        elif kind == "change":
            ledger.changes(name, *rest)
        elif kind == "changed":
            ledger.changed(name, *rest)
        elif kind == "sent":
            ledger.sent(name, *rest)
        elif kind == "open":
            ledger.opened(name, *rest)
        elif kind == "shut":
            ledger.shut(name)
        elif kind == "no":
            ledger.refused(name, *rest)
        elif kind == "joined":
            self._joined.add(name)
        elif kind == "left":
            ledger.counts["disconnect()"] += rest[0]
        elif kind == "err":
            ledger.counts["attempts to connect that failed"] += 1
        elif kind == "told":
            ledger.counts["told that a queue is gone"] += 1
        elif kind == "looked":
            ledger.absent[name] = rest[0]
        elif kind == "asked":
            self._asked[name] += 1
        else:
            ledger.odd.append(f"{name}: {rest[0]}")
