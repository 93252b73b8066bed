"""What a daemon does that was deployed: it serves the page, and two clients that write to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.trial import unittest
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, token
from tests.support.waiting import real_reactor


class DeployedTestCase(unittest.TestCase):
    """Tests of a daemon by its URL."""

    timeout = 300
    #: What a proxy before the daemon adds to a request.
    routed: ClassVar[Mapping[str, str]] = {}

    async def get(self, url: str) -> tuple[int, bytes]:
        """The status and the body."""
        headers = Headers({name: [value] for name, value in self.routed.items()})
        response = await Agent(real_reactor()).request(b"GET", url.encode(), headers)
        return response.code, await readBody(response)

    async def assert_serves_the_page(self, url: str, secret: str) -> None:
        """The page, and the files that it names."""
        status, page = await self.get(f"{url}/?uid=1&rid=2&token={token('1', secret=secret)}")
        self.assertEqual(200, status)
        paths = re.findall(rb'(?:src|href)="(/?static/[^"]+)"', page)
        self.assertTrue(paths, page)
        for path in paths[:5]:
            self.assertEqual(200, (await self.get(f"{url}/{path.decode().lstrip('/')}"))[0], path)

    async def assert_two_clients_chat(self, one: Any, other: Any, secret: str) -> None:
        """A client of version 4 that polls, at ``one``, and one of version 2 with a WebSocket, at ``other``."""
        users = new_user("one"), new_user("other")
        clients = [NodeClient.start(self, 4, one), NodeClient.start(self, 2, other)]
        sockets = [
            await client.connect(
                f"{instance.url}/kschat", query=f"token={token(user, secret=secret)}", transports=transports
            )
            for client, instance, user, transports in zip(
                clients, (one, other), users, (["polling"], ["websocket"]), strict=True
            )
        ]
        for this, that in ((0, 1), (1, 0)):
            (ack,) = await sockets[this].emit("Send", sending(users[this], users[that], "hello"))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"], ack)
            (got,) = messages_of(await sockets[that].next("RESPRECEIVER"))
            self.assertEqual("hello", got["msg"])
