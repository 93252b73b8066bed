"""Hooks of real daemons: a receiver that fails, daemons that are killed, and three of them on one Redis."""

from __future__ import annotations

import base64
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.server import Site

from kschat.front.endpoints import server_endpoint
from tests.e2e.chatting import new_user, sending
from tests.e2e.test_cluster import DaemonsTestCase
from tests.hooks.receivers import SECRET, Inbox, as_text, never, status
from tests.support import NodeSocket
from tests.support.daemon import Daemon
from tests.support.waiting import WaitedTooLong, real_reactor

#: Seconds until another daemon has the lease of one that was killed, and more for a busy machine.
TAKEN_OVER = 40.0


class HooksTestCase(DaemonsTestCase):
    """Daemons whose hooks come to this process."""

    async def receiver(self) -> dict[str, Any]:
        """Listen; the settings of the daemons."""
        self.inbox = Inbox()
        port: Any = await server_endpoint(real_reactor(), "tcp:0:interface=127.0.0.1").listen(Site(self.inbox))
        self.addCleanup(port.stopListening)
        secret = self.mktemp()
        await deferToThread(self.write, secret)
        return {
            "hooks_url": f"http://127.0.0.1:{port.getHost().port}/hooks",
            "hooks_secret_file": await deferToThread(lambda: str(Path(secret).absolute())),
            "undelivered_after": 1,
            "undelivered_every": 5,
        }

    def write(self, path: str) -> None:
        Path(path).write_text(as_text(SECRET))
        Path(path).chmod(0o600)

    async def until(self, true: Callable[[], bool], what: str, seconds: float = TAKEN_OVER) -> None:
        """Wait for something to be received."""
        deadline = real_reactor().seconds() + seconds
        while not true():
            if real_reactor().seconds() > deadline:
                raise WaitedTooLong(f"waited {seconds} s in vain for {what}; received: {self.inbox.events}")
            await deferLater(real_reactor(), 0.05)

    async def sent(self, socket: NodeSocket, user: str, *peers: str) -> list[str]:
        """Messages that were acknowledged; their mids."""
        mids = []
        for peer in peers:
            (ack,) = await socket.emit("Send", sending(user, peer, "a text that no hook has"))
            mids.append(str(ack["mid"]))
        return mids

    def told(self, type_: str) -> list[dict[str, Any]]:
        """The data of each event of a type, each event once."""
        found = {
            headers["webhook-id"]: event
            for (headers, _), event in zip(self.inbox.posts, self.inbox.events, strict=True)
        }
        return [event["data"] for event in found.values() if event["type"] == type_]

    def mids(self) -> list[str]:
        """Of messages that were stored for absent users, each event once."""
        return [data["mid"] for data in self.told("message.stored-for-absent")]

    def check(self, mids: list[str]) -> None:
        """Nothing was lost, nothing came twice but with its id, and no text came at all."""
        self.assertEqual(sorted(self.mids()), sorted(mids))
        self.assertNotIn(b"a text that", b"".join(body for _, body in self.inbox.posts))


class OneDaemonTests(HooksTestCase):
    async def test_nothing_is_lost_by_a_receiver_that_fails_and_a_daemon_that_is_killed(self) -> None:
        settings = await self.receiver()
        path = await deferToThread(lambda: str(Path(self.mktemp()).absolute()))
        daemon = await Daemon.start(self, store=f"sqlite:{path}", **settings)
        ann, ben = new_user("ann"), new_user("ben")
        mids: list[str] = []
        for answer in (status(500), never, status(301, location="/elsewhere"), status(503)):
            self.inbox.answer = answer
            socket = await self.join(daemon, ann)
            before = len(self.inbox.posts)
            mids += await self.sent(socket, ann, ben, ben)
            # At any moment: some were tried, others not even looked at.
            if answer is not never:
                await self.until(lambda before=before: len(self.inbox.posts) > before, "a try")  # type: ignore[misc]
            await daemon.kill()
            await daemon.restart()
        self.inbox.answer = None
        socket = await self.join(daemon, ann)
        mids += await self.sent(socket, ann, ben)
        await self.until(lambda: set(self.mids()) >= set(mids), "all events")
        self.check(mids)
        undelivered = self.told("message.undelivered")
        self.assertEqual({data["user"] for data in undelivered}, {ben})
        self.assertLessEqual(undelivered[-1]["count"], len(mids))
        self.assertEqual({data["user"] for data in self.told("user.connected")}, {ann})

    async def test_a_message_that_was_delivered_causes_nothing(self) -> None:
        settings = await self.receiver()
        path = await deferToThread(lambda: str(Path(self.mktemp()).absolute()))
        daemon = await Daemon.start(self, store=f"sqlite:{path}", **settings)
        ann, ben, cem = new_user("ann"), new_user("ben"), new_user("cem")
        here, there = await self.join(daemon, ann), await self.join(daemon, ben)
        await self.passes(here, ann, ben, there, "hi")
        (mid,) = await self.sent(here, ann, cem)
        await self.until(lambda: bool(self.told("message.undelivered")), "an event")
        self.check([mid])
        self.assertEqual([data["user"] for data in self.told("message.undelivered")], [cem])
        # A receiver that was given another secret verifies with it after SIGHUP.
        secrets = Path(settings["hooks_secret_file"])
        new = base64.b64encode(b"the new secret, 32 bytes or more").decode()
        await deferToThread(secrets.write_text, f"whsec_{new}\n{as_text(SECRET)}\n")
        daemon.send_signal(signal.SIGHUP)
        await self.until(lambda: "hooks_secret_file was read again: 2 secrets" in daemon.log, "the reload")
        count = len(self.inbox.posts)
        await self.sent(here, ann, cem)
        await self.until(lambda: len(self.inbox.posts) > count, "another event")
        self.assertEqual(len(self.inbox.posts[-1][0]["webhook-signature"].split(" ")), 2)


class ClusterTests(HooksTestCase):
    store = "redis"

    async def started(self) -> list[Daemon]:
        self.more = await self.receiver()
        return await self.daemons(3)

    async def leader(self, daemons: list[Daemon]) -> Daemon:
        """The one that makes the events."""
        await self.until(lambda: any("this daemon makes the events" in daemon.log for daemon in daemons), "a leader")
        (leader,) = [daemon for daemon in daemons if "this daemon makes the events" in daemon.log]
        return leader

    async def test_one_daemon_at_a_time_and_nothing_is_lost_when_it_is_killed(self) -> None:
        daemons = await self.started()
        leader = await self.leader(daemons)
        others = [daemon for daemon in daemons if daemon is not leader]
        ann, ben, away = new_user("ann"), new_user("ben"), new_user("away")
        sockets = [(ann, await self.join(others[0], ann)), (ben, await self.join(others[1], ben))]
        lost = await self.join(leader, dan := new_user("dan"))
        mids = await self.sent(lost, dan, away, away)
        await self.until(lambda: set(self.mids()) >= set(mids), "the first events")
        # Events that are being delivered, in the queue, and in the log.
        self.inbox.answer = never
        for user, socket in sockets:
            mids += await self.sent(socket, user, away)
        count = len(self.inbox.posts)
        await self.until(lambda: len(self.inbox.posts) > count, "a delivery")
        for user, socket in sockets:
            mids += await self.sent(socket, user, away)
        await leader.kill()
        for user, socket in sockets:
            mids += await self.sent(socket, user, away)
        self.inbox.answer = None
        await self.until(lambda: set(self.mids()) >= set(mids), "all events")
        self.check(mids)
        connected = [data["user"] for data in self.told("user.connected")]
        self.assertEqual(sorted(connected), sorted([ann, ben, dan]))
        # Who was on the daemon that died is reported, once, and nobody else.
        await self.until(lambda: bool(self.told("user.disconnected")), "a disconnection")
        self.assertEqual([data["user"] for data in self.told("user.disconnected")], [dan])

    async def test_a_user_with_sockets_on_two_daemons_is_one_user(self) -> None:
        one, two, three = await self.started()
        ann, ben = new_user("ann"), new_user("ben")
        first, second = await self.join(one, ann), await self.join(two, ann)
        room = new_user("#room")
        other = await self.join(three, ben, rooms="*")
        await self.until(lambda: len(self.told("user.connected")) >= 2, "both users")
        self.assertEqual([{"ER": 0}], await other.emit("Join", {"room": room}))
        await first.disconnect()
        await self.until(lambda: bool(self.told("room.joined")), "the join")
        await second.disconnect()
        await self.until(lambda: bool(self.told("user.disconnected")), "the disconnection")
        self.assertEqual(sorted(data["user"] for data in self.told("user.connected")), sorted([ann, ben]))
        self.assertEqual([data["user"] for data in self.told("user.disconnected")], [ann])
        self.assertEqual(self.told("room.joined"), [{"user": ben, "room": room}])

    async def daemons(self, count: int, *services: Any) -> list[Daemon]:
        started = Daemon.start

        async def start(test: Any, **settings: Any) -> Daemon:
            return await started(test, **settings, **self.more)

        self.patch(Daemon, "start", start)
        return await super().daemons(count, *services)
