"""Connects to Redis for one thing, and ends: for the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kschat.backends.redis.client.connection import RedisUnavailable, ResponseError
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.chat.interfaces import StoreUnavailable
from kschat.outage_log import OutageLog

T = TypeVar("T")


async def connected(settings: Settings, reactor: Any) -> RedisClient:
    """A client that is connected; its caller stops it. Raises as ``once``."""
    up: Deferred[None] = Deferred()

    def turned(is_up: bool) -> None:
        if is_up and not up.called:
            up.callback(None)

    client = RedisClient(settings, reactor, OutageLog(Logger(), name="the store"), turned=turned)
    client.start()
    timer = reactor.callLater(2 * settings.patience, up.cancel)
    try:
        await up
    except CancelledError:
        await client.stop()
        raise StoreUnavailable(client.why) from None
    finally:
        if timer.active():
            timer.cancel()
    return client


async def once(settings: Settings, reactor: Any, do: Callable[[RedisClient], Awaitable[T]]) -> T:
    """What ``do`` returns for a client that is connected.

    Args:
        settings: where Redis is.
        reactor: the real one.
        do: asks Redis.

    Raises:
        AddressError: the settings can't be used.
        StoreUnavailable: Redis can't be reached, or refuses.
    """
    client = await connected(settings, reactor)
    try:
        return await do(client)
    except (RedisUnavailable, ResponseError) as error:
        raise StoreUnavailable(why(error)) from None
    finally:
        await client.stop()
