"""RabbitMQ, Redis and PostgreSQL of one run of the bench, on free ports of the loopback: each is started when a peer
first asks.

All peers of a run stand on the same ones. What they left behind (queues are exclusive and go with them; keys of Redis
and tables do not) is removed before each start of a peer.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from unittest import SkipTest

from bench.spawn import PeerError, spawn
from tests.support.launch import free_port
from tests.support.needs import require_postgresql
from tests.support.postgresql import PostgreSQL

_DEBIANS: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Without the wrapper on the path, which would change the user."""
_PACKAGES: Final = {"rabbitmq": "rabbitmq-server", "redis": "redis-server", "postgresql": "postgresql (and psycopg)"}
_START: Final = 90.0
_STOP: Final = 30.0
#: Schedulers that wait do not spin: CPU that is told is work.
_ERLANG: Final = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


POSTGRESQL: Final = "shared_buffers = 512MB\nmax_wal_size = 4GB\nautovacuum_naptime = 10s"
"""Of a small server. All else is PostgreSQL's default: ``synchronous_commit``, ``fsync`` and ``full_page_writes`` are
on."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs: where it is, and the process whose CPU is its own."""

    url: str
    port: int
    pid: int


def missing(names: Iterable[str]) -> str:
    """What must be installed for these services (their names as for ``Services.get``), in a sentence; or nothing."""
    wanted = [_PACKAGES[name] for name in names if not _program(name)]
    return f"{' and '.join(wanted)} must be installed (make system-packages)" if wanted else ""


def _program(name: str) -> str:
    """The path of a service's program; empty where there is none."""
    if name == "postgresql":
        try:
            return str(require_postgresql())
        except (AssertionError, SkipTest):
            return ""
    return (name == "rabbitmq" and shutil.which(_DEBIANS)) or shutil.which(f"{name}-server") or ""


class Services:
    """The services of a run, as a context that ends them."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="kschat-bench-")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._running: dict[str, Service] = {}
        self._again: dict[str, Callable[[], subprocess.Popen[bytes]]] = {}
        self._postgresql: PostgreSQL | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def get(self, name: str) -> Service:
        """The service ``rabbitmq``, ``redis`` or ``postgresql``, which is started when it does not run.

        Raises PeerError.
        """
        if lacks := missing([name]):
            raise PeerError(lacks)
        if name not in self._running:
            place = Path(self._directory.name) / name
            place.mkdir()
            start = {
                "rabbitmq": self._start_rabbitmq,
                "redis": self._start_redis,
                "postgresql": self._start_postgresql,
            }[name]
            self._running[name] = start(place)
        return self._running[name]

    def clear(self) -> None:
        """Forget what earlier peers left in Redis and PostgreSQL."""
        if service := self._running.get("redis"):
            with socket.create_connection(("127.0.0.1", service.port), _STOP) as link:
                link.sendall(b"FLUSHALL\r\n")
                if link.recv(64) != b"+OK\r\n":
                    raise PeerError("Redis could not be emptied")
        if self._postgresql is not None:
            self._postgresql.do("DROP SCHEMA IF EXISTS kschat CASCADE")

    def kill(self, name: str) -> None:
        """Let a service that runs crash."""
        (process,) = [process for process in self._processes if process.pid == self._running[name].pid]
        process.kill()
        process.wait()
        self._processes.remove(process)

    def again(self, name: str) -> None:
        """Start one that has crashed, with the data that it had; it serves when this returns."""
        process = self._again[name]()
        self._processes.append(process)
        self._running[name] = dataclasses.replace(self._running[name], pid=process.pid)

    def stop(self) -> None:
        """End all that was started, and remove their files."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._postgresql is not None:
            self._postgresql.stop()
            self._postgresql = None
        self._processes.clear()
        self._running.clear()
        self._directory.cleanup()

    def _start_postgresql(self, _: Path) -> Service:
        self._postgresql = server = PostgreSQL(POSTGRESQL)
        try:
            server.spawn()
            while not server.serves():
                time.sleep(0.05)
        except AssertionError as error:
            raise PeerError(str(error)) from None
        return Service(server.url, server.port, server.pid)

    def _start_redis(self, place: Path) -> Service:
        port = free_port()
        argv = [_program("redis"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec"]
        self._again["redis"] = partial(spawn, argv, place / "out", b"Ready to accept connections")
        process = self._again["redis"]()
        self._processes.append(process)
        return Service(f"redis://127.0.0.1:{port}/0", port, process.pid)

    def _start_rabbitmq(self, place: Path) -> Service:
        port, distribution, mapper = free_port(), free_port(), free_port()
        (place / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\nloopback_users = none\n")
        (place / "enabled_plugins").write_text("[].\n")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        environ |= {
            "HOME": str(place),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_NODENAME": f"bench{port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(place / "mnesia"),
            "RABBITMQ_LOG_BASE": str(place / "log"),
            "RUNNING_UNDER_SYSTEMD": "1",  # the shell becomes the broker, instead of waiting for it
            "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        }
        # RabbitMQ would start Erlang's port mapper as a daemon, which outlives it: this one is ours to end.
        argv = [shutil.which("epmd") or "epmd", "-debug"]
        self._processes.append(spawn(argv, place / "epmd", b"epmd running", environ))
        self._again["rabbitmq"] = partial(
            spawn, [_program("rabbitmq")], place / "out", b"completed with", environ, seconds=_START
        )
        process = self._again["rabbitmq"]()
        self._processes.append(process)
        return Service(f"amqp://guest:guest@127.0.0.1:{port}/%2f?heartbeat=60", port, process.pid)
