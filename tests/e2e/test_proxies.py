"""npm's clients through nginx, haproxy and Apache, which send each request to the next of three daemons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet import defer
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from tests.e2e.chatting import COMES_BACK, messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, repeated_until, require_node, token
from tests.support.daemon import Daemon
from tests.support.launch import free_port
from tests.support.proxies import Proxy, apache, haproxy, nginx
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.waiting import real_reactor

Start = Callable[[Sequence[int]], Proxy]


class RoundRobin(unittest.TestCase):
    """Three daemons behind a proxy."""

    timeout = 240

    def setUp(self) -> None:
        require_node()
        self._clients: dict[int, NodeClient] = {}

    async def cluster(self, start: Start, **settings: object) -> tuple[Proxy, list[Daemon]]:
        """Three daemons behind a proxy."""
        daemons: list[Daemon] = []
        for _ in range(3):
            inner = f"tcp:{free_port()}:interface=127.0.0.1"
            daemons.append(await Daemon.start(self, peer_listen=inner, **settings))  # type: ignore[arg-type]
        proxy = start([daemon.port for daemon in daemons])
        await proxy.start(self)
        return proxy, daemons

    async def open(
        self, proxy: Proxy, user: str, version: int, transports: Sequence[str] | None, **options: object
    ) -> NodeSocket:
        """A socket of ``user``, connected."""
        if version not in self._clients:
            self._clients[version] = NodeClient.start(self, version)
        query = f"token={token(user)}"
        url = f"{proxy.url}/kschat"
        return await self._clients[version].connect(url, query=query, transports=transports, **options)

    async def handed_on(self, daemon: Daemon) -> int:
        """How many requests it gave to others."""
        response = await Agent(real_reactor()).request(b"GET", f"{daemon.url}/metrics".encode())
        text = (await readBody(response)).decode()
        (line,) = [line for line in text.splitlines() if line.startswith("kschat_handed_on_total ")]
        return int(float(line.split(" ")[1]))

    async def close(self, socket: NodeSocket) -> None:
        """Disconnect it; done when its engine has closed."""
        await socket.disconnect()
        await repeated_until(socket.state, lambda state: state["engine"] in ("closed", None, ""), "a closed engine")

    async def streams(self, proxy: Proxy, version: int, transports: Sequence[str] | None) -> None:
        """A client that writes to itself from its first moment on is answered, in order, and ends."""
        user = new_user()
        socket = await self.open(proxy, user, version, transports)
        wanted = "websocket" if transports is None else transports[0]
        sent = 0
        while sent < 60 or (await socket.state())["transport"] != wanted:
            acks = [socket.emit("Send", sending(user, user, number)) for number in range(sent, sent + 20)]
            sent += 20
            await defer.gatherResults(acks)
        received = [messages_of(await socket.next("RESPRECEIVER"))[0]["msg"] for _ in range(sent)]
        self.assertEqual(list(range(sent)), received)
        await self.close(socket)

    async def every_client(self, start: Start) -> None:
        """The daemons know nothing of each other but where a session is."""
        proxy, daemons = await self.cluster(start)
        for version in (1, 2, 3, 4):
            for transports in (None, ("polling",), ("websocket",)):
                await self.streams(proxy, version, transports)
        self.assertGreater(sum([await self.handed_on(daemon) for daemon in daemons]), 10)
        for daemon in daemons:
            await daemon.health_becomes(connections=0, sockets=0)
            self.assertEqual([], daemon.faults)

    async def test_through_nginx(self) -> None:
        await self.every_client(nginx)

    async def test_through_haproxy(self) -> None:
        await self.every_client(haproxy)

    async def test_through_apache(self) -> None:
        await self.every_client(apache)

    async def test_a_daemon_that_is_gone_costs_no_request(self) -> None:
        daemons = [await Daemon.start(self) for _ in range(3)]
        proxies = [start([daemon.port for daemon in daemons]) for start in (nginx, haproxy, apache)]
        for proxy in proxies:
            await proxy.start(self)
        await daemons[1].kill()
        agent = Agent(real_reactor())
        for proxy in proxies:
            for _ in range(9):
                response = await agent.request(b"GET", f"{proxy.url}/healthz".encode())
                self.assertEqual((200, True), (response.code, b'"ok"' in await readBody(response)), proxy.url)

    async def test_metrics_are_not_for_the_world(self) -> None:
        daemon = await Daemon.start(self)
        agent = Agent(real_reactor())
        for start in (nginx, haproxy, apache):
            proxy = start([daemon.port])
            await proxy.start(self)
            for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/metrics?x", "/socket.io/../metrics"):
                response = await agent.request(b"GET", f"{proxy.url}{path}".encode())
                self.assertNotIn(b"kschat_", await readBody(response), path)
                self.assertIn(response.code, (400, 403, 404), path)

    async def test_users_on_a_cluster_write_to_each_other(self) -> None:
        name = new_user("cluster")
        services = {"amqp": (await shared_rabbitmq()).url, "redis": (await shared_redis()).url}
        names = {"amqp_exchange": name, "redis_prefix": name}
        proxy, daemons = await self.cluster(nginx, store="redis", **services, **names)
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        for version in (1, 2, 3, 4):
            for transports in (None, ("polling",), ("websocket",)):
                alice, bob = new_user("alice"), new_user("bob")
                a = await self.open(proxy, alice, version, transports)
                b = await self.open(proxy, bob, 4, ("polling",))
                for number in range(20):
                    for sender, user, peer, recipient in ((a, alice, bob, b), (b, bob, alice, a)):
                        (ack,) = await sender.emit("Send", sending(user, peer, {"n": number, "bytes": b"\x00\xff"}))
                        (got,) = messages_of(await recipient.next("RESPRECEIVER"))
                        self.assertEqual((ack["mid"], {"n": number, "bytes": b"\x00\xff"}), (got["mid"], got["msg"]))
                await self.close(a)
                await self.close(b)
        for daemon in daemons:
            await daemon.health_becomes(connections=0, sockets=0)
            self.assertEqual([], daemon.faults)

    async def test_clients_of_a_daemon_that_is_killed_come_back_on_another(self) -> None:
        proxy, daemons = await self.cluster(nginx, ping_interval=1, ping_timeout=2)
        users = [new_user() for _ in range(6)]
        sockets = []
        comes_back = {**COMES_BACK, "reconnectionDelay": 50, "reconnectionDelayMax": 200}
        for number, user in enumerate(users):
            transports = ("polling",) if number < 4 else None
            sockets.append(await self.open(proxy, user, (2, 4)[number % 2], transports, **comes_back))
        await daemons[0].kill()
        for user, socket in zip(users, sockets, strict=True):

            async def works(user: str = user, socket: NodeSocket = socket) -> bool:
                if not (await socket.state())["connected"]:
                    return False
                try:
                    (ack,) = await socket.emit("Send", sending(user, user, "still here"), seconds=5)
                except AssertionError:
                    return False  # it was on its way when the connection was lost
                return bool(ack["RESPONSE"] == "Send Emit is success.")

            await repeated_until(works, bool, "a client that is back", 60)


class BelowAPath(unittest.TestCase):
    """One daemon that serves below a path, behind proxies that pass its requests on as they came."""

    timeout = 120

    async def through(self, start: Callable[[Sequence[int], str], Proxy], example: str) -> None:
        require_node()
        daemon = await Daemon.start(self, base_path="/chat")
        proxy = start([daemon.port], example)
        await proxy.start(self)
        agent = Agent(real_reactor())
        for path, status in (
            ("/chat/", 200),
            ("/chat/static/page/main.js", 200),
            ("/chat/metrics", 404),
        ):
            response = await agent.request(b"GET", f"{proxy.url}{path}".encode())
            await readBody(response)
            self.assertEqual(status, response.code, path)
        response = await agent.request(b"GET", f"{proxy.url}/chat?uid=1".encode())
        await readBody(response)
        (location,) = response.headers.getRawHeaders(b"location") or (b"",)
        self.assertTrue(location.endswith(b"chat/?uid=1"), location)
        for version in (2, 4):
            client = NodeClient.start(self, version)
            for transports in (None, ("polling",), ("websocket",)):
                user = new_user()
                options = {"query": f"token={token(user)}", "path": "/chat/socket.io/", "transports": transports}
                socket = await client.connect(f"{proxy.url}/kschat", **options)
                await socket.emit("Send", sending(user, user, "hello"))
                self.assertEqual("hello", messages_of(await socket.next("RESPRECEIVER"))[0]["msg"])
                await socket.disconnect()
        self.assertEqual([], daemon.faults)

    async def test_through_nginx(self) -> None:
        await self.through(nginx, "nginx-path.conf")

    async def test_through_haproxy(self) -> None:
        await self.through(haproxy, "haproxy-path.cfg")

    async def test_through_apache(self) -> None:
        await self.through(apache, "apache-path.conf")
