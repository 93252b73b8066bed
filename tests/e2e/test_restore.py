"""A restore drill: the daemon's file is put back to a backup, and npm's clients of before miss nothing after that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutput
from twisted.trial import unittest

from chaos.proxy import Proxy
from tests.e2e.chatting import COMES_BACK, messages_of, new_user, received, send
from tests.e2e.test_redis import ClusterTestCase
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.launch import REPOSITORY, environment
from tests.support.needs import require_litestream
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor, repeated_until


class RestoreTestCase(unittest.TestCase):
    """A daemon on SQLite, and a copy of its file."""

    timeout = 120

    def setUp(self) -> None:
        self.file = os.path.abspath(self.mktemp())
        self.copy = self.file + ".copy"

    async def start(self) -> None:
        """The daemon, on a file of its own."""
        require_node()
        self.daemon = await Daemon.start(self, store=f"sqlite:{self.file}")
        self.client = NodeClient.start(self, 4, self.daemon)

    async def join(self, user: str, url: str | None = None, **asks: object) -> NodeSocket:
        """A socket of ``user``."""
        return await self.client.connect(
            f"{url or self.daemon.url}/kschat", auth={"token": token(user), **asks}, **(COMES_BACK if url else {})
        )

    def kschat(self, *arguments: str) -> str:
        """What the command prints."""
        run = [sys.executable, "-c", "from kschat.cli import run; run()", *arguments, "--store", f"sqlite:{self.file}"]
        return subprocess.run(run, env=environment(SECRET), check=True, capture_output=True, text=True).stdout

    def make_copy(self) -> None:
        """Copy the file while the daemon runs."""
        self.assertIn("holds 10 messages", self.kschat("backup", self.copy))

    async def put_back(self) -> None:
        """Stop the daemon, put the copy in place of the file, start."""
        await self.daemon.stop()
        os.replace(self.copy, self.file)
        await self.daemon.restart()

    async def restore(self) -> None:
        """A copy, ten more messages, and the copy in the place of the file: clients of before miss nothing of after."""
        await self.start()
        alice, bob, cem = new_user("alice"), new_user("bob"), new_user("cem")
        proxy = Proxy(real_reactor(), self.daemon.port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        a = await self.join(alice)
        b = await self.join(bob, f"http://127.0.0.1:{proxy.port}", recover=1)
        await send(a, alice, bob, *range(1, 11))
        await received(b, 10)
        self.make_copy()
        # Bob's client has offset 20 in the end, and shows it when it comes back; Cem's is away.
        await send(a, alice, bob, *range(11, 20))
        await send(a, alice, bob, 20, cid="twenty")
        newest = (await received(b, 10))[-1]
        self.assertEqual(newest["offset"], 20)
        await send(a, alice, cem, "lost")
        await proxy.stop()
        await self.put_back()
        a = await self.join(alice)
        new = [f"new {number}" for number in range(10)]
        acks = await send(a, alice, bob, *new)
        # A cid that the backup does not have is stored, whatever the client was told before.
        (again,) = await send(a, alice, bob, 20, cid="twenty")
        self.assertNotIn("repeat", again)
        await send(a, alice, cem, "kept")
        await proxy.start()
        await b.next("connect")
        self.assertFalse((await b.state())["recovered"])
        came: list[dict[str, object]] = []
        while not came or came[-1]["msg"] != 20 or came[-1]["mid"] != again["mid"]:
            came += messages_of(await b.next("RESPRECEIVER"))
        # What was in the backup may come again, with the mids it had.
        self.assertEqual([one["msg"] for one in came if one["mid"] in {ack["mid"] for ack in acks}], new)
        self.assertEqual([one["msg"] for one in came][-11:], [*new, 20])
        # By the offset of before.
        (page,) = await b.emit("Sync", {"offset": 20})
        self.assertEqual([one["msg"] for one in page["MSG"]], [*new, 20])
        self.assertFalse(page["more"])
        self.assertEqual([one["msg"] for one in await received(await self.join(cem), 1)], ["kept"])
        # And what is written while it is there.
        await send(a, alice, bob, "live")
        self.assertEqual([one["msg"] for one in await received(b, 1)], ["live"])
        self.assertIn("begins a new epoch", self.daemon.log)
        self.assertEqual([], self.daemon.faults)


class RestoreTests(RestoreTestCase):
    """A backup of the running daemon."""

    async def test_clients_of_before_miss_nothing_that_was_acknowledged_after_the_restore(self) -> None:
        await self.restore()

    async def test_a_snapshot_that_shows_nothing_is_told_by_hand(self) -> None:
        await self.start()
        alice, bob = new_user("alice"), new_user("bob")
        await send(await self.join(alice), alice, bob, *range(3))
        await self.daemon.stop()
        self.assertIn("offsets continue beyond", self.kschat("restored"))
        await self.daemon.restart()
        await send(await self.join(alice), alice, bob, "new")
        (page,) = await (await self.join(bob)).emit("Sync", {"offset": 3})
        self.assertEqual([one["msg"] for one in page["MSG"]], ["new"])


class LitestreamTests(RestoreTestCase):
    """A copy that Litestream makes, by the example of deploy/, and the loss of the file."""

    async def start(self) -> None:
        """Litestream beside the daemon."""
        self.program = require_litestream()
        await super().start()
        self.replicate()

        async def copies() -> str:
            return self.said()

        await repeated_until(copies, lambda text: "snapshot complete" in text, "the copy to begin")

    def replicate(self) -> None:
        """Run it by the example."""
        example = (REPOSITORY / "deploy" / "litestream.yml").read_text("utf-8")
        for there, here in (("/var/lib/kschat/kschat.db", self.file), ("/var/backups/kschat", self.copy)):
            self.assertIn(there, example)
            example = example.replace(there, here)
        self.config = Path(self.file + ".yml")
        self.config.write_text(example)
        # No child of the reactor's: trial would take what it leaves for a leak.
        with Path(self.file + ".log").open("wb") as log:
            self.process = subprocess.Popen([self.program, "replicate", "-config", self.config], stdout=log, stderr=log)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)

    def said(self) -> str:
        """What Litestream has said."""
        return Path(self.file + ".log").read_text("utf-8")

    def make_copy(self) -> None:
        """End Litestream, which copies what is there. Its tables are no trouble to a backup."""
        self.assertIn("holds 10 messages", self.kschat("backup", self.file + ".backup"))
        self.process.terminate()
        self.assertEqual(self.process.wait(30), 0, self.said())

    async def put_back(self) -> None:
        """Lose the machine, and make the file from the copy."""
        await self.daemon.kill()
        self.lose_and_restore()
        await self.daemon.restart()

    def lose_and_restore(self) -> None:
        """Delete all files of the database, and make it from the copy."""
        for path in Path(self.file).parent.glob(f"{Path(self.file).name}[-.]*"):
            if path not in (self.config, Path(self.file + ".log"), Path(self.copy)) and not path.is_dir():
                path.unlink()
        Path(self.file).unlink()
        subprocess.run([self.program, "restore", "-config", self.config, self.file], check=True, capture_output=True)

    async def test_clients_of_before_miss_nothing_that_was_acknowledged_after_the_restore(self) -> None:
        await self.restore()


class RedisRestoreTests(ClusterTestCase):
    """A copy of Redis, ten more messages, and the copy in the place of its data."""

    async def begun(self) -> None:
        """Two daemons; Bob's client has offset 20 in the end, of which the copy has 10."""
        self.daemons_here = await self.daemons("enable-debug-command yes\n")
        one, other = self.daemons_here
        self.alice, self.bob, self.cem = new_user("alice"), new_user("bob"), new_user("cem")
        self.proxy = Proxy(real_reactor(), other.port)
        self.addCleanup(self.proxy.stop)
        await self.proxy.start()
        a = await self.join(one, self.alice)
        client = NodeClient.start(self, 4)
        self.b = await client.connect(
            f"http://127.0.0.1:{self.proxy.port}/kschat", auth={"token": token(self.bob), "recover": 1}, **COMES_BACK
        )
        await send(a, self.alice, self.bob, *range(1, 11))
        await received(self.b, 10)
        self.redis.do("SAVE")
        self.copy = (self.redis.directory / "dump.rdb").read_bytes()
        await send(a, self.alice, self.bob, *range(11, 20))
        await send(a, self.alice, self.bob, 20, cid="twenty")
        self.assertEqual((await received(self.b, 10))[-1]["offset"], 20)
        await send(a, self.alice, self.cem, "lost")
        await self.proxy.stop()

    async def nothing_is_missed(self) -> None:
        """What is acknowledged now comes to each client of before."""
        one, other = self.daemons_here
        a = await self.join(one, self.alice)
        new = [f"new {number}" for number in range(10)]
        await send(a, self.alice, self.bob, *new)
        (again,) = await send(a, self.alice, self.bob, 20, cid="twenty")
        self.assertNotIn("repeat", again)
        await send(a, self.alice, self.cem, "kept")
        await self.proxy.start()
        await self.b.next("connect")
        came: list[dict[str, object]] = []
        while not came or came[-1]["mid"] != again["mid"]:
            came += messages_of(await self.b.next("RESPRECEIVER"))
        self.assertEqual([one["msg"] for one in came][-11:], [*new, 20])
        (page,) = await self.b.emit("Sync", {"offset": 20})
        self.assertEqual([one["msg"] for one in page["MSG"]], [*new, 20])
        self.assertFalse(page["more"])
        self.assertEqual([one["msg"] for one in await received(await self.join(other, self.cem), 1)], ["kept"])
        await send(a, self.alice, self.bob, "live")
        self.assertEqual([one["msg"] for one in await received(self.b, 1)], ["live"])

    async def test_a_copy_in_the_place_of_its_file_while_daemons_live(self) -> None:
        await self.begun()
        self.redis.kill()
        (self.redis.directory / "dump.rdb").write_bytes(self.copy)
        for daemon in self.daemons_here:
            await daemon.ready_becomes("degraded")
        await self.redis.start()
        for daemon in self.daemons_here:
            await daemon.ready_becomes("ready")
        await self.nothing_is_missed()

    async def test_a_copy_that_a_running_redis_loads_while_no_daemon_is_there(self) -> None:
        await self.begun()
        for daemon in self.daemons_here:
            await daemon.stop()
        (self.redis.directory / "dump.rdb").write_bytes(self.copy)
        self.redis.do("DEBUG", "RELOAD", "NOSAVE")
        command = ("-c", "from kschat.cli import run; run()", "restored", "--store", "redis", "--redis", self.redis.url)
        done = await getProcessOutput(sys.executable, command, environment(SECRET))
        self.assertIn(b"offsets continue beyond all earlier ones", done)
        for daemon in self.daemons_here:
            await daemon.restart()
            await daemon.ready_becomes("ready")
        await self.nothing_is_missed()
