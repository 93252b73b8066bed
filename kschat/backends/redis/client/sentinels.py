"""Finds Redis: at its own address, or at the master's address that Sentinels report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kschat.backends.redis.client.address import Address, parse
from kschat.backends.redis.client.connection import Connection, RedisUnavailable
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.settings import Settings
from kschat.tls import Verifying

#: Seconds that a TCP connection may take.
CONNECT_TIMEOUT: Final = 3.0

#: Seconds that the other Sentinels are waited for once one has answered.
OTHERS_WAIT: Final = 0.5


class Endpoint(msgspec.Struct, frozen=True):
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

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def end_of(self, connection: Connection) -> str:
        """Why a connection to it has ended."""
        if connection.why:
            return connection.why
        return why(connection.reason.value, self.verifying.distrust if self.verifying is not None else "")


class SentinelResolver:
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
        self._place(*self.address.places[0])  # whether the files for TLS can be used

    async def find(self) -> list[Endpoint]:
        """Each place where the master may be, without repeats.

        After a failover the Sentinels learn of it one after the other, and for some seconds they name several. All are
        asked at once; the slow ones are not waited for longer than ``OTHERS_WAIT``.

        Raises:
            RedisUnavailable: no Sentinel knows.
        """
        address = self.address
        if not address.service:
            return [self._place(*address.places[0])]
        answers = await self._ask_all([self._place(*place) for place in address.places])
        found = {one.place: one for one in answers if isinstance(one, Endpoint)}
        if found:
            return list(found.values())
        reasons = [
            f"{host}:{port}: {why(one.value)}"
            for (host, port), one in zip(address.places, answers, strict=True)
            if isinstance(one, Failure)
        ]
        raise RedisUnavailable(f"no Sentinel knows where {address.service!r} is ({'; '.join(reasons)})")

    async def _ask_all(self, sentinels: Sequence[Endpoint]) -> list[Endpoint | Failure | None]:
        """What each Sentinel answers; None where it is not waited for any longer."""
        answers: list[Endpoint | Failure | None] = [None] * len(sentinels)
        enough: Deferred[None] = Deferred()
        asked = [Deferred.fromCoroutine(self._ask(one)) for one in sentinels]
        timer: IDelayedCall | None = None

        def answered(answer: Endpoint | Failure, at: int) -> None:
            nonlocal timer
            answers[at] = answer
            if enough.called:
                return
            if None not in answers:
                enough.callback(None)
            elif timer is None and isinstance(answer, Endpoint):
                timer = self._reactor.callLater(OTHERS_WAIT, enough.callback, None)

        for at, one in enumerate(asked):
            one.addBoth(answered, at)
        try:
            await enough
            return list(answers)
        finally:
            if timer is not None and timer.active():
                timer.cancel()
            for one in asked:
                one.cancel()

    def _place(self, host: str, port: int) -> Endpoint:
        settings = self._settings
        plain = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT)
        if not self.address.tls:
            return Endpoint(host, port, plain, None)
        verifying = Verifying(host, settings.ca, settings.cert, settings.key, "redis")
        return Endpoint(host, port, verifying.wrap(plain), verifying)

    async def _ask(self, sentinel: Endpoint) -> Endpoint:
        """Ask one Sentinel."""
        address, patience = self.address, self._settings.patience
        factory = Factory.forProtocol(lambda: Connection(self._reactor))
        factory.noisy = False
        connection = cast(Connection, await sentinel.endpoint.connect(factory))
        timer = self._reactor.callLater(patience, connection.abort, "it did not answer")
        try:
            if address.sentinel_password:
                await log_in(connection, address.sentinel_user, address.sentinel_password)
            answer = await connection.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
            if not answer:
                raise RedisUnavailable("it knows no master of this name")
            return self._place(answer[0].decode(), int(answer[1]))
        except RedisUnavailable:
            if not connection.ended:
                raise
            raise RedisUnavailable(sentinel.end_of(connection)) from None
        finally:
            if timer.active():
                timer.cancel()
            connection.abort("it was asked")
            await connection.gone


async def log_in(connection: Connection, user: str, password: str) -> None:
    """Say who we are. Fails with what Redis says."""
    await connection.execute_command("AUTH", *([user] if user else []), password)
