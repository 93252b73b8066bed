"""What a SIGKILL leaves, and what npm's clients see of it when they come back."""

from __future__ import annotations

import os

from twisted.trial import unittest

from chaos.proxy import Proxy
from tests.e2e.chatting import COMES_BACK, messages_of, new_user, received, send
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.waiting import real_reactor


class _Restart(unittest.TestCase):
    """What a SIGKILL leaves, on the daemon's default store. Run by 2.5.0 and by 4.8.4."""

    timeout = 120
    version: int

    def setUp(self) -> None:
        self.file = os.path.abspath(self.mktemp())

    async def start(self) -> Daemon:
        """A daemon with a file of its own, and the clients."""
        require_node()
        daemon = await Daemon.start(self, store=f"sqlite:{self.file}")
        self.client = NodeClient.start(self, self.version, daemon)
        self.url = f"{daemon.url}/kschat"
        return daemon

    async def again(self, daemon: Daemon) -> None:
        """Kill the daemon, and start it again."""
        await daemon.kill()
        await daemon.restart()

    async def join(self, user: str, **options: object) -> NodeSocket:
        """A socket of ``user``."""
        query = f"token={token(user, data={'id': user, 'rooms': '*'})}"
        return await self.client.connect(self.url, query=query, **options)

    async def test_what_was_acknowledged_comes_after_a_kill_in_order(self) -> None:
        daemon = await self.start()
        alice, bob = new_user("alice"), new_user("bob")
        acks = await send(await self.join(alice), alice, bob, *range(300))
        await self.again(daemon)
        messages = await received(await self.join(bob), 300)
        self.assertEqual(list(range(300)), [message["msg"] for message in messages])
        self.assertEqual([ack["mid"] for ack in acks], [message["mid"] for message in messages])
        self.assertEqual(list(range(1, 301)), [message["offset"] for message in messages])

    async def test_a_cid_of_before_the_kill_is_a_repeat(self) -> None:
        daemon = await self.start()
        alice, bob = new_user("alice"), new_user("bob")
        (first,) = await send(await self.join(alice), alice, bob, "once", cid="c")
        await self.again(daemon)
        a, b = await self.join(alice), await self.join(bob)
        self.assertEqual([{**first, "repeat": True}], await send(a, alice, bob, "once", cid="c"))
        await send(a, alice, bob, "end")
        self.assertEqual(["once", "end"], [message["msg"] for message in await received(b, 2)])

    async def test_rooms_and_history_and_what_is_read_outlive_a_kill(self) -> None:
        daemon = await self.start()
        alice, bob, room = new_user("alice"), new_user("bob"), "#" + new_user("room")
        a, b = await self.join(alice), await self.join(bob)
        for socket in (a, b):
            self.assertEqual([{"ER": 0}], await socket.emit("Join", {"room": room}))
        first, _ = await send(a, alice, bob, "read", "unread")
        await b.emit("Read", {"pId": alice, "mid": first["mid"]})
        await self.again(daemon)
        a, b = await self.join(alice), await self.join(bob)
        await send(a, alice, room, "to the room")
        await b.next("RESPRECEIVER", lambda event: messages_of(event)[0]["msg"] == "to the room")
        (listed,) = await b.emit("Conversations")
        found = [(one["pId"], one["last"]["msg"], one["unread"]) for one in listed]
        self.assertEqual([(room, "to the room", 1), (alice, "unread", 1)], found)

    async def test_what_was_written_but_not_read_comes_after_a_kill(self) -> None:
        daemon = await self.start()
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice)
        proxy = Proxy(real_reactor(), daemon.port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        self.url = f"http://127.0.0.1:{proxy.port}/kschat"
        b = await self.join(bob, **COMES_BACK)
        (link,) = proxy.links
        link.stall(to_server=False)
        await send(a, alice, bob, "1", "2")
        await daemon.kill()
        link.cut()
        await daemon.restart()
        self.assertEqual(["1", "2"], [message["msg"] for message in await received(b, 2)])


class Restart2Tests(_Restart):
    """socket.io-client 2.5.0."""

    version = 2


class Restart4Tests(_Restart):
    """socket.io-client 4.8.4, and what only it does by itself."""

    version = 4

    async def test_a_client_that_recovers_does_so_across_a_kill(self) -> None:
        daemon = await self.start()
        alice, bob = new_user("alice"), new_user("bob")
        proxy = Proxy(real_reactor(), daemon.port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        a = await self.join(alice)
        auth = {"token": token(bob), "recover": 1}
        b = await self.client.connect(f"http://127.0.0.1:{proxy.port}/kschat", auth=auth, **COMES_BACK)
        await send(a, alice, bob, "seen")
        await received(b, 1)
        await proxy.stop()
        await send(a, alice, bob, "missed 1")
        await self.again(daemon)
        await send(await self.join(alice), alice, bob, "missed 2")
        await proxy.start()
        await b.next("connect")
        self.assertTrue((await b.state())["recovered"])
        self.assertEqual(["missed 1", "missed 2"], [message["msg"] for message in await received(b, 2)])


class MemoryTests(unittest.TestCase):
    """A daemon that forgets: the memory store after a restart."""

    timeout = 120

    async def test_a_client_of_the_daemon_before_is_not_recovered_by_offsets_of_the_new_one(self) -> None:
        require_node()
        daemon = await Daemon.start(self, store="memory")
        alice, bob = new_user("alice"), new_user("bob")
        client = NodeClient.start(self, 4, daemon)
        proxy = Proxy(real_reactor(), daemon.port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        a = await client.connect(f"{daemon.url}/kschat", auth={"token": token(alice)})
        auth = {"token": token(bob), "recover": 1}
        b = await client.connect(f"http://127.0.0.1:{proxy.port}/kschat", auth=auth, **COMES_BACK)
        await send(a, alice, bob, "old 1", "old 2")
        await received(b, 2)
        await proxy.stop()
        await daemon.kill()
        await daemon.restart()
        a = await client.connect(f"{daemon.url}/kschat", auth={"token": token(alice)})
        await send(a, alice, bob, "new 1", "new 2", "new 3")
        await proxy.start()
        await b.next("connect")
        self.assertFalse((await b.state())["recovered"])
        self.assertEqual(["new 1", "new 2", "new 3"], [message["msg"] for message in await received(b, 3)])


del _Restart
