"""Marks a Redis as restored from a copy, which no daemon can detect by itself: ``kschat restored``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kschat.backends.redis.client.connection import RedisUnavailable, ResponseError
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.scripts import Scripts
from kschat.chat.interfaces import StoreUnavailable
from kschat.outage_log import OutageLog


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
    connected: Deferred[None] = Deferred()

    def turned(up: bool) -> None:
        if up and not connected.called:
            connected.callback(None)

    client = RedisClient(settings, reactor, OutageLog(Logger(), name="the store"), turned=turned)
    client.start()
    timer = reactor.callLater(2 * settings.patience, connected.cancel)
    try:
        await connected
        return bool(await Scripts("store").run(client.do, "restored", f"{settings.prefix}:"))
    except CancelledError:
        raise StoreUnavailable(client.why) from None
    except (RedisUnavailable, ResponseError) as error:
        raise StoreUnavailable(why(error)) from None
    finally:
        if timer.active():
            timer.cancel()
        await client.stop()
