"""Many users on one daemon, and a restart of RabbitMQ: ``python -m bench.bindings``.

First the router by itself, without sockets: how many users it binds in a second. Then a daemon with so many sockets, a
user each. RabbitMQ is killed and started again: how long it takes from when it accepts connections until all are
bound, and what two of the users, who write to each other all the while, see of it. Before and after, each user is
sent a message by another connection to RabbitMQ, which says whether anybody was bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import pika
from twisted.internet.defer import Deferred, gatherResults

from bench.links import PATIENCE, Links, LoadError
from bench.measure import started
from bench.options import steered
from bench.outage import Restart, Watch
from bench.peers import PEERS
from bench.peers.base import Peer
from bench.peers.daemon import Daemon
from bench.process import machine
from bench.services import Services
from bench.spawn import PeerError
from bench.stats import percentile
from kschat.backends.amqp import AmqpRouter, Settings
from kschat.chat.interfaces import RouterEvent, Stored

RATE: Final = 2000.0
"""Bindings a second that must be reached, and the seconds in which all must be bound again."""
AGAIN: Final = 15.0
_LOOK: Final = 0.02


class _Up:
    """Waits until a router is up."""

    def __init__(self) -> None:
        self.next: Deferred[None] = Deferred()

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Nobody writes."""

    def missed(self, users: Iterable[str]) -> None:
        """Nor here."""

    def on_router_event(self, event: RouterEvent, socket: str | None = None) -> None:
        """It is up, or not."""
        if event is RouterEvent.UP:
            up, self.next = self.next, Deferred()
            up.callback(None)


async def by_itself(reactor: Any, url: str, users: int) -> float:
    """Bind so many users by one router; return how many that were a second."""
    listener = _Up()
    router = AmqpRouter(Settings(url=url), reactor)
    router.attach(listener)
    up = listener.next
    router.start()
    await up
    begin = time.perf_counter()
    await gatherResults([router.bind(f"user {number}", "a") for number in range(users)])
    seconds = time.perf_counter() - begin
    await router.stop()
    return users / seconds


class Bindings:
    """One run on a daemon. Links 0 and 1 are the pair that talks; the others only stay."""

    def __init__(self, links: Links, rate: float, seed: int) -> None:
        self.links = links
        self.rate = rate
        self.joined = 0.0
        self.before: list[float] = []
        self.during: list[float] = []
        self.restart = Restart()
        self.unreached: tuple[int, int] = (0, 0)
        self._gap = random.Random(seed).expovariate
        self._pair = links.all[:2]
        for link in self._pair:
            link.client.due = []

    def run(self, services: Services, port: int, seconds: float) -> None:
        """Let all join, and RabbitMQ crash. Raises LoadError."""
        begin = time.perf_counter()
        self.links.connect(0, len(self.links.all))
        self.joined = len(self.links.all) / (time.perf_counter() - begin)
        url = services.get("rabbitmq").url
        first = self._unreached(url)
        end = time.perf_counter() + seconds
        self.before = self._talk(lambda: time.perf_counter() > end)
        watch = Watch(services, port)
        watch.start()
        self.during = self._talk(lambda: watch.over)
        if watch.error:
            raise LoadError(watch.error)
        self.restart = watch.restart
        self.unreached = (first, self._unreached(url))

    def _unreached(self, url: str) -> int:
        """To how many users nobody is bound, as RabbitMQ says of a message to each. The sockets get it."""
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.confirm_delivery()
        settings = Settings(url=url)
        missing = 0
        for link in self.links.all[2:]:
            user = link.client.user
            body = json.dumps(
                {"uId": "nobody", "pId": user, "msg": "are you there", "rStatus": 1, "msgTime": 1}
            ).encode()
            try:
                channel.basic_publish(settings.own_exchange, f"{settings.prefix}{user}", body, mandatory=True)
            except pika.exceptions.UnroutableError:
                missing += 1
            self.links.turn(0)
        connection.close()
        return missing

    def _talk(self, done: Callable[[], bool]) -> list[float]:
        """Let the pair talk until ``done()``; return the latencies of what arrived."""
        now = time.perf_counter
        clock = self.links.clock
        latencies: list[float] = []
        clock.latencies = latencies
        due = clock.begin = now()
        turn = 0
        while not done():
            moment = now()
            while due <= moment:
                link = self._pair[turn % 2]
                turn += 1
                assert link.client.due is not None
                link.client.due.append(due)
                self.links.write(link, link.client.send(1))
                due += self._gap(self.rate)
            self._turn(min(_LOOK, max(0.0, due - now())))
        end = now() + PATIENCE
        while any(link.client.acks.count() < link.client.number - link.client.acks.first for link in self._pair):
            self._turn(_LOOK)
            if now() > end:
                raise LoadError("waited too long for the pair's last answers")
        return latencies

    def _turn(self, timeout: float) -> None:
        self.links.turn(timeout)
        if self.links.faults:
            raise LoadError(self.links.faults[0])

    def wrong(self) -> dict[str, int]:
        """What must be 0, of the pair."""
        clients = [link.client for link in self._pair]
        return {
            "lost": sum(client.lost() for client in clients),
            "repeated": sum(client.arrivals.repeated for client in clients),
            "out of order": sum(client.arrivals.disordered for client in clients),
            "refused": sum(len(client.refused) for client in clients),
        }


def measure(peer: Daemon, users: int, rate: float, seconds: float, seed: int) -> Bindings:
    """Start a daemon with its services, and run. Raises LoadError, PeerError."""
    roomy: Peer = dataclasses.replace(peer, settings=(*peer.settings, ("max_connections", str(users + 100))))
    with Services() as services, started(roomy, services) as (running, secret):
        os.environ["KSCHAT_SECRET"] = secret
        options = steered(running.ports, users, rate, seed)
        bindings = Bindings(Links(options), rate, seed)
        bindings.run(services, running.ports[0], seconds)
        return bindings


def report(name: str, users: int, alone: float, bindings: Bindings) -> bool:
    """Print the figures; whether all that is promised held."""
    restart, wrong = bindings.restart, bindings.wrong()
    again = restart.bound - restart.accepts
    print(f"the router by itself: {users:,} users bound, {alone:,.0f} a second (at least {RATE:,.0f})")
    print(f"{name}: {users:,} sockets joined, {bindings.joined:,.0f} a second, handshakes and all")
    print(
        f"{name}: RabbitMQ was killed, which was noticed after {restart.lost - restart.killed:.2f} s; all were bound "
        f"again {again:.2f} s after it accepted connections (at most {AGAIN:g})"
    )
    print(f"{name}: users that a message did not reach: {bindings.unreached[0]} before, {bindings.unreached[1]} after")
    for title, samples in (("before", bindings.before), ("meanwhile", bindings.during)):
        ordered = sorted(samples) or [0.0]
        p50, p99, most = (1000 * percentile(ordered, share) for share in (0.5, 0.99, 1.0))
        print(f"{name}: the pair {title:9} p50 {p50:.2f} ms  p99 {p99:.2f} ms  max {most:.2f} ms  of {len(samples):,}")
    print(f"{name}: of the pair's messages " + ", ".join(f"{count} {kind}" for kind, count in wrong.items()))
    return alone >= RATE and again <= AGAIN and not any(bindings.unreached) and not any(wrong.values())


def main(arguments: Sequence[str]) -> int:
    """Measure as the command line says; 1 where a bound was passed or something was lost."""
    from twisted.internet import reactor

    rows = {
        name: peer for name, peer in PEERS.items() if isinstance(peer, Daemon) and "{rabbitmq}" in str(peer.settings)
    }
    parser = argparse.ArgumentParser(prog="python -m bench.bindings", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--peer", choices=sorted(rows), default="cluster", help="(default %(default)s)")
    add("--users", type=int, default=10_000, help="an even number (default %(default)s)")
    add("--rate", type=float, default=200, help="messages a second of the pair (default %(default)s)")
    add("--seconds", type=float, default=3, help="of the pair before the restart (default %(default)s)")
    add("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    print(machine())
    gc.disable()
    alone: list[float] = []
    failures: list[Any] = []
    try:
        with Services() as services:
            url = services.get("rabbitmq").url
            running: Any = reactor

            def begin() -> None:
                rate = Deferred.fromCoroutine(by_itself(reactor, url, given.users))
                rate.addCallbacks(alone.append, failures.append).addBoth(lambda _: running.stop())

            running.callWhenRunning(begin)
            running.run()
        if failures:
            raise PeerError(failures[0].getErrorMessage())
        bindings = measure(rows[given.peer], given.users, given.rate, given.seconds, given.seed)
    except (LoadError, PeerError) as error:
        print(f"bindings: {error}", file=sys.stderr)
        return 1
    return 0 if report(given.peer, given.users, alone[0], bindings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
