"""The daemons of a run: one on SQLite, or a cluster. Their stores have bounds, so that what they keep gets steady."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.services import Services
from bench.spawn import spawn
from chaos.signs import is_fault
from soak import sampler
from tests.support.launch import SERVING, command, environment, free_ports

#: Settings of all daemons beside their defaults. Messages are kept for less than a fifth of a run of 20 minutes.
SETTINGS: Final[Mapping[str, object]] = {"retention_days": 0.002, "no_access_log": True}

#: Daemons of a cluster.
DAEMONS: Final = 2

#: Seconds in which a daemon must end.
_END: Final = 30.0


class Servers:
    """The daemons, as a context that ends them.

    Args:
        cluster: a cluster on RabbitMQ and Redis, instead of one daemon on SQLite.
        directory: for files and logs.

    Attributes:
        ports: where clients connect.
        secret: of tokens.
    """

    def __init__(self, cluster: bool, directory: Path) -> None:
        self.ports = free_ports(DAEMONS if cluster else 1)
        self.secret = secrets.token_hex(32)
        self._cluster = cluster
        self._directory = directory
        self._services = Services()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def figures(self) -> dict[str, float]:
        """All figures of this moment."""
        found = sampler.metrics(self.ports)
        if self._cluster:
            return found | sampler.redis(self._services.get("redis").port)
        return found | sampler.sqlite(self._directory / "kschat.db")

    def faults(self) -> list[str]:
        """Lines of the logs that tell of a fault."""
        return [
            line for log in self._logs() for line in log.read_text("utf-8", "replace").splitlines() if is_fault(line)
        ]

    def ended(self) -> bool:
        """Whether a daemon has ended."""
        return any(process.poll() is not None for process in self._processes)

    def end(self) -> list[str]:
        """End the daemons as an operator does; what was wrong with that."""
        for process in self._processes:
            process.terminate()
        wrong = []
        for process in self._processes:
            try:
                status = process.wait(_END)
            except subprocess.TimeoutExpired:
                wrong.append(f"a daemon did not end within {_END:g} seconds")
            else:
                wrong += [f"a daemon ended with status {status}"] if status else []
        return wrong

    def _logs(self) -> list[Path]:
        return [self._directory / f"daemon-{port}.log" for port in self.ports]

    def _start(self) -> None:
        settings: dict[str, object] = {"store": f"sqlite:{self._directory / 'kschat.db'}", **SETTINGS}
        inner = free_ports(len(self.ports))
        if self._cluster:
            settings |= {"store": "redis", "redis": self._services.get("redis").url}
            settings |= {"amqp": self._services.get("rabbitmq").url}
        for port, log, peer in zip(self.ports, self._logs(), inner, strict=True):
            mine = settings | ({"peer_listen": f"tcp:{peer}:interface=127.0.0.1"} if self._cluster else {})
            self._processes.append(spawn(command(port, mine), log, SERVING, environment(self.secret)))

    def _stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._services.stop()
