"""Daemons that keep messages in PostgreSQL, with npm clients: it is killed under load, and comes back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutput
from twisted.trial import unittest

from tests.e2e.chatting import messages_of, new_user, received, send, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Daemon
from tests.support.launch import environment
from tests.support.postgresql import PostgreSQL
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor


class PostgresqlDaemonTests(unittest.TestCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        require_node()
        self.server = PostgreSQL()
        self.addCleanup(self.server.stop)
        await self.server.start()

    async def daemon(self, **more: str) -> Daemon:
        daemon = await Daemon.start(self, store=self.server.url, **more)
        await daemon.ready_becomes("ready")
        return daemon

    async def join(self, daemon: Daemon, user: str, version: int = 4, rooms: Sequence[str] = ()) -> NodeSocket:
        """A socket of ``user``."""
        client = NodeClient.start(self, version)
        mine = token(user, data={"id": user, "rooms": rooms})
        return await client.connect(f"{daemon.url}/kschat", query=f"token={mine}")

    async def test_one_that_is_killed_under_load_loses_nothing_acknowledged(self) -> None:
        daemon = await self.daemon()
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(daemon, alice)
        sent: dict[str, int] = {}
        refused: list[int] = []
        number = 0

        async def send(which: int) -> None:
            (ack,) = await a.emit("Send", {**sending(alice, bob, which), "cid": f"c{which}"})
            if ack["RESPONSE"] == "Send Emit is success.":
                sent[ack["mid"]] = which
            else:
                self.assertEqual((3, "The store is not available; try again."), (ack["ER"], ack["WHY"]))
                refused.append(which)
                await deferLater(real_reactor(), 0.05)

        running = True

        async def run() -> None:
            nonlocal number
            while running:
                number += 1
                await send(number)

        loads = [Deferred.fromCoroutine(run()) for _ in range(4)]
        for _ in range(2):
            before = len(sent)
            while len(sent) < before + 100:
                await deferLater(real_reactor(), 0.05)
            self.server.kill()
            await daemon.ready_becomes("degraded")
            await self.server.start()
            await daemon.ready_becomes("ready")
        running = False
        for load in loads:
            await load
        self.assertNotEqual(refused, [])
        for which in list(dict.fromkeys(refused)):
            await send(which)
        b = await self.join(daemon, bob, 2)
        found: dict[str, Any] = {}
        while len(found) < len(sent):
            for one in messages_of(await b.next("RESPRECEIVER")):
                self.assertNotIn(one["mid"], found)
                found[one["mid"]] = one["msg"]
        self.assertEqual(found, sent)
        self.assertEqual(len(set(found.values())), len(found), "a message is there twice")
        self.assertEqual([], daemon.faults)
        self.assertNotIn("secret@", daemon.log)

    async def test_two_daemons_act_as_one(self) -> None:
        broker, redis = await shared_rabbitmq(), await shared_redis()
        more = {
            "amqp": broker.url,
            "amqp_exchange": new_user("exchange"),
            "redis": redis.url,
            "redis_prefix": new_user("prefix"),
        }
        one, other = await self.daemon(**more), await self.daemon(**more)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice, 2), await self.join(other, bob)
        for sender, user, peer, recipient in ((a, alice, bob, b), (b, bob, alice, a), (a, alice, bob, b)):
            (ack,) = await sender.emit("Send", sending(user, peer, "text"))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])
            (got,) = messages_of(await recipient.next("RESPRECEIVER"))
            self.assertEqual(("text", ack["mid"]), (got["msg"], got["mid"]))
        self.assertEqual([], one.faults + other.faults)

    async def test_a_store_that_was_moved_shows_its_clients_the_same(self) -> None:
        file = self.server.directory / "kschat.db"
        before = await Daemon.start(self, store=f"sqlite:{file}")
        alice, bob, cem = new_user("alice"), new_user("bob"), new_user("cem")
        room = new_user("room")
        a, b = [await self.join(before, user, rooms=[room]) for user in (alice, bob)]
        for socket in (a, b):
            self.assertEqual([{"ER": 0}], await socket.emit("Join", {"room": room}))
        acks = await send(a, alice, bob, *range(10))
        await send(b, bob, alice, "from bob")
        await send(a, alice, f"#{room}", "to all")
        self.assertEqual([{"ER": 0}], await b.emit("Read", {"pId": alice, "mid": acks[6]["mid"]}))
        for socket, name, change in ((a, "Edit", {"msg": "edited"}), (b, "React", {"emoji": "+1"})):
            (answer,) = await socket.emit(name, {"mid": acks[1]["mid"], **change})
            self.assertEqual(answer["ER"], 0)
        await send(a, alice, cem, "while away", "and more")
        shown = [await self.shown(socket, peer, room) for socket, peer in ((a, bob), (b, alice))]
        await before.stop()

        command = ("-c", "from kschat.cli import run; run()", "migrate-store", f"sqlite:{file}", self.server.url)
        output = await getProcessOutput(sys.executable, command, environment(SECRET), errortoo=True)
        self.assertIn(b"moved, and compared by their checksums: ", output)
        after = await self.daemon()
        a, b = [await self.join(after, user, rooms=[room]) for user in (alice, bob)]
        self.assertEqual([await self.shown(socket, peer, room) for socket, peer in ((a, bob), (b, alice))], shown)
        waiting = await received(await self.join(after, cem), 2)
        self.assertEqual([(one["msg"], one["offset"]) for one in waiting], [("while away", 1), ("and more", 2)])
        self.assertEqual([], after.faults)

    async def shown(self, socket: NodeSocket, peer: str, room: str) -> list[Any]:
        """What a client is shown."""
        return [
            await socket.emit("History", {"pId": peer}),
            await socket.emit("History", {"pId": f"#{room}"}),
            await socket.emit("Conversations"),
            await socket.emit("Sync", {"offset": 0}),
        ]
