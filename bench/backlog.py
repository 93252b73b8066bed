"""What a pair sees while others get their backlog: ``python -m bench.backlog``.

Users who are away are each sent so many messages first. Then two others exchange messages at a fixed rate (an open
loop: a latency counts from the moment a message was due), in turns without and with one of the absent coming back. Both
p99s are of the same run and the same daemon. The load reads the backlog in the same process as the pair's messages, so
what that costs it counts against the daemon.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Sequence

from bench.links import PATIENCE, Links, LoadError
from bench.measure import started
from bench.options import steered
from bench.peers import PEERS
from bench.peers.base import Peer
from bench.process import machine
from bench.services import Services
from bench.spawn import PeerError
from bench.stats import percentile

_WINDOW = 200
"""Messages on their way while the backlog is made."""
_BOUND = 3.0
"""The pair's p99 with a backlog may be so many times the one without."""


class Backlog:
    """One run. Link 0 and 1 are the pair; then come, for each backlog, who sends it and who was away."""

    def __init__(self, links: Links, messages: int, rate: float, seconds: float, seed: int) -> None:
        self.links = links
        self.messages = messages
        self.rate = rate
        self.seconds = seconds
        self.without: list[float] = []
        self.during: list[float] = []
        self.durations: list[float] = []
        self._gap = random.Random(seed).expovariate
        self._pair = links.all[:2]
        for link in self._pair:
            link.client.due = []

    def run(self) -> None:
        """Make all backlogs, then measure each. Raises LoadError."""
        self.links.connect(0, 2)
        absent = range(3, len(self.links.all), 2)
        for number in absent:
            self._fill(number - 1)
        for number in absent:
            self.without += self._talk(self._end_of(self.seconds))
            self.during += self._come_back(number)

    @staticmethod
    def _end_of(seconds: float) -> Callable[[], bool]:
        end = time.perf_counter() + seconds
        return lambda: time.perf_counter() > end

    def _fill(self, number: int) -> None:
        """Let the sender before an absent user send the whole backlog."""
        self.links.connect(number, number + 1)
        link = self.links.all[number]
        client = link.client
        deadline = time.perf_counter() + PATIENCE + self.messages / 500
        while client.acks.count() < self.messages:
            room = min(
                _WINDOW - (client.number - client.acks.next), self.messages - (client.number - client.acks.first)
            )
            if room > 0:
                self.links.write(link, client.send(room))
            self._turn(0.1, deadline, "the backlog to be stored")

    def _come_back(self, number: int) -> list[float]:
        """Let an absent user connect while the pair talks; the pair's latencies until the backlog is there."""
        link = self.links.all[number]
        begin = time.perf_counter()
        self.links.begin(link)
        latencies = self._talk(lambda: link.client.arrivals.count() >= self.messages)
        self.durations.append(time.perf_counter() - begin)
        return latencies

    def _talk(self, done: Callable[[], bool]) -> list[float]:
        """Let the pair talk until ``done()``; return the latencies of all messages that were due in that time."""
        now = time.perf_counter
        clock = self.links.clock
        latencies: list[float] = []
        clock.latencies = latencies
        due = clock.begin = now()
        deadline = due + PATIENCE + self.messages / 200
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
            self._turn(max(0.0, due - now()), deadline, "the backlog to arrive")
        clients = [link.client for link in self._pair]
        while any(client.peer.arrivals.count() < client.number - client.acks.first for client in clients):
            self._turn(0.1, deadline, "the pair's last messages")
        return latencies

    def _turn(self, timeout: float, deadline: float, what: str) -> None:
        self.links.turn(timeout)
        if self.links.faults:
            raise LoadError(self.links.faults[0])
        if time.perf_counter() > deadline:
            raise LoadError(f"waited too long for {what}")

    def wrong(self) -> dict[str, int]:
        """What must be 0."""
        clients = [link.client for link in self.links.all]
        return {
            "lost": sum(client.lost() for client in clients),
            "repeated": sum(client.arrivals.repeated for client in clients),
            "out of order": sum(client.arrivals.disordered for client in clients),
            "refused": sum(len(client.refused) for client in clients),
        }


def measure(peer: Peer, times: int, messages: int, rate: float, seconds: float, seed: int) -> Backlog:
    """Start a peer, and run. Raises LoadError, PeerError."""
    with Services() as services, started(peer, services) as (running, secret):
        os.environ["KSCHAT_SECRET"] = secret
        options = steered(running.ports, 2 + 2 * times, rate, seed)
        backlog = Backlog(Links(options), messages, rate, seconds, seed)
        backlog.run()
        return backlog


def report(name: str, backlog: Backlog) -> bool:
    """Print one peer's figures; whether all that is promised held."""
    if not backlog.during:
        print(f"{name}: no message was due while a backlog came: ask for a greater rate, or more messages")
        return False
    figures = []
    for title, samples in (("without", backlog.without), ("with", backlog.during)):
        ordered = sorted(samples)
        p50, p99, most = (1000 * percentile(ordered, share) for share in (0.5, 0.99, 1.0))
        figures.append(p99)
        print(
            f"{name}: {title:8} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  max {most:7.2f} ms  of {len(ordered):,} messages"
        )
    ratio = figures[1] / figures[0]
    longest = max(backlog.durations)
    print(
        f"{name}: {len(backlog.durations)} backlogs of {backlog.messages:,} messages, each in {longest:.2f} s or less"
    )
    wrong = backlog.wrong()
    print(
        f"{name}: p99 with / without {ratio:.2f} (at most {_BOUND:g}); "
        + ", ".join(f"{n} {k}" for k, n in wrong.items())
    )
    return ratio <= _BOUND and not any(wrong.values())


def main(arguments: Sequence[str]) -> int:
    """Measure the peers that are asked for; 1 where a bound was passed or something was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--peer", action="append", choices=sorted(PEERS), help="may be repeated (default sqlite)")
    add("--times", type=int, default=20, help="backlogs (default 20: a p99 needs some hundred messages meanwhile)")
    add("--messages", type=int, default=10_000, help="of each backlog (default 10,000)")
    add("--rate", type=float, default=500, help="messages a second of the pair (default 500)")
    add("--seconds", type=float, default=1, help="without a backlog, before each one (default 1)")
    add("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    print(machine())
    gc.disable()
    held = True
    try:
        for name in given.peer or ["sqlite"]:
            measured = measure(PEERS[name], given.times, given.messages, given.rate, given.seconds, given.seed)
            held = report(name, measured) and held
    except (LoadError, PeerError) as error:
        print(f"backlog: {error}", file=sys.stderr)
        return 1
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
