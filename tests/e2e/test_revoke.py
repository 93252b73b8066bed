"""``kschat revoke`` on real daemons: off all of them, and after a restart of all, with npm's clients."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue

from tests.e2e.chatting import new_user
from tests.e2e.test_cluster import DaemonsTestCase
from tests.support import NodeSocket, token
from tests.support.daemon import Daemon
from tests.support.launch import environment
from tests.support.npm import Event
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor, within

#: What each generation of clients is told when it is refused.
REFUSALS = {1: "error", 2: "error", 3: "connect_error", 4: "connect_error"}


def short_path() -> str:
    """A path that a UNIX socket may have, which is bounded."""
    return f"{tempfile.gettempdir()}/{new_user('kschat')}.control"


class RevokeTestCase(DaemonsTestCase):
    """Revokes by the command."""

    async def command(self, daemon: Daemon, *arguments: str, status: int = 0) -> str:
        """``kschat revoke`` with a daemon's settings; what it printed."""
        given = [
            part
            for name, value in daemon.settings.items()
            for part in ("--" + name.replace("_", "-"), str(value))
            if name in ("store", "redis", "redis_prefix", "control")
        ]
        program = [sys.executable, "-c", "from kschat.cli import run; run()", "revoke", *arguments, *given]
        ended = getProcessOutputAndValue(program[0], program[1:], env=environment(SECRET), reactor=real_reactor())
        output, errors, found = await within(ended, "kschat revoke", lambda: daemon.log)
        self.assertEqual(status, found, (output, errors))
        return str((output or errors).decode())

    async def refused(self, daemon: Daemon, user: str, version: int = 4, **claims: Any) -> None:
        """A socket with a token of ``user`` is refused by a daemon."""
        socket = await self.opened(daemon, user, version, **claims)
        event = await socket.next(REFUSALS[version])
        self.assertIn("Authentication error", str(event.args))

    def mode(self, path: Path) -> int | None:
        """Who may use a socket; None if it is not there."""
        return stat.S_IMODE(path.stat().st_mode) if path.exists() else None

    def file(self) -> str:
        """A path for a store, whatever directory a daemon runs in."""
        # Short: the control socket beside it has at most 107 bytes of a path.
        directory = tempfile.mkdtemp(prefix="kschat-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return f"{directory}/kschat.db"

    async def opened(self, daemon: Daemon, user: str, version: int, **claims: Any) -> NodeSocket:
        if version not in self._clients:
            await (await self.join(daemon, new_user("nobody"), version)).disconnect()
        text = token(user, **claims)
        socket: NodeSocket = await self._clients[version].open(f"{daemon.url}/kschat", query=f"token={text}")
        return socket

    async def off(self, socket: NodeSocket) -> Event:
        """The Goodbye of a socket that is disconnected by the server."""
        goodbye = await socket.next("Goodbye")
        await socket.next("disconnect")
        return goodbye


class Cluster(RevokeTestCase):
    """Three daemons on Redis and RabbitMQ."""

    store = "redis"

    async def test_a_revoked_user_is_off_all_daemons_and_stays_off_after_a_restart_of_all(self) -> None:
        daemons = await self.daemons(3)
        alice, bob = new_user("alice"), new_user("bob")
        sockets = [
            await self.join(daemon, alice, version, goodbye=1)
            for daemon, version in zip(daemons, (2, 3, 4), strict=True)
        ]
        others = [await self.join(daemon, bob, goodbye=1) for daemon in daemons]
        self.assertEqual(
            "revoked: in Redis, and on 3 daemons now\n",
            await self.command(daemons[0], "--user", alice),
        )
        for socket in sockets:
            self.assertEqual([{"reason": "revoked", "retryIn": 0}], (await self.off(socket)).args)
        for socket in others:
            self.assertTrue((await socket.state())["connected"])
        for daemon, version in zip(daemons, (4, 1, 2), strict=True):
            await self.refused(daemon, alice, version)
            await self.refused(daemon, alice)
        for daemon in daemons:
            await daemon.stop()
        for daemon in daemons:
            await daemon.restart()
        for daemon in daemons:
            await self.refused(daemon, alice)
            await self.refused(daemon, alice, 1)
            await self.join(daemon, bob)
        await self.command(daemons[1], "--user", alice, "--lift")
        for daemon in daemons:
            await self.join(daemon, alice)
        self.no_faults(*daemons)

    async def test_while_no_daemon_runs_it_is_kept_and_ends_the_one_token_alone(self) -> None:
        (daemon,) = await self.daemons(1)
        alice = new_user("alice")
        await daemon.stop()
        said = await self.command(daemon, "--jti", "stolen", "--expires", "2100-01-01T00:00:00Z")
        self.assertEqual("revoked: in Redis, and on 0 daemons now\n", said)
        await daemon.restart()
        await self.refused(daemon, alice, jti="stolen")
        await (await self.opened(daemon, alice, 4, jti="other")).next("connect")


class Relay(RevokeTestCase):
    """Nothing is kept."""

    async def test_daemons_that_run_are_told_and_remember_it_while_they_run(self) -> None:
        daemons = await self.daemons(2)
        alice = new_user("alice")
        sockets = [await self.join(daemon, alice, goodbye=1) for daemon in daemons]
        said = await self.command(daemons[0], "--user", alice)
        self.assertEqual("revoked: on 2 daemons now\n", said)
        for socket, daemon in zip(sockets, daemons, strict=True):
            await self.off(socket)
            await self.refused(daemon, alice)
        await daemons[0].stop()
        await daemons[0].restart()
        await self.join(daemons[0], alice)


class OneFile(RevokeTestCase):
    """One daemon on SQLite, which is reached by its control socket."""

    async def test_a_daemon_that_runs_is_asked_and_a_file_that_nobody_uses_is_written(self) -> None:
        store = self.file()
        control = Path(short_path())
        daemon = await Daemon.start(self, store=f"sqlite:{store}", control=str(control))
        self.assertEqual(0o600, self.mode(control))
        alice, bob = new_user("alice"), new_user("bob")
        socket, other = await self.join(daemon, alice, goodbye=1), await self.join(daemon, bob, goodbye=1)
        said = await self.command(daemon, "--user", alice)
        self.assertEqual(f"revoked: on the daemon at {control}, and in its store sqlite\n", said)
        await self.off(socket)
        self.assertTrue((await other.state())["connected"])
        self.assertIn("in the future", await self.command(daemon, "--issued-before", "4000000000", status=1))
        await daemon.kill()
        self.assertEqual(0o600, self.mode(control))
        said = await self.command(daemon, "--user", bob)
        self.assertEqual(f"revoked: in {store}, which no daemon uses now\n", said)
        await daemon.restart()
        for user in (alice, bob):
            await self.refused(daemon, user)
        self.assertIn("revoked", await self.command(daemon, "--issued-before", "now"))
        await self.refused(daemon, new_user("carol"))
        for user in (alice, bob):
            await self.command(daemon, "--user", user, "--lift")
        await daemon.stop()
        self.assertIsNone(self.mode(control))
        self.assertIn("lifted", await self.command(daemon, "--issued-before", "now", "--lift"))
        await daemon.restart()
        for user in (alice, bob):
            await self.join(daemon, user)
        self.no_faults(daemon)

    async def test_a_second_daemon_does_not_take_the_socket_and_without_it_the_command_says_so(self) -> None:
        control = Path(short_path())
        daemon = await Daemon.start(self, store="memory", control=str(control))
        second = await Daemon.start(self, store="memory", control=str(control))
        self.assertIn("another daemon listens there", second.log)
        alice = new_user("alice")
        socket = await self.join(daemon, alice, goodbye=1)
        self.assertIn("in its store memory", await self.command(daemon, "--user", alice))
        await self.off(socket)
        await daemon.stop()
        said = await self.command(daemon, "--user", alice, status=1)
        self.assertIn(f"no daemon answers at {control}", said)
        del daemon.settings["control"]
        self.assertIn("--control PATH", await self.command(daemon, "--user", alice, status=1))
