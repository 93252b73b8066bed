"""What a peer is, and the processes it runs as."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from bench.services import Services

_STOP: Final = 15.0
"""Seconds a server has to end after SIGTERM."""


@dataclass(slots=True)
class Running:
    """A started peer: where it listens, and the processes whose CPU and memory are its own.

    ``services`` are processes that work for it and are told apart (a broker, by name).
    """

    ports: tuple[int, ...]
    processes: tuple[subprocess.Popen[bytes], ...]
    services: Mapping[str, int] = field(default_factory=dict)

    @property
    def pids(self) -> tuple[int, ...]:
        """The peer's own processes."""
        return tuple(process.pid for process in self.processes)

    def stop(self) -> None:
        """End the peer's processes: SIGTERM, and SIGKILL for one that does not heed it."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Peer(Protocol):
    """Something that can be measured."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in the table."""

    @property
    def load(self) -> tuple[str, ...]:
        """Options of ``bench.load`` that make the load speak to it."""

    @property
    def chats(self) -> bool:
        """Whether it has users with connections, so that memory a connection means something."""

    def missing(self) -> str:
        """What must be installed before it can start, in a sentence; or nothing."""

    def start(self, directory: Path, secret: str, services: Services) -> Running:
        """Start it afresh with its files in ``directory``; return when it serves. Raises PeerError."""
