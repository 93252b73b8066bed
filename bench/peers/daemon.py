"""The daemon itself, as it is run: ``twistd -n kschat`` with a free port of the loopback."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.base import Running
from bench.services import Services, missing
from bench.spawn import PeerError, readiness, spawn
from tests.support.launch import SERVING, command, environment, free_port

_READY: Final = 30.0
"""Seconds until it must have found its services."""

_FAR: Final = {
    "rate_socket_events": "1000000",
    "rate_socket_bytes": "10000000000",
    "rate_user_events": "1000000",
    "rate_user_bytes": "10000000000",
    "rate_user_sends": "1000000",
    "rate_user_copies": "10000000",
    "rate_user_joins": "1000000",
    "rate_address_handshakes": "1000000",
    "rate_handshakes": "0",
    "rate_address_joins": "1000000",
    "max_user_sockets": "10000000",
    "max_connections_per_address": str(2**24),
    "max_polls_per_address": str(2**24),
}
"""Rates that no load reaches: a load has one address and few users, each of whom does what thousands do otherwise. They
are not off (0), so that their cost is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """One ``twistd -n kschat`` with these settings; all others keep their defaults.

    A setting's value may hold ``{directory}``, the scratch directory of the run, and ``{rabbitmq}``, ``{redis}`` and
    ``{postgresql}``, the URLs of services, which are then started. ``twistd`` are twistd's own options.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    load: tuple[str, ...] = ()
    twistd: tuple[str, ...] = ()
    chats: bool = True

    def missing(self) -> str:
        """What must be installed first, in a sentence; or nothing."""
        return missing(self._needs())

    def _needs(self) -> list[str]:
        return [
            name
            for name in ("rabbitmq", "redis", "postgresql")
            if any(f"{{{name}}}" in value for _, value in self.settings)
        ]

    def start(self, directory: Path, secret: str, services: Services) -> Running:
        """Start the daemon and return when it serves. Raises PeerError."""
        port = free_port()
        running = {name: services.get(name) for name in self._needs()}
        places = {"directory": directory, **{name: service.url for name, service in running.items()}}
        settings = {name: value.format_map(places) for name, value in (*_FAR.items(), *self.settings)}
        argv = command(port, settings, self.twistd)
        process = spawn(argv, directory / "daemon.log", SERVING, environment(secret))
        started = Running((port,), (process,), {name: service.pid for name, service in running.items()})
        self._ready(started)
        return started

    def _ready(self, started: Running) -> None:
        """Wait until it can use its services, which it serves without."""
        end = time.monotonic() + _READY
        while (said := readiness(started.ports[0]))["status"] != "ready":
            if time.monotonic() > end:
                started.stop()
                raise PeerError(f"{self.name} is not ready: {said}")
            time.sleep(0.05)
