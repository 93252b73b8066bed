"""Stores on a real Redis, for tests."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from kschat.backends.redis import RedisStore, Settings
from kschat.chat.clocks import WallClock
from kschat.counters import Counters
from tests.backends.stores import WaitingTestCase
from tests.support.redis import Redis
from tests.support.waiting import real_reactor


class StoreTestCase(WaitingTestCase):
    """Stores, each test's with a prefix of its own."""

    @cached_property
    def counters(self) -> Counters:
        """Of this test's stores."""
        return Counters()

    def settings(self, url: str, **changes: Any) -> Settings:
        """Of this test's stores."""
        return Settings(**{"url": url, "prefix": self.id(), "patience": 2.0, "last_retry": 0.2, **changes})

    def made(self, url: str, wall: WallClock = time.time, **changes: Any) -> RedisStore:
        """A store that was not started."""
        store = RedisStore(self.settings(url, **changes), real_reactor(), wall, self.counters)
        self.addCleanup(store.stop)
        return store

    async def store(self, redis: Redis, **changes: Any) -> RedisStore:
        """A store that is up."""
        store = self.made(redis.url, **changes)
        store.start()
        await self.up(store)
        return store

    async def own_redis(self, config: str = "") -> Redis:
        """A server that this test may harm."""
        redis = Redis(config)
        self.addCleanup(redis.stop)
        await redis.start()
        return redis

    async def refusal(self, store: RedisStore) -> str:
        """The one line that the log has of a store that can't be up, also after another try."""
        with capturedLogs() as events:
            store.start()
            await self.until(lambda: store._client._writes.tries > 2, "three tries")
        self.assertFalse(store.up)
        (text,) = lines(events)
        self.assertNotIn("\n", text)
        return text


def lines(events: Any) -> list[str]:
    """What the log says of the store."""
    return [text for text in map(formatEvent, events) if text.startswith("the store")]
