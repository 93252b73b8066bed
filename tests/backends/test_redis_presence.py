"""Whole chats on a real Redis: what clients are told of presence while all fails, and what reaches them all."""

from __future__ import annotations

import random
import signal
from uuid import uuid4

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kschat.backends.memory import MemoryStore
from kschat.backends.redis.bus.bus import RedisBus
from kschat.backends.redis.client.settings import Settings
from kschat.chat import outgoing
from kschat.counters import Counters
from tests.backends.test_redis_bus import FAST, until
from tests.chat.peers import Client, Daemon
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import real_reactor

USERS = [f"user {number}" for number in range(6)]


class Watched:
    """One daemon, and a client on it that watches all users."""

    def __init__(self, test: TestCase, redis: Redis, prefix: str, store: MemoryStore) -> None:
        settings = Settings(url=redis.url, prefix=prefix, patience=0.6, last_retry=0.2)
        self.bus = RedisBus(settings, settings, real_reactor(), Counters(), FAST)
        self.daemon = Daemon(store, clock=real_reactor(), bus=self.bus)
        self.clients: list[Client] = []
        test.addCleanup(self.end)
        self.bus.start()
        self.watcher = self.daemon.joined("watcher")
        self.asked = self.watcher.emit("Presence", {"ids": USERS})

    def view(self) -> dict[str, bool | None]:
        """How the users stand, as the watcher was told."""
        said: dict[str, bool | None] = {}
        for one in self.watcher.read():
            if not one.name and one.id == self.asked:
                said.update({user: state["online"] for user, state in one.args[0].items()})
            elif one.name == "RESPPRESENCE":
                user, online = one.args[0]["id"], one.args[0]["online"]
                assert said.get(user) is not online, f"{user} was told twice to be {online}"
                said[user] = online
        return said

    async def end(self) -> None:
        for client in [*self.clients, self.watcher]:
            client.drop()
        self.clients.clear()
        timer = self.daemon.hub.write_behind._timer
        if timer is not None and timer.active():
            timer.cancel()
        await self.bus.stop()


class RandomWalk(TestCase):
    timeout = 240

    async def walk(self, seed: int, steps: int) -> None:
        chance = random.Random(seed)
        redis = Redis("appendonly yes\n")
        self.addCleanup(redis.stop)
        await redis.start()
        store, prefix = MemoryStore(1000, 1_000_000), uuid4().hex
        daemons = [Watched(self, redis, prefix, store) for _ in range(3)]
        for _ in range(steps):
            daemon = chance.choice(daemons)
            fault = chance.random()
            if fault < 0.02:
                redis.do("CLIENT", "KILL", "TYPE", chance.choice(["normal", "pubsub"]))
            elif fault < 0.03:
                redis.do("FLUSHALL")
            elif fault < 0.035:
                await redis.restart(forget=chance.random() < 0.5)
            elif fault < 0.045:
                redis.signal(signal.SIGSTOP)
                await deferLater(real_reactor(), chance.choice([0.1, 2.5]))
                redis.signal(signal.SIGCONT)
            elif fault < 0.055:
                daemons.remove(daemon)
                if chance.random() < 0.5:  # else it ends without a command: nothing of it reaches Redis
                    daemon.bus._registry.down()
                    await daemon.bus._client.stop()
                    await daemon.bus._subscriptions.stop()
                await daemon.end()
                daemons.append(Watched(self, redis, prefix, store))
            elif fault < 0.6 or not daemon.clients:
                daemon.clients.append(daemon.daemon.joined(chance.choice(USERS)))
            else:
                daemon.clients.pop(chance.randrange(len(daemon.clients))).drop()
            if chance.random() < 0.3:
                await deferLater(real_reactor(), chance.choice([0, 0.001, 0.05]))
        there = {client.user for daemon in daemons for client in daemon.clients}
        truth: dict[str, bool | None] = {user: user in there for user in USERS}
        for daemon in daemons:
            await until(lambda: daemon.view() == truth, f"{truth} to be seen (seed {seed})", 30)  # noqa: B023

    async def test_in_the_end_each_client_knows_who_is_online_and_was_told_nothing_twice(self) -> None:
        # 32 has found that users of a dead daemon, whom Redis forgot, stayed online.
        for seed in (0, 1, 32):
            await self.walk(seed, 300)


class Reaching(TestCase):
    """What is asked without a socket, of one daemon, reaches the sockets on another by Redis."""

    timeout = 60

    async def test_events_and_ends_reach_a_user_a_room_and_everybody(self) -> None:
        redis, store, prefix = await shared_redis(), MemoryStore(1000, 1_000_000), uuid4().hex
        one, other = (Watched(self, redis, prefix, store) for _ in range(2))
        ann, ben = other.daemon.joined("ann"), other.daemon.joined("ben", {"goodbye": "1"})
        other.clients += [ann, ben]
        await until(lambda: one.bus.up and other.bus.up, "both to be up")
        await other.bus.online(["ann"])  # when that is answered, it listens to all its channels
        await store.join("#team", "ben", 10)
        operations = one.daemon.chat.operations
        operations.emit_to_users(["ann"], outgoing.event("News", 1))
        self.assertEqual(await operations.emit_to_room("#team", outgoing.event("News", 2)), 1)
        operations.emit_to_all(outgoing.event("News", {"_placeholder": True, "num": 0}), [b"part"])
        await until(lambda: len(ann.events("News") + ben.events("News")) == 4, "the events")
        self.assertEqual((ann.events("News"), ben.events("News")), ([1, b"part"], [2, b"part"]))
        self.assertEqual(one.watcher.events("News"), [b"part"])
        operations.disconnect("ben", "banned")
        await until(lambda: bool(ben.events("Goodbye")), "the end")
        self.assertEqual((ben.dismissed, ann.alive), (True, True))
