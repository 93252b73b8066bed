"""Which clients work, and by which transports: the tutorial's scenario with each, for docs/compatibility.md.

The other side of each conversation is socket.io-client 4 on a WebSocket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from twisted.trial import unittest

from tests.compatibility import (
    DEFAULT,
    HAPROXY,
    NGINX,
    POLLING,
    ROWS,
    TRANSPORTS,
    WEBSOCKET,
    Client,
    Row,
    found,
)
from tests.e2e.chatting import ChatTestCase, messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, repeated_until, require_node, token
from tests.support.daemon import Daemon
from tests.support.launch import free_port
from tests.support.proxies import Proxy, haproxy, nginx
from tests.support.python import PythonClient
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis

#: JSON and binary as a chat sends it. All ASCII, since client 1.7.4 garbles the rest on polling; no binary of no byte,
#: which python-socketio 4.6 takes for nothing. (test_clients has both.)
MSGS: tuple[Any, ...] = ("how are you?", {"text": "see", "files": [b"\x00\x01\xff", b"x"]}, [1, None, "x" * 5000])


class Served(Protocol):
    """What clients connect to."""

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""

    async def users_are(self, count: int) -> None:
        """Waits until so many users are connected."""


async def scenario(test: unittest.TestCase, row: Row, transport: str, server: Served) -> None:
    """Connect, send and be answered, receive and answer, be away and miss nothing, log out."""
    alice, bob = new_user("alice"), new_user("bob")
    kind = PythonClient if row.client is Client.PYTHON else NodeClient
    client, other = kind.start(test, row.version), NodeClient.start(test, 4)
    url = f"{server.url}/kschat"
    options: dict[str, object] = {
        "query": f"token={token(alice)}&ksId={alice}",
        "transports": None if transport == DEFAULT else [transport],
    }
    a = await client.connect(url, **options)
    b = await other.connect(url, query=f"token={token(bob)}")
    await a.changes_to("polling" if transport == POLLING else "websocket")
    seen = await talk(test, (a, alice), (b, bob))
    await a.disconnect()
    await server.users_are(1)
    (ack,) = await b.emit("Send", sending(bob, alice, "while you were away"))
    test.assertEqual("Send Emit is success.", ack["RESPONSE"])
    await b.next("RESPSEND")
    back = await client.connect(url, **options)
    # On another daemon a message may come again whose proof is on its way to the store; its mid tells.
    missed = await back.next("RESPRECEIVER", lambda event: messages_of(event)[0]["mid"] not in seen)
    test.assertEqual(["while you were away"], [message["msg"] for message in messages_of(missed)])
    back.unseen.clear()
    await talk(test, (back, alice), (b, bob))
    await back.emit("Logout")
    test.assertEqual([{"RC": 1, "ERR": 0}], (await back.next("RESPLOGOUT")).args)
    await server.users_are(1)
    await other.end()
    await client.end()
    await server.users_are(0)


async def talk(test: unittest.TestCase, one: tuple[NodeSocket, str], other: tuple[NodeSocket, str]) -> set[str]:
    """Each message goes both ways, is answered in both ways, and arrives once as it was sent. Gives their mids."""
    mids = set()
    for (sender, me), (peer, they) in ((one, other), (other, one)):
        for number, msg in enumerate(MSGS):
            (ack,) = await sender.emit("Send", sending(me, they, msg, number))
            test.assertEqual(("Send Emit is success.", me), (ack["RESPONSE"], ack["uId"]))
            (sent,) = (await sender.next("RESPSEND")).args
            test.assertEqual((number, msg, 0), (sent["RANDOMNO"], sent["MSG"], sent["ER"]))
            (received,) = messages_of(await peer.next("RESPRECEIVER"))
            test.assertEqual((me, they, msg), (received["uId"], received["pId"], received["msg"]))
            test.assertEqual(ack["mid"], received["mid"])
            mids.add(ack["mid"])
    return mids


class _Scenario(ChatTestCase):
    """Run by each client."""

    row: ClassVar[Row]

    async def scenario(self, transport: str) -> None:
        await scenario(self, self.row, transport, self)
        found(self.row, transport)

    @property
    def url(self) -> str:
        return self.daemon.url

    async def users_are(self, count: int) -> None:
        await self.daemon.health_becomes(users=count)

    async def test_with_default_options(self) -> None:
        await self.scenario(DEFAULT)

    async def test_with_polling_alone(self) -> None:
        await self.scenario(POLLING)

    async def test_with_websocket_alone(self) -> None:
        await self.scenario(WEBSOCKET)


class SocketIoClient1Tests(_Scenario):
    row = Row(Client.NPM, 1)


class SocketIoClient2Tests(_Scenario):
    row = Row(Client.NPM, 2)


class SocketIoClient3Tests(_Scenario):
    row = Row(Client.NPM, 3)


class SocketIoClient4Tests(_Scenario):
    row = Row(Client.NPM, 4)


class PythonSocketIo4Tests(_Scenario):
    row = Row(Client.PYTHON, 4)


class PythonSocketIo5Tests(_Scenario):
    row = Row(Client.PYTHON, 5)


class Cluster:
    """Three daemons that act as one by RabbitMQ and Redis, behind a proxy that gives each request to the next of them.

    Attributes:
        url: the proxy's.
    """

    def __init__(self, daemons: Sequence[Daemon], proxy: Proxy) -> None:
        self.daemons = daemons
        self.url = proxy.url

    @classmethod
    async def start(cls, test: unittest.TestCase, begin: Callable[[Sequence[int]], Proxy]) -> Cluster:
        """One that serves, until the test's end."""
        name = new_user("cluster")
        settings = {
            "store": "redis",
            "amqp": (await shared_rabbitmq()).url,
            "amqp_exchange": name,
            "redis": (await shared_redis()).url,
            "redis_prefix": name,
        }
        daemons = []
        for _ in range(3):
            inner = f"tcp:{free_port()}:interface=127.0.0.1"
            daemons.append(await Daemon.start(test, peer_listen=inner, **settings))
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        proxy = begin([daemon.port for daemon in daemons])
        await proxy.start(test)
        return cls(daemons, proxy)

    async def users_are(self, count: int) -> None:
        """Waits until so many users are connected, wherever."""

        async def users() -> int:
            return sum([(await daemon.health())["users"] for daemon in self.daemons])

        await repeated_until(users, lambda found: found == count, f"{count} users")


class ProxyTests(unittest.TestCase):
    """All clients, through a proxy that knows nothing of sessions."""

    timeout = 300

    async def every_client(self, column: str, begin: Callable[[Sequence[int]], Proxy]) -> None:
        require_node()
        cluster = await Cluster.start(self, begin)
        for row in ROWS:
            for transport in TRANSPORTS:
                await scenario(self, row, transport, cluster)
            found(row, column)
        for daemon in cluster.daemons:
            self.assertIn(" joined from ", daemon.log)
            self.assertEqual([], daemon.faults)

    async def test_through_nginx(self) -> None:
        await self.every_client(NGINX, nginx)

    async def test_through_haproxy(self) -> None:
        await self.every_client(HAPROXY, haproxy)


del _Scenario, ChatTestCase
