"""``kschat run --processes``: real daemons on one port, RabbitMQ and Redis, npm's clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Program
from tests.support.launch import environment, free_ports
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor, repeated_until

COUNT = 3


def children(pid: int) -> list[int]:
    """The processes that a process has started and that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def running(pids: Sequence[int]) -> list[int]:
    """Those of the processes that run. (Of one that has ended and was not waited for, the command line is empty.)"""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


class ProcessesTests(unittest.TestCase):
    """One parent with three daemons."""

    timeout = 240

    async def started(self, *arguments: str) -> Program:
        """They serve."""
        require_node()
        name = new_user("processes")
        self.ops, *others = free_ports(COUNT)
        while not set(range(self.ops, self.ops + COUNT)).isdisjoint(others):
            self.ops, *others = free_ports(COUNT)
        settings = {
            "store": "redis",
            "amqp": (await shared_rabbitmq()).url,
            "amqp-exchange": name,
            "redis": (await shared_redis()).url,
            "redis-prefix": name,
            "ops-listen": f"tcp:{self.ops}:interface=127.0.0.1",
        }
        given = [f"--{name}={value}" for name, value in settings.items()]
        command = ["-c", "from kschat.cli import run; run()", "run", f"--processes={COUNT}"]
        program = await Program.run(self, *command, "--listen=tcp:PORT:interface=127.0.0.1", *given, *arguments)
        await self.logs(program, f"{COUNT} processes serve")
        for number in range(COUNT):
            await self.ready(number)
        return program

    async def logs(self, program: Program, text: str) -> None:
        """Its log has this, or one of its daemons' logs."""

        async def log() -> str:
            await deferLater(real_reactor(), 0.02)
            return program.log

        await repeated_until(log, lambda said: text in said, text, 60)

    async def asked(self, number: int, path: str) -> str:
        """What one process says at its port for operators; "" where it does not listen."""
        url = f"http://127.0.0.1:{self.ops + number}/{path}".encode()
        try:
            response = await Agent(real_reactor(), connectTimeout=5).request(b"GET", url)
            return (await readBody(response)).decode()
        except ConnectError:
            return ""

    async def ready(self, number: int) -> None:
        """It can use its services."""
        await repeated_until(lambda: self.asked(number, "readyz"), lambda said: '"ready"' in said, f"process {number}")

    async def sockets(self) -> list[int]:
        """How many sockets each process has."""
        said = [json.loads(await self.asked(number, "healthz")) for number in range(COUNT)]
        return [int(one["sockets"]) for one in said]

    async def join(self, program: Program, user: str, version: int = 4, **options: Any) -> NodeSocket:
        """A client of its own."""
        client = NodeClient.start(self, version)
        query = urlencode({"token": token(user, data={"id": user})})
        again = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 500}
        return await client.connect(f"{program.url}/kschat", query=query, **again, **options)

    async def talk(self, sender: NodeSocket, user: str, peer: str, recipient: NodeSocket, text: str) -> None:
        (ack,) = await sender.emit("Send", sending(user, peer, text))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"], ack)
        got = await recipient.next("RESPRECEIVER", lambda event: messages_of(event)[0]["mid"] == ack["mid"])
        self.assertEqual(text, messages_of(got)[0]["msg"])

    async def test_polling_clients_of_all_versions_talk_whichever_process_they_reach(self) -> None:
        program = await self.started()
        sockets = {}
        for version in (1, 2, 3, 4):
            user = new_user(f"polls{version}")
            sockets[user] = await self.join(program, user, version, transports=["polling"])
        for user, socket in sockets.items():
            for peer, other in sockets.items():
                if peer != user:
                    await self.talk(socket, user, peer, other, f"from {user}")
        # A request comes to any of the processes: some were forwarded.
        handed = 0.0
        for number in range(COUNT):
            text = await self.asked(number, "metrics")
            handed += float(text.partition("\nkschat_handed_on_total ")[2].split()[0])
        self.assertGreater(handed, 0)
        self.assertEqual([], program.faults)

    async def test_one_that_dies_is_started_again_and_the_others_go_on(self) -> None:
        program = await self.started()
        before = children(program.pid)
        self.assertEqual(len(before), COUNT)
        users = [new_user(f"user{number}") for number in range(6)]
        sockets = [await self.join(program, user) for user in users]
        self.assertEqual(sum(await self.sockets()), len(users))
        os.kill(before[0], signal.SIGKILL)
        await self.logs(program, "is started again in 0.5 seconds")
        await repeated_until(lambda: deferToThread(children, program.pid), lambda now: len(now) == COUNT, "another one")
        for number in range(COUNT):
            await self.ready(number)

        async def everybody() -> int:
            return sum(await self.sockets())

        await repeated_until(everybody, lambda count: count == len(users), "all to be back")
        for index, user in enumerate(users):
            peer = (index + 1) % len(users)
            await self.talk(sockets[index], user, users[peer], sockets[peer], "after")

    async def test_a_rolling_restart_refuses_nobody_and_an_end_leaves_nobody(self) -> None:
        program = await self.started("--drain-time=0.5")
        before = children(program.pid)
        user, peer = new_user("user"), new_user("peer")
        one, other = await self.join(program, user), await self.join(program, peer, 2)
        program.send_signal(signal.SIGUSR2)
        late = []
        while not program.log.count(f"{COUNT} processes were restarted"):
            # A connection is accepted at any time: the port is never closed.
            late.append(await self.join(program, new_user("late")))
            await late.pop().disconnect()
        self.assertTrue(set(before).isdisjoint(children(program.pid)))

        async def both() -> bool:
            return bool((await one.state())["connected"] and (await other.state())["connected"])

        await repeated_until(both, bool, "both to be back")
        await self.talk(one, user, peer, other, "after")
        program.send_signal(signal.SIGHUP)
        started = children(program.pid)
        self.assertEqual(0, await program.stop())
        self.assertEqual([], running(started), program.log)
        self.assertEqual([], program.faults)

    async def test_they_end_with_a_parent_that_is_killed(self) -> None:
        program = await self.started()
        started = children(program.pid)
        await program.kill()

        async def left() -> list[int]:
            await deferLater(real_reactor(), 0.05)
            return running(started)

        await repeated_until(left, lambda found: not found, "the daemons to end", 60)


class AloneTests(unittest.TestCase):
    """Without RabbitMQ."""

    timeout = 60

    async def test_one_process_is_what_twistd_runs(self) -> None:
        command = ["-c", "from kschat.cli import run; run()", "run", "--store=memory"]
        program = await Program.run(self, *command, "--listen=tcp:PORT:interface=127.0.0.1")
        self.assertEqual([], children(program.pid))
        await program.health_becomes(open=1)
        self.assertEqual(0, await program.stop())

    async def test_several_are_refused(self) -> None:
        code = "from kschat.cli import run; run()"
        command = [sys.executable, "-c", code, "run", "--processes=2", "--store=memory"]
        ended = await deferToThread(
            subprocess.run, command, env=environment(SECRET), capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((1, ""), (ended.returncode, ended.stdout))
        self.assertIn("kschat: processes: 2 processes act as one through RabbitMQ and Redis alone", ended.stderr)
