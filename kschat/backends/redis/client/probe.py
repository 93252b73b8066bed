"""Checks whether a daemon that starts now could use Redis: connects and inspects, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.protocol import Factory

from kschat.backends.redis.client.connection import Connection, RedisUnavailable
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.sentinels import SentinelResolver, log_in
from kschat.backends.redis.client.settings import Settings

#: The oldest that has all that the scripts ask of it.
OLDEST = 7


async def probe(settings: Settings, reactor: Any, *, waits: bool = False) -> str:
    """Connect, log in, and look.

    Args:
        settings: which Redis.
        reactor: the real one.
        waits: whether its replicas are waited for, as the settings say: whether there are enough.

    Returns:
        Where it is and what it is, for a line that says that all is well.

    Raises:
        RedisUnavailable: a daemon could not use it; the text is one sentence, with host and port.
        AddressError: the settings can't be used.
    """
    finder = SentinelResolver(settings, reactor)
    place = ", ".join(f"{host}:{port}" for host, port in finder.address.places)
    connection: Connection | None = None
    try:
        found, *_ = await finder.find()
        place = f"{found.host}:{found.port}"
        factory = Factory.forProtocol(lambda: Connection(reactor))
        factory.noisy = False
        connection = cast(Connection, await found.endpoint.connect(factory))
        timer = reactor.callLater(2 * settings.patience, connection.abort, "it did not answer")
        try:
            version = await _look(connection, finder, settings.wait if waits else 0)
        except RedisUnavailable:
            if not connection.ended:
                raise
            raise RedisUnavailable(found.end_of(connection)) from None
        finally:
            if timer.active():
                timer.cancel()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        raise RedisUnavailable(f"{place}: {why(error)}") from None
    finally:
        if connection is not None:
            connection.abort("it was looked at")
            await connection.gone
    return f"{place}, Redis {version}"


async def _look(connection: Connection, finder: SentinelResolver, wanted: int) -> str:
    address = finder.address
    if address.password:
        await log_in(connection, address.user, address.password)
    await connection.execute_command("PING")
    if address.db:
        await connection.execute_command("SELECT", address.db)
    said: bytes = await connection.execute_command("INFO", "server")
    found = re.search(r"redis_version:(\S+)", said.decode("utf-8", "replace"))
    version = found[1] if found else "0"
    if int(version.split(".")[0]) < OLDEST:
        raise RedisUnavailable(f"it is of version {version}, and must be of {OLDEST} or newer")
    role = await connection.execute_command("ROLE")
    if address.service and role[0] != b"master":
        raise RedisUnavailable("it is not the master any more, or not yet")
    if wanted:
        enough_follow(role, wanted)
    # Sends a script and asks for no key: shows whether its user may run them.
    await connection.execute_command("SCRIPT", "LOAD", "return 1")
    return version


def enough_follow(role: Sequence[Any], wanted: int) -> None:
    """Whether so many replicas follow it, by its answer to ROLE. Raises RedisUnavailable."""
    count = len(role[2]) if role[0] == b"master" else 0
    if count < wanted:
        raise RedisUnavailable(f"{count} replicas follow it, and redis_wait asks for {wanted}")
