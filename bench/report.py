"""``make bench``: rounds in turns over all peers, medians, one table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.beside import ECHO, MEMORY, NODE, Rounds, against_memory, beside_node, columns, ratios
from bench.disk import synced
from bench.measure import MeasureError, Plan, loaded, memory
from bench.peers import PEERS
from bench.peers.base import Peer
from bench.process import machine
from bench.services import Services
from bench.spawn import PeerError
from bench.stats import Spread, percentile

_DISTURBED = 0.15
"""Processors kept busy by others above which the report says so."""
_EXHAUSTED = 0.9
"""Of a core: a load that used more was itself what held up the messages, perhaps."""
_COUNTS = ("acked", "lost", "repeated", "disordered", "refused")


@dataclass(slots=True)
class Results:
    """What came of all peers: the figures of those that went through all rounds; of each other, why it did not.

    ``lacking`` needs something that is not installed; ``failed`` did not start or did not answer.
    """

    measured: dict[str, Rounds] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run(peers: Iterable[Peer], plan: Plan, rounds: int, services: Services, say: Callable[[str], None]) -> Results:
    """Measure every peer in turn, round after round, so that a machine that grows slower does so for all."""
    results = Results()
    able = []
    for peer in peers:
        if lacks := peer.missing():
            results.lacking[peer.name] = lacks
            say(f"{peer.name} is left out: {lacks}")
        else:
            able.append(peer)
            results.measured[peer.name] = Rounds()
    for number in range(1, rounds + 1):
        for peer in able:
            if peer.name in results.failed:
                continue
            say(f"round {number} of {rounds}: {peer.name}")
            result = results.measured[peer.name]
            try:
                result.closed.append(loaded(peer, plan, services))
                result.open.append(loaded(peer, plan, services, rate=plan.rate))
                if peer.chats and plan.idle:
                    result.memory.append(memory(peer, plan, services))
            except (PeerError, MeasureError) as error:
                results.failed[peer.name] = str(error)
                del results.measured[peer.name]
                say(f"{peer.name} is given up: {error}")
    return results


def _row(name: str, result: Rounds) -> list[str]:
    closed, opened = result.closed, result.open
    return [
        name,
        Spread.of([figures.rate for figures in closed]).show(0),
        Spread.of([figures.cpu_us for figures in closed]).show(),
        Spread.of([figures.latency.get("p50", 0.0) for figures in opened]).show(2),
        Spread.of([figures.latency.get("p99", 0.0) for figures in opened]).show(2),
        Spread.of([each for each, _ in result.memory]).show() if result.memory else "-",
    ]


def table(results: dict[str, Rounds], plan: Plan) -> str:
    """Return the table: a row a peer, medians with the extremes."""
    at = f"at {plan.rate:,.0f}/s"
    heads = ["peer", "messages/s", "CPU us/message", f"p50 ms {at}", f"p99 ms {at}", "kB/connection"]
    rows = [heads, *(_row(name, result) for name, result in results.items())]
    return columns(rows)


def _beside(name: str, result: Rounds) -> Iterable[str]:
    """Yield what stands beside a row: how much of a core, what the load cost, services, second thousand."""

    def median(values: Iterable[float]) -> float:
        return Spread.of(list(values)).median

    closed, opened = result.closed, result.open
    line = (
        f"{name}: {median(f.busy for f in closed):.2f} cores while loaded, the load itself "
        f"{median(f.load_busy for f in closed):.2f} ({median(f.load_us for f in closed):.1f} us/message); "
        f"at the open rate "
        f"{median(f.cpu_us for f in opened):.1f} us/message, "
        f"max {median(f.latency.get('max', 0.0) for f in opened):.1f} ms, "
        f"and the load sent {median(f.lag.get('p99', 0.0) for f in opened):.2f} ms late at its p99"
    )
    if result.memory:
        line += f"; kB of each connection of the second half {median(second for _, second in result.memory):.1f}"
    yield line
    if median(f.load_busy for f in closed) > _EXHAUSTED:
        yield f"{name}: THE LOAD HAD NO MORE TO GIVE: the server may be faster than this"
    for service in closed[0].services:
        yield f"{name}: {service} {median(f.services[service] for f in closed):.1f} us/message beside"
    for kind, each in (("closed", closed), ("open", opened)):
        counts = ", ".join(f"{key} {sum(f.verdict[key] for f in each):,}" for key in _COUNTS)
        verdict = "" if all(f.exact for f in each) else "  NOT AS IT SHOULD BE"
        yield f"{name}: {kind} loop, all rounds: {counts}{verdict}"
        yield from (f"{name}: {fault}" for f in each for fault in f.verdict["faults"])


def _brief(why: str) -> str:
    """A reason's first and last line: all between was shown when it failed."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def syncing(latencies: Sequence[float]) -> str:
    """A line on the disk that the stores write to."""
    p50, p99 = (percentile(sorted(latencies), part) * 1000 for part in (0.5, 0.99))
    return f"The disk: fdatasync of 4 kB, before and after the rounds, p50 {p50:.2f} ms, p99 {p99:.2f} ms."


def text(found: Results, plan: Plan, rounds: int, disk: Sequence[float]) -> str:
    """Return the whole report, of at least one peer that was measured."""
    results = found.measured
    how = [
        f"{plan.clients} clients, window {plan.window}, closed loop; {rounds} round{'s' * (rounds > 1)} in turns of",
        f"{plan.seconds:g} s after {plan.warmup:g} s of warm-up, every server started afresh; median (least..most).",
        "CPU is the server's own, user and system, for each message delivered;",
        "the load is a process of its own on the same machine.",
        f"Latency: open loop, a Poisson stream of {plan.rate:,.0f} messages a second,",
        "from when a message was due to its arrival.",
    ]
    if plan.idle:
        how.append(f"Memory: growth of the resident set by {2 * plan.idle:,} idle joined connections, for each.")
    if plan.extra:
        how.append(f"Load: {' '.join(plan.extra)}.")
    every = [figures for result in results.values() for figures in (*result.closed, *result.open)]
    others = Spread.of([figures.others for figures in every])
    parts = [
        machine(),
        textwrap.fill(" ".join(how), 118),
        "",
        table(results, plan),
        "",
        *([beside, ""] if (beside := beside_node(results)) else ()),
        *ratios(results),
        *against_memory(results),
        *(line for name, result in results.items() for line in _beside(name, result)),
        *(f"{name}: left out: {_brief(why)}" for name, why in (*found.lacking.items(), *found.failed.items())),
        syncing(disk),
        f"Other work on this machine meanwhile kept {others.show(2)} processors busy."
        + (" ALONE, FIGURES ARE BETTER: latency most of all." if others.median > _DISTURBED else ""),
    ]
    return "\n".join(parts)


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``python -m bench``."""
    options = argparse.ArgumentParser(prog="python -m bench", description="Measure the daemon and print one table.")
    add = options.add_argument
    default = [MEMORY, "sqlite", NODE, "relay", "cluster", "postgresql", ECHO]
    add("peers", nargs="*", default=default, help=f"of: {', '.join(PEERS)} (default: {' '.join(default)})")
    add("--quick", action="store_true", help="one round of 2 s: a look, not a result")
    add("--clients", type=int, default=Plan().clients, help="(default %(default)s)")
    add("--window", type=int, default=Plan().window, help="messages of a client on their way (default %(default)s)")
    add("--rounds", type=int, default=5, help="(default %(default)s)")
    add("--seconds", type=float, default=Plan().seconds, help="measured in each load (default %(default)s)")
    add("--warmup", type=float, default=Plan().warmup, help="seconds before (default %(default)s)")
    add("--rate", type=float, default=Plan().rate, help="messages a second of the open loop (default %(default)s)")
    add("--idle", type=int, default=Plan().idle, help="idle connections, twice so many (default %(default)s; 0: none)")
    add("--load", default="", metavar="OPTIONS", help='more options of bench.load, as "--ring --answer"')
    add("--json", type=Path, metavar="FILE", help="write every round's figures there")
    return options


def main(arguments: Sequence[str]) -> int:
    """Measure as the command line says; 0 when every acknowledged message arrived once and in order, else 1.

    A peer that lacks a program is left out, and told; one that fails is left out too, and then the status is 1.
    """
    options = parser()
    given = options.parse_args(arguments)
    if unknown := [name for name in given.peers if name not in PEERS]:
        options.error(f"no peer is called {unknown[0]}; there are {', '.join(PEERS)}")
    plan = Plan(
        clients=given.clients,
        window=given.window,
        seconds=2.0 if given.quick else given.seconds,
        warmup=given.warmup,
        rate=given.rate,
        idle=min(given.idle, 250) if given.quick else given.idle,
        extra=tuple(given.load.split()),
    )
    rounds = 1 if given.quick else given.rounds
    with tempfile.TemporaryDirectory() as directory:
        disk = synced(Path(directory), 4096)
    peers = [PEERS[name] for name in given.peers]
    try:
        with Services() as services:
            results = run(peers, plan, rounds, services, lambda line: print(line, file=sys.stderr))
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        disk += synced(Path(directory), 4096)
    if not results.measured:
        print("nothing could be measured", file=sys.stderr)
        return 1
    print(text(results, plan, rounds, disk))
    if given.json:
        every = {name: dataclasses.asdict(result) for name, result in results.measured.items()}
        record = {"machine": machine(), "plan": dataclasses.asdict(plan), "peers": every}
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    exact = all(f.exact for result in results.measured.values() for f in (*result.closed, *result.open))
    return 0 if exact and not results.failed else 1
