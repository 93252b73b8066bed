"""Clients that come too often: npm's clients of every major version get in later, by themselves."""

from __future__ import annotations

from twisted.internet.task import deferLater
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from tests.e2e.chatting import new_user
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.waiting import PATIENCE, real_reactor

VERSIONS = (1, 2, 3, 4)

#: Of clients that try again soon, as often as it takes.
SOON: dict[str, object] = {
    "reconnection": True,
    "reconnectionDelay": 100,
    "reconnectionDelayMax": 500,
    "forceNew": True,
}


class RateTests(unittest.TestCase):
    timeout = 120

    def setUp(self) -> None:
        require_node()

    async def status(self, daemon: Daemon) -> int:
        """Of a request that begins a session."""
        url = f"{daemon.url}/socket.io/?EIO=4&transport=polling".encode()
        response = await Agent(real_reactor(), connectTimeout=PATIENCE).request(b"GET", url)
        await readBody(response)
        return int(response.code)

    async def limited(self, daemon: Daemon, limit: str) -> int:
        """How often a limit was exceeded."""
        response = await Agent(real_reactor()).request(b"GET", f"{daemon.url}/metrics".encode())
        lines = (await readBody(response)).decode().splitlines()
        found = [line.split()[1] for line in lines if line.startswith(f'kschat_limited_total{{limit="{limit}"}}')]
        return int(float(found[0])) if found else 0

    async def opened(self, daemon: Daemon, client: NodeClient, user: str) -> NodeSocket:
        return await client.open(f"{daemon.url}/kschat", query=f"token={token(user)}", **SOON)

    async def refused(self, daemon: Daemon, client: NodeClient) -> NodeSocket:
        """A socket whose first request was refused."""
        while True:
            while await self.status(daemon) != 429:
                pass
            socket = await self.opened(daemon, client, new_user())
            while not (told := {"connect", "connect_error"} & {event.name for event in socket.unseen}):
                await deferLater(real_reactor(), 0.01)
            if told == {"connect_error"}:
                return socket
            await socket.disconnect()  # there was a place just then

    async def test_an_address_that_begins_too_many_sessions(self) -> None:
        daemon = await Daemon.start(self, rate_address_handshakes=2, rate_burst=1)
        clients = [NodeClient.start(self, version, daemon) for version in VERSIONS]
        for client in clients:
            socket = await self.refused(daemon, client)
            await socket.next("connect")
        self.assertGreater(await self.limited(daemon, "address_handshakes"), len(VERSIONS) - 1)

    async def test_a_user_whose_sockets_join_too_often(self) -> None:
        daemon = await Daemon.start(self, rate_user_joins=1, rate_burst=1)
        clients = [NodeClient.start(self, version, daemon) for version in VERSIONS]
        user = new_user()
        sockets = [await self.opened(daemon, client, user) for client in clients]
        for socket in sockets:
            await socket.next("connect")
        self.assertGreater(await self.limited(daemon, "user_joins"), 0)
        self.assertEqual([], daemon.faults)
