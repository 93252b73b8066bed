"""Which clients work, and by which transports: the tutorial's scenario with each, as a table in the README says.

The other side of each conversation is socket.io-client 4 on a WebSocket.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tests.compatibility import DEFAULT, POLLING, WEBSOCKET, Client, Row, found
from tests.e2e.chatting import ChatTestCase, messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, token
from tests.support.python import PythonClient

#: JSON and binary as a chat sends it. All ASCII, since client 1.7.4 garbles the rest on polling; no binary of no byte,
#: which python-socketio 4.6 takes for nothing. (test_clients has both.)
MSGS: tuple[Any, ...] = ("how are you?", {"text": "see", "files": [b"\x00\x01\xff", b"x"]}, [1, None, "x" * 5000])


class _Scenario(ChatTestCase):
    """Run by each client."""

    row: ClassVar[Row]

    def client_under_test(self) -> NodeClient:
        """The process of the client."""
        kind = PythonClient if self.row.client is Client.PYTHON else NodeClient
        return kind.start(self, self.row.version, self.daemon)

    async def scenario(self, transport: str, url: str | None = None) -> None:
        """Connect, send and be answered, receive and answer, be away and miss nothing, log out."""
        alice, bob = new_user("alice"), new_user("bob")
        client = self.client_under_test()
        options: dict[str, object] = {
            "query": f"token={token(alice)}&ksId={alice}",
            "transports": None if transport == DEFAULT else [transport],
        }
        base = f"{url or self.daemon.url}/kschat"
        a = await client.connect(base, **options)
        b = await self.connect(bob, 4)
        await a.changes_to("polling" if transport == POLLING else "websocket")
        await self.talk(a, alice, b, bob)
        await self.away(a)
        (ack,) = await b.emit("Send", sending(bob, alice, "while you were away"))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])
        await b.next("RESPSEND")
        back = await client.connect(base, **options)
        (missed,) = messages_of(await back.next("RESPRECEIVER"))
        self.assertEqual("while you were away", missed["msg"])
        await self.talk(back, alice, b, bob)
        await back.emit("Logout")
        self.assertEqual([{"RC": 1, "ERR": 0}], (await back.next("RESPLOGOUT")).args)
        found(self.row, transport)

    async def talk(self, a: NodeSocket, alice: str, b: NodeSocket, bob: str) -> None:
        """Each message goes both ways, is answered in both ways, and arrives once as it was sent."""
        for sender, me, peer, other in ((a, alice, b, bob), (b, bob, a, alice)):
            for number, msg in enumerate(MSGS):
                (ack,) = await sender.emit("Send", sending(me, other, msg, number))
                self.assertEqual(("Send Emit is success.", me), (ack["RESPONSE"], ack["uId"]))
                (sent,) = (await sender.next("RESPSEND")).args
                self.assertEqual((number, msg, 0), (sent["RANDOMNO"], sent["MSG"], sent["ER"]))
                (received,) = messages_of(await peer.next("RESPRECEIVER"))
                self.assertEqual((me, other, msg), (received["uId"], received["pId"], received["msg"]))

    async def away(self, socket: NodeSocket) -> None:
        """It leaves, and the daemon knows."""
        await socket.disconnect()
        await self.daemon.health_becomes(users=1)

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


del _Scenario, ChatTestCase
