"""Tells a Redis that a copy was put in its place, where nobody can notice it: ``kschat restored``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kschat.backends.redis.connection import Connection
from kschat.backends.redis.link import Link
from kschat.backends.redis.scripts import Scripts
from kschat.backends.redis.settings import Settings
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
    answer: Deferred[int] = Deferred()

    async def tell(connection: Connection) -> None:
        scripts = Scripts("store")
        answer.callback(await scripts.run(connection.execute_command, "restored", f"{settings.prefix}:"))

    link = Link(settings, reactor, OutageLog(Logger(), name="the store"), prepare=tell)
    link.start()
    timer = reactor.callLater(2 * settings.patience, answer.cancel)
    try:
        return bool(await answer)
    except CancelledError:
        raise StoreUnavailable(link.why) from None
    finally:
        if timer.active():
            timer.cancel()
        await link.stop()
