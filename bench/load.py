"""The load generator, a process of its own: ``python -m bench.load --port PORT``; prints one JSON object.

Closed loop (the default): each of N users keeps a window of messages on their way; what is measured is how many arrive.
Open loop (``--rate``): messages are due at random moments (a Poisson stream) whatever the server does, and a latency
counts from the moment a message was *due*, not from when it could be sent: a server that stalls cannot hide it (no
coordinated omission). How late the load itself sent is told beside (``lag``).
Idle (``--idle 1000,2000``): so many sockets join and stay; ``{"joined": 1000}`` is printed, a line on stdin goes on.

Afterwards nothing more is sent, what is on its way is awaited, and every acknowledged message must have arrived
exactly once, in order for its pair. Tokens are HS256, made with the secret in the environment's KSCHAT_SECRET.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import sys
import time
from collections.abc import Sequence

from bench.clients import ChatClient
from bench.links import PATIENCE, Links, LoadError
from bench.options import LoadOptions, parse
from bench.process import cpu_seconds, machine_seconds
from bench.stats import percentile


class Load:
    """A load on a server: how it is driven, and what is counted meanwhile."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.links = Links(options)

    def run_closed(self) -> dict[str, object]:
        """Keep every window full for the warm-up and the measured seconds; return the figures."""
        for link in self.links.all:
            self.links.write(link, link.client.send(self.options.manner.window))
        begin = time.perf_counter() + self.options.warmup
        while time.perf_counter() < begin:
            self.links.turn(0.1, top_up=True)
        before = self._counts()
        begin = time.perf_counter()
        while time.perf_counter() < begin + self.options.seconds:
            self.links.turn(0.1, top_up=True)
        return self._window(begin, before)

    def run_open(self) -> dict[str, object]:
        """Send at the given rate for the warm-up and the measured seconds; return the figures."""
        now = time.perf_counter
        gap = random.Random(self.options.seed).expovariate
        rate, links = self.options.rate, self.links.all
        for link in links:
            link.client.due = []
        lags: list[float] = []
        due = now() + 0.01
        self.links.clock.begin = due + self.options.warmup
        end = self.links.clock.begin + self.options.seconds
        before: dict[str, float] = {}
        turn = 0
        while due < end:
            moment = now()
            if not before and moment >= self.links.clock.begin:
                before = self._counts()
            while due <= moment and due < end:
                link = links[turn % len(links)]
                turn += 1
                assert link.client.due is not None
                link.client.due.append(due)
                self.links.write(link, link.client.send(1))
                if due >= self.links.clock.begin:
                    lags.append(now() - due)
                due += gap(rate)
            self.links.turn(min(0.1, max(0.0, due - now())))
        figures = self._window(self.links.clock.begin, before or self._counts())
        self._drain()
        return {**figures, "latency": _milliseconds(self.links.clock.latencies), "lag": _milliseconds(lags)}

    def _counts(self) -> dict[str, float]:
        clients = [link.client for link in self.links.all]
        return {
            "sent": sum(client.number for client in clients),
            "acked": sum(client.acks.next for client in clients),
            "delivered": sum(client.arrivals.next for client in clients),
            "load_cpu": time.process_time(),
            "machine_cpu": machine_seconds(),
            **{f"cpu_{pid}": cpu_seconds(pid) for pid in self.options.watch},
        }

    def _window(self, begin: float, before: dict[str, float]) -> dict[str, object]:
        """Return what was counted since ``before``."""
        seconds = time.perf_counter() - begin
        after = self._counts()
        return {"seconds": seconds, **{name: after[name] - count for name, count in before.items()}}

    def _drain(self) -> None:
        """Send nothing more, and wait for what is on its way."""
        deadline = time.perf_counter() + PATIENCE
        while time.perf_counter() < deadline and self.links.by_fd:
            clients = [link.client for link in self.links.all]
            if all(self._all_came(client) for client in clients):
                break
            self.links.turn(0.05)
        self.links.turn(0.2)  # what should not come: repeats

    def _all_came(self, client: ChatClient) -> bool:
        """Whether every answer to a client's messages came, and the messages themselves."""
        acked = client.acks.count()
        answered = self.options.echo or client.respsends + len(client.refused) >= acked
        return acked == client.number - client.acks.first and answered and not client.lost()

    def verdict(self) -> dict[str, object]:
        """Wait for what is on its way and return the counts of the whole run."""
        self._drain()
        clients = [link.client for link in self.links.all]
        counts = {
            "sent": sum(c.number - c.acks.first for c in clients),
            "acked": sum(c.acks.count() for c in clients),
            "delivered": sum(c.arrivals.count() for c in clients),
            "refused": sum(len(c.refused) for c in clients),
            "lost": sum(c.lost() for c in clients),
            "repeated": sum(c.arrivals.repeated + c.acks.repeated for c in clients),
            "disordered": sum(c.arrivals.disordered for c in clients),
            "respsends": sum(c.respsends for c in clients),
            "others": sum(c.others for c in clients),
        }
        wrong = ("refused", "lost", "repeated", "disordered", "others")
        exact = counts["sent"] == counts["acked"] and not any(counts[name] for name in wrong) and not self.links.faults
        if not self.options.echo:
            exact = exact and counts["respsends"] == counts["acked"]
        return {"exact": exact, **counts, "faults": self.links.faults[:5], "closed": len(self.links.faults)}

    def run_idle(self, steps: Sequence[int]) -> None:
        """Join so many sockets step by step, and hold them until stdin says go on."""
        self.links.epoll.register(sys.stdin, select.EPOLLIN)
        joined = 0
        for step in steps:
            self.links.connect(joined, step)
            joined = step
            print(json.dumps({"joined": joined}), flush=True)
            while not select.select([sys.stdin], [], [], 0)[0]:
                self.links.turn(1)
                if self.links.faults:
                    raise LoadError(self.links.faults[0])
            if not os.read(sys.stdin.fileno(), 4096):
                return


def _milliseconds(samples: list[float]) -> dict[str, float]:
    """Return percentiles of samples in seconds, as milliseconds."""
    if not samples:
        return {"samples": 0}
    ordered = sorted(samples)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    figures = {name: round(1000 * percentile(ordered, share), 4) for name, share in shares.items()}
    return {**figures, "samples": len(ordered)}


def main(arguments: Sequence[str]) -> int:
    """Run one load as the command line says; 0 when it ran, 1 when it could not."""
    options = parse(arguments)
    gc.disable()
    try:
        load = Load(options)
        if options.idle:
            load.run_idle(options.idle)
            return 0
        load.links.connect(0, options.clients)
        load.links.settle(options.settle)
        figures = load.run_open() if options.rate else load.run_closed()
        print(json.dumps({**figures, "total": load.verdict()}), flush=True)
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    except (FileNotFoundError, ProcessLookupError):
        print("load: a process to be watched has ended", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
