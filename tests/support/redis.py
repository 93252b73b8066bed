"""A Redis of the tests' own: on a free port of 127.0.0.1, its data in a temporary directory, ended by its pid."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hiredis
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from tests.support.launch import free_ports
from tests.support.needs import require_redis
from tests.support.stopped import wait_until_stopped
from tests.support.waiting import real_reactor

#: Seconds until it must serve, or must have ended.
PATIENCE = 30

#: What its log says once it serves.
SERVES = b"Ready to accept connections"


class Redis:
    """One server, over all its lives.

    Args:
        config: further lines of ``redis.conf``.
        sentinel: whether it is a Sentinel, and no store.
        environ: variables of its environment, beside ours.

    Attributes:
        port: where it listens.
        tls_port: where it listens for TLS, once ``config`` makes it.
        directory: its data, and its ``log`` over all its lives.
    """

    def __init__(
        self, config: str = "", sentinel: bool = False, *, environ: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._server = require_redis()
        self.directory = Path(tempfile.mkdtemp(prefix="kschat-redis-"))
        self.port, self.tls_port = free_ports(2)
        self.config = config
        self._sentinel = sentinel
        self._environment = {**os.environ, **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "log"
        self._logged = 0

    @property
    def url(self) -> str:
        """How to connect to it."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it with the same data as before; it serves when this returns."""
        self._spawn()
        for _ in range(PATIENCE * 50):
            said = self._log.read_bytes()[self._logged :]
            if SERVES in said or (self._sentinel and b"+monitor" in said):
                return
            if self._process is None or self._process.poll() is not None:
                break
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"Redis does not serve: {said[-2000:]!r}")

    def _spawn(self) -> None:
        # Sentinels and ACL SAVE write to it, and that stays.
        path = self.directory / "redis.conf"
        if not path.exists():
            own = "" if self._sentinel else 'save ""'
            path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n{own}\n{self.config}\n")
        mode = ["--sentinel"] if self._sentinel else []
        # No child of the reactor's: it outlives a test, and trial would take it for a leak.
        with self._log.open("ab") as output:
            self._logged = self._log.stat().st_size
            self._process = subprocess.Popen(
                [self._server, str(path), *mode],
                env=self._environment,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP (which has come when this returns), SIGCONT, SIGKILL."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGSTOP:
            wait_until_stopped(self._process.pid)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)

    async def end(self) -> None:
        """End it in order; ``start`` starts it again, with the same data."""
        self.signal(signal.SIGTERM)
        while self._process is not None and self._process.poll() is None:
            await deferLater(real_reactor(), 0.02)

    async def restart(self, forget: bool = False) -> None:
        """Crash, and come back on the same port: with the same data, or with none."""
        self.kill()
        if forget:
            for path in self.directory.glob("appendonlydir/*"):
                path.unlink()
        await self.start()

    def do(self, *command: str | bytes | int) -> Any:
        """Ask it something, and wait for the answer. Raises what it says."""
        return self._answers(command)[-1]

    def do_as(self, password: str, *command: str | bytes | int) -> Any:
        """The same, of one that wants a password."""
        return self._answers(("AUTH", password), command)[-1]

    def _answers(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        reader, answers = hiredis.Reader(), []
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link:
            for command in commands:
                link.sendall(hiredis.pack_command(command))  # type: ignore[arg-type] # it takes tuples of any length
                while (answer := reader.gets()) is False:
                    data = link.recv(65536)
                    if not data:
                        raise AssertionError("Redis closed the connection")
                    reader.feed(data)
                if isinstance(answer, Exception):
                    raise answer
                answers.append(answer)
        return answers

    def log_lines(self) -> Iterator[str]:
        """What it has logged, over all its lives."""
        yield from self._log.read_text(errors="replace").splitlines()

    def stop(self) -> None:
        """End it, and all that belongs to it."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Saying(Protocol):
    """Something that speaks as Redis does, and answers each command by its name.

    Args:
        said: the answers, as they stand on the wire; of one that is not there: an error.
    """

    def __init__(self, said: Mapping[str, bytes]) -> None:
        self._said = said
        self._reader = hiredis.Reader()

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            assert self.transport is not None
            self.transport.write(self._said.get(command[0].decode().upper(), b"-ERR unknown command\r\n"))


_shared: list[Redis] = []


async def shared_redis() -> Redis:
    """The one of this process: started when it is first asked for, ended with the process. Each test has a prefix.

    Who kills or blocks it takes one of its own.
    """
    if not _shared:
        server = Redis()
        atexit.register(server.stop)
        await server.start()
        _shared.append(server)
    return _shared[0]
