"""Several real daemons on one RabbitMQ and one Redis, with npm's clients on different ones: they act as one."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.trial import unittest

from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import NodeClient, NodeSocket, require_node, token
from tests.support.daemon import Daemon
from tests.support.rabbitmq import RabbitMQ, shared_rabbitmq
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import repeated_until

#: Seconds within which presence must be right after a daemon was killed.
DEATH = 15


class DaemonsTestCase(unittest.TestCase):
    """Daemons and clients."""

    timeout = 240
    store = "none"

    def setUp(self) -> None:
        require_node()
        self._clients: dict[int, NodeClient] = {}

    async def daemons(self, count: int, broker: RabbitMQ | None = None, redis: Redis | None = None) -> list[Daemon]:
        """Daemons that act as one; on the services that all tests share where none are given."""
        name = new_user("cluster")
        settings = {
            "store": self.store,
            "amqp": (broker or await shared_rabbitmq()).url,
            "amqp_exchange": name,
            "redis": (redis or await shared_redis()).url,
            "redis_prefix": name,
        }
        daemons = [await Daemon.start(self, **settings) for _ in range(count)]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        return daemons

    async def join(
        self, daemon: Daemon, user: str, version: int = 4, rooms: object = None, **asks: object
    ) -> NodeSocket:
        """A socket of ``user`` on a daemon."""
        if version not in self._clients:
            self._clients[version] = NodeClient.start(self, version)
        data = {"id": user} if rooms is None else {"id": user, "rooms": rooms}
        query = "&".join(f"{name}={value}" for name, value in {"token": token(user, data=data), **asks}.items())
        return await self._clients[version].connect(f"{daemon.url}/kschat", query=query)

    async def passes(self, sender: NodeSocket, user: str, peer: str, recipient: NodeSocket, msg: Any) -> str:
        """A message goes from one to the other; its mid."""
        (ack,) = await sender.emit("Send", sending(user, peer, msg))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"], ack)
        (got,) = messages_of(await recipient.next("RESPRECEIVER"))
        self.assertEqual((msg, ack["mid"]), (got["msg"], got["mid"]))
        return str(ack["mid"])

    async def presence(self, socket: NodeSocket, *users: str) -> dict[str, Any]:
        """What Presence answers, once it is known: in the first seconds of a Redis it is not."""

        async def ask() -> dict[str, Any]:
            (answer,) = await socket.emit("Presence", {"ids": users})
            return dict(answer)

        known = lambda said: all(one["online"] is not None for one in said.values())  # noqa: E731
        found: dict[str, Any] = await repeated_until(ask, known, "presence")
        # What was unknown first and then known was told by events as well.
        socket.unseen = [event for event in socket.unseen if event.name != "RESPPRESENCE"]
        return found

    async def change(self, socket: NodeSocket, user: str, seconds: float = 20) -> Any:
        """The next RESPPRESENCE of ``user``: whether it is online, and when it was last seen."""
        event = await socket.next("RESPPRESENCE", lambda event: event.args[0]["id"] == user, seconds)
        return event.args[0]["online"], event.args[0]["lastSeen"]

    async def parts_become(self, daemon: Daemon, **parts: str) -> None:
        """/readyz, as soon as it says this of its parts."""
        await repeated_until(daemon.ready, lambda said: parts.items() <= said.items(), f"/readyz with {parts}", 60)

    def no_faults(self, *daemons: Daemon) -> None:
        self.assertEqual([], [fault for daemon in daemons for fault in daemon.faults])


class Relay(DaemonsTestCase):
    """Relay mode with Redis beside RabbitMQ: nothing is kept, and all that is said of sockets crosses."""

    async def test_receipts_typing_and_carbons_reach_sockets_on_other_daemons(self) -> None:
        one, other = await self.daemons(2)
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(one, alice, receipts=1)
        twin = await self.join(other, alice, carbons=1)
        b = await self.join(other, bob, 2, typing=1)
        plain = await self.join(other, bob, 3)
        mid = await self.passes(a, alice, bob, b, "hello")
        self.assertEqual([{"pId": bob, "mid": mid, "STATUS": 2}], (await a.next("RESPSTATUS")).args)
        self.assertEqual([mid], [one["mid"] for one in messages_of(await twin.next("RESPCARBON"))])
        await a.emit("Typing", {"pId": bob})
        self.assertEqual([{"uId": alice}], (await b.next("RESPTYPING")).args)
        await plain.next("RESPRECEIVER")
        self.assertEqual([], [event.name for event in plain.unseen if event.name.startswith("RESP")])
        self.no_faults(one, other)

    async def test_presence_is_of_all_daemons_and_a_killed_one_is_noticed(self) -> None:
        one, other, third = await self.daemons(3)
        alice, bob, carol = new_user("alice"), new_user("bob"), new_user("carol")
        a = await self.join(one, alice)
        await self.join(other, bob)
        b = await self.join(third, bob)
        await self.join(other, carol)
        found = await self.presence(a, bob, carol, "nobody")
        self.assertEqual([True, True, False], [found[user]["online"] for user in (bob, carol, "nobody")])
        c = await self.join(third, "nobody")
        self.assertEqual((True, None), await self.change(a, "nobody", 1))
        await c.disconnect()
        self.assertEqual(False, (await self.change(a, "nobody", 1))[0])
        await other.kill()
        online, seen = await self.change(a, carol, DEATH)
        self.assertFalse(online)
        self.assertIsInstance(seen, int)
        # The other daemon has bob still; when he leaves that, he is gone at once.
        self.assertEqual([], [event for event in a.unseen if event.name == "RESPPRESENCE"])
        await b.disconnect()
        self.assertEqual(False, (await self.change(a, bob, 1))[0])
        await other.restart()
        await self.join(other, carol)
        self.assertEqual((True, None), await self.change(a, carol, 1))
        self.no_faults(one, third)

    async def test_a_daemon_that_stood_still_is_taken_off_and_comes_back(self) -> None:
        one, other = await self.daemons(2)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice, typing=1), await self.join(other, bob, typing=1)
        await self.presence(a, bob)
        os.kill(other.pid, signal.SIGSTOP)
        try:
            self.assertEqual(False, (await self.change(a, bob, DEATH))[0])
        finally:
            os.kill(other.pid, signal.SIGCONT)
        self.assertEqual((True, None), await self.change(a, bob, 10))
        await b.emit("Typing", {"pId": alice})
        self.assertEqual([{"uId": bob}], (await a.next("RESPTYPING")).args)
        await a.emit("Typing", {"pId": bob})
        self.assertEqual([{"uId": alice}], (await b.next("RESPTYPING")).args)
        self.no_faults(one, other)

    async def test_a_daemon_that_ends_in_order_takes_its_users_along_at_once(self) -> None:
        one, other = await self.daemons(2)
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(one, alice)
        await self.join(other, bob)
        await self.presence(a, bob)
        await other.stop()
        self.assertEqual(False, (await self.change(a, bob, 1))[0])

    async def test_logout_of_all_ends_the_sockets_on_all_daemons(self) -> None:
        one, other = await self.daemons(2)
        alice = new_user("alice")
        a, b, c = (
            await self.join(one, alice),
            await self.join(other, alice, 2),
            await self.join(other, alice, goodbye=1),
        )
        bystander = await self.join(other, new_user("bob"))
        await a.emit("Logout", {"all": True})
        self.assertEqual([{"reason": "logout", "retryIn": 0}], (await c.next("Goodbye")).args)
        for socket in (a, b, c):
            self.assertEqual("io server disconnect", (await socket.next("disconnect")).args[0])
        self.assertTrue((await bystander.state())["connected"])

    async def test_without_redis_messages_pass_and_presence_is_unknown(self) -> None:
        redis = Redis()
        self.addCleanup(redis.stop)
        await redis.start()
        one, other = await self.daemons(2, redis=redis)
        alice, bob, carol = new_user("alice"), new_user("bob"), new_user("carol")
        a = await self.join(one, alice, receipts=1)
        here, b = await self.join(one, carol, typing=1), await self.join(other, bob, typing=1)
        await self.presence(a, bob, carol)
        redis.kill()
        for daemon in (one, other):
            await self.parts_become(daemon, status="degraded", router="up", store="none", bus="down")
        await self.passes(a, alice, bob, b, "meanwhile")
        await a.emit("Typing", {"pId": carol})
        self.assertEqual([{"uId": alice}], (await here.next("RESPTYPING")).args)
        mid = await self.passes(a, alice, carol, here, "here")
        await a.next("RESPSTATUS", lambda event: event.args[0] == {"pId": carol, "mid": mid, "STATUS": 2})
        (answer,) = await a.emit("Presence", {"ids": [bob, carol]})
        self.assertEqual([None, True], [answer[user]["online"] for user in (bob, carol)])
        await b.disconnect()
        await other.health_becomes(users=0)
        await a.emit("Conversations")  # whatever was told of it would stand before this answer
        self.assertEqual([], [event for event in a.unseen if event.name == "RESPPRESENCE"])
        await redis.start()
        for daemon in (one, other):
            await self.parts_become(daemon, status="ready")
        # Who left is told after a moment (presence_interval): if Redis is back sooner, bob is online until then.
        while (await self.change(a, bob))[0]:
            pass
        b = await self.join(other, bob, typing=1)
        self.assertEqual((True, None), await self.change(a, bob, 5))
        await a.emit("Typing", {"pId": bob})
        self.assertEqual([{"uId": alice}], (await b.next("RESPTYPING")).args)
        self.no_faults(one, other)

    async def test_without_rabbitmq_what_redis_carries_goes_on(self) -> None:
        broker = RabbitMQ()
        self.addCleanup(broker.stop)
        await broker.start()
        one, other = await self.daemons(2, broker=broker)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(other, bob, typing=1)
        await self.presence(a, bob)
        broker.kill()
        for daemon in (one, other):
            await self.parts_become(daemon, status="degraded", router="down", store="none", bus="up")
        (ack,) = await a.emit("Send", sending(alice, bob, "lost"))
        self.assertEqual(2, ack["ER"])
        await a.emit("Typing", {"pId": bob})
        self.assertEqual([{"uId": alice}], (await b.next("RESPTYPING")).args)
        await b.disconnect()
        self.assertEqual(False, (await self.change(a, bob, 1))[0])
        await broker.start()
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        b = await self.join(other, bob)
        await self.passes(a, alice, bob, b, "after")
        self.no_faults(one, other)


class Cluster(DaemonsTestCase):
    """With the store in Redis: messages are kept, and found on whatever daemon."""

    store = "redis"

    async def test_messages_rooms_receipts_and_reads_cross(self) -> None:
        one, other, third = await self.daemons(3)
        alice, bob, carol, room = new_user("alice"), new_user("bob"), new_user("carol"), new_user("#room")
        a = await self.join(one, alice, receipts=1, rooms="*")
        b = await self.join(other, bob, 2, rooms="*")
        c = await self.join(third, carol, 3, rooms="*")
        for number in range(3):
            mid = await self.passes(a, alice, bob, b, {"to": number})
            self.assertEqual([{"pId": bob, "mid": mid, "STATUS": 2}], (await a.next("RESPSTATUS")).args)
            await self.passes(b, bob, alice, a, f"back {number}")
        await b.emit("Read", {"pId": alice, "mid": mid})
        self.assertEqual([{"pId": bob, "mid": mid, "STATUS": 3}], (await a.next("RESPSTATUS")).args)
        for socket in (a, b, c):
            self.assertEqual([{"ER": 0}], await socket.emit("Join", {"room": room}))
        await a.emit("Send", sending(alice, room, "to all"))
        for socket in (b, c):
            (got,) = messages_of(await socket.next("RESPRECEIVER"))
            self.assertEqual(("to all", room), (got["msg"], got["pId"]))
        (page,) = await c.emit("History", {"pId": room})
        self.assertEqual(["to all"], [message["msg"] for message in page["MSG"]])
        self.no_faults(one, other, third)

    async def test_edits_deletions_and_reactions_cross_daemons(self) -> None:
        one, other = await self.daemons(2)
        alice, bob, room = new_user("alice"), new_user("bob"), new_user("#room")
        a = await self.join(one, alice, updates=1, rooms="*")
        b = await self.join(other, bob, 2, updates=1, rooms="*")
        for socket in (a, b):
            self.assertEqual([{"ER": 0}], await socket.emit("Join", {"room": room}))
        for peer in (bob, room):
            (ack,) = await a.emit("Send", sending(alice, peer, "hello"))
            await b.next("RESPRECEIVER")
            for name, more, actor in (
                ("Edit", {"msg": "better"}, a),
                ("React", {"emoji": "👍"}, b),
                ("Delete", {}, a),
            ):
                (answer,) = await actor.emit(name, {"mid": ack["mid"], **more})
                self.assertEqual(0, answer["ER"], answer)
                for socket in (a, b):
                    (told,) = (await socket.next("RESPUPDATE")).args
                    self.assertEqual((ack["mid"], name.lower()), (told["mid"], told["kind"]))
                    self.assertLessEqual(more.items(), told.items())
        self.assertEqual([{"ER": 0}], await b.emit("Read", {"pId": room, "mid": ack["mid"]}))
        self.assertEqual([{"mid": ack["mid"], "ids": [bob]}], await a.emit("Readers", {"pId": room, "mid": ack["mid"]}))
        self.no_faults(one, other)

    async def test_what_came_while_a_user_was_away_is_delivered_on_another_daemon(self) -> None:
        one, other = await self.daemons(2)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(one, bob)
        await self.passes(a, alice, bob, b, "first")
        await b.disconnect()
        for number in range(20):
            await a.emit("Send", sending(alice, bob, number))
        b = await self.join(other, bob, 2)
        # The first may come a second time: the other daemon learns by the store, a moment later, that he has it.
        fresh = lambda event: messages_of(event)[0]["msg"] != "first"  # noqa: E731
        got = [messages_of(await b.next("RESPRECEIVER", fresh)) for _ in range(20)]
        self.assertEqual(list(range(20)), [message["msg"] for (message,) in got])
        found = await self.presence(await self.join(one, new_user("carol")), bob, alice)
        self.assertEqual([True, True], [one["online"] for one in found.values()])
        await self.presence(a, bob)
        await b.disconnect()
        online, seen = await self.change(a, bob)
        self.assertFalse(online)

        async def ask() -> Any:
            return (await self.presence(a, bob))[bob]["lastSeen"]

        # The store is told of it by a note, a moment later than the others are told.
        await repeated_until(ask, lambda noted: noted == seen, "lastSeen in the store")
        self.no_faults(one, other)

    async def test_a_client_recovers_on_another_daemon_and_its_old_socket_is_replaced(self) -> None:
        one, other = await self.daemons(2)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice), await self.join(one, bob, recover=1)
        await self.passes(a, alice, bob, b, "1")
        state = await b.state()
        # As a client whose network has changed: it shows where it was, while the daemon still holds its old connection.
        client = self._clients[4]
        auth = {"token": token(bob), "recover": 1, "pid": state["pid"], "offset": state["offset"]}
        await a.emit("Send", sending(alice, bob, "2"))
        again = await client.connect(f"{other.url}/kschat", auth=auth)
        self.assertEqual([{"reason": "replaced", "retryIn": 0}], (await b.next("Goodbye")).args)
        self.assertEqual("2", messages_of(await again.next("RESPRECEIVER"))[0]["msg"])
        await self.passes(a, alice, bob, again, "3")
        self.no_faults(one, other)

    async def test_a_broker_that_is_away_delays_what_others_get_and_nothing_else(self) -> None:
        broker = RabbitMQ()
        self.addCleanup(broker.stop)
        await broker.start()
        one, other = await self.daemons(2, broker=broker)
        alice, bob, carol = new_user("alice"), new_user("bob"), new_user("carol")
        a, b, here = await self.join(one, alice), await self.join(other, bob), await self.join(one, carol)
        await self.passes(a, alice, bob, b, "before")
        broker.kill()
        for daemon in (one, other):
            await self.parts_become(daemon, status="degraded", router="down", store="up", bus="up")
        await self.passes(a, alice, carol, here, "at once")
        (ack,) = await a.emit("Send", sending(alice, bob, "later"))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])
        await broker.start()
        (got,) = messages_of(await b.next("RESPRECEIVER", seconds=60))
        self.assertEqual(("later", ack["mid"]), (got["msg"], got["mid"]))
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        await self.passes(b, bob, alice, a, "and back")
        self.no_faults(one, other)

    async def test_without_redis_a_send_is_refused_at_once_and_all_comes_back_with_it(self) -> None:
        redis = Redis("appendonly yes\nappendfsync always\n")
        self.addCleanup(redis.stop)
        await redis.start()
        one, other = await self.daemons(2, redis=redis)
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(one, alice, receipts=1), await self.join(other, bob)
        await self.presence(a, bob)
        await self.passes(a, alice, bob, b, "before")
        redis.kill()
        for daemon in (one, other):
            await self.parts_become(daemon, status="degraded", router="up", store="down", bus="down")
            self.assertEqual({"status": "live"}, await daemon.live())  # a restart would only cut everybody off
        (ack,) = await a.emit("Send", sending(alice, bob, "refused"))  # an answer that is waited for, and no hang
        self.assertEqual(3, ack["ER"])
        (answer,) = await a.emit("Presence", {"ids": [bob]})
        self.assertEqual({bob: {"online": None, "lastSeen": None}}, answer)
        await redis.start()
        for daemon in (one, other):
            await daemon.ready_becomes("ready")
        mid = await self.passes(a, alice, bob, b, "after")
        await a.next("RESPSTATUS", lambda event: event.args[0] == {"pId": bob, "mid": mid, "STATUS": 2})
        self.assertEqual((True, None), await self.change(a, bob))
        await b.disconnect()
        self.assertEqual(False, (await self.change(a, bob, 2))[0])
        self.assertEqual([], [event for event in a.unseen if event.name == "RESPRECEIVER"])
        self.no_faults(one, other)
