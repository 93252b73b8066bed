"""SIGHUP under load, as npm's clients of every version see it: nobody is dropped, the new keys and limits hold."""

from __future__ import annotations

import signal
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.trial import unittest

from tests.e2e.chatting import new_user, sending
from tests.support import Daemon, NodeClient, require_node, token
from tests.support.waiting import repeated_until

OLD, NEW = "o" * 32, "n" * 32

#: Messages that each client sends while the daemon reads all again.
MESSAGES = 40


class ReloadTests(unittest.TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    async def test_no_socket_is_dropped_and_the_next_handshake_is_by_the_new_key_and_limits(self) -> None:
        require_node()
        directory = self.directory
        secret, config = directory / "secret", directory / "kschat.toml"
        secret.write_text(OLD)
        config.write_text(f'secret_file = "{secret}"\n')
        daemon = await Daemon.start(self, secret="", config=config)
        clients = {version: NodeClient.start(self, version, daemon) for version in (1, 2, 3, 4)}
        sockets = {}
        for version, client in clients.items():
            user = new_user(f"v{version}")
            query = f"token={token(user, secret=OLD)}"
            sockets[user] = await client.connect(f"{daemon.url}/kschat", query=query)
        users = list(sockets)
        pairs = list(zip(users, users[1:] + users[:1], strict=True))
        sends = []
        for number in range(MESSAGES):
            sends += [sockets[user].emit("Send", sending(user, peer, f"{number}")) for user, peer in pairs]
            if number == MESSAGES // 2:
                secret.write_text(NEW)
                with config.open("a") as text:
                    text.write("max_user_sockets = 1\n")
                daemon.send_signal(signal.SIGHUP)
        answers = await gatherResults(sends)
        self.assertEqual({answer[0]["RESPONSE"] for answer in answers}, {"Send Emit is success."})
        for _, peer in pairs:
            got = [(await sockets[peer].next("RESPRECEIVER")).args[0]["MSG"][0]["msg"] for _ in range(MESSAGES)]
            self.assertEqual(got, [f"{number}" for number in range(MESSAGES)])
        said = ("max_user_sockets is 1 from now on; it was 100", "secret_file was read again: a key for HS256")

        async def log() -> str:
            return daemon.log

        await repeated_until(log, lambda text: all(one in text for one in said), "the lines of the reload")
        # A token of before is no good any more, and the new limit ends the older of two sockets.
        ann = users[3]
        refused = await clients[4].open(f"{daemon.url}/kschat", query=f"token={token(ann, secret=OLD)}")
        await refused.next("connect_error")
        for _ in range(2):
            newer = await clients[4].connect(f"{daemon.url}/kschat", query=f"token={token(ann, secret=NEW)}")
            await sockets[ann].next("disconnect")
            sockets[ann] = newer
        self.assertEqual([], daemon.faults)
