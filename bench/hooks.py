"""What hooks cost those who send: ``python -m bench.hooks``.

Two daemons, one with hooks and one without, get the same load in turns: messages at a fixed rate (an open loop: a
latency counts from the moment a message was due until its ack), all to users who are absent, so that each message is an
event. The daemon that is not measured is stopped meanwhile (SIGSTOP): what is left of its work disturbs nothing. Load,
receiver and daemons share the machine. Exits with 1 if p99 is more than ``BOUND`` times that without hooks, or if the
quick receiver has not got each event.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from bench.frames import FIRST
from bench.links import PATIENCE, Links, LoadError
from bench.measure import started
from bench.options import steered
from bench.peers.base import Running
from bench.peers.daemon import Daemon
from bench.process import cpu_seconds, machine
from bench.services import Services
from bench.spawn import PeerError
from bench.stats import Spread, percentile
from tests.support.launch import REPOSITORY, free_port

#: p99 with hooks may be so many times the one without.
BOUND: Final = 1.05

#: Receivers: seconds until an answer, and its status; None: nobody is there.
RECEIVERS: Final[dict[str, tuple[float, int] | None]] = {
    "quick": (0.0, 204),
    "slow": (1.0, 204),
    "wrong": (0.0, 500),
    "down": None,
}

#: Where stores are.
STORES: Final = {"sqlite": "sqlite:{directory}/kschat.db", "redis": "redis", "memory": "memory"}

#: Users who send; as many others are written to.
SENDERS: Final = 50

#: Seconds of load before a window that is measured: the daemon was stopped.
_SETTLE: Final = 2.0


class Window(NamedTuple):
    """One window: the latencies in seconds, and the daemon's CPU as a share of a core."""

    latencies: list[float]
    busy: float

    def at(self, share: float) -> float:
        """A percentile, in milliseconds."""
        return 1000 * percentile(sorted(self.latencies), share)


class _Absent(Links):
    """Clients of whom each of the first half writes to one of the second half, who never come."""

    def _peer(self, at: int) -> int:
        return (at + self.options.clients // 2) % self.options.clients


class Side:
    """A daemon, and its load.

    Args:
        running: the daemon.
        rate: messages a second.
        seed: of the moments at which they are due.
    """

    def __init__(self, running: Running, rate: float, seed: int) -> None:
        self.pid = running.pids[0]
        self._gap = random.Random(seed).expovariate
        self._rate = rate
        self._links = _Absent(steered(running.ports, 2 * SENDERS, rate, seed))
        self._links.connect(0, SENDERS)
        self._senders = self._links.all[:SENDERS]
        self._due: list[list[float]] = [[] for _ in self._senders]
        self._acked = [FIRST] * SENDERS
        self._next = 0

    @property
    def sent(self) -> int:
        """Messages that were acknowledged."""
        return sum(link.client.acks.count() for link in self._senders)

    def sleep(self) -> None:
        """Stop the daemon."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Continue it."""
        os.kill(self.pid, signal.SIGCONT)

    def measure(self, seconds: float) -> Window:
        """One window, after some load that is not measured. Raises LoadError."""
        self._load(_SETTLE)
        before, began = cpu_seconds(self.pid), time.perf_counter()
        latencies = self._load(seconds)
        return Window(latencies, (cpu_seconds(self.pid) - before) / (time.perf_counter() - began))

    def rest(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._links.settle(seconds)

    def _load(self, seconds: float) -> list[float]:
        now = time.perf_counter
        due = now()
        end, patience = due + seconds, due + seconds + PATIENCE
        latencies: list[float] = []
        while due < end or any(len(due_) > acked - FIRST for due_, acked in zip(self._due, self._acked, strict=True)):
            moment = now()
            while due <= moment and due < end:
                link = self._senders[self._next]
                self._due[self._next].append(due)
                self._next = (self._next + 1) % SENDERS
                self._links.write(link, link.client.send(1))
                due += self._gap(self._rate)
            self._links.turn(max(0.0, min(due - now(), 0.1)))
            self._count(latencies, now())
            if self._links.faults or now() > patience:
                raise LoadError(self._links.faults[0] if self._links.faults else "messages were not acknowledged")
        return latencies

    def _count(self, latencies: list[float], now: float) -> None:
        for at, link in enumerate(self._senders):
            acked, self._acked[at] = self._acked[at], link.client.acks.next
            latencies += [now - due for due in self._due[at][acked - FIRST : self._acked[at] - FIRST]]


class Receiver:
    """A process that is sent events; see ``bench.receiver``."""

    def __init__(self, port: int, seconds: float, status: int) -> None:
        argv = [sys.executable, "-m", "bench.receiver", str(port), str(seconds), str(status)]
        self._process = subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answer()

    def counts(self) -> dict[str, int]:
        """How many ``requests`` came, and how many different ``events``."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError("the receiver has ended")
        told: dict[str, int] = json.loads(line)
        return told

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def measure(kind: str, given: argparse.Namespace) -> bool:
    """Measure with one kind of receiver, and print; whether the bound held. Raises LoadError, PeerError."""
    port = free_port()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kschat-bench-")))
        secret = directory / "hooks.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"whsec_{b64encode(secrets.token_bytes(32)).decode()}\n")
        receiver = None
        if (manner := RECEIVERS[kind]) is not None:
            receiver = Receiver(port, *manner)
            stack.callback(receiver.end)
        hooks = (("hooks_url", f"http://127.0.0.1:{port}/"), ("hooks_secret_file", str(secret)))
        sides = [_side(stack, given, more) for more in ((), hooks)]
        found = _in_turns(sides, given)
        ratio = _report(kind, found)
        held = bool(ratio <= given.bound)
        if receiver is not None:
            held = _received(kind, receiver, sides[1]) and held
        return held


def _side(stack: ExitStack, given: argparse.Namespace, more: tuple[tuple[str, str], ...]) -> Side:
    services = stack.enter_context(Services())
    peer = Daemon(name="hooks", settings=(("store", STORES[given.store]), *_redis(given.store), *more))
    running, secret = stack.enter_context(started(peer, services))
    os.environ["KSCHAT_SECRET"] = secret
    side = Side(running, given.rate, given.seed)
    stack.callback(side.wake)  # else it could not end
    return side


def _redis(store: str) -> tuple[tuple[str, str], ...]:
    return (("redis", "{redis}"),) if store == "redis" else ()


def _in_turns(sides: Sequence[Side], given: argparse.Namespace) -> list[list[Window]]:
    found: list[list[Window]] = [[], []]
    for side in sides:
        side.sleep()
    for number in range(given.turns):
        # Which is first changes, so that what becomes slower with time is nobody's.
        for at in (0, 1) if number % 2 else (1, 0):
            sides[at].wake()
            found[at].append(sides[at].measure(given.window))
            sides[at].sleep()
    return found


def _report(kind: str, found: Sequence[Sequence[Window]]) -> float:
    """Print the figures; the median ratio of p99."""
    for name, windows in zip(("without", "with"), found, strict=True):
        latencies = sorted(latency for window in windows for latency in window.latencies)
        p50, p90, p99, p999 = (1000 * percentile(latencies, share) for share in (0.5, 0.9, 0.99, 0.999))
        busy = Spread.of([100 * window.busy for window in windows]).show(0)
        print(
            f"{kind}: {name:7} hooks p50 {p50:6.2f} ms  p90 {p90:6.2f} ms  p99 {p99:6.2f} ms  p99.9 {p999:6.2f} ms  "
            f"of {len(latencies):,} messages, {busy} % of a core"
        )
    shares = (0.5, 0.9, 0.99)
    ratios = [Spread.of([on.at(share) / off.at(share) for off, on in zip(*found, strict=True)]) for share in shares]
    print(
        f"{kind}: with / without, turn by turn: "
        + ", ".join(f"p{100 * s:g} {r.show(2)}" for s, r in zip(shares, ratios, strict=True))
    )
    return ratios[-1].median


def _received(kind: str, receiver: Receiver, side: Side) -> bool:
    """Print what the receiver has got; whether a quick one has got all."""
    side.wake()
    counts = receiver.counts()
    if kind == "quick":
        end = time.monotonic() + PATIENCE
        while counts["events"] < side.sent and time.monotonic() < end:
            side.rest(0.5)
            counts = receiver.counts()
    print(f"{kind}: {side.sent:,} messages, {counts['events']:,} events in {counts['requests']:,} requests")
    return kind != "quick" or counts["events"] >= side.sent


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.hooks", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("receivers", nargs="*", default=list(RECEIVERS), help=f"of {', '.join(RECEIVERS)} (default all)")
    add("--store", choices=sorted(STORES), default="sqlite", help="(default sqlite)")
    add("--rate", type=float, default=300, help="messages a second (default 300)")
    add("--turns", type=int, default=10, help="windows without hooks, and as many with them (default 10)")
    add("--window", type=float, default=6, help="seconds of a window, 7 at the most (default 6)")
    add("--bound", type=float, default=BOUND, help=f"of p99 with / without hooks (default {BOUND:g})")
    add("--seed", type=int, default=1, help="of the moments at which messages are due (default 1)")
    given = parser.parse_args(arguments)
    if unknown := set(given.receivers) - RECEIVERS.keys():
        parser.error(f"there is no receiver {unknown.pop()}")
    print(machine())
    gc.disable()
    try:
        held = [measure(kind, given) for kind in given.receivers]
    except (LoadError, PeerError) as error:
        print(f"hooks: {error}", file=sys.stderr)
        return 1
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
