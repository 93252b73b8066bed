"""Starts a peer and a load, and takes the figures of one round. It knows no peer by name."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.base import Peer, Running
from bench.process import rss_bytes
from bench.services import Services
from tests.support.launch import REPOSITORY

_WARM = 50
"""Idle sockets that join before memory is looked at, so that what the first ones load is not counted."""
_CALM = 0.5
"""Seconds between the last socket's joining and the look at memory."""


class MeasureError(Exception):
    """A load did not do its work; the text says what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured in a round. Times are seconds.

    ``rate`` is messages a second in the open loop; ``idle`` sockets join twice for memory; ``extra`` are more options
    of ``bench.load``, the same for every peer.
    """

    clients: int = 100
    window: int = 4
    seconds: float = 3.0
    warmup: float = 1.0
    rate: float = 2000.0
    idle: int = 1000
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The figures of one load, closed or open: CPU of the peer's own processes, messages as they arrived.

    ``busy``, ``load_busy`` and ``others`` are processors kept busy by the peer, by the load, and by all that is none
    of these nor the services. ``services`` is the CPU a message of what works for the peer, by name. ``latency`` and
    ``lag`` (how late the load sent) are percentiles in milliseconds, of an open loop. ``verdict`` holds the counts of
    the whole load; ``exact`` says that every acknowledged message arrived once and in order, and nothing else happened.
    """

    rate: float
    cpu_us: float
    load_us: float
    busy: float
    load_busy: float
    others: float
    services: dict[str, float]
    latency: dict[str, float]
    lag: dict[str, float]
    exact: bool
    verdict: dict[str, Any]


@contextmanager
def started(peer: Peer, services: Services) -> Iterator[tuple[Running, str]]:
    """Run a peer afresh in a scratch directory; yields it and its secret."""
    services.clear()
    with tempfile.TemporaryDirectory(prefix="kschat-bench-") as directory:
        secret = secrets.token_hex(32)
        running = peer.start(Path(directory), secret, services)
        try:
            yield running, secret
        finally:
            running.stop()


def command(peer: Peer, running: Running, plan: Plan) -> list[str]:
    """Return the command that puts the plan's load on a started peer."""
    argv = [sys.executable, "-m", "bench.load", *peer.load, *plan.extra, "--clients", str(plan.clients)]
    argv += ["--window", str(plan.window), "--seconds", str(plan.seconds), "--warmup", str(plan.warmup)]
    for port in running.ports:
        argv += ["--port", str(port)]
    for pid in (*running.pids, *running.services.values()):
        argv += ["--watch", str(pid)]
    return argv


def loaded(peer: Peer, plan: Plan, services: Services, *, rate: float = 0.0) -> Loaded:
    """Start the peer and load it: the closed loop, or with ``rate`` the open one."""
    with started(peer, services) as (running, secret):
        argv = command(peer, running, plan)
        if rate:
            argv += ["--rate", str(rate)]
        done = subprocess.run(argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": secret}, capture_output=True, check=False)
        if done.returncode:
            raise MeasureError(f"{peer.name}: {done.stderr.decode(errors='replace').strip()}")
        return figures(json.loads(done.stdout), running)


def figures(told: dict[str, Any], running: Running) -> Loaded:
    """Return what the load told, by message."""
    messages = max(1, told["delivered"])
    cpu = sum(told[f"cpu_{pid}"] for pid in running.pids)
    beside = {name: told[f"cpu_{pid}"] for name, pid in running.services.items()}
    return Loaded(
        rate=told["delivered"] / told["seconds"],
        cpu_us=cpu / messages * 1e6,
        load_us=told["load_cpu"] / messages * 1e6,
        busy=cpu / told["seconds"],
        load_busy=told["load_cpu"] / told["seconds"],
        others=max(0.0, told["machine_cpu"] - told["load_cpu"] - cpu - sum(beside.values())) / told["seconds"],
        services={name: seconds / messages * 1e6 for name, seconds in beside.items()},
        latency=told.get("latency", {}),
        lag=told.get("lag", {}),
        exact=told["total"]["exact"],
        verdict=told["total"],
    )


def memory(peer: Peer, plan: Plan, services: Services) -> tuple[float, float]:
    """Start the peer and let idle sockets join; return kB (1000 bytes) a socket: of all, and of the second half."""
    steps = (_WARM, _WARM + plan.idle, _WARM + 2 * plan.idle)
    with started(peer, services) as (running, secret):
        argv = [*command(peer, running, plan), "--idle", ",".join(map(str, steps))]
        load = subprocess.Popen(
            argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": secret}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert load.stdin is not None and load.stdout is not None
        try:
            rss = []
            for _ in steps:
                if not load.stdout.readline():
                    raise MeasureError(f"{peer.name}: the idle sockets did not join")
                time.sleep(_CALM)
                rss.append(sum(rss_bytes(pid) for pid in running.pids))
                load.stdin.write(b"\n")
                load.stdin.flush()
        finally:
            load.kill()
            load.wait()
            load.stdin.close()
            load.stdout.close()
    return (rss[2] - rss[0]) / (2 * plan.idle) / 1000, (rss[2] - rss[1]) / plan.idle / 1000
