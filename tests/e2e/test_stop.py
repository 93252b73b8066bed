"""The daemon ends, or dies, and comes back: what npm's clients of every major version see of it."""

from __future__ import annotations

import signal

from twisted.trial import unittest

from tests.e2e.chatting import new_user, sending
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token


class StopTests(unittest.TestCase):
    """Each test has a daemon of its own."""

    timeout = 120

    async def connect_all(self, daemon: Daemon, **options: object) -> dict[str, NodeSocket]:
        """One socket of each version, by user."""
        require_node()
        sockets = {}
        for version in (1, 2, 3, 4):
            user = new_user(f"v{version}")
            client = NodeClient.start(self, version, daemon)
            sockets[user] = await client.connect(f"{daemon.url}/kschat", query=f"token={token(user)}", **options)
        return sockets

    async def speak(self, sockets: dict[str, NodeSocket]) -> None:
        """Each sends to the next one, who gets it."""
        users = list(sockets)
        for user, peer in zip(users, users[1:] + users[:1], strict=True):
            (ack,) = await sockets[user].emit("Send", sending(user, peer, f"from {user}"))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])
            (body,) = (await sockets[peer].next("RESPRECEIVER")).args
            self.assertEqual(f"from {user}", body["MSG"][0]["msg"])

    async def test_sigterm_disconnects_all_clients_and_exits_with_0(self) -> None:
        daemon = await Daemon.start(self)
        sockets = await self.connect_all(daemon)
        await self.speak(sockets)
        self.assertEqual(0, await daemon.stop(), daemon.log)
        for socket in sockets.values():
            (reason,) = (await socket.next("disconnect")).args
            self.assertIn(reason, ("io server disconnect", "transport close"))
        self.assertEqual([], daemon.faults)

    async def test_after_sigterm_it_is_not_ready_and_serves_and_a_second_one_ends_it_in_order(self) -> None:
        daemon = await Daemon.start(self, drain_notice=3600, drain_time=3600)
        sockets = await self.connect_all(daemon)
        daemon.send_signal(signal.SIGTERM)
        await daemon.ready_becomes("closing")
        await self.speak(sockets)
        self.assertEqual(0, await daemon.stop(), daemon.log)
        for socket in sockets.values():
            (reason,) = (await socket.next("disconnect")).args
            self.assertIn(reason, ("io server disconnect", "transport close"))
        self.assertEqual([], daemon.faults)

    async def test_connections_end_over_the_time_and_it_exits_with_0(self) -> None:
        daemon = await Daemon.start(self, drain_time=2)
        sockets = await self.connect_all(daemon)
        self.assertEqual(0, await daemon.stop(), daemon.log)
        for socket in sockets.values():
            await socket.next("disconnect")
        self.assertIn("4 connections, no new ones", daemon.log)
        self.assertEqual([], daemon.faults)

    async def test_sigterm_without_clients_exits_with_0(self) -> None:
        daemon = await Daemon.start(self)
        await daemon.is_left()
        self.assertEqual(0, await daemon.stop(), daemon.log)
        self.assertEqual([], daemon.faults)

    async def test_clients_that_reconnect_by_themselves_come_back_after_a_crash(self) -> None:
        daemon = await Daemon.start(self)
        quickly = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}
        sockets = await self.connect_all(daemon, **quickly)
        await self.speak(sockets)
        await daemon.kill()
        for socket in sockets.values():
            self.assertEqual(["transport close"], (await socket.next("disconnect")).args)
        await daemon.restart()
        for socket in sockets.values():
            await socket.next("connect")
        await self.speak(sockets)
        self.assertEqual(0, await daemon.stop(), daemon.log)

    async def test_clients_that_reconnect_by_themselves_come_back_after_a_restart(self) -> None:
        daemon = await Daemon.start(self)
        quickly = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}
        sockets = await self.connect_all(daemon, **quickly)
        await daemon.stop()
        await daemon.restart()
        # Told to go by the server ("io server disconnect"), a client does not come back by itself.
        for socket in sockets.values():
            await socket.next("connect")
        await self.speak(sockets)
