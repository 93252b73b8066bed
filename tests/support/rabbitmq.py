"""A RabbitMQ of the tests' own: on free ports of 127.0.0.1, its data in a temporary directory, ended by its pid."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import msgspec
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.launch import free_ports
from tests.support.needs import require_rabbitmq
from tests.support.stopped import wait_until_stopped
from tests.support.waiting import real_reactor

#: Seconds until it must serve, or must have ended.
PATIENCE = 90

#: What its console says once it serves.
SERVES = b"completed with"


class Membership(msgspec.Struct, frozen=True):
    """What makes a broker one node of several.

    Attributes:
        name: of the node; its host is an address.
        epmd_port: of the epmd that knows all nodes, which somebody else runs.
        cookie: that the nodes share.
        arguments: of Erlang, beside.
    """

    name: str
    epmd_port: int
    cookie: str
    arguments: str = ""


class RabbitMQ:
    """One broker, over all its lives, with user guest and password guest.

    Args:
        config: further lines of ``rabbitmq.conf``.
        membership: where it is one node of several.

    Attributes:
        port: of AMQP.
        dist_port: of Erlang's distribution, by which nodes talk to each other.
    """

    def __init__(self, config: str = "", membership: Membership | None = None) -> None:
        self._server = require_rabbitmq()
        self.directory = Path(tempfile.mkdtemp(prefix="kschat-rabbitmq-"))
        self.port, self.dist_port, self._epmd_port = free_ports(3)
        self._membership = membership
        if membership is not None:
            self._epmd_port = membership.epmd_port
            cookie = self.directory / ".erlang.cookie"
            cookie.write_text(membership.cookie)
            cookie.chmod(0o400)
        for name in ("mnesia", "log"):
            (self.directory / name).mkdir()
        (self.directory / "enabled_plugins").write_text("[].\n")
        lines = f"listeners.tcp.default = 127.0.0.1:{self.port}\nloopback_users = none\n{config}"
        (self.directory / "rabbitmq.conf").write_text(lines)
        self._console = self.directory / "console"
        self._printed = 0
        directory = str(self.directory)
        self._environment = {
            **os.environ,
            "HOME": directory,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost" if membership is None else membership.name,
            "RABBITMQ_USE_LONGNAME": "false" if membership is None else "true",
            "RABBITMQ_MNESIA_BASE": f"{directory}/mnesia",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2 "
            "-kernel inet_dist_use_interface {127,0,0,1}" + (f" {membership.arguments}" if membership else ""),
        }
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """How to connect to it."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    async def start(self) -> None:
        """Start it; it serves when this returns."""
        self._spawn()
        for _ in range(PATIENCE * 20):
            said = self._console.read_bytes()[self._printed :]
            if SERVES in said:
                return
            if self._process is None or self._process.poll() is not None:
                break
            await deferLater(real_reactor(), 0.05)
        raise AssertionError(f"RabbitMQ does not serve: {said[-2000:]!r}")

    def _spawn(self) -> None:
        if self._epmd is None and self._membership is None:
            # Erlang would leave one behind.
            epmd = [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(epmd, env=self._environment, stdout=DEVNULL, stderr=DEVNULL)
        # In a session of its own, so that what its script starts ends with it. No child of the reactor's: it outlives
        # a test, and trial would take it for a leak.
        with self._console.open("ab") as output:
            self._printed = self._console.stat().st_size
            self._process = subprocess.Popen(
                [self._server], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP (which has come to all of it when this returns), SIGCONT, SIGKILL."""
        assert self._process is not None
        os.killpg(self._process.pid, number)
        if number is signal.SIGSTOP:
            wait_until_stopped(self._process.pid)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait(PATIENCE)

    async def end(self) -> None:
        """End it in order; ``start`` starts it again, with the same data."""
        self.signal(signal.SIGTERM)
        while self._process is not None and self._process.poll() is None:
            await deferLater(real_reactor(), 0.05)

    async def ctl(self, *arguments: str) -> str:
        """Do what ``rabbitmqctl`` does with these arguments, and return what it prints."""
        program = str(Path(self._server).with_name("rabbitmqctl"))
        result = await deferToThread(
            subprocess.run,
            [program, *arguments],
            env=self._environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.decode()

    async def restart(self) -> None:
        """Crash, and come back with the same data on the same port."""
        self.kill()
        await self.start()

    def log_lines(self) -> Iterator[str]:
        """What it has logged and printed, over all its lives."""
        for path in (self._console, *sorted((self.directory / "log").rglob("*"))):
            if path.is_file():
                yield from path.read_text(errors="replace").splitlines()

    def stop(self) -> None:
        """End it, and all that belongs to it."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(PATIENCE)
            self._epmd = None
        shutil.rmtree(self.directory, ignore_errors=True)


_shared: list[RabbitMQ] = []


async def shared_rabbitmq() -> RabbitMQ:
    """The one of this process: started when it is first asked for, ended with the process.

    Who kills or blocks it takes one of its own.
    """
    if not _shared:
        broker = RabbitMQ()
        atexit.register(broker.stop)
        await broker.start()
        _shared.append(broker)
    return _shared[0]
