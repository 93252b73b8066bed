"""What the tests with npm's clients have in common: users, connecting them, and that nothing stays behind."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from twisted.internet import defer
from twisted.trial import unittest

from tests.support import Event, NodeClient, NodeSocket, SharedDaemon, require_node, shared_daemon, token

#: Of a client that comes back by itself, soon.
COMES_BACK: dict[str, object] = {"reconnection": True, "reconnectionDelay": 10, "reconnectionDelayMax": 50}


def new_user(name: str = "u") -> str:
    """A user id that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def new_number() -> int:
    """A user id that is a number, and that no other test uses."""
    return uuid.uuid4().int % 10**12 + 10**12


@functools.cache
def shared_file() -> str:
    """The store of the one daemon that keeps messages in a file; it is removed when trial ends."""
    directory = tempfile.mkdtemp(prefix="kschat-tests-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return f"sqlite:{directory}/kschat.db"


class ChatTestCase(unittest.TestCase):
    """Tests against a daemon that they share. When a test ends, nothing of it may stay in the daemon or in its log."""

    timeout = 120
    #: The client version under test; the classes at the end of a module set it.
    version: int = 4
    #: Its transports; None for the library's default, which is to begin with polling and to change to WebSocket.
    transports: Sequence[str] | None = ("websocket",)
    #: The npm package of its parser; None for the library's own.
    parser: str | None = None
    settings: ClassVar[Mapping[str, object]] = {}
    #: Whether the daemon keeps messages in a file, as it does by default, or in memory.
    in_file: bool = False

    def setUp(self) -> None:
        require_node()
        store = {"store": shared_file()} if self.in_file else {}
        self.daemon: SharedDaemon = shared_daemon(**store, **self.settings)
        self._faults_before = len(self.daemon.faults)
        self.addCleanup(self._nothing_stays)
        self._clients: dict[int, NodeClient] = {}

    async def _nothing_stays(self) -> None:
        await self.daemon.is_left()
        self.assertEqual([], self.daemon.faults[self._faults_before :], self.daemon.log[-8000:])

    def client(self, version: int | None = None) -> NodeClient:
        """The client of a version (the one under test, without), started when it is first asked for."""
        version = self.version if version is None else version
        if version not in self._clients:
            self._clients[version] = NodeClient.start(self, version, self.daemon)
        return self._clients[version]

    @property
    def chat_url(self) -> str:
        """Where the tutorial's client connects to."""
        return self.daemon.url + "/kschat"

    async def connect(self, user: str | int, version: int | None = None) -> NodeSocket:
        """A socket of ``user``, with the tutorial's options."""
        query = f"token={token(user)}&ksId={user}"
        # Who is named by version is somebody's peer.
        transports = self.transports if version is None else ("websocket",)
        own: dict[str, object] = {"parser": self.parser} if self.parser and version is None else {}
        socket = await self.client(version).connect(self.chat_url, query=query, transports=transports, **own)
        if transports is None or "polling" in transports:
            self.addCleanup(self._end, socket)
        return socket

    async def _end(self, socket: NodeSocket) -> None:
        """Who polls says that it ends, and is not cut off between two requests: the daemon would wait for the next."""
        sessions = (await self.daemon.health())["connections"]
        if (await socket.state())["connected"]:
            await socket.disconnect()
            await self.daemon.health_becomes(connections=sessions - 1)

    async def join(self, user: str, version: int | None = None, rooms: object = None, **asks: object) -> NodeSocket:
        """A socket of ``user`` that asks for something (``batch=1``): in the query, or in auth where there is one."""
        client = self.client(version)
        data = {"id": user} if rooms is None else {"id": user, "rooms": rooms}
        mine = {"token": token(user, data=data), **asks}
        if client.revision == 4:
            return await client.connect(self.chat_url, auth=mine)
        return await client.connect(self.chat_url, query="&".join(f"{name}={value}" for name, value in mine.items()))


def sending(user: object, peer: object, msg: object, rno: object = 0.5) -> dict[str, Any]:
    """The payload of Send, as the tutorial's page makes it."""
    return {"uId": user, "pId": peer, "msg": msg, "rno": rno, "time": 1700000000}


def messages_of(event: Event) -> list[dict[str, Any]]:
    """What a RESPRECEIVER or RESPCARBON shows."""
    listed: list[dict[str, Any]] = event.args[0]["MSG"]
    return listed


async def received(socket: NodeSocket, count: int) -> list[dict[str, Any]]:
    """The next messages of a socket, and not one more in the same event."""
    messages: list[dict[str, Any]] = []
    while len(messages) < count:
        messages += messages_of(await socket.next("RESPRECEIVER"))
    assert len(messages) == count, messages
    return messages


async def send(socket: NodeSocket, user: str, peer: str, *msgs: object, **more: object) -> list[dict[str, Any]]:
    """Send messages, all at once; their acks."""
    asked = [socket.emit("Send", {**sending(user, peer, msg), **more}) for msg in msgs]
    acks = [ack for (ack,) in await defer.gatherResults(asked)]
    for ack in acks:
        assert ack["RESPONSE"] == "Send Emit is success.", ack
    return acks
