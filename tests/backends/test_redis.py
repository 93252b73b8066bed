"""The store on a real Redis: the contract, and what is its own."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kschat.backends.redis import RedisStore, Settings
from kschat.chat.interfaces import IStore
from tests.contracts import istore
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import real_reactor


class StoreTestCase(TestCase):
    """Stores on a server of this process, each with a prefix of its own."""

    timeout = 120

    async def store(self, redis: Redis, **changes: Any) -> RedisStore:
        """A store that is up."""
        settings = Settings(**{"url": redis.url, "prefix": self.id(), "patience": 2.0, "last_retry": 0.2, **changes})
        store = RedisStore(settings, real_reactor())
        self.addCleanup(store.stop)
        store.start()
        await self.up(store)
        return store

    async def up(self, store: IStore, wanted: bool = True) -> None:
        """Wait until it is up, or down."""
        for _ in range(1000):
            if bool(store.up) is wanted:
                return
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"the store is not {'up' if wanted else 'down'}")

    async def own_redis(self, config: str = "") -> Redis:
        """A server that this test may harm."""
        redis = Redis(config)
        self.addCleanup(redis.stop)
        await redis.start()
        return redis


class RedisContractTests(istore.StoreContract, StoreTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_redis())


class FailingRedisContractTests(istore.FailingStoreContract, StoreTestCase):
    async def make_store(self) -> IStore:
        self.redis = await self.own_redis("appendonly yes\nappendfsync always\n")
        return await self.store(self.redis)

    async def break_off(self, store: IStore) -> None:
        self.redis.signal(signal.SIGSTOP)
        await self.up(store, False)

    async def bring_back(self, store: IStore) -> None:
        self.redis.signal(signal.SIGCONT)
        await self.up(store)
