"""The real daemon as a subprocess: ``twistd -n kschat`` on a free port of 127.0.0.1.

:class:`Daemon` belongs to one test: it can be stopped, killed and started again.
:func:`shared_daemon` spares the start.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IProcessTransport
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from chaos.signs import is_fault
from tests.support.launch import REPOSITORY, SERVING, NotServing, Process, command, environment, free_port
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE, real_reactor, repeated_until, within


class _Served:
    """What is known of a daemon that listens on a port, whoever runs its process."""

    port: int
    pid: int

    @property
    def log(self) -> str:
        """All that it printed so far."""
        raise NotImplementedError

    @property
    def faults(self) -> list[str]:
        """The lines of the log that no client may bring about."""
        return [line for line in self.log.splitlines() if is_fault(line)]

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Resident memory in bytes (VmRSS of /proc/PID/status)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no VmRSS in /proc/{self.pid}/status: {status}")

    def processor_time(self) -> float:
        """Seconds of CPU that the process has used so far (utime + stime of /proc/PID/stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def is_left(self) -> None:
        """Waits until nobody is connected any more but who asks."""
        await self.health_becomes(open=1, connections=0, sockets=0, users=0)

    async def health(self) -> dict[str, Any]:
        """What /healthz says."""
        agent = Agent(real_reactor(), connectTimeout=PATIENCE)
        response = await agent.request(b"GET", f"{self.url}/healthz".encode())
        body = await readBody(response)
        assert response.code == 200, (response.code, body)
        health: dict[str, Any] = json.loads(body)
        return health

    async def live(self) -> dict[str, Any]:
        """What /livez says, whatever its status."""
        response = await Agent(real_reactor(), connectTimeout=PATIENCE).request(b"GET", f"{self.url}/livez".encode())
        said: dict[str, Any] = json.loads(await readBody(response))
        assert response.code == (200 if said["status"] == "live" else 503), (response.code, said)
        return said

    async def ready(self) -> dict[str, Any]:
        """What /readyz says, whatever its status."""
        response = await Agent(real_reactor(), connectTimeout=PATIENCE).request(b"GET", f"{self.url}/readyz".encode())
        said: dict[str, Any] = json.loads(await readBody(response))
        assert response.code == (200 if said["status"] == "ready" else 503), (response.code, said)
        return said

    async def ready_becomes(self, status: str) -> dict[str, Any]:
        """/readyz, as soon as its status is this one."""
        return await repeated_until(self.ready, lambda said: said["status"] == status, f"/readyz with {status}", 60)

    async def health_becomes(self, **expected: object) -> dict[str, Any]:
        """/healthz, as soon as its fields named in ``expected`` have these values.

        ``open`` counts TCP connections, the one that asks among them, ``connections`` Engine.IO's sessions, ``sockets``
        those that joined the chat's namespace.
        """
        right = lambda health: expected.items() <= health.items()  # noqa: E731
        return await repeated_until(self.health, right, f"/healthz with {expected}")


#: Ports that a daemon is started at, one after another, where each is taken.
TRIES = 3


class Daemon(_Served):
    """A daemon of one test, stopped at the test's end.

    ``port``, ``settings`` and ``secret`` stay the same over a restart.
    """

    def __init__(self, settings: Mapping[str, object], secret: str) -> None:
        self.port = free_port()
        self.settings = dict(settings)
        self.secret = secret
        self._output = bytearray()
        self._process = Process(self._output.extend)
        self._transport: IProcessTransport | None = None

    @classmethod
    async def start(cls, test: unittest.TestCase, *, secret: str = SECRET, **settings: object) -> Daemon:
        """A daemon that serves."""
        daemon = cls(settings, secret)
        test.addCleanup(daemon._end)
        for left in reversed(range(TRIES)):
            try:
                await daemon._spawn()
            except AssertionError:
                # Another process took the port since it was free.
                if not left or "Address already in use" not in daemon.log:
                    raise
                daemon.port = free_port()
                daemon._process = Process(daemon._output.extend)
            else:
                break
        return daemon

    @property
    def log(self) -> str:
        """All that it printed, over all restarts."""
        return self._output.decode(errors="replace")

    async def stop(self) -> int:
        """SIGTERM; the exit status when it has ended (a signal that killed it is negative)."""
        return await self._signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """A signal; it goes on."""
        assert self._transport is not None, "the daemon has ended"
        self._transport.signalProcess(number.value)

    async def kill(self) -> int:
        """SIGKILL, as a crash would; the exit status."""
        return await self._signal(signal.SIGKILL)

    async def restart(self) -> None:
        """Starts it again on the same port, after :meth:`stop` or :meth:`kill`."""
        assert self._transport is None, "the daemon still runs"
        self._process = Process(self._output.extend)
        await self._spawn()

    def _command(self) -> list[str]:
        return command(self.port, self.settings)

    def _place(self) -> tuple[dict[str, str], str]:
        """Its environment, and its directory."""
        return environment(self.secret), str(REPOSITORY)

    async def _spawn(self) -> None:
        arguments = self._command()
        environ, directory = self._place()
        self._transport = real_reactor().spawnProcess(
            self._process, arguments[0], arguments, env=environ, path=directory
        )
        pid = self._transport.pid if self._transport is not None else None
        assert pid is not None
        self.pid = int(pid)
        try:
            await within(self._process.serving, "the daemon to serve", lambda: self.log)
        except NotServing as error:
            self._transport = None  # it has ended
            raise AssertionError(f"{error}:\n{self.log}") from None

    async def _signal(self, number: signal.Signals) -> int:
        assert self._transport is not None, "the daemon does not run"
        self._transport.signalProcess(number.value)
        status = await within(self._process.ended, f"the daemon to end after {number.name}", lambda: self.log)
        self._transport = None
        return status

    async def _end(self) -> None:
        """Leaves no process behind: one that does not stop when told is killed, and the test fails."""
        if self._transport is None or self._process.ended.called:
            return
        try:
            await self.stop()
        except AssertionError:
            if not self._process.ended.called:
                self._process.ended = defer.Deferred()
                await self.kill()
            raise


class Program(Daemon):
    """Another program than ``twistd kschat``, which serves by the same front and says so in its output."""

    _arguments: tuple[str, ...] = ()

    @classmethod
    async def run(cls, test: unittest.TestCase, *arguments: str) -> Program:
        """``python ARGUMENTS…``, in which PORT stands for its port."""
        program = cls({}, SECRET)
        program._arguments = arguments
        test.addCleanup(program._end)
        await program._spawn()
        return program

    def _command(self) -> list[str]:
        return [sys.executable, *(argument.replace("PORT", str(self.port)) for argument in self._arguments)]


class SharedDaemon(_Served):
    """A daemon that many tests use one after the other; get it by :func:`shared_daemon`."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            command(self.port, settings),
            env=environment(SECRET),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        atexit.register(self._end)
        self.pid = self._process.pid
        self._lines: list[bytes] = []
        self._serving = threading.Event()
        threading.Thread(target=self._read, name="log of the daemon", daemon=True).start()
        self._serving.wait(PATIENCE)
        if not any(SERVING in line for line in self._lines):
            raise AssertionError(f"the daemon does not serve:\n{self.log}")

    @property
    def log(self) -> str:
        """All that it printed so far."""
        return b"".join(self._lines).decode(errors="replace")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def _read(self) -> None:
        """Runs in a thread until the process closes its output."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line)
                if SERVING in line:
                    self._serving.set()
        self._serving.set()


@functools.cache
def shared_daemon(**settings: object) -> SharedDaemon:
    """The one daemon with these settings; it lives until trial ends. (trial calls no setUpClass, and wants nothing left
    on the reactor after a test, so its process is not run by the reactor.)
    """
    return SharedDaemon(settings)
