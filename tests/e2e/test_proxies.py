"""npm's clients through nginx and haproxy, which send each request to the next of three daemons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet import defer
from twisted.trial import unittest

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, repeated_until, require_node, token
from tests.support.daemon import Daemon, free_port
from tests.support.proxies import Proxy, haproxy, nginx

Start = Callable[[Sequence[int]], Proxy]


class RoundRobin(unittest.TestCase):
    """The daemons know nothing of each other but where a session is: each user here writes to itself."""

    timeout = 240

    def setUp(self) -> None:
        require_node()

    async def cluster(self, start: Start, **settings: object) -> tuple[Proxy, list[Daemon]]:
        """Three daemons behind a proxy."""
        daemons = []
        for _ in range(3):
            inner = f"tcp:{free_port()}:interface=127.0.0.1"
            daemons.append(await Daemon.start(self, peer_listen=inner, **settings))  # type: ignore[arg-type]
        proxy = start([daemon.port for daemon in daemons])
        await proxy.start(self)
        return proxy, daemons

    async def streams(self, proxy: Proxy, version: int, transports: Sequence[str] | None) -> None:
        """A client that writes from its first moment on is answered, in order, and ends."""
        user = new_user()
        client = NodeClient.start(self, version)
        query = f"token={token(user)}"
        socket = await client.connect(f"{proxy.url}/kschat", query=query, transports=transports)
        wanted = "websocket" if transports is None else transports[0]
        acks, sent = [], 0
        while sent < 60 or (await socket.state())["transport"] != wanted:
            acks += [socket.emit("Send", sending(user, user, number)) for number in range(sent, sent + 20)]
            sent += 20
            await defer.gatherResults(acks[-20:])
        received = [messages_of(await socket.next("RESPRECEIVER"))[0]["msg"] for _ in range(sent)]
        self.assertEqual(list(range(sent)), received)
        await socket.disconnect()
        await self.ended(client, socket)

    async def ended(self, client: NodeClient, socket: NodeSocket) -> None:
        """Its engine has closed."""
        await repeated_until(socket.state, lambda state: state["engine"] in ("closed", None, ""), "a closed engine")
        await client.end()

    async def every_client(self, start: Start) -> None:
        proxy, daemons = await self.cluster(start)
        for version in (1, 2, 3, 4):
            for transports in (None, ("polling",), ("websocket",)):
                await self.streams(proxy, version, transports)
        for daemon in daemons:
            # Each had sessions; none has now.
            self.assertIn(" joined from ", daemon.log)
            await daemon.health_becomes(connections=0, sockets=0)
            self.assertEqual([], daemon.faults)

    async def test_through_nginx(self) -> None:
        await self.every_client(nginx)

    async def test_through_haproxy(self) -> None:
        await self.every_client(haproxy)

    async def test_clients_of_a_daemon_that_is_killed_come_back_on_another(self) -> None:
        proxy, daemons = await self.cluster(nginx, ping_interval=1, ping_timeout=2)
        users = [new_user() for _ in range(6)]
        sockets = []
        for number, user in enumerate(users):
            client = NodeClient.start(self, (2, 4)[number % 2])
            options: dict[str, object] = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 200}
            transports = ("polling",) if number < 4 else None
            url = f"{proxy.url}/kschat"
            sockets.append(await client.connect(url, query=f"token={token(user)}", transports=transports, **options))
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
