"""During a migration: the tutorial's own server on Node and a daemon serve the same users on the same exchange.

Users on one write to users on the other and get what is written to them there, with npm's clients of both revisions.
The daemon is one of relay mode, as the old server is; or one of several that keep messages in Redis.
"""

from __future__ import annotations

import atexit
import functools
from typing import Any

from twisted.internet import defer
from twisted.trial import unittest

from bench.services import Services, missing
from tests.e2e.chatting import messages_of, new_number, new_user, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Daemon
from tests.support.needs import require
from tests.support.redis import shared_redis
from tests.support.tutorial import TutorialServer

NESTED = {"": {"a": [None, 1, -2.5, "x", {"é漢😀": {'"': [True, False]}}], "_placeholder": "no"}, "b": [[], {}]}


@functools.cache
def rabbitmq() -> str:
    """The URL of the one broker of all these tests; it lives until trial ends."""
    require(missing(["rabbitmq"]))
    services = Services()
    atexit.register(services.stop)
    return services.get("rabbitmq").url


class _Servers(unittest.TestCase):
    """What these tests have in common."""

    timeout = 120

    async def connect(self, url: str, user: str | int, version: int) -> NodeSocket:
        """A socket of ``user``, with the tutorial's options."""
        client = NodeClient.start(self, version)
        return await client.connect(url, query=f"token={token(user)}&ksId={user}")

    async def pass_on(self, sender: NodeSocket, payload: dict[str, Any], *recipients: NodeSocket) -> None:
        """Sends; every recipient gets what was sent, and the sender the tutorial's answers."""
        (ack,) = await sender.emit("Send", payload)
        self.assertEqual(("Send Emit is success.", payload["uId"]), (ack["RESPONSE"], ack["uId"]))
        (sent,) = (await sender.next("RESPSEND")).args
        expected = {"RC": 1, "ER": 0, "SID": payload["uId"], "RID": payload["pId"], "MSG": payload["msg"]}
        expected |= {"RANDOMNO": payload["rno"], "STATUS": 1}
        self.assertEqual({**sent, **expected}, sent)
        for recipient in recipients:
            (body,) = (await recipient.next("RESPRECEIVER")).args
            self.assertEqual((1, 0, 1), (body["RC"], body["ER"], len(body["MSG"])))
            wanted = {"uId": payload["uId"], "pId": payload["pId"], "msg": payload["msg"], "rStatus": 1}
            self.assertEqual({**body["MSG"][0], **wanted}, body["MSG"][0])
            self.assertEqual(sent["MSGTIME"], body["MSG"][0]["msgTime"])


class TutorialTests(_Servers):
    """The tutorial's server by itself: what kschat is compared with does what the tutorial says."""

    async def begin(self) -> None:
        """What each test begins with."""
        require_node()
        self.server = await TutorialServer.start(self, rabbitmq())

    async def test_clients_of_every_version_exchange_messages(self) -> None:
        await self.begin()
        users = {version: new_user() for version in (1, 2, 3, 4)}
        sockets = {version: await self.connect(self.server.url, user, version) for version, user in users.items()}
        await self.server.bound(4)
        for version in users:
            peer = version % 4 + 1
            await self.pass_on(sockets[version], sending(users[version], users[peer], "hello"), sockets[peer])

    async def test_a_wrong_token_is_refused(self) -> None:
        await self.begin()
        client = NodeClient.start(self, 4)
        for wrong in (token("a", secret="x" * 40), token("a", expires_in=-10), ""):
            socket = await client.open(self.server.url, query=f"token={wrong}")
            (error,) = (await socket.next("connect_error")).args
            self.assertEqual("Authentication error", error["$error"])

    async def test_logout_is_answered_and_ends_the_socket(self) -> None:
        await self.begin()
        socket = await self.connect(self.server.url, new_user(), 2)
        await self.server.bound(1)
        self.assertEqual([{"RC": 1, "ERR": 0}], await socket.emit("Logout"))
        self.assertEqual([{"RC": 1, "ERR": 0}], (await socket.next("RESPLOGOUT")).args)
        await socket.next("disconnect")
        await self.server.bound(0)

    async def test_with_confirms_it_answers_the_same(self) -> None:
        await self.begin()
        server = await TutorialServer.start(self, rabbitmq(), confirm=True)
        alice, bob = new_user(), new_user()
        a, b = await self.connect(server.url, alice, 2), await self.connect(server.url, bob, 4)
        await server.bound(2)
        await self.pass_on(a, sending(alice, bob, NESTED), b)


class _Migration(_Servers):
    """A user on each server; the versions of their clients are set below."""

    old: int
    new: int

    async def begin(self) -> None:
        """What each test begins with."""
        require_node()
        amqp = rabbitmq()
        self.server = await TutorialServer.start(self, amqp)
        self.daemon = await self.start_daemon(amqp)
        self.alice, self.bob = new_user("alice"), new_user("bob")
        self.a = await self.connect(self.server.url, self.alice, self.old)
        self.b = await self.connect(f"{self.daemon.url}/kschat", self.bob, self.new)
        await self.server.bound(1)

    async def start_daemon(self, amqp: str) -> Daemon:
        """One that is ready."""
        daemon = await Daemon.start(self, store="none", amqp=amqp, amqp_format="tutorial")
        await daemon.ready_becomes("ready")
        return daemon

    async def test_messages_cross_both_ways(self) -> None:
        await self.begin()
        values: list[object] = [
            "hi",
            'quotes " \\ \n',
            "é 漢字 😀",
            "",
            0,
            1.5,
            True,
            None,
            [],
            NESTED,
            [NESTED, 2**53 - 1],
        ]
        for msg in values:
            await self.pass_on(self.a, sending(self.alice, self.bob, msg), self.b)
            await self.pass_on(self.b, sending(self.bob, self.alice, msg), self.a)

    async def test_ids_may_be_numbers_or_strings(self) -> None:
        await self.begin()
        one, other = new_number(), new_number()
        a = await self.connect(self.server.url, one, self.old)
        b = await self.connect(f"{self.daemon.url}/kschat", other, self.new)
        await self.server.bound(2)
        for uid, pid in ((one, other), (str(one), other), (one, str(other))):
            await self.pass_on(a, sending(uid, pid, "hi"), b)
            await self.pass_on(b, sending(pid, uid, "hi"), a)

    async def test_a_burst_crosses_whole_and_in_order(self) -> None:
        await self.begin()
        texts = [f"{number}" for number in range(200)]
        acks = [self.a.emit("Send", sending(self.alice, self.bob, text)) for text in texts]
        acks += [self.b.emit("Send", sending(self.bob, self.alice, text)) for text in texts]
        await defer.gatherResults(acks)
        for socket in (self.a, self.b):
            arrived = [messages_of(await socket.next("RESPRECEIVER"))[0]["msg"] for _ in texts]
            self.assertEqual(texts, arrived)

    async def test_a_user_on_both_servers_gets_each_message_on_both(self) -> None:
        await self.begin()
        a2 = await self.connect(f"{self.daemon.url}/kschat", self.alice, self.new)
        b2 = await self.connect(self.server.url, self.bob, self.old)
        await self.server.bound(2)
        await self.pass_on(self.a, sending(self.alice, self.bob, "from the old one"), self.b, b2)
        await self.pass_on(self.b, sending(self.bob, self.alice, "from the new one"), self.a, a2)

    async def test_the_daemon_goes_on_when_the_old_server_is_gone(self) -> None:
        await self.begin()
        await self.server.stop()
        await self.a.next("disconnect")
        a = await self.connect(f"{self.daemon.url}/kschat", self.alice, self.old)
        await self.pass_on(a, sending(self.alice, self.bob, NESTED), self.b)
        await self.pass_on(self.b, sending(self.bob, self.alice, NESTED), a)
        self.assertEqual([], self.daemon.faults)


class Client2Tests(_Migration):
    """On the old server a client of the tutorial's generation, on the new one the newest."""

    old, new = 2, 4


class Client4Tests(_Migration):
    """The newest client on the old server, one of the tutorial's generation on the new one."""

    old, new = 4, 2


class _Cluster(_Migration):
    """The daemons keep messages in Redis: those of the old server too."""

    async def start_daemon(self, amqp: str) -> Daemon:
        """One that is ready; all of a test keep messages in the same place."""
        if not hasattr(self, "redis"):
            self.redis = {"redis": (await shared_redis()).url, "redis_prefix": new_user("migration")}
        daemon = await Daemon.start(self, store="redis", amqp=amqp, amqp_format="tutorial", **self.redis)
        await daemon.ready_becomes("ready")
        return daemon

    async def history(self, socket: NodeSocket, peer: str) -> list[dict[str, Any]]:
        """A conversation, as it is kept."""
        (page,) = await socket.emit("History", {"pId": peer})
        return list(page["MSG"])

    async def test_several_daemons_keep_a_message_of_the_old_server_once(self) -> None:
        await self.begin()
        other = await self.start_daemon(rabbitmq())
        b2 = await self.connect(f"{other.url}/kschat", self.bob, self.new)
        for text in ("one", "two", "three"):
            await self.a.emit("Send", sending(self.alice, self.bob, text))
        got = [[messages_of(await socket.next("RESPRECEIVER"))[0] for _ in range(3)] for socket in (self.b, b2)]
        for messages in got:
            self.assertEqual([("one", 1), ("two", 2), ("three", 3)], [(one["msg"], one["offset"]) for one in messages])
        self.assertEqual(*[[one["mid"] for one in messages] for messages in got])
        kept = await self.history(self.b, self.alice)
        self.assertEqual([one["mid"] for one in got[0]], [one["mid"] for one in kept])

    async def test_daemons_tell_each_other_the_offsets_of_their_messages(self) -> None:
        await self.begin()
        other = await self.start_daemon(rabbitmq())
        carol = new_user("carol")
        c = await self.connect(f"{other.url}/kschat", carol, self.new)
        for offset in (1, 2, 3):
            (ack,) = await c.emit("Send", sending(carol, self.bob, f"{offset}"))
            await c.next("RESPSEND")
            (got,) = messages_of(await self.b.next("RESPRECEIVER"))
            self.assertEqual((f"{offset}", offset, ack["mid"]), (got["msg"], got["offset"], got["mid"]))
        # And in between one of the old server, and one to it.
        await self.pass_on(self.a, sending(self.alice, self.bob, "old"), self.b)
        await self.pass_on(c, sending(carol, self.alice, "new"), self.a)
        self.assertEqual([], [*self.daemon.faults, *other.faults])

    async def test_who_was_away_finds_what_daemons_were_sent(self) -> None:
        await self.begin()
        other = await self.start_daemon(rabbitmq())
        await self.b.disconnect()
        await self.daemon.health_becomes(connections=0)
        d = await self.connect(f"{other.url}/kschat", self.alice, self.new)
        await d.emit("Send", sending(self.alice, self.bob, "while you were away"))
        b = await self.connect(f"{other.url}/kschat", self.bob, self.new)
        (got,) = messages_of(await b.next("RESPRECEIVER"))
        self.assertEqual(("while you were away", 1), (got["msg"], got["offset"]))


class Cluster2Tests(_Cluster):
    """As above."""

    old, new = 2, 4


class Cluster4Tests(_Cluster):
    """As above."""

    old, new = 4, 2


class SideBySideTests(_Servers):
    """The tutorial's server, a daemon of relay mode and one of a cluster on one exchange, with two clients each."""

    async def begin(self, **settings: str) -> None:
        """All three, and six users: the first two are on the tutorial's server."""
        require_node()
        amqp, redis = rabbitmq(), (await shared_redis()).url
        self.server = await TutorialServer.start(self, amqp)
        self.sockets: dict[str, NodeSocket] = {}
        # It makes its exchange when its first socket comes.
        await self.two_users(self.server.url)
        await self.server.bound(2)
        relay = await Daemon.start(self, store="none", amqp=amqp, **settings)
        cluster = await Daemon.start(
            self, store="redis", amqp=amqp, redis=redis, redis_prefix=new_user("beside"), **settings
        )
        self.daemons = [relay, cluster]
        for daemon in self.daemons:
            await daemon.ready_becomes("ready")
            await self.two_users(f"{daemon.url}/kschat")

    async def two_users(self, url: str) -> None:
        """One with a client of the tutorial's generation, one with the newest."""
        for version in (2, 4):
            user = new_user()
            self.sockets[user] = await self.connect(url, user, version)

    async def all_write(self, times: int = 5) -> None:
        """Everybody writes to everybody, and has the answers of its server."""
        acks = [
            self.sockets[sender].emit("Send", sending(sender, recipient, f"{sender} {recipient} {number}"))
            for number in range(times)
            for sender in self.sockets
            for recipient in self.sockets
            if sender != recipient
        ]
        for (ack,) in await defer.gatherResults(acks):
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])

    async def assert_whole(self, *users: str, times: int = 5) -> None:
        """Each of these users gets all that the others of them wrote, each sender's in order."""
        for recipient in users:
            senders = [user for user in users if user != recipient]
            texts: dict[str, list[str]] = {sender: [] for sender in senders}
            while any(len(found) < times for found in texts.values()):
                for one in messages_of(await self.sockets[recipient].next("RESPRECEIVER")):
                    texts.setdefault(str(one["uId"]), []).append(one["msg"])
            for sender in senders:
                self.assertEqual([f"{sender} {recipient} {number}" for number in range(times)], texts[sender])

    def assert_all_live(self) -> None:
        """Nobody was harmed by what another published."""
        self.assertTrue(self.server.lives)
        self.assertEqual([], [fault for daemon in self.daemons for fault in daemon.faults])

    async def test_everybody_s_messages_reach_everybody_in_the_tutorial_s_format(self) -> None:
        await self.begin(amqp_format="tutorial")
        await self.all_write()
        await self.assert_whole(*self.sockets)
        self.assert_all_live()

    async def test_by_default_the_old_server_lives_on_and_each_kind_s_messages_are_whole(self) -> None:
        await self.begin()
        # The second time is what ended a server whose channel was closed.
        for _ in range(2):
            await self.all_write()
            old, new = list(self.sockets)[:2], list(self.sockets)[2:]
            await self.assert_whole(*old)
            await self.assert_whole(*new)
            self.assert_all_live()
        for daemon in self.daemons:
            self.assertEqual(1, daemon.log.count("RabbitMQ also has the exchange 'direct_logs'"), daemon.log)
            self.assertEqual(1, daemon.log.count("in relay mode (store none) beside one that keeps messages"))


del _Servers, _Migration, _Cluster
