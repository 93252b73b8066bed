"""Where Redis is now: at its own address, or where Sentinels say that the master is."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory

from kschat.backends.redis.address import Address, parse
from kschat.backends.redis.connection import Connection, RedisUnavailable
from kschat.backends.redis.faults import why
from kschat.backends.redis.settings import Settings
from kschat.backends.tls import Verifying

#: Seconds that a TCP connection may take.
CONNECT_TIMEOUT: Final = 3.0


class Found(msgspec.Struct, frozen=True):
    """A place to connect to.

    Attributes:
        host, port: where.
        endpoint: the same, by TLS where that is asked for.
        verifying: what knows why a certificate is not trusted; None without TLS.
    """

    host: str
    port: int
    endpoint: IStreamClientEndpoint
    verifying: Verifying | None

    async def end_of(self, connection: Connection) -> str:
        """Wait for the end of a connection to it; why it has ended."""
        await connection.gone
        if connection.why:
            return connection.why
        return why(connection.reason.value, self.verifying.distrust if self.verifying is not None else "")


class Finder:
    """Finds the Redis that settings mean.

    Args:
        settings: with the URL.
        reactor: the real one.

    Attributes:
        address: what the URL means.

    Raises:
        AddressError: the settings can't be used.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self.address: Address = parse(settings.url)
        self._settings = settings
        self._reactor = reactor
        self._first = 0
        self._place(*self.address.places[0])  # whether the files for TLS can be used

    async def find(self) -> Found:
        """Where it is. Raises RedisUnavailable where no Sentinel knows; fails with what Redis says."""
        address = self.address
        if not address.service:
            return self._place(*address.places[0])
        reasons = []
        for turn in range(len(address.places)):
            at = (self._first + turn) % len(address.places)
            place = address.places[at]
            try:
                found = await self._ask(self._place(*place))
            except Exception as error:  # noqa: BLE001 - whatever it is, another may know
                reasons.append(f"{place[0]}:{place[1]}: {why(error)}")
                continue
            self._first = at  # the one that answered is asked first
            return found
        raise RedisUnavailable(f"no Sentinel tells where {address.service!r} is ({'; '.join(reasons)})")

    def _place(self, host: str, port: int) -> Found:
        settings = self._settings
        plain = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT)
        if not self.address.tls:
            return Found(host, port, plain, None)
        verifying = Verifying(host, settings.ca, settings.cert, settings.key, "redis")
        return Found(host, port, verifying.wrap(plain), verifying)

    async def _ask(self, sentinel: Found) -> Found:
        """Ask one Sentinel."""
        address, patience = self.address, self._settings.patience
        factory = Factory.forProtocol(lambda: Connection(self._reactor))
        link = cast(Connection, await sentinel.endpoint.connect(factory))
        timer = self._reactor.callLater(patience, link.abort, "it did not answer")
        try:
            if address.sentinel_password:
                await log_in(link, address.sentinel_user, address.sentinel_password)
            answer = await link.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
            if not answer:
                raise RedisUnavailable("it knows no master of this name")
            return self._place(answer[0].decode(), int(answer[1]))
        except RedisUnavailable:
            if not link.ended:
                raise
            raise RedisUnavailable(await sentinel.end_of(link)) from None
        finally:
            link.abort("it was asked")
            await link.gone
            if timer.active():
                timer.cancel()


async def log_in(link: Connection, user: str, password: str) -> None:
    """Say who we are. Fails with what Redis says."""
    await link.execute_command("AUTH", *([user] if user else []), password)
