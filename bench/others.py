"""What two users see who write to each other all the time, a process of its own: ``python -m bench.others``.

An open loop: a latency counts from the moment a message was due. Each line on stdin is answered with a line of JSON on
stdout: p50, p99 and the largest latency in milliseconds, and how many messages, of all that were due since the line
before.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import random
import secrets
import select
import sys
import time
from collections.abc import Sequence

from bench.links import Links, LoadError
from bench.options import steered
from bench.stats import percentile


def run(links: Links, rate: float, seed: int) -> None:
    """Write until stdin ends. Raises LoadError."""
    links.connect(0, 2)
    gap = random.Random(seed).expovariate
    now = time.perf_counter
    for link in links.all:
        link.client.due = []
    due = links.clock.begin = now()
    turn = 0
    while True:
        moment = now()
        while due <= moment:
            link = links.all[turn % 2]
            turn += 1
            assert link.client.due is not None
            link.client.due.append(due)
            links.write(link, link.client.send(1))
            due += gap(rate)
        links.turn(max(0.0, due - now()))
        if links.faults:
            raise LoadError(links.faults[0])
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            _say(links)


def _say(links: Links) -> None:
    # What is due and has not come counts as well, by how late it is by now.
    now = time.perf_counter()
    clients = [link.client for link in links.all]
    late = []
    for client in clients:
        assert client.due is not None
        came = client.peer.arrivals.count()
        late += [now - due for due in client.due[came:] if due >= links.clock.begin]
    ordered = sorted(links.clock.latencies + late)
    p50, p99, most = (1000 * percentile(ordered, share) for share in (0.5, 0.99, 1.0)) if ordered else (0.0, 0.0, 0.0)
    refused = sum(len(client.refused) for client in clients)
    told = {"p50": p50, "p99": p99, "max": most, "count": len(ordered), "refused": refused}
    print(json.dumps(told), flush=True)
    links.clock.latencies = []
    links.clock.begin = now


def main(arguments: Sequence[str]) -> int:
    """Run it; 1 where the daemon does not do its part."""
    parser = argparse.ArgumentParser(prog="python -m bench.others", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=100, help="messages a second of both (default 100)")
    given = parser.parse_args(arguments)
    gc.disable()
    try:
        # Users of their own: others of an earlier run may have left messages behind.
        options = dataclasses.replace(steered((given.port,), 2, given.rate, 1), prefix=f"o{secrets.token_hex(4)}")
        run(Links(options), given.rate, 1)
    except LoadError as error:
        print(f"others: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
