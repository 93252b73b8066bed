"""Revokes tokens in a cluster, whether any of its daemons runs or not: ``kschat revoke``."""

from __future__ import annotations

from typing import Any, Final

from kschat.backends.redis.bus.bus import ECHO
from kschat.backends.redis.client import packing
from kschat.backends.redis.client.connection import RedisUnavailable
from kschat.backends.redis.client.once import once
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.scripts import Scripts
from kschat.backends.redis.store.copies import Copies
from kschat.backends.redis.store.revoked import revoke_argument
from kschat.chat.cluster_commands import Revoked, packed
from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.revocation import FOREVER, MAX_REVOCATIONS, Revocation
from kschat.counters import Counters

#: The deadline, writer and turn of a script that is no daemon's.
_HEAD: Final = (FOREVER, "kschat revoke", 1)


async def revoke(
    store: Settings | None, bus: Settings, reactor: Any, *, revocation: Revocation, now: int
) -> int | None:
    """Keep a revocation, and tell all daemons.

    Args:
        store: the Redis that keeps messages; None if nothing is kept (relay mode).
        bus: the Redis that daemons publish to.
        reactor: the real one.
        revocation: what is revoked.
        now: milliseconds since 1970.

    Returns:
        How many daemons were told; None if that could not be done, so that they read it from the store.

    Raises:
        AddressError: the settings can't be used.
        StoreUnavailable: Redis can't be reached, or refuses, and nothing was revoked; or too few replicas have it.
        RevocationsFull: there are too many.
    """
    if store is not None:
        await _keep(store, reactor, revocation, now)
    body = ECHO + packing.array([packed(Revoked.of(revocation))])

    async def tell(client: RedisClient) -> int:
        return int(await client.do("PUBLISH", f"{bus.prefix}:r:all", body))

    try:
        return await once(bus, reactor, tell)
    except StoreUnavailable:
        if store is None:
            raise
        return None


async def _keep(settings: Settings, reactor: Any, revocation: Revocation, now: int) -> None:
    argument = revoke_argument(_HEAD, revocation, now, MAX_REVOCATIONS)

    async def keep(client: RedisClient) -> bytes:
        answer: bytes = await Scripts("store").run(client.do, "revoke", f"{settings.prefix}:", argument)
        if settings.wait:
            copies = Copies(settings, Counters())
            if reason := copies.missing(await client.do(*copies.in_memory)):
                raise RedisUnavailable(f"{reason}, though Redis has it: run it again")
        return answer

    answer = await once(settings, reactor, keep)
    if answer == b"full":
        raise RevocationsFull
    if answer == b"new":
        raise StoreUnavailable(f"kschat has kept nothing there with the prefix {settings.prefix}")
