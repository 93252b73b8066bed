"""Stores on a real Redis, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat.backends.redis import RedisStore, Settings
from kschat.chat.clocks import WallClock
from kschat.chat.interfaces import IStore
from kschat.chat.message import Message
from kschat.counters import Counters
from tests.support.redis import Redis
from tests.support.waiting import real_reactor


class Listener:
    """Counts how often its store was renewed, and connected."""

    def __init__(self) -> None:
        self.renewals = 0
        self.connections = 0

    def renewed(self) -> None:
        self.renewals += 1

    def reconnected(self) -> None:
        self.connections += 1


class StoreTestCase(TestCase):
    """Stores, each test's with a prefix of its own."""

    timeout = 120

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

    async def whole(self, store: IStore, user: str, peer: str) -> list[Message]:
        """All of a conversation, oldest first."""
        found: list[Message] = []
        while True:
            page = await store.history(user, peer, before=found[0].mid if found else None, limit=1000)
            found[:0] = page.messages
            if not page.more:
                return found

    async def up(self, store: IStore, wanted: bool = True) -> None:
        """Wait until it is up, or down."""
        await self.until(lambda: bool(store.up) is wanted, f"the store to be {'up' if wanted else 'down'}")

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something that nothing tells of."""
        for _ in range(1000):
            if true():
                return
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"waited in vain for {what}")

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
