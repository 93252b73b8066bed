"""Relay mode with npm's clients: several daemons on one RabbitMQ act as one, and say when they can't."""

from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Daemon
from tests.support.rabbitmq import RabbitMQ, shared_rabbitmq


class RelayTestCase(unittest.TestCase):
    """Daemons of relay mode, and clients on them."""

    timeout = 180

    def setUp(self) -> None:
        require_node()

    async def daemons(self, count: int, broker: RabbitMQ, **settings: object) -> list[Daemon]:
        """Daemons on one broker, on an exchange of this test."""
        settings = {"store": "none", "amqp": broker.url, "amqp_exchange": new_user("exchange"), **settings}
        daemons = [await Daemon.start(self, **settings) for _ in range(count)]  # type: ignore[arg-type]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        return daemons

    async def join(self, daemon: Daemon, user: str, version: int = 4, **asks: object) -> NodeSocket:
        """A socket of ``user``."""
        client = NodeClient.start(self, version)
        query = "&".join(f"{name}={value}" for name, value in {"token": token(user), **asks}.items())
        return await client.connect(f"{daemon.url}/kschat", query=query)

    async def passes(self, sender: NodeSocket, user: str, peer: str, recipient: NodeSocket, msg: Any) -> None:
        """A message goes from one to the other."""
        (ack,) = await sender.emit("Send", sending(user, peer, msg))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])
        (got,) = messages_of(await recipient.next("RESPRECEIVER"))
        self.assertEqual((msg, ack["mid"]), (got["msg"], got["mid"]))


class TwoDaemons(RelayTestCase):
    async def test_users_on_different_daemons_write_to_each_other(self) -> None:
        broker = await shared_rabbitmq()
        for queue in ("daemon", "connection"):
            one, other = await self.daemons(2, broker, amqp_queue=queue)
            alice, bob = new_user("alice"), new_user("bob")
            a, b, here = await self.join(one, alice, 2), await self.join(other, bob), await self.join(one, bob, 3)
            for number in range(3):
                await self.passes(a, alice, bob, b, {"to": number})
                await here.next("RESPRECEIVER")
                await self.passes(b, bob, alice, a, f"back {number}")

    async def test_a_name_goes_to_the_other_daemon_in_either_format(self) -> None:
        broker = await shared_rabbitmq()
        for format_ in ("kschat", "tutorial"):
            one, other = await self.daemons(2, broker, amqp_format=format_)
            alice, bob = new_user("alice"), new_user("bob")
            client = NodeClient.start(self, 4)
            named = token(alice, data={"id": alice, "name": "Alice Ω"})
            a, b = await client.connect(f"{one.url}/kschat", query=f"token={named}"), await self.join(other, bob, 2)
            await a.emit("Send", sending(alice, bob, "hi"))
            (got,) = messages_of(await b.next("RESPRECEIVER"))
            self.assertEqual(("hi", "Alice Ω"), (got["msg"], got["name"]), format_)

    async def test_who_is_nowhere_is_told_to_a_sender_that_asked(self) -> None:
        (daemon,) = await self.daemons(1, await shared_rabbitmq())
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(daemon, alice, receipts=1)
        (ack,) = await a.emit("Send", sending(alice, bob, "lost"))
        self.assertEqual([{"pId": bob, "mid": ack["mid"], "STATUS": 0}], (await a.next("RESPSTATUS")).args)


class WithoutBroker(RelayTestCase):
    async def test_a_broker_that_goes_and_comes_back(self) -> None:
        broker = RabbitMQ()
        self.addCleanup(broker.stop)
        await broker.start()
        one, other = await self.daemons(2, broker)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob, 2)
        await self.passes(a, alice, bob, b, "before")
        broker.kill()
        for daemon in (one, other):
            await daemon.ready_becomes("degraded")
        (ack,) = await a.emit("Send", sending(alice, bob, "meanwhile"))
        self.assertEqual((2, "There is no broker; try again."), (ack["ER"], ack["WHY"]))
        c = await self.join(other, new_user("carol"))
        self.assertEqual([{"RC": 1, "ER": 2}], (await c.next("RESPRECEIVER")).args)
        self.assertEqual("down", (await one.ready())["router"])
        await broker.start()
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        await self.passes(a, alice, bob, b, "after")
        await self.passes(b, bob, alice, a, "and back")
        self.assertEqual([], one.faults + other.faults)

    async def test_a_daemon_begins_before_its_broker(self) -> None:
        broker = RabbitMQ()
        self.addCleanup(broker.stop)
        daemon = await Daemon.start(self, store="none", amqp=broker.url)
        await daemon.ready_becomes("degraded")
        alice = new_user("alice")
        a = await self.join(daemon, alice)
        self.assertEqual([{"RC": 1, "ER": 2}], (await a.next("RESPRECEIVER")).args)
        await broker.start()
        await daemon.ready_becomes("ready")
        await self.passes(a, alice, alice, a, "to oneself")
