"""Where the daemon's time goes: ``python -m bench.profile [PEER]`` runs the load and prints the costliest functions.

``--with py-spy`` (the default where it is installed) stops the daemon 200 times a second to look at its stack: it
adds little, and as much to all, so the shares are true, system calls included. ``--with cprofile`` counts every call,
and so makes small functions look dearer than they are: read its calls a message rather than its times.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pstats
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.measure import MeasureError, Plan, command, figures
from bench.peers import PEERS
from bench.peers.base import Peer, Running
from bench.peers.daemon import Daemon
from bench.services import Services
from bench.spawn import PeerError
from tests.support.launch import REPOSITORY

_SAMPLES = 200
_SECRET = "of a daemon that lives for a moment only"


def shares(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Return how many samples stood in each function itself, and in it or below it, and the number of all.

    ``stacks`` are lines as ``py-spy record --format raw`` writes them: ``outer;inner 12``.
    """
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        functions = stack.split(";")
        own[functions[-1]] += int(count)
        for function in set(functions):
            below[function] += int(count)
    return own, below, own.total()


def _spied(running: Running, argv: list[str], plan: Plan, directory: Path) -> tuple[str, str]:
    """Run the load and look at the peer's first process meanwhile; return what the load told, and the stacks."""
    out = directory / "stacks"
    load = subprocess.Popen(argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": _SECRET}, stdout=subprocess.PIPE, text=True)
    seconds = max(1, round(plan.warmup + plan.seconds))
    spy = [_py_spy(), "record", "--pid", str(running.pids[0]), "--format", "raw", "--function", "--output", str(out)]
    spy += ["--rate", str(_SAMPLES), "--duration", str(seconds)]
    subprocess.run(spy, check=True, capture_output=True, timeout=seconds + 30)
    told, _ = load.communicate()
    return told, out.read_text()


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy") or ""


def spy(peer: Peer, plan: Plan, top: int) -> None:
    """Print the shares of the daemon's time by function."""
    with Services() as services, tempfile.TemporaryDirectory(prefix="kschat-bench-") as directory:
        running = peer.start(Path(directory), _SECRET, services)
        try:
            told, stacks = _spied(running, command(peer, running, plan), plan, Path(directory))
        finally:
            running.stop()
        _print_load(told, running)
    own, below, total = shares(stacks.splitlines())
    for title, counts in (("in the function itself", own), ("in it and what it calls", below)):
        print(f"\n{title}, of {total} samples")
        for function, count in counts.most_common(top):
            print(f"{count / total:7.1%}  {function}")


def count(peer: Daemon, plan: Plan, top: int) -> None:
    """Print the functions by their own time and calls, counted by cProfile in the daemon."""
    with Services() as services, tempfile.TemporaryDirectory(prefix="kschat-bench-") as directory:
        stats = Path(directory) / "stats"
        options = ("--profile", str(stats), "--profiler", "cprofile", "--savestats")
        running = dataclasses.replace(peer, twistd=options).start(Path(directory), _SECRET, services)
        try:
            argv = command(peer, running, plan)
            load = subprocess.run(
                argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": _SECRET}, stdout=subprocess.PIPE, check=False
            )
        finally:
            running.stop()
        _print_load(load.stdout.decode(), running)
        pstats.Stats(str(stats)).sort_stats("tottime").print_stats(top)


def _print_load(told: str, running: Running) -> None:
    if not told:
        raise MeasureError("the load failed, see above")
    result = figures(json.loads(told), running)
    print(f"under the profiler: {result.rate:,.0f} messages/s, {result.cpu_us:.1f} us of CPU each; {result.verdict}")


def main(arguments: Sequence[str]) -> int:
    """Profile as the command line says; 0 when it went well."""
    options = argparse.ArgumentParser(prog="python -m bench.profile", description="Find what costs in the daemon.")
    add = options.add_argument
    add("peer", nargs="?", default="memory", help="as for python -m bench (default memory)")
    add("--with", dest="profiler", choices=("py-spy", "cprofile"), default="py-spy" if _py_spy() else "cprofile")
    add("--clients", type=int, default=Plan().clients, help="(default %(default)s)")
    add("--window", type=int, default=Plan().window, help="(default %(default)s)")
    add("--seconds", type=float, default=Plan().seconds, help="(default %(default)s)")
    add("--top", type=int, default=40, help="functions to print (default %(default)s)")
    add("--load", default="", metavar="OPTIONS", help='more options of bench.load, as "--ring --rate 2000"')
    given = options.parse_args(arguments)
    peer = PEERS.get(given.peer)
    if peer is None:
        options.error(f"no peer is called {given.peer}; there are {', '.join(PEERS)}")
    plan = Plan(
        clients=given.clients, window=given.window, seconds=given.seconds, warmup=0.5, extra=tuple(given.load.split())
    )
    try:
        if given.profiler == "py-spy":
            spy(peer, plan, given.top)
        elif isinstance(peer, Daemon):
            count(peer, plan, given.top)
        else:
            options.error("cProfile is twistd's own option: it profiles kschat daemons only")
    except (PeerError, MeasureError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
