"""A PostgreSQL of the tests' own: on a free port of 127.0.0.1, its data in a temporary directory, ended by its pid."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support.launch import free_port
from tests.support.needs import require_postgresql
from tests.support.stopped import wait_until_stopped
from tests.support.waiting import real_reactor

#: Seconds until it must serve, or must have ended.
PATIENCE = 60

#: What its log says once it serves.
SERVES = b"database system is ready to accept"


class PostgreSQL:
    """One server, over all its lives, with the user kschat and its database of that name; tests are postgres.

    Args:
        config: further lines of ``postgresql.conf``.
        primary: the server that it is a standby of.
        upstream: see below.
        environ: variables of its environment, beside ours.

    Attributes:
        upstream: the port of 127.0.0.1 by which it follows a primary; 0 for the primary's own.
        port: where it listens.
        directory: its data are below it, and its ``log`` over all its lives.
    """

    def __init__(
        self,
        config: str = "",
        primary: PostgreSQL | None = None,
        *,
        upstream: int = 0,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._programs = require_postgresql()
        self.directory = Path(tempfile.mkdtemp(prefix="kschat-postgresql-"))
        self.data = self.directory / "data"
        self.port = free_port()
        self.config = config
        self._primary = primary
        self.upstream = upstream
        self._environment = {**os.environ, **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "log"
        self._logged = 0
        # The server does not run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)

    @property
    def url(self) -> str:
        """How a daemon connects to it."""
        return f"postgresql://kschat:secret@127.0.0.1:{self.port}/kschat"

    async def start(self) -> None:
        """Start it with the same data as before; it serves when this returns."""
        self.spawn()
        for _ in range(PATIENCE * 50):
            if self.serves():
                return
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"PostgreSQL does not serve: {self._said()[-2000:]!r}")

    def spawn(self) -> None:
        """Start it, and do not wait until it serves."""
        if not self.data.exists():
            self._create()
        with self._log.open("ab") as output:
            self._logged = self._log.stat().st_size
            self._process = self._started([self._programs / "postgres", "-D", self.data], output)

    def serves(self) -> bool:
        """Whether it serves. Raises AssertionError: it has ended."""
        said = self._said()
        if SERVES in said:
            return True
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL does not serve: {said[-2000:]!r}")
        return False

    def _said(self) -> bytes:
        """What it has logged in this life."""
        return self._log.read_bytes()[self._logged :]

    def log_lines(self) -> Iterator[str]:
        """The lines of its log, over all its lives."""
        with self._log.open(errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")

    @property
    def pid(self) -> int:
        """The first of its processes."""
        assert self._process is not None
        return self._process.pid

    def _create(self) -> None:
        if self._primary is not None:
            source = self._primary.superuser("postgres")
            self._run(["pg_basebackup", "-D", self.data, "-d", source, "-c", "fast", "--no-sync"])
        else:
            self._run(
                ["initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
            )
            (self.data / "pg_hba.conf").write_text(
                "host all postgres 127.0.0.1/32 trust\nhost replication postgres 127.0.0.1/32 trust\n"
                "host all all 127.0.0.1/32 scram-sha-256\n"
            )
        self._configure()
        if self._primary is None:
            # In single-user mode, before it serves: a client that connects finds the database.
            statements = b"CREATE USER kschat PASSWORD 'secret';\nCREATE DATABASE kschat OWNER kschat;\n"
            # No standby is there yet that a commit could wait for.
            alone = ["-c", "synchronous_standby_names="]
            self._run(["postgres", "--single", *alone, "-D", self.data, "postgres"], statements)

    def _configure(self) -> None:
        """Write its own settings, behind those of another server."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"\nlisten_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                f"shared_buffers = 32MB\nmax_connections = 60\nautovacuum_naptime = 5min\n{self.config}\n"
            )
        if self._primary is not None:
            with (self.data / "postgresql.auto.conf").open("a") as file:
                port = self.upstream or self._primary.port
                file.write(f"primary_conninfo = 'host=127.0.0.1 port={port} user=postgres application_name=standby'\n")
            (self.data / "standby.signal").touch()

    async def follow(self, primary: PostgreSQL) -> None:
        """Make this server, which has ended, a standby of another that has taken its place; what only it had goes.

        ``start`` starts it as one.
        """
        # A server that was just promoted is on the old timeline for pg_rewind until its first checkpoint.
        primary.do("CHECKPOINT", "postgres")
        self._primary = primary
        source = primary.superuser("postgres")
        command: list[str | Path] = ["pg_rewind", "-D", self.data, f"--source-server={source}", "--no-sync"]
        await deferToThread(self._run, command)
        self._configure()

    def _run(self, command: Sequence[str | Path], given: bytes = b"") -> None:
        program = [str(self._programs / command[0]), *map(str, command[1:])]
        done = subprocess.run(
            program,
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            cwd=self.directory,
            env=self._environment,
            user=self._user,
        )
        if done.returncode:
            raise AssertionError(f"{command[0]} failed: {done.stderr[-2000:]!r}")

    def _started(self, command: Sequence[str | Path], output: Any) -> subprocess.Popen[bytes]:
        # No child of the reactor's: it outlives a test, and trial would take it for a leak.
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.directory,
            env=self._environment,
            user=self._user,
            start_new_session=True,
        )

    def _pids(self) -> list[int]:
        """The server's processes, the first one first. (Each is in a session of its own.)"""
        assert self._process is not None
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        children = path.read_text().split() if path.exists() else []
        return [self._process.pid, *map(int, children)]

    def signal(self, number: signal.Signals) -> None:
        """Send all of it a signal: SIGSTOP (which has come when this returns), SIGCONT, SIGKILL."""
        for pid in self._pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            if number is signal.SIGSTOP:
                wait_until_stopped(pid)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGSTOP)
            self.signal(signal.SIGKILL)
            self._process.wait(PATIENCE)

    async def end(self) -> None:
        """End it in order, and its connections; ``start`` starts it again, with the same data."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        while self._process.poll() is None:
            await deferLater(real_reactor(), 0.02)

    async def restart(self) -> None:
        """Crash, and come back on the same port with the same data."""
        self.kill()
        await self.start()

    async def promote(self) -> None:
        """A standby becomes the primary; it may be written to when this returns."""
        await deferToThread(self._run, ["pg_ctl", "promote", "-D", self.data, "-w"])

    def do(self, statement: str, database: str = "kschat") -> list[tuple[Any, ...]]:
        """Ask it something as the superuser, and wait for the answer. Raises psycopg.Error."""
        import psycopg

        with psycopg.connect(self.superuser(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def superuser(self, database: str = "kschat") -> str:
        """How the superuser connects to it."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def dump(self) -> None:
        """Save all of the database kschat."""
        self._run(["pg_dump", "-Fc", "-f", self.directory / "dump", self.superuser()])

    def restore(self) -> None:
        """Put back what was saved."""
        self._run(["pg_restore", "-d", self.superuser(), self.directory / "dump"])

    def stop(self) -> None:
        """End it, and all that belongs to it."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


_shared: list[PostgreSQL] = []


async def shared_postgresql() -> PostgreSQL:
    """The one of this process: started when it is first asked for, ended with the process. It is empty.

    Who kills or blocks it takes one of its own.
    """
    if not _shared:
        server = PostgreSQL("fsync = off\nfull_page_writes = off")
        atexit.register(server.stop)
        await server.start()
        _shared.append(server)
    _shared[0].do("DROP SCHEMA IF EXISTS kschat CASCADE")
    return _shared[0]
