"""Marks a Redis as restored from a copy, which no daemon can detect by itself: ``kschat restored``."""

from __future__ import annotations

from typing import Any

from kschat.backends.redis.client.once import once
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.scripts import Scripts


async def restored(settings: Settings, reactor: Any) -> bool:
    """Begin a new generation of offsets, so that none is given twice.

    Args:
        settings: where Redis is.
        reactor: the real one.

    Returns:
        Whether kschat has kept anything there.

    Raises:
        AddressError: the settings can't be used.
        StoreUnavailable: Redis can't be reached, or refuses.
    """

    async def tell(client: RedisClient) -> bool:
        return bool(await Scripts("store").run(client.do, "restored", f"{settings.prefix}:"))

    return await once(settings, reactor, tell)
