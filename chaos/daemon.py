"""The daemon under test: ``twistd -n kschat`` in a process that is killed and started again on the same port."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from os import SEEK_END
from signal import SIGKILL, SIGTERM, Signals
from types import MappingProxyType
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ProcessExitedAlready

from chaos.signs import is_fault
from tests.support.launch import REPOSITORY, NotServing, Process, command, environment

#: Seconds until it must serve, and until it must have ended (it waits for services that may be away).
PATIENCE = 30
END = 60

#: Bytes of its log that are kept to be shown.
TAIL = 20_000


class DaemonFailed(Exception):
    """It did not serve, or ended by itself. The text shows its log."""


class Daemon:
    """One daemon over all its lives.

    Args:
        reactor: runs its processes.
        port: of 127.0.0.1.
        secret: of the tokens.
        settings: its other settings, as ``launch.command`` takes them.
        environ: variables of its environment, beside ours.

    Attributes:
        port: where it listens.
        root: the source that it runs from its next start on.
        faults: lines of its log that nothing may bring about.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        secret: str,
        settings: Mapping[str, object],
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._reactor = reactor
        self.port = port
        self.root = REPOSITORY
        self._command = command(port, settings)
        self._environment = environment(secret, **environ)
        self._process: Process | None = None
        self._transport: Any = None
        self._log = bytearray()
        self._rest = b""
        # The whole log, over all lives; it is searched at the end.
        self._whole = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``forget``
        self.faults: list[str] = []

    @property
    def tail(self) -> str:
        """The end of its log."""
        return bytes(self._log).decode(errors="replace")

    def heard(self, data: bytes) -> None:
        """A piece of its log."""
        self._whole.write(data)
        self._log += data
        del self._log[:-TAIL]
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if is_fault(text := line.decode(errors="replace")):
                self.faults.append(text)

    def log_lines(self) -> Iterator[str]:
        """The lines of its log, over all its lives; until ``abandon``."""
        self._whole.seek(0)
        for line in self._whole:
            yield line.rstrip(b"\n").decode(errors="replace")
        self._whole.seek(0, SEEK_END)

    def forget(self) -> None:
        """Close and delete its log."""
        self._whole.close()

    async def start(self) -> None:
        """Start it; it serves when this returns. Raises DaemonFailed."""
        self._process = process = Process(self.heard)
        self._transport = self._reactor.spawnProcess(
            process,
            self._command[0],
            self._command,
            env={**self._environment, "PYTHONPATH": str(self.root)},
            path=str(self.root),
        )
        try:
            await process.serving.addTimeout(PATIENCE, self._reactor)
        except (NotServing, defer.TimeoutError) as error:
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
        """End it in any case, and delete its log."""
        if self._process is not None and not self._process.ended.called:
            await self._end(SIGKILL)
        self.forget()

    async def _end(self, number: Signals) -> int:
        process = self._process
        assert process is not None
        if not process.ended.called:
            # Of one that could not start the end may be told of in a moment.
            with suppress(ProcessExitedAlready):
                self._transport.signalProcess(number.value)
            await process.ended.addTimeout(END, self._reactor)
        return process.status
