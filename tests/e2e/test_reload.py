"""SIGHUP under load, as npm's clients of all versions see it: none is dropped; what is new holds."""

from __future__ import annotations

import shutil
import signal
import ssl
from pathlib import Path

from cryptography import x509
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.e2e.chatting import new_user, sending
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.certificates import Authority
from tests.support.launch import free_port
from tests.support.waiting import repeated_until

OLD, NEW = "o" * 32, "n" * 32

#: Messages that each client sends while the daemon reads all again.
MESSAGES = 40

HOST = "127.0.0.1"


class ReloadTests(unittest.TestCase):
    """A daemon with TLS."""

    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority(self.directory, "root")
        self.secret, self.config = self.directory / "secret", self.directory / "kschat.toml"
        self.config.write_text(f'secret_file = "{self.secret}"\n')
        self.change(OLD, 30)

    def change(self, secret: str, days: int) -> None:
        """Another secret, and another certificate."""
        self.secret.write_text(secret)
        for made, name in zip(self.authority.sign(HOST, days), ("cert.pem", "key.pem"), strict=True):
            shutil.copy(made, self.directory / name)

    def serial(self, port: int) -> int:
        """Of the certificate that a new connection is shown."""
        shown = ssl.get_server_certificate((HOST, port), ca_certs=str(self.authority.ca), timeout=20)
        return x509.load_pem_x509_certificate(shown.encode()).serial_number

    async def connect(self, client: NodeClient, daemon: Daemon, user: str, secret: str, transport: str) -> NodeSocket:
        """A socket of ``user``."""
        return await client.connect(
            f"https://{HOST}:{daemon.port}/kschat",
            query=f"token={token(user, secret=secret)}",
            transports=[transport],
            rejectUnauthorized=False,
        )

    async def test_no_socket_is_dropped_and_the_next_handshake_is_by_the_new_ones(self) -> None:
        require_node()
        place = f"privateKey={self.directory}/key.pem:certKey={self.directory}/cert.pem"
        port = free_port()
        listen = f"ssl:{port}:{place}:interface={HOST}"
        daemon = await Daemon.start(self, secret="", config=self.config, listen=listen)
        daemon.port = port
        first = await deferToThread(self.serial, daemon.port)
        clients = {version: NodeClient.start(self, version, daemon) for version in (1, 2, 3, 4)}
        sockets = {}
        for transport in ("websocket", "polling"):
            for version, client in clients.items():
                user = new_user(f"v{version}")
                sockets[user] = await self.connect(client, daemon, user, OLD, transport)
        users = list(sockets)
        pairs = list(zip(users, users[1:] + users[:1], strict=True))
        sends = []
        for number in range(MESSAGES):
            sends += [sockets[user].emit("Send", sending(user, peer, f"{number}")) for user, peer in pairs]
            if number == MESSAGES // 2:
                self.change(NEW, 60)
                with self.config.open("a") as text:
                    text.write("max_user_sockets = 1\n")
                daemon.send_signal(signal.SIGHUP)
        answers = await gatherResults(sends)
        self.assertEqual({answer[0]["RESPONSE"] for answer in answers}, {"Send Emit is success."})
        for _, peer in pairs:
            got = [(await sockets[peer].next("RESPRECEIVER")).args[0]["MSG"][0]["msg"] for _ in range(MESSAGES)]
            self.assertEqual(got, [f"{number}" for number in range(MESSAGES)])
        said = (
            "max_user_sockets is 1 from now on; it was 100",
            "secret_file was read again: a key for HS256",
            f"listen was read again: certificate of {HOST} until",
        )

        async def log() -> str:
            return daemon.log

        await repeated_until(log, lambda text: all(one in text for one in said), "the lines of the reload")
        self.assertNotEqual(await deferToThread(self.serial, daemon.port), first)
        # A token of before is no good any more.
        ann = users[3]
        refused = await clients[4].open(
            f"https://{HOST}:{daemon.port}/kschat",
            query=f"token={token(ann, secret=OLD)}",
            transports=["websocket"],
            rejectUnauthorized=False,
        )
        await refused.next("connect_error")
        # All of before are there, and talk, by the connections that they had.
        self.assertEqual([event for one in sockets.values() for event in one.unseen if event.name == "disconnect"], [])
        answers = await gatherResults(
            [sockets[user].emit("Send", sending(user, peer, "still")) for user, peer in pairs]
        )
        self.assertEqual({answer[0]["RESPONSE"] for answer in answers}, {"Send Emit is success."})
        # The new limit ends the older of two sockets.
        for _ in range(2):
            newer = await self.connect(clients[4], daemon, ann, NEW, "websocket")
            await sockets[ann].next("disconnect")
            sockets[ann] = newer
        self.assertEqual([], daemon.faults)
