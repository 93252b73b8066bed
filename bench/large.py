"""Large stores, measured at the daemon's socket: ``python -m bench.large``.

Each store is filled first (``bench.fill``). Then a daemon serves it, and each thing that may be much work is done while
two others write to each other (``bench.others``): how long it took, and what these two saw meanwhile, beside what they
saw in the seconds before. The two may see a p99 of ``TIMES`` that of before, or ``BOUND`` milliseconds. ``--write``
puts the table into docs/storage.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from bench import fill
from bench.asker import Asker, AskError
from bench.peers.base import Running
from bench.peers.daemon import Daemon
from bench.process import machine
from bench.services import Services, missing
from bench.spawn import PeerError
from bench.stats import percentile
from kschat.backends.rounds import ROUND_INTERVAL
from kschat.backends.sqlite.store import TIDY_EVERY
from tests.support.launch import REPOSITORY

TIMES: Final = 3.0
BOUND: Final = 50.0

#: Seconds until the first round of retention, after a daemon has started; it may begin so many seconds sooner, since a
#: daemon serves a little after its store has started.
ROUND: Final = max(ROUND_INTERVAL, TIDY_EVERY)
_EARLY: Final = 3.0

#: What disturbs the two more than it may is done so often, since other work on the machine may have been what did.
TRIES: Final = 3

_PAGE: Final = REPOSITORY / "docs" / "storage.md"
_BETWEEN: Final = re.compile(
    r"(<!-- made by `python -m bench.large --write` -->\n).*?(<!-- end of it -->\n)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing: what it is, how long it took, and the p99s of two others, in milliseconds; None where none were."""

    name: str
    took: str
    during: float | None = None
    alone: float | None = None

    @property
    def held(self) -> bool:
        """Whether the others were disturbed no more than they may be."""
        return self.during is None or self.alone is None or self.during <= max(BOUND, TIMES * self.alone)

    @property
    def others(self) -> str:
        """What the others saw, for the table."""
        if self.during is None or self.alone is None:
            return ""
        return f"{self.during:.0f} ({self.alone:.0f})" + ("" if self.held else " **!**")


@dataclass(slots=True)
class Large:
    """A store of one kind, the daemon on it, and what was found.

    Attributes:
        settings: of the daemon, beside those for retention.
        figures: what was found, in order.
        away: how many messages one has never received.
    """

    kind: str
    directory: Path
    services: Services
    options: argparse.Namespace
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    figures: list[Figure] = field(default_factory=list)
    away: int = 0

    @property
    def count(self) -> int:
        """How many messages it is filled with."""
        return int(getattr(self.options, self.kind))

    @property
    def undelivered(self) -> int:
        """How many of them are to one who is away, about."""
        return min(int(self.options.undelivered), self.count // 4)

    @property
    def store(self) -> str:
        """Where it is."""
        return f"sqlite:{self.directory}/kschat.db" if self.kind == "sqlite" else self.services.get("redis").url

    def measure(self) -> None:
        """Do all of it. Raises AskError, PeerError, OSError, subprocess.CalledProcessError."""
        self.fill()
        with self.daemon() as running:
            self.questions(running.ports[0])
        self._after_kill()
        for name, setting in (
            (f"retention by age, a sixth of all ({fill.DAYS * 5 // 6} of {fill.DAYS} days)", "retention_days"),
            ("retention by count, 1,000", "retention_messages"),
        ):
            value = str(fill.DAYS * 5 // 6) if setting == "retention_days" else "1000"
            self._retention(name, {setting: value})

    def fill(self) -> None:
        """Fill the store. Raises CalledProcessError."""
        argv = [sys.executable, "-m", "bench.fill", self.store, "--messages", str(self.count)]
        argv += ["--undelivered", str(self.undelivered), "--members", str(self.options.members)]
        done = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True)
        told = json.loads(done.stdout)
        seconds, self.away = told["seconds"], told["away"]
        self._note("filled", f"{self.count / seconds:,.0f} messages/s; {self._size() / 1e6:,.0f} MB")

    def _size(self) -> int:
        if self.kind == "sqlite":
            return os.path.getsize(self.directory / "kschat.db")
        about: str = self._redis("INFO", "memory")
        return int(about.partition("used_memory:")[2].split()[0])

    def _redis(self, *command: str) -> Any:
        """What Redis answers, as text."""
        port = self.services.get("redis").port
        with socket.create_connection(("127.0.0.1", port), 60) as link, link.makefile("rb") as answer:
            return asked(link, answer, *command)

    @contextmanager
    def daemon(self, **settings: str) -> Iterator[Running]:
        """The daemon, which serves."""
        if self.kind == "sqlite":
            there = [("store", self.store)]
        else:
            there = [("store", "redis"), ("redis", "{redis}"), ("amqp", "{rabbitmq}")]
        # What was written before is on the disk: its own operations are measured, and not what the system still writes.
        os.sync()
        daemon = Daemon(name=self.kind, settings=(*there, *settings.items()))
        running = daemon.start(self.directory, self.secret, self.services)
        try:
            yield running
        finally:
            running.stop()

    def _started(self) -> float:
        begun = time.perf_counter()
        with self.daemon():
            return time.perf_counter() - begun

    def questions(self, port: int) -> None:
        """Do what clients do, at a daemon. Raises AskError, PeerError, OSError."""
        members = self.options.members
        with self._two(port) as two:
            star = Asker(port, self.secret, fill.STAR)
            peers = [one["pId"] for one in star.ask("Conversations")[1] if one["pId"][0] != "#"]
            old = star.ask("History", {"pId": peers[-1], "limit": 1})[1]["MSG"][0]["mid"]
            middle = f"{int((time.time() - fill.DAYS * 43200) * 1000) << 16:016x}00000000"
            self._many("Send", two, lambda n: star.send(f"user{n % fill.CONVERSATIONS}", "a message"))
            self._many("connect, nothing new", two, lambda n: self._connected(port, f"user{5000 + n}"))
            self._many("History, the newest 100", two, lambda n: star.ask("History", {"pId": peers[n % len(peers)]})[0])
            self._many(
                "History, 100 of the middle",
                two,
                lambda n: star.ask("History", {"pId": peers[n % len(peers)], "before": middle})[0],
            )
            self._many("Conversations, 500, all unread", two, lambda n: star.ask("Conversations")[0], 0.3)
            self._many("Read of an old message", two, lambda n: star.ask("Read", {"pId": fill.OWN_ROOM, "mid": old})[0])
            sender = Asker(port, self.secret, fill.member(0))
            self._many(f"Send to a room of {members:,}", two, lambda n: sender.send(fill.LARGE_ROOM, "to all"), 3.0)
            for asker in (star, sender):
                asker.close()
            self._undelivered(port, two)
            self._backup(two)

    def _connected(self, port: int, user: str) -> float:
        asker = Asker(port, self.secret, user)
        asker.close()
        return asker.seconds

    def _undelivered(self, port: int, two: Two) -> None:
        def come() -> str:
            begun = time.perf_counter()
            away = Asker(port, self.secret, fill.AWAY)
            away.receive(self.away)
            away.close()
            return f"{time.perf_counter() - begun:.1f} s"

        self._during(f"{self.undelivered:,} undelivered messages, about", two, come, 1)

    def _backup(self, two: Two) -> None:
        if self.kind == "sqlite":
            copy = str(self.directory / "copy.db")
            argv = [sys.executable, "-c", "from kschat.cli import run; run()", "backup", copy, "--store", self.store]

            def back_up() -> None:
                subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True)
                os.unlink(copy)

        else:

            def back_up() -> None:
                before = self._redis("LASTSAVE")
                self._redis("BGSAVE")
                while self._redis("LASTSAVE") == before:
                    time.sleep(0.05)

        def timed() -> str:
            begun = time.perf_counter()
            back_up()
            return f"{time.perf_counter() - begun:.1f} s"

        self._during("backup", two, timed)

    def _after_kill(self) -> None:
        """Kill the daemon amid messages to the large room, and start it again; and once more in good order."""
        with self.daemon() as running:
            sender = Asker(running.ports[0], self.secret, fill.member(0))
            for _ in range(60):
                sender.send(fill.LARGE_ROOM, "to all")
            running.processes[0].send_signal(signal.SIGKILL)
            running.processes[0].wait()
        self._note("start after SIGKILL", f"{self._started():.1f} s")
        self._note("start", f"{self._started():.1f} s")

    def _retention(self, name: str, settings: Mapping[str, str]) -> None:
        """Watch the first round of a daemon that deletes; until it begins, the two are alone."""
        before = self._kept()
        with self.daemon(**settings) as running:
            begun = time.perf_counter()
            with self._two(running.ports[0]) as two:
                time.sleep(max(0.0, begun + ROUND - _EARLY - time.perf_counter()))
                alone = two.seen()
                time.sleep(_EARLY + self.options.watch)
                seen = two.seen()
        # Each message of the two is in an inbox and in a conversation.
        gone = before + 2 * (alone["count"] + seen["count"]) - self._kept()
        took = f"{gone / self.options.watch:,.0f} references/s"
        self.figures.append(Figure(name, took, seen["p99"], alone["p99"]))
        self._tell()

    def _kept(self) -> int:
        """How many references to messages there are, in inboxes and conversations."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.directory / "kschat.db")) as connection:
                counts = "SELECT (SELECT count(*) FROM thread) + (SELECT count(*) FROM inbox)"
                return int(connection.execute(counts).fetchone()[0])
        return sum(self._lengths())

    def _lengths(self) -> Iterator[int]:
        """Of the streams of inboxes and conversations in Redis."""
        port = self.services.get("redis").port
        with socket.create_connection(("127.0.0.1", port), 60) as link, link.makefile("rb") as answer:
            cursor = "0"
            while True:
                cursor, keys = asked(link, answer, "SCAN", cursor, "MATCH", "ks:[ci]:*", "COUNT", "1000")
                for key in keys:
                    yield int(asked(link, answer, "XLEN", key))
                if cursor == "0":
                    return

    def _many(self, name: str, two: Two, one: Callable[[int], float], share: float = 1.0) -> None:
        """Do something again and again, each after the other."""

        def all_of_them() -> str:
            ordered = sorted(one(number) for number in range(int(share * self.options.times)))
            return f"p50 {1000 * percentile(ordered, 0.5):.1f}, p99 {1000 * percentile(ordered, 0.99):.1f} ms"

        self._during(name, two, all_of_them)

    def _during(self, name: str, two: Two, work: Callable[[], str], tries: int = TRIES) -> None:
        """Note how long ``work`` took and what the two saw meanwhile, and before."""
        two.seen()
        found: list[Figure] = []
        while not found or (len(found) < tries and not found[-1].held):
            time.sleep(self.options.alone)
            alone = two.seen()
            took = work()
            # Short work has few messages beside it: what comes right after it counts as well.
            time.sleep(self.options.alone / 4)
            found.append(Figure(name, took, two.seen()["p99"], alone["p99"]))
        self.figures.append(min(found, key=lambda figure: (not figure.held, figure.during)))
        self._tell()

    def _note(self, name: str, took: str) -> None:
        self.figures.append(Figure(name, took))
        self._tell()

    def _tell(self) -> None:
        figure = self.figures[-1]
        print(f"{self.kind:6}  {figure.name:42} {figure.took:36} {figure.others}", flush=True)

    @contextmanager
    def _two(self, port: int) -> Iterator[Two]:
        two = Two(port, self.secret, self.options.rate)
        try:
            yield two
        finally:
            two.end()


class Two:
    """The two others. Raises PeerError where they can't write."""

    def __init__(self, port: int, secret: str, rate: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.others", "--port", str(port), "--rate", str(rate)],
            cwd=REPOSITORY,
            env={"KSCHAT_SECRET": secret, "PATH": os.environ.get("PATH", "")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seen()

    def seen(self) -> dict[str, float]:
        """What they saw since they were asked last."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            told: dict[str, float] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise PeerError("the two others have ended") from None
        if told["refused"]:
            raise PeerError("the two others were refused")
        return told

    def end(self) -> None:
        """Let them end."""
        self._process.communicate()


def asked(link: socket.socket, answer: BinaryIO, *command: str) -> Any:
    """What Redis answers on a connection: texts, and lists of them. Raises OSError."""
    parts = [part.encode() for part in command]
    link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
    return _reply(answer)


def _reply(answer: BinaryIO) -> Any:
    head = answer.readline()
    kind, rest = head[:1], head[1:-2]
    if kind == b"*":
        return [_reply(answer) for _ in range(int(rest))]
    return (answer.read(int(rest) + 2)[:-2] if kind == b"$" else rest).decode()


def table(measured: Sequence[Large]) -> str:
    """The figures of all stores, in Markdown."""
    names = list(dict.fromkeys(figure.name for one in measured for figure in one.figures))
    heads = ["", *[cell for one in measured for cell in (_title(one), "others' p99, ms (alone)")]]
    rows = []
    for name in names:
        row = [name]
        for one in measured:
            found = next((figure for figure in one.figures if figure.name == name), None)
            row += [found.took, found.others] if found is not None else ["", ""]
        rows.append(row)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _title(one: Large) -> str:
    return f"{'SQLite' if one.kind == 'sqlite' else 'Redis'}, {one.count:,} messages"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--sqlite", type=int, default=3_000_000, help="messages in SQLite; 0: none (default 3000000)")
    add("--redis", type=int, default=1_000_000, help="messages in Redis; 0: none (default 1000000)")
    add("--undelivered", type=int, default=100_000, help="messages to one who is away (default 100000)")
    add("--members", type=int, default=1000, help="of the large room (default 1000)")
    add("--rate", type=float, default=100, help="messages a second of the two others (default 100)")
    add("--times", type=int, default=100, help="how often small things are done (default 100)")
    add("--alone", type=float, default=4, help="seconds of the two others alone before each thing (default 4)")
    add("--watch", type=float, default=40, help="seconds of each kind of retention, from its round on (default 40)")
    add("--write", action="store_true", help="put the table into docs/storage.md")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 where the two others were disturbed more than they may be, or something did not work."""
    options = parse(arguments)
    print(machine())
    measured = []
    try:
        for kind in ("sqlite", "redis"):
            if not getattr(options, kind):
                continue
            if kind == "redis" and (lacks := missing(["redis", "rabbitmq"])):
                print(f"redis: {lacks}")
                continue
            # Below $TMPDIR: point that to the disk that is to be measured.
            with tempfile.TemporaryDirectory(prefix="kschat-bench-") as directory, Services() as services:
                large = Large(kind, Path(directory), services, options)
                large.measure()
                measured.append(large)
    except (AskError, PeerError, OSError, subprocess.CalledProcessError) as error:
        print(f"large: {error}", file=sys.stderr)
        return 1
    made = table(measured)
    print(f"\n{made}")
    if options.write:
        busy = f"load average meanwhile {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores"
        text = f"\n{machine()}; {busy}\n\n{made}\n"
        page = _PAGE.read_text("utf-8")
        _PAGE.write_text(_BETWEEN.sub(lambda found: f"{found[1]}{text}{found[2]}", page), "utf-8")
    return 0 if all(figure.held for one in measured for figure in one.figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
