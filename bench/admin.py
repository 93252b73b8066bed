"""Measures what an open admin page costs a daemon: in turns without it and with it, under one load.

    make bench-admin
    python -m bench.admin --sockets 500 --turns 3 --window 5    # a look, not a result
    python -m bench.admin --pages 20                            # so many pages in one browser

The daemon's CPU time is read from /proc. Chromium, the load and the daemon share the machine; the daemon's own time is
disturbed less by others than its latency, and the difference of neighbouring windows less than either. Exits with 1 if
the pages cost more than the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measure import started
from bench.peers.daemon import Daemon
from bench.process import machine, machine_seconds
from bench.services import Services
from bench.spawn import PeerError
from bench.stats import Spread
from tests.support.launch import REPOSITORY, free_port
from tests.support.needs import require_chromium, require_node

#: A core's share that the page may cost.
BOUND: Final = 0.01

#: Seconds after a change that are not measured.
_SETTLE: Final = 3.0

#: Seconds until all sockets must have joined.
_JOIN: Final = 120.0


class Window(NamedTuple):
    """What was measured in one window, as shares of a core; ``messages`` a second, as acknowledged."""

    busy: float
    others: float
    messages: float


class Meter:
    """Reads the daemon.

    Args:
        pid: of its process.
        port: where it has /metrics and /healthz.
        seconds: of a window.
    """

    def __init__(self, pid: int, port: int, seconds: float) -> None:
        self._pid = pid
        self._url = f"http://127.0.0.1:{port}"
        self._seconds = seconds

    def measure(self) -> Window:
        """One window, after things have settled."""
        time.sleep(_SETTLE)
        sent, begin, cpu, all_cpu = self._sent(), time.perf_counter(), self._cpu(), machine_seconds()
        time.sleep(self._seconds)
        cpu, all_cpu, seconds = self._cpu() - cpu, machine_seconds() - all_cpu, time.perf_counter() - begin
        return Window(cpu / seconds, (all_cpu - cpu) / seconds, (self._sent() - sent) / seconds)

    def sockets(self) -> int:
        """Those that have joined."""
        with urllib.request.urlopen(f"{self._url}/healthz", timeout=30) as answer:
            return int(json.load(answer)["sockets"])

    def _cpu(self) -> float:
        """Seconds of CPU of all threads, to a nanosecond."""
        tasks = Path(f"/proc/{self._pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def _sent(self) -> int:
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("kschat_messages_acknowledged_total "):
                    return int(float(line.split()[1]))
        raise PeerError("/metrics has no messages")


class Browser:
    """Chromium with so many admin pages, which open and close at a word.

    Args:
        url: of the API.
        key: of the API.
        pages: how many.
        directory: for the browser's files.
    """

    def __init__(self, url: str, key: str, pages: int, directory: Path) -> None:
        told = {"chromium": require_chromium(), "url": url, "key": key, "pages": pages, "patience": 120_000}
        player = REPOSITORY / "tests" / "node" / "page" / "play.js"
        self._node = subprocess.Popen(
            [require_node(), str(player), "admin_bench", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(directory)},
        )
        self._asked: dict[str, Any] = {}

    def next(self) -> bool:
        """Open the pages, or close them, which they are at first. Returns whether they are open."""
        assert self._node.stdin is not None and self._node.stdout is not None
        if self._asked:
            self._node.stdin.write(json.dumps({"id": self._asked["id"], "answer": True}).encode() + b"\n")
            self._node.stdin.flush()
        for line in self._node.stdout:
            said = json.loads(line)
            if "failed" in said:
                raise PeerError(f"{said['failed']}: {said['error']}\n{said.get('seen')}")
            if "ask" in said:
                self._asked = said
                return bool(said["open"])
        raise PeerError("the browser has ended")

    def end(self) -> None:
        """End it."""
        self._node.communicate()  # the end of its input ends it


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.admin", description="Measures what the admin page costs.")
    add = parser.add_argument
    add("--sockets", type=int, default=5000, help="that chat (default 5000)")
    add("--rate", type=float, default=500, help="messages a second of all together (default 500)")
    add("--pages", type=int, default=1, help="admin pages that are open (default 1)")
    add("--turns", type=int, default=8, help="windows without the page, and as many with it (default 8)")
    add("--window", type=float, default=15, help="seconds of a window (default 15)")
    chosen = parser.parse_args(arguments)
    print(machine())
    found = measure(chosen)
    without, during = ([window for window, is_open in found if is_open is wanted] for wanted in (False, True))
    costs = [later.busy - before.busy for before, later in zip(without, during, strict=True)]
    for name, windows in (("without the page", without), ("with it", during)):
        busy = Spread.of([100 * one.busy for one in windows]).show(2)
        rate = statistics.mean(one.messages for one in windows)
        print(f"{name}: {busy} % of a core, {rate:,.0f} messages/s acknowledged")
    mean = statistics.mean(costs)
    error = statistics.stdev(costs) / len(costs) ** 0.5 if len(costs) > 1 else float("nan")
    print(f"difference of neighbours: {100 * mean:.2f} % of a core, standard error {100 * error:.2f}")
    others = Spread.of([100 * window.others for window, _ in found]).show(0)
    print(f"all else on the machine (load, browser, others): {others} % of a core")
    good = mean < BOUND
    print(f"{'within' if good else 'beyond'} the bound of {100 * BOUND:.0f} % of a core")
    return 0 if good else 1


def measure(chosen: argparse.Namespace) -> list[tuple[Window, bool]]:
    """The windows in the order of time, and whether pages were open. Raises PeerError."""
    api, key = free_port(), secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="kschat-bench-") as name, Services() as services:
        directory = Path(name)
        keys = directory / "keys.toml"
        keys.touch(mode=0o600)
        keys.write_text(f'[bench]\nkey = "{key}"\nscopes = ["admin"]\n')
        peer = Daemon(
            name="admin",
            settings=(("api_listen", f"tcp:{api}:interface=127.0.0.1"), ("api_keys", str(keys))),
        )
        with started(peer, services) as (running, secret):
            meter = Meter(running.pids[0], running.ports[0], chosen.window)
            total = 2 * chosen.turns * (chosen.window + _SETTLE + 10) + _JOIN
            argv = [sys.executable, "-m", "bench.load", "--port", str(running.ports[0])]
            argv += ["--clients", str(chosen.sockets), "--rate", str(chosen.rate), "--seconds", str(total)]
            load = subprocess.Popen(argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": secret}, stdout=subprocess.DEVNULL)
            browser = None
            try:
                _wait_for(meter, load, chosen.sockets)
                browser = Browser(f"http://127.0.0.1:{api}", key, chosen.pages, directory)
                found = []
                for number in range(2 * chosen.turns):
                    is_open = browser.next()
                    found.append((meter.measure(), is_open))
                    print(f"{number + 1}/{2 * chosen.turns}: {100 * found[-1][0].busy:.2f} %", file=sys.stderr)
                    if load.poll() is not None:
                        raise PeerError("the load has ended")
            finally:
                if browser is not None:
                    browser.end()
                load.kill()
                load.wait()
        return found


def _wait_for(meter: Meter, load: subprocess.Popen[bytes], sockets: int) -> None:
    end = time.monotonic() + _JOIN
    while meter.sockets() < sockets:
        if load.poll() is not None or time.monotonic() > end:
            raise PeerError(f"only {meter.sockets()} sockets have joined")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
