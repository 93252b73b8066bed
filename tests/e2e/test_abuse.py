"""Bad frames in great number cost their own connections, and nobody else anything."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from twisted.internet import defer
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.e2e.chatting import new_user, sending
from tests.profile import amount
from tests.support import REPOSITORY, Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.waiting import real_reactor

#: Frames of each kind, and from how many connections at a time.
FRAMES, CONNECTIONS = amount(100_000, 4_000), 50
#: As many frames of each kind go before, so that what a daemon allocates once (caches, the store's bound) is there.
WARM_UP = amount(5_000, 1_000)
#: Bytes. The allocator does not give back every page; 100,000 frames that were kept would take ten times as much.
MARGIN = 16_000_000
#: A JWT of HS256.
WHOLE_TOKEN = r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{43}"


class AbuseTests(unittest.TestCase):
    """One daemon, two healthy clients, and an attack."""

    timeout = 240

    async def attack(self, daemon: Daemon, frames: int, seed: int) -> dict[str, Any]:
        """Sends so many random and as many mutated frames; how many connections and reads that were."""
        arguments = ["-m", "tests.e2e.attack", daemon.port, 2 * frames, CONNECTIONS, seed, new_user("attacker")]
        out, err, code = await getProcessOutputAndValue(
            sys.executable, list(map(str, arguments)), env=os.environ, path=str(REPOSITORY)
        )
        self.assertEqual((0, b""), (code, err), out + err)
        summary: dict[str, Any] = json.loads(out)
        self.assertEqual((frames, frames), (summary["random frames"], summary["mutated frames"]), summary)
        return summary

    async def test_bad_frames_leave_healthy_clients_served_and_the_memory_where_it_was(self) -> None:
        require_node()
        # The store keeps few messages here: what it keeps by design is not what is measured.
        # Nor are limits of rates: one address begins a thousand sessions a second, and all frames are to be read.
        daemon = await Daemon.start(
            self,
            store_messages=1000,
            rate_address_handshakes=0,
            rate_address_joins=0,
            rate_user_joins=0,
            max_user_sockets=0,
        )
        client = NodeClient.start(self, 4, daemon)
        alice, bob = new_user("alice"), new_user("bob")
        a = await client.connect(f"{daemon.url}/kschat", query=f"token={token(alice)}")
        b = await client.connect(f"{daemon.url}/kschat", query=f"token={token(bob)}")

        await self.attack(daemon, WARM_UP, seed=1)
        await daemon.health_becomes(open=3, connections=2, sockets=2, users=2)
        before = daemon.memory()

        attack = defer.Deferred.fromCoroutine(self.attack(daemon, FRAMES, seed=2))
        round_trips = await self.talk_until(attack, alice, a, bob, b)
        summary = await attack

        health = await daemon.health_becomes(open=3, connections=2, sockets=2, users=2)
        after = daemon.memory()
        talk = {"round trips": len(round_trips), "worst": max(round_trips)}
        figures = {**summary, **talk, "memory before": before, "memory after": after}
        self.assertLess(after, before + MARGIN, figures)
        self.assertGreater(len(round_trips), amount(100, 0), figures)
        self.assertEqual([], [event for event in a.unseen + b.unseen if event.name == "disconnect"])

        await client.end()
        await daemon.is_left()
        self.assertEqual(0, await daemon.stop(), health)
        self.assertEqual([], daemon.faults, figures)
        self.assertIsNone(re.search(WHOLE_TOKEN, daemon.log), "a token stands in the log")

    async def talk_until(
        self, end: defer.Deferred[dict[str, Any]], alice: str, a: NodeSocket, bob: str, b: NodeSocket
    ) -> list[float]:
        """Two clients say something to each other by turns until ``end``; seconds of each message and its answer."""
        clock = real_reactor()
        round_trips: list[float] = []
        while not end.called:
            began = clock.seconds()
            for user, socket, peer, other in ((alice, a, bob, b), (bob, b, alice, a)):
                (ack,) = await socket.emit("Send", sending(user, peer, f"message {len(round_trips)}"))
                self.assertEqual("Send Emit is success.", ack["RESPONSE"])
                await socket.next("RESPSEND")
                (body,) = (await other.next("RESPRECEIVER")).args
                self.assertEqual(f"message {len(round_trips)}", body["MSG"][0]["msg"])
            round_trips.append(clock.seconds() - began)
        return round_trips
