"""What one script of the Redis store does at the most, counted in commands and bytes, and never in time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from kschat.backends.redis import RedisStore
from kschat.chat.messages import Message
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import message
from tests.support.redis import Redis, shared_redis


class BoundsTestCase(StoreTestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        self.redis = await shared_redis()

    async def commands(self, asked: Awaitable[Any]) -> tuple[Any, int]:
        """What is answered, and how many commands of Redis that took, those of scripts among them."""
        self.redis.do("CONFIG", "RESETSTAT")
        answer = await asked
        return answer, sum(calls(self.redis).values())


def calls(redis: Redis) -> dict[str, int]:
    """How often each command was done since the last reset."""
    lines = redis.do("INFO", "commandstats").decode().splitlines()
    stats = (line.removeprefix("cmdstat_").split(":calls=") for line in lines if line.startswith("cmdstat_"))
    return {name: int(rest.split(",")[0]) for name, rest in stats}


class LargeRoomTests(BoundsTestCase):
    """A room of 100,000 messages."""

    SIZE = 100_000

    async def test_read_marks_and_counts_do_not_walk_through_the_room(self) -> None:
        store = await self.store(self.redis)
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        written = await self.filled(store)
        # Cem wrote the first and the last, Ann all others, and Ben nothing.
        for user, at, unread in (("ben", 10, 1000), ("cem", 10, 1000), ("ben", -600, 599), ("cem", -2100, 1000)):
            moved, steps = await self.commands(store.mark_read(user, "#r", written[at].mid))
            self.assertTrue(moved)
            self.assertLess(steps, 30, (user, at))
            await self.counted(store, {user: unread})
        for user in ("ann", "ben", "cem"):
            moved, steps = await self.commands(store.mark_read(user, "#r", written[5].mid))
            self.assertEqual(moved, user == "ann", "the others had read more, and Ann nothing of Cem's")
            self.assertLess(steps, 30, user)
        # Now most of it goes, and counts and marks with it.
        await store.stop()
        store = await self.store(self.redis, retention_messages=2000)
        await store.sweep()
        await self.counted(store, {"ann": 1, "ben": 599, "cem": 1000})
        self.assertFalse(await store.mark_read("cem", "#r", written[-2050].mid))
        self.assertTrue(await store.mark_read("cem", "#r", written[-801].mid))
        await self.counted(store, {"cem": 799})

    async def counted(self, store: RedisStore, expected: dict[str, int]) -> None:
        """Ask for conversations: so many are unread in the one there is, and that is found in few steps."""
        for user, unread in expected.items():
            (one,), steps = await self.commands(store.conversations(user, 10))
            self.assertEqual(one.unread, unread, user)
            self.assertLess(steps, 30, user)

    async def filled(self, store: RedisStore) -> list[Message]:
        """What was written, oldest first."""
        written: list[Message] = []
        senders = ["cem", *["ann"] * (self.SIZE - 2), "cem"]
        for start in range(0, self.SIZE, 500):
            answers = await store.append([message(sender, "#r") for sender in senders[start : start + 500]])
            written += [answer.message for answer in answers]
        return written
