"""What a peer is, and the processes it runs as."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

ROOT: Final = Path(__file__).resolve().parents[2]
"""The repository: subprocesses run here, so that ``-m bench.…`` and the twistd plugin are found."""
_START: Final = 30.0
"""Seconds a server has until it serves."""
_STOP: Final = 15.0
"""Seconds a server has to end after SIGTERM."""


class PeerError(Exception):
    """A peer did not start; the text says why."""


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

    def start(self, directory: Path, secret: str) -> Running:
        """Start it afresh with its files in ``directory``; return when it serves. Raises PeerError."""


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def spawn(
    argv: Sequence[str], log: Path, ready: bytes, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that writes to ``log``, and return when ``ready`` stands there. Raises PeerError.

    ``environ`` is the whole environment of the process; without it, it gets this one's.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    deadline = time.monotonic() + _START
    while ready not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = log.read_text(errors="replace")[-2000:]
            raise PeerError(f"{' '.join(argv)} does not serve (status {process.returncode}):\n{tail}")
        time.sleep(0.05)
    return process
