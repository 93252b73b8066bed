"""Tokens that expire while stock clients of four generations are in full talk, on both transports."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.trial import unittest

from tests.e2e.chatting import COMES_BACK, messages_of, new_user, send
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token

#: Seconds that the tokens which end are good for: long enough to connect all clients on a busy machine.
SHORT = 10


def names(socket: NodeSocket) -> list[str]:
    """What a socket was told that nobody has looked at, of what is about its token or its end."""
    of_interest = ("TokenExpiring", "Goodbye", "disconnect", "connect", "error", "connect_error", "reconnect_attempt")
    return [event.name for event in socket.unseen if event.name in of_interest]


class TestTokensThatEnd(unittest.TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        require_node()
        self.daemon = await Daemon.start(self)
        self.clients = {version: NodeClient.start(self, version, self.daemon) for version in (1, 2, 3, 4)}

    async def join(self, version: int, user: str, *, lasts: int, transport: str, **asks: object) -> NodeSocket:
        """A socket that comes back by itself whenever its library does so."""
        client = self.clients[version]
        mine = {"token": token(user, expires_in=lasts), **asks}
        query = "&".join(f"{name}={value}" for name, value in mine.items())
        how: dict[str, Any] = {"auth": mine} if client.revision == 4 else {"query": query}
        return await client.connect(self.daemon.url + "/kschat", transports=[transport], **how, **COMES_BACK)

    async def test_told_renewed_and_ended_under_load(self) -> None:
        kinds = [(version, transport) for version in (1, 2, 3, 4) for transport in ("websocket", "polling")]
        # Node.js takes its time to start on a busy machine, and no token shall end before that.
        for version in self.clients:
            await self.join(version, new_user("first"), lasts=3600, transport="websocket")
        await defer.gatherResults([defer.Deferred.fromCoroutine(self.live(*kind)) for kind in kinds])
        lines = self.daemon.log.splitlines()
        # Nobody has come back with a token that has expired.
        self.assertEqual([line for line in lines if "a socket from" in line and "was rejected" in line], [])
        self.assertEqual(len([line for line in lines if "left: token expired" in line]), 2 * len(kinds))
        self.assertEqual(self.daemon.faults, [])
        await self.daemon.health_becomes(sockets=len(kinds) + len(self.clients))

    async def live(self, version: int, transport: str) -> None:
        """One renews, one does not, and one is of the tutorial; and all are written to all the time."""
        keeper, leaver, plain = (new_user(f"{name}{version}") for name in ("keeper", "leaver", "plain"))
        keeps = await self.join(version, keeper, lasts=SHORT, transport=transport, goodbye=1)
        leaves = await self.join(version, leaver, lasts=SHORT, transport=transport, goodbye=1)
        knows_nothing = await self.join(version, plain, lasts=SHORT, transport=transport)
        told = await keeps.next("TokenExpiring")
        self.assertIn(told.args[0]["in"], range(SHORT))
        other = await keeps.emit("Token", {"token": token(leaver)})
        self.assertEqual(other[0]["ER"], 6)
        self.assertEqual(await keeps.emit("Token", {"token": token(keeper)}), [{"ER": 0}])
        sent = 0
        while "Goodbye" not in names(leaves) or "disconnect" not in names(knows_nothing):
            await send(keeps, keeper, leaver, sent)
            await send(keeps, keeper, keeper, sent)
            sent += 1
        self.assertEqual((await leaves.next("Goodbye")).args[0]["reason"], "token")
        self.assertEqual((await leaves.next("disconnect")).args, ["io server disconnect"])
        self.assertEqual((await knows_nothing.next("disconnect")).args, ["io server disconnect"])
        # A library that came back by itself would have done so meanwhile.
        for number in range(sent, sent + 20):
            await send(keeps, keeper, keeper, number)
            await send(keeps, keeper, leaver, number)
        self.assertEqual(names(leaves), ["TokenExpiring"])
        self.assertEqual(names(knows_nothing), [])
        for socket in (leaves, knows_nothing):
            self.assertFalse((await socket.state())["connected"])
        self.assertEqual(names(keeps), [])
        mine = [one["msg"] for event in keeps.unseen if event.name == "RESPRECEIVER" for one in messages_of(event)]
        self.assertEqual(mine, list(range(sent + 20)))
        # With a new token it has all that it missed, and nothing is lost.
        again = await self.join(version, leaver, lasts=3600, transport=transport, goodbye=1)
        seen: list[int] = []
        for socket in (leaves, again):
            while len(seen) < sent + 20:
                event = next((one for one in socket.unseen if one.name == "RESPRECEIVER"), None)
                if event is None and socket is leaves:
                    break
                event = await socket.next("RESPRECEIVER")
                seen += [one["msg"] for one in messages_of(event) if one["msg"] not in seen]
        self.assertEqual(seen, list(range(sent + 20)))
        await again.disconnect()
