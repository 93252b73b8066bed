"""Plays one row: a daemon, the healthy pair and the attacker, each in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attack.scenario import BROKER, RECEIVER, Row
from bench.process import rss_bytes
from bench.services import Services
from chaos.signs import is_fault
from tests.support.certificates import Authority
from tests.support.launch import REPOSITORY, SERVING, command, environment, free_ports
from tests.support.tokens import SECRET

#: Seconds: of the baseline; and after the attack, until the daemon's memory must be down again.
BASELINE: Final = 1.2
SETTLE: Final = 30.0
_START: Final = 30.0

#: Seconds in which it must end at the end.
END: Final = 20.0

#: Memory after the attack: at most this many times what it was before, or this many bytes more.
MEMORY_TIMES: Final = 1.1
MEMORY_MORE: Final = 20_000_000

#: Settings of every daemon. The store is small, so that memory that is kept elsewhere shows.
_SETTINGS: Final = {"store_bytes": 8_000_000, "store_messages": 1000}


@dataclass(slots=True)
class Result:
    """What came of a row. Times in ms of the pair's messages, memory in bytes.

    Attributes:
        baseline, during: the times of messages before and during the attack.
        turns: of the reactor's turns, the longest in each quarter of a second.
        collection: the longest garbage collection, ms.
        rss: before, the highest during, and after.
        answers: what the attacker was answered.
        joined: newcomers that were let in during the attack.
        faults: what went wrong otherwise.
    """

    baseline: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=lambda: [0.0])
    collection: float = 0.0
    rss: tuple[int, int, int] = (0, 0, 0)
    answers: dict[str, int] = field(default_factory=dict)
    joined: int = 0
    faults: list[str] = field(default_factory=list)


def most_memory(before: int) -> float:
    """Bytes that the daemon may have after the attack."""
    return max(before * MEMORY_TIMES, before + MEMORY_MORE)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"attack.{name}", *arguments]


def play(row: Row, seconds: float, services: Services) -> Result:
    """Play a row for so many seconds. Raises ``bench.spawn.PeerError`` where Redis or RabbitMQ cannot be started."""
    with tempfile.TemporaryDirectory(prefix="kschat-attack-") as directory:
        return _Play(row, seconds, Path(directory)).run(services)


class _Play:
    def __init__(self, row: Row, seconds: float, place: Path) -> None:
        self._row = row
        self._seconds = seconds
        self._place = place
        self._port, self._other_port = free_ports(2)
        self._environment = environment(SECRET)
        self._log = place / "log"
        self._figures = place / "figures"

    def run(self, services: Services) -> Result:
        """From the daemon's start to its end."""
        settings = self._settings(services)
        if "demo" in settings:
            del self._environment["KSCHAT_SECRET"]  # it makes its own
        arguments = command(self._port, settings)[2:]
        with self._log.open("wb") as out:
            daemon = self._spawn("measured_daemon", str(self._figures), *arguments, stdout=out.fileno())
        try:
            deadline = time.monotonic() + _START
            while SERVING not in self._log.read_bytes():
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(self._log.read_text(errors="replace")[-2000:])
                time.sleep(0.02)
            result = self._attack(daemon.pid)
            daemon.terminate()
            try:
                if status := daemon.wait(END):
                    result.faults.append(f"the daemon ended with the status {status}")
            except subprocess.TimeoutExpired:
                result.faults.append(f"the daemon did not end within {END:g} seconds")
            return result
        finally:
            daemon.kill()
            daemon.wait()

    def _settings(self, services: Services) -> dict[str, object]:
        row = self._row
        settings: dict[str, object] = {**_SETTINGS}
        if row.backend == "sqlite":
            settings = {"store": f"sqlite:{self._place / 'kschat.db'}"}
        elif row.backend == "redis":
            redis, rabbitmq = services.get("redis"), services.get("rabbitmq")
            services.clear()
            settings = {"store": "redis", "redis": redis.url, "amqp": rabbitmq.url}
            self._environment[BROKER] = rabbitmq.url
        if row.tls:
            certificate, key = Authority(self._place, "attack").sign("127.0.0.1")
            # In an endpoint's description a colon ends an argument, and a blank does not.
            files = f"privateKey={key}:certKey={certificate}"
            settings["listen"] = f"ssl:{self._port}:{files}:interface=127.0.0.1"
        if row.listens:
            settings[row.listens] = f"tcp:{self._other_port}:interface=127.0.0.1"
        if row.listens == "api_listen":
            keys = self._place / "keys.toml"
            keys.write_text(f'[back-end]\nkey = "{"k" * 40}"\nscopes = ["*"]\n')
            settings["api_keys"] = keys
        if row.receives:
            secret, (port,) = self._place / "hooks.secret", free_ports(1)
            secret.touch(mode=0o600)
            secret.write_text(f"whsec_{b64encode(SECRET.encode()[:32]).decode()}\n")
            settings |= {"hooks_url": f"http://127.0.0.1:{port}/hooks", "hooks_secret_file": secret}
            self._environment[RECEIVER] = str(port)
        if row.listens == "peer_listen":
            settings["peer_url"] = f"http://127.0.0.1:{self._other_port}"
        return {**settings, **row.settings}

    def _spawn(self, module: str, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        # A real attacker has a machine of its own: this one must not take CPU from the daemon.
        argv = (
            ["nice", "-n", "10", *_module(module, *arguments)] if module == "attacker" else _module(module, *arguments)
        )
        return subprocess.Popen(
            argv,
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout != subprocess.PIPE else None,
            text=True,
            preexec_fn=self._limit if module == "measured_daemon" and self._row.descriptors else None,
        )

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._row.descriptors, self._row.descriptors))

    def _attack(self, pid: int) -> Result:
        result = Result()
        how = [name for name, so in (("tls", self._row.tls), ("demo", "demo" in self._row.settings)) if so]
        port = self._other_port if self._row.listens else self._port
        attacker = self._spawn("attacker", self._row.name, str(port), str(self._seconds), str(self._port))
        assert attacker.stdout is not None and attacker.stdin is not None
        if attacker.stdout.readline() != "prepared\n":
            attacker.kill()
            attacker.wait()
            result.faults.append("the attacker could not prepare")
            return result
        pair: subprocess.Popen[str] | None = None
        began = time.monotonic()
        if not self._row.probe:
            pair = self._spawn("pair", str(self._port), *how)
            assert pair.stdout is not None
            pair.stdout.readline()  # its first message has arrived, or it has failed
            time.sleep(BASELINE)
            began = time.monotonic()
        before = rss_bytes(pid)
        if self._row.ends:
            os.kill(pid, signal.SIGTERM)
        said = self._said(attacker, pid)
        ended = time.monotonic()
        if pair is not None:
            self._judge_pair(pair.communicate("")[0], result, began, ended)
        try:
            result.answers = json.loads(said[-1])
        except (IndexError, ValueError):
            result.faults.append("the attacker failed")
        deadline = time.monotonic() + (0 if self._row.probe else SETTLE)
        while rss_bytes(pid) > most_memory(before) and time.monotonic() < deadline:
            time.sleep(0.1)
        after = rss_bytes(pid)
        time.sleep(0.3)
        highest = max(before, after)
        for line in self._figures.read_text().splitlines():
            at, turn, collection, rss = map(float, line.split())
            if at >= began:
                result.turns.append(turn)
                result.collection = max(result.collection, collection)
                highest = max(highest, int(rss))
        result.rss = (before, highest, after)
        log = self._log.read_bytes()
        result.faults += sorted({line for line in log.decode("utf-8", "replace").splitlines() if is_fault(line)})[:3]
        result.faults += [f"the log holds {found!r}" for found in self._row.clean_log if found in log]
        result.faults += [f"the log lacks {wanted!r}" for wanted in self._row.log_has if wanted not in log]
        return result

    def _said(self, attacker: subprocess.Popen[str], pid: int) -> list[str]:
        """Let the attacker begin, and wait for its end; meanwhile the operator's signals. Returns its lines."""
        begin: str | None = "\n"
        while True:
            try:
                return attacker.communicate(begin, 1 / self._row.hangups if self._row.hangups else None)[0].splitlines()
            except subprocess.TimeoutExpired:
                begin = None
                os.kill(pid, signal.SIGHUP)

    def _judge_pair(self, text: str, result: Result, began: float, ended: float) -> None:
        for line in text.splitlines():
            what, at, rest = line.split(" ", 2)
            if what == "m" and float(at) < began:
                if float(at) >= began - BASELINE:
                    result.baseline.append(float(rest))
            elif what == "m" and float(at) <= ended:
                result.during.append(float(rest))
            elif what == "j" and began <= float(at) <= ended:
                result.joined += 1
            elif what == "x" and float(at) <= ended:
                result.faults.append(rest)
