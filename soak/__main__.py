"""``python -m soak``: one run; status 1 where anything grows.

make soak                              # 20 minutes, one daemon on SQLite
make soak MINUTES=60 SOAK=--cluster    # an hour, two daemons on RabbitMQ and Redis
make soak SOAK=--write                 # puts the table and the picture into docs/
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.process import cpu_seconds, machine
from bench.spawn import PeerError
from soak.picture import draw
from soak.servers import Servers
from soak.verdict import KINDS, Finding, Kind, Point, judge, part
from tests.support.launch import REPOSITORY, environment

#: Seconds between two looks at the figures.
EVERY: Final = 5.0

#: The part of a run in which all clients connect first.
RAMP: Final = 1 / 30

#: Columns of the table, beside the minute.
_COLUMNS: Final = ("memory", "blocks", "descriptors", "sockets", "timers", "delayed", "rows", "file", "keys", "redis")

_PAGE: Final = REPOSITORY / "docs" / "performance.md"


class Load:
    """The process of the clients.

    Args:
        servers: where they connect.
        options: the command line's.
    """

    def __init__(self, servers: Servers, options: argparse.Namespace) -> None:
        argv = [sys.executable, "-m", "soak.load", "--clients", str(options.clients), "--seed", str(options.seed)]
        argv += [f"--port={port}" for port in servers.ports]
        argv.append(f"--ramp={60 * options.minutes * RAMP}")
        argv += [f"--{name}={value}" for name in ("life", "act") if (value := getattr(options, name)) is not None]
        self._process = subprocess.Popen(
            argv,
            cwd=REPOSITORY,
            env=environment(servers.secret),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: dict[str, Any] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told = json.loads(line)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def cpu(self) -> float:
        """Its seconds of CPU."""
        return cpu_seconds(self._process.pid)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def run(options: argparse.Namespace, directory: Path) -> tuple[dict[str, list[Point]], dict[str, Any], list[str]]:
    """One run: its series, what the clients have done, and what was wrong. Raises PeerError."""
    seconds = 60 * options.minutes
    series: dict[str, list[Point]] = {}
    wrong: list[str] = []
    with Servers(options.cluster, directory) as servers:
        load = Load(servers, options)
        try:
            began = time.monotonic()
            due, said = options.every, 0.0
            while (now := time.monotonic() - began) < seconds:
                time.sleep(max(0.0, due - now))
                due += options.every
                if servers.ended() or load.ended():
                    wrong.append("a process has ended")
                    break
                try:
                    figures = servers.figures() | {"load": load.cpu()}
                except OSError as error:  # a daemon that is too busy for a moment
                    wrong.append(f"{now:.0f} s: the figures could not be read: {error}")
                    continue
                at = time.monotonic() - began
                for name, value in figures.items():
                    series.setdefault(name, []).append((at, value))
                if at // 60 > said:
                    said = at // 60
                    _say(at, series, load.told)
            told = load.told
        finally:
            load.end()
        wrong += servers.end()
        wrong += servers.faults()[:10]
    return series, told, wrong


def _say(at: float, series: dict[str, list[Point]], told: dict[str, Any]) -> None:
    shown = ", ".join(f"{kind.name} {kind.show(series[kind.name][-1][1])}" for kind in KINDS if kind.name in series)
    rates = ", ".join(f"{name} {_rate(series[name], at - 60, at):.2f}" for name in ("cpu", "load", "messages"))
    print(f"{at / 60:5.1f} min: {shown}; a second: {rates}; {told.get('connects')} connects", flush=True)


def _rate(points: Sequence[Point], begin: float, end: float) -> float:
    """What a counter rises by in a second."""
    inside = [point for point in points if begin - EVERY <= point[0] <= end]
    if len(inside) < 2:
        return 0.0
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def table(series: dict[str, list[Point]], minutes: float) -> list[str]:
    """The figures by the minute, as Markdown."""
    kinds = [kind for name in _COLUMNS for kind in KINDS if kind.name == name and name in series]
    lines = ["| minute | " + " | ".join(kind.title for kind in kinds) + " | a core's share |"]
    lines.append("| --- " * (len(kinds) + 2) + "|")
    for minute in range(1, int(minutes) + 1):
        begin, end = 60.0 * (minute - 1), 60.0 * minute
        cells = [_mean(kind, series[kind.name], begin, end) for kind in kinds]
        lines.append(f"| {minute} | {' | '.join(cells)} | {100 * _rate(series['cpu'], begin, end):.0f} % |")
    return lines


def _mean(kind: Kind, points: Sequence[Point], begin: float, end: float) -> str:
    values = part(points, begin, end)
    return kind.show(statistics.fmean(values)) if values else ""


def report(findings: Sequence[Finding]) -> list[str]:
    """What came of each series, as Markdown."""
    lines = ["| | second quarter | last quarter | change | |", "| --- " * 5 + "|"]
    for one in findings:
        second, last = one.kind.show(one.second), one.kind.show(one.last)
        word = "**grows**" if one.grows else "steady" if not one.kind.never else "none"
        lines.append(f"| {one.kind.title} | {second} | {last} | {100 * one.change:+.1f} % | {word} |")
    return lines


def done(told: dict[str, Any], series: dict[str, list[Point]], seconds: float) -> str:
    """What the clients did, in a sentence."""
    messages = series["messages"][-1][1]
    cpu, load = (series[name][-1][1] / seconds for name in ("cpu", "load"))
    ends = ", ".join(f"{count:,} by {why}" for why, count in sorted(told["ends"].items(), key=lambda one: -one[1])[:6])
    joined, received = told["connects"], told["received"]
    return (
        f"{joined:,} connections joined, {messages:,.0f} messages were acknowledged and {received:,} received; "
        f"connections ended: {ends}. Daemons used {100 * cpu:.0f} % of a core, the clients {100 * load:.0f} %."
    )


def write(name: str, lines: Sequence[str]) -> None:
    """Put the lines into the page, between the marks of this name."""
    text = _PAGE.read_text("utf-8")
    begin, end = f"<!-- made by `make soak`: {name} -->", f"<!-- end of {name} -->"
    found = re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: "\n".join((begin, "", *lines, "", end)),
        text,
        count=1,
        flags=re.DOTALL,
    )
    _PAGE.write_text(found, "utf-8")


def _of(arguments: Sequence[str]) -> str:
    """When and where a run was, and its command."""
    text = re.sub(r" --write\b| --keep[ =]\S+", "", f" {' '.join(arguments)}")
    command = f"python -m soak{text}".strip()
    return f"{datetime.now(UTC):%Y-%m-%d}, `{command}`, {machine()}."


def main(arguments: Sequence[str]) -> int:
    """Run, and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--minutes", type=float, default=20.0, help="the run's length (default 20)")
    add("--clients", type=int, default=5000, help="clients, each of which mostly has a socket (default 5000)")
    add("--cluster", action="store_true", help="two daemons on RabbitMQ and Redis, instead of one on SQLite")
    add("--seed", type=int, default=1, help="of all that clients do (default 1)")
    add("--life", type=float, help="mean seconds of a connection")
    add("--act", type=float, help="mean seconds between two things that a client does")
    add("--every", type=float, default=EVERY, help="seconds between two looks at the figures (default 5)")
    add("--write", action="store_true", help="put the picture and the figures into docs/")
    add("--keep", type=Path, help="a directory for the logs, the store and the figures, which stays")
    add("--figures", type=Path, help="do not run, but judge the figures.json that an earlier run kept")
    options = parser.parse_args(arguments)
    # As an interrupt: what was started is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    found: dict[str, Any]
    if options.figures is None:
        with tempfile.TemporaryDirectory(prefix="kschat-soak-") as scratch:
            directory = options.keep or Path(scratch)
            directory.mkdir(exist_ok=True, parents=True)
            try:
                series, told, wrong = run(options, directory)
            except PeerError as error:
                print(f"soak: {error}", file=sys.stderr)
                return 1
            found = {"series": series, "told": told, "wrong": wrong, "of": _of(arguments), "options": vars(options)}
            (directory / "figures.json").write_text(json.dumps(found, default=str))
    else:
        found = json.loads(options.figures.read_text())
        vars(options).update({name: found["options"][name] for name in ("minutes", "clients", "cluster")})
        series, told, wrong = found["series"], found["told"], found["wrong"]
    name = "cluster" if options.cluster else "embedded"
    seconds = 60 * options.minutes
    try:
        findings = [judge(kind, series[kind.name], seconds) for kind in KINDS if kind.name in series]
    except ValueError as error:
        print(f"soak: {error}; {wrong}", file=sys.stderr)
        return 1
    wrong += [f"{one.kind.title}: grows" for one in findings if one.grows]
    said = [found["of"], "", *report(findings)]
    said += ["", done(told, series, seconds)]
    print("\n".join(said))
    if options.write:
        picture = f"soak-{name}.svg"
        shown = [(one, series[one.kind.name]) for one in findings if not one.kind.never]
        title = f"{options.clients:,} clients for {options.minutes:g} minutes, {name}"
        (_PAGE.parent / picture).write_text(draw(title, seconds, shown), "utf-8")
        write(name, [*said, "", f"![the figures of the run]({picture})", "", *table(series, options.minutes)])
    if wrong:
        print("soak: not as it must be:\n" + "\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
