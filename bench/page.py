"""Measures the page in Chromium beside a daemon: first paint, messages in quick succession, missed ones, scrolling.

    make bench-page
    python -m bench.page --scale 0.1 --profiles /tmp/profiles    # a tenth of the messages; traces and CPU profiles

Exits with 1 if a figure is beyond its bound, or a part could not be measured. Chromium, Node.js with the packages of
tests/node, the daemon and the writer share the machine: with fewer than 2 cores, or beside other work, figures say
little.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt

from bench.process import machine
from bench.spawn import PeerError, spawn
from tests.support.launch import REPOSITORY, SERVING, command, environment, free_port
from tests.support.needs import require_chromium, require_node

#: Of the tokens; it is made for one run on the loopback.
_SECRET: Final = "the secret of a bench of the page, which nobody else uses"

_USERS: Final = ("alice", "bob", "carol")

#: What the writer does is no person's; the daemon must not slow it down.
_LIMITS: Final = {
    "rate_socket_events": 0,
    "rate_socket_bytes": 0,
    "rate_user_events": 0,
    "rate_user_bytes": 0,
    "rate_user_sends": 0,
    "rate_user_copies": 0,
    "store_messages": 1_000_000,
    "store_bytes": 2**30,
}


class Bound(NamedTuple):
    """A figure and what it may be at most.

    Attributes:
        part, name: where it stands in what bench.js says.
        most: the bound.
        text: what it is, with its unit.
    """

    part: str
    name: str
    most: float
    text: str


#: The bounds of the page; see docs/page.md.
BOUNDS: Final = (
    Bound("paint", "bytes", 100_000, "bytes until it is connected"),
    Bound("paint", "requests", 10, "requests until it is connected"),
    Bound("burst", "seconds", 2, "seconds from the first of 1,000 messages, sent within one, until all are shown"),
    Bound("burst", "p95", 100, "ms from a key to its paint meanwhile, p95"),
    Bound("missed", "usable", 5, "seconds until 10,000 missed messages are there and the page can be used"),
    Bound("missed", "p95", 100, "ms from a key to its paint after that, p95"),
    Bound("scroll", "apart", 20, "ms from one frame to the next while 100,000 messages are scrolled: 50 a second"),
    Bound("scroll", "p95", 16, "ms of the main thread a frame while 100,000 messages are scrolled, p95"),
    Bound("memory", "process", 150, "MB that the page's process has for itself after it"),
)


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description="Measures the page in Chromium.")
    parser.add_argument("--scale", type=float, default=1.0, help="how many of the messages (1: all)")
    parser.add_argument("--scroll", type=float, default=15.0, help="seconds of scrolling")
    parser.add_argument("--store", default="memory", help="the daemon's store")
    parser.add_argument(
        "--profiles", type=Path, help="directory for traces and CPU profiles, which Chromium's tools read"
    )
    parser.add_argument("--json", type=Path, help="file for all figures")
    chosen = parser.parse_args(arguments)
    if chosen.profiles is not None:
        chosen.profiles.mkdir(parents=True, exist_ok=True)
    said = measure(chosen)
    figures: Mapping[str, Mapping[str, Any]] = said.get("figures", {})
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(said, indent=1))
    print(machine())
    good = report(figures)
    for failure in said.get("failures", ()):
        print(f"not measured: {failure}")
    return 0 if good and not said.get("failures") else 1


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """What bench.js said at its end. Raises PeerError."""
    directory = Path(tempfile.mkdtemp(prefix="kschat-bench-"))
    port = free_port()
    daemon = spawn(
        command(port, {"store": chosen.store, **_LIMITS}),
        directory / "daemon.log",
        SERVING,
        environment(_SECRET, KSCHAT_ACCESS_LOG="false"),
    )
    ends = int(time.time()) + 7200
    told = {
        "chromium": require_chromium(),
        "url": f"http://127.0.0.1:{port}",
        "tokens": {user: jwt.encode({"data": {"id": user}, "exp": ends}, _SECRET, "HS256") for user in _USERS},
        "scale": chosen.scale,
        "scroll": chosen.scroll,
        "patience": 120_000,
        "shots": str(directory),
        "profiles": str(chosen.profiles.absolute()) if chosen.profiles is not None else "",
    }
    player = REPOSITORY / "tests" / "node" / "page" / "play.js"
    try:
        node = subprocess.Popen(
            [require_node(), str(player), "bench", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(directory)},
        )
        assert node.stdout is not None
        last: dict[str, Any] = {}
        for line in node.stdout:
            last = json.loads(line)
            if "step" in last:
                print(f"{last['step']}: {last['seconds']:.0f} s", file=sys.stderr)
        node.communicate()
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(directory, ignore_errors=True)
    if "failed" in last:
        raise PeerError(f"{last['failed']}: {last['error']}\n{last.get('seen')}")
    return last


def report(figures: Mapping[str, Mapping[str, Any]]) -> bool:
    """Print a table of the figures, and of the functions that took the time; whether all are within their bounds."""
    good = True
    print("| figure | bound | |")
    print("| --- | --- | --- |")
    for bound in BOUNDS:
        value = figures.get(bound.part, {}).get(bound.name)
        good = good and value is not None and value <= bound.most
        shown = "not measured" if value is None else f"{value:,.1f}".removesuffix(".0")
        print(f"| {shown} | {bound.most:,.0f} | {bound.text} |")
    for part, found in figures.items():
        rest = {name: value for name, value in found.items() if name not in ("top", "urls")}
        print(f"{part}: {', '.join(f'{name} {_short(value)}' for name, value in rest.items())}")
        for line in (*found.get("urls", ()), *found.get("top", ())):
            print(f"    {line}")
    return good


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
