"""The rate of a sender on all daemons together: Redis counts it in the script that stores the batch."""

from __future__ import annotations

from kschat.backends.redis import RedisStore
from tests.backends.redis_stores import StoreTestCase
from tests.contracts import rates
from tests.contracts.made import message
from tests.support.redis import shared_redis


class RedisRateTests(rates.RateContract, StoreTestCase):
    async def begun(self, *, send_rate: float = 0.0, send_burst: float = 10.0) -> RedisStore:
        return await self.store(await shared_redis(), send_rate=send_rate, send_burst=send_burst)

    async def test_what_is_full_again_is_no_key_and_off_costs_nothing(self) -> None:
        redis = await shared_redis()
        store = await self.begun()
        await store.append([message("ann", "ben")])
        self.assertEqual(redis.do("EXISTS", f"{self.id()}:q:ann"), 0)
        await store.stop()
        store = await self.begun(send_rate=50, send_burst=1)
        await store.append([message("ann", "ben")])
        self.assertTrue(0 <= redis.do("PTTL", f"{self.id()}:q:ann") + 2 <= 30)
