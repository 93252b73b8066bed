"""Daemons that keep messages in Redis, with npm clients: Redis goes, stops, loses what it knew, and comes back."""

from __future__ import annotations

import signal
from typing import Any

from twisted.trial import unittest

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Daemon
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import Redis


class ClusterTestCase(unittest.TestCase):
    """Two daemons on one RabbitMQ and a Redis of this test, and clients on them."""

    timeout = 180

    def setUp(self) -> None:
        require_node()

    async def daemons(self, redis_config: str = "", **more: str) -> list[Daemon]:
        """Two that act as one; where they wait for a replica, there is one."""
        broker = await shared_rabbitmq()
        self.redis = Redis(redis_config)
        self.addCleanup(self.redis.stop)
        await self.redis.start()
        settings = {
            "store": "redis",
            "redis": self.redis.url,
            "amqp": broker.url,
            "amqp_exchange": new_user("exchange"),
            **more,
        }
        if "redis_wait" in more:
            self.replica = Redis(f"replicaof 127.0.0.1 {self.redis.port}\n")
            self.addCleanup(self.replica.stop)
            await self.replica.start()
        daemons = [await Daemon.start(self, **settings) for _ in range(2)]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        return daemons

    async def join(self, daemon: Daemon, user: str, version: int = 4, **options: object) -> NodeSocket:
        """A socket of ``user``."""
        client = NodeClient.start(self, version)
        return await client.connect(f"{daemon.url}/kschat", query=f"token={token(user)}", **options)

    async def passes(self, sender: NodeSocket, user: str, peer: str, recipient: NodeSocket, msg: Any) -> int:
        """A message goes from one to the other; its offset."""
        (ack,) = await sender.emit("Send", sending(user, peer, msg))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])
        (got,) = messages_of(await recipient.next("RESPRECEIVER"))
        self.assertEqual((msg, ack["mid"]), (got["msg"], got["mid"]))
        return int(got["offset"])


class TwoDaemons(ClusterTestCase):
    async def test_what_is_sent_on_one_waits_on_the_other(self) -> None:
        one, other = await self.daemons()
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice, 2), await self.join(other, bob)
        self.assertEqual(1, await self.passes(a, alice, bob, b, "first"))
        self.assertEqual(2, await self.passes(a, alice, bob, b, "second"))
        self.assertEqual(1, await self.passes(b, bob, alice, a, "back"))
        (ack,) = await a.emit("Send", {**sending(alice, new_user("carol"), "for later"), "cid": "c1"})
        (again,) = await a.emit("Send", {**sending(alice, "anybody", "for later"), "cid": "c1"})
        self.assertEqual((ack["mid"], True), (again["mid"], again["repeat"]))

    async def test_who_was_away_finds_it_on_another_daemon(self) -> None:
        one, other = await self.daemons()
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(one, alice)
        for number in range(3):
            await a.emit("Send", sending(alice, bob, number))
        b = await self.join(other, bob, 3)
        found = [messages_of(await b.next("RESPRECEIVER"))[0]["msg"] for _ in range(3)]
        self.assertEqual([0, 1, 2], found)


class RedisFails(ClusterTestCase):
    async def test_redis_that_is_killed_and_comes_back(self) -> None:
        one, other = await self.daemons("appendonly yes\nappendfsync always\n")
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob, 2)
        await self.passes(a, alice, bob, b, "before")
        self.redis.kill()
        for daemon in (one, other):
            await daemon.ready_becomes("degraded")
        self.assertEqual("down", (await one.ready())["store"])
        (ack,) = await a.emit("Send", sending(alice, bob, "meanwhile"))
        self.assertEqual((3, "The store is not available; try again."), (ack["ER"], ack["WHY"]))
        await self.redis.start()
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        await self.passes(a, alice, bob, b, "after")
        await self.passes(b, bob, alice, a, "and back")
        self.assertEqual([], one.faults + other.faults)

    async def test_redis_that_stops_does_nothing_late(self) -> None:
        one, other = await self.daemons()
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob)
        self.redis.signal(signal.SIGSTOP)
        (ack,) = await a.emit("Send", sending(alice, bob, "refused"))
        self.assertEqual(3, ack["ER"])
        self.redis.signal(signal.SIGCONT)
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        self.assertEqual(1, await self.passes(a, alice, bob, b, "the first that is kept"))

    async def test_a_replica_that_stops_and_continues(self) -> None:
        one, other = await self.daemons("repl-diskless-sync-delay 0\n", redis_wait="1")
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob)
        await self.passes(a, alice, bob, b, "before")
        self.replica.signal(signal.SIGSTOP)
        message = {**sending(alice, bob, "meanwhile"), "cid": "c1"}
        (ack,) = await a.emit("Send", message)
        self.assertEqual((3, "The store is not available; try again."), (ack["ER"], ack["WHY"]))
        await one.ready_becomes("degraded")
        self.replica.signal(signal.SIGCONT)
        await one.ready_becomes("ready")
        (ack,) = await a.emit("Send", message)
        self.assertEqual(("Send Emit is success.", True), (ack["RESPONSE"], ack["repeat"]))
        (got,) = messages_of(await b.next("RESPRECEIVER"))
        self.assertEqual(("meanwhile", ack["mid"]), (got["msg"], got["mid"]))
        await self.passes(a, alice, bob, b, "after")
        self.assertEqual([], one.faults + other.faults)

    async def test_redis_that_lost_the_newest_cuts_nobody_off(self) -> None:
        one, other = await self.daemons()
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob)
        await self.passes(a, alice, bob, b, "kept")
        self.redis.do("SAVE")
        for number in range(5):
            await self.passes(a, alice, bob, b, f"lost {number}")
        self.redis.kill()
        for daemon in (one, other):
            await daemon.ready_becomes("degraded")
        await self.redis.start()
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        for number in range(3):
            await self.passes(a, alice, bob, b, f"after {number}")

    async def test_redis_that_lost_all_makes_clients_come_back(self) -> None:
        one, other = await self.daemons()
        alice, bob = new_user("alice"), new_user("bob")
        a, b = [await self.join(where, who, reconnection=True) for where, who in ((one, alice), (other, bob))]
        for number in range(3):
            await self.passes(a, alice, bob, b, f"lost {number}")
        self.redis.do("FLUSHALL")
        for socket in (a, b):
            await socket.next("disconnect")
            await socket.next("connect")
        (ack,) = await a.emit("Send", sending(alice, bob, "after"))
        (got,) = messages_of(await b.next("RESPRECEIVER"))
        self.assertEqual((ack["mid"], "after"), (got["mid"], got["msg"]))
