"""The daemon under test: ``twistd -n kschat`` in a process that is killed and started again on the same port."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import MappingProxyType
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from chaos.signs import is_fault

ROOT = Path(__file__).resolve().parents[1]
SERVING = b"serving on http://"

#: Seconds until it must serve, and until it must have ended (it waits for services that may be away).
PATIENCE = 30
END = 60

#: Bytes of its log that are kept to be shown.
TAIL = 20_000


class DaemonFailed(Exception):
    """It did not serve, or ended by itself. The text shows its log."""


class _Process(ProcessProtocol):
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._rest = b""
        self.serving: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.status = 0

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._daemon.heard(line)
            if SERVING in line and not self.serving.called:
                self.serving.callback(None)

    def processEnded(self, reason: Failure) -> None:
        value = reason.value
        if isinstance(value, ProcessTerminated):
            self.status = -value.signal if value.signal is not None else value.exitCode
        if not self.serving.called:
            self.serving.errback(DaemonFailed(f"it ended with status {self.status} before it served"))
        self.ended.callback(None)


class Daemon:
    """One daemon over all its lives.

    Args:
        reactor: runs its processes.
        port: of 127.0.0.1.
        secret: of the tokens.
        settings: its other settings, as on the command line.
        environ: variables of its environment, beside ours.

    Attributes:
        port: where it listens.
        faults: lines of its log that nothing may bring about.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        secret: str,
        settings: Sequence[str],
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._reactor = reactor
        self._environ = environ
        self.port = port
        self._secret = secret
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        twistd = str(Path(sys.executable).with_name("twistd"))
        self._argv = [sys.executable, twistd, "-n", "--pidfile=", "kschat", *listen, *settings]
        self._process: _Process | None = None
        self._transport: Any = None
        self._log = bytearray()
        self.faults: list[str] = []

    @property
    def tail(self) -> str:
        """The end of its log."""
        return bytes(self._log).decode(errors="replace")

    def heard(self, line: bytes) -> None:
        """A line of its log."""
        self._log += line + b"\n"
        del self._log[:-TAIL]
        if is_fault(text := line.decode(errors="replace")):
            self.faults.append(text)

    async def start(self) -> None:
        """Start it; it serves when this returns. Raises DaemonFailed."""
        self._process = process = _Process(self)
        self._transport = self._reactor.spawnProcess(
            process, self._argv[0], self._argv, env=self._environment(), path=str(ROOT)
        )
        try:
            await process.serving.addTimeout(PATIENCE, self._reactor)
        except (DaemonFailed, defer.TimeoutError) as error:
            raise DaemonFailed(f"{error}\n{self.tail}") from None

    async def kill(self) -> None:
        """SIGKILL, as a crash would. Raises DaemonFailed where it had ended before by itself."""
        if await self._end(SIGKILL) != -SIGKILL:
            raise DaemonFailed(f"it had ended by itself\n{self.tail}")

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        return await self._end(SIGTERM)

    def signal(self, number: Signals) -> None:
        """SIGSTOP, SIGCONT."""
        self._transport.signalProcess(number.value)

    async def abandon(self) -> None:
        """End it in any case."""
        if self._process is not None and not self._process.ended.called:
            await self._end(SIGKILL)

    async def _end(self, number: Signals) -> int:
        process = self._process
        assert process is not None
        if process.ended.called:
            return process.status
        self._transport.signalProcess(number.value)
        await process.ended.addTimeout(END, self._reactor)
        return process.status

    def _environment(self) -> Mapping[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("KSCHAT_") and name != "PORT"}
        return {
            **mine,
            **self._environ,
            "KSCHAT_SECRET": self._secret,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
