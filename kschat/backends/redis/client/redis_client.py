"""A connection to Redis that reconnects after every failure and never keeps a command for later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.backends.reconnect import ReconnectingClient, RetryPolicy
from kschat.backends.redis.client.connection import Connection, RedisUnavailable
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.sentinels import Endpoint, SentinelResolver, log_in
from kschat.backends.redis.client.settings import Settings
from kschat.backends.ticker import Ticker
from kschat.outage_log import OutageLog

#: Seconds between two looks whether Redis answers; of a silent connection each look is a PING.
CHECK_INTERVAL: Final = 1.0

#: Seconds between two times that Sentinels are asked whether the master is still the same.
SENTINEL_INTERVAL: Final = 5.0

#: Seconds between two searches for a server that has taken this one's place, however often one is asked for.
SEARCH_INTERVAL: Final = 1.0

#: Commands that may wait for their answers.
MAX_UNANSWERED: Final = 10_000


class RedisClient:
    """One connection at a time.

    A peer that is dead, or stopped, is noticed ``patience`` and a look after a command at the latest (4 seconds), or
    two looks later where nothing was asked (6 seconds), and the connection is aborted then.

    Args:
        settings: where Redis is.
        reactor: the real one.
        outages: says in the log why Redis can't be used.
        make: makes the connection's protocol.
        prepare: called with a connection that is logged in, before commands are accepted; what it fails with is told,
            and the next connection is tried.
        turned: called with True when commands are accepted, and with False when no more.

    Attributes:
        why: why it is not up.

    Raises:
        AddressError: the settings can't be used.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        outages: OutageLog,
        make: Callable[[], Connection] | None = None,
        prepare: Callable[[Connection], Awaitable[object]] | None = None,
        turned: Callable[[bool], None] | None = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._outages = outages
        self._make = make or (lambda: Connection(reactor))
        self._prepare = prepare
        self._turned = turned
        self._resolver = SentinelResolver(settings, reactor)
        self._found: Endpoint | None = None
        policy = RetryPolicy(settings.first_retry, settings.last_retry)
        self._client: ReconnectingClient[Connection] = ReconnectingClient(self, reactor, policy, 2 * settings.patience)
        self._look = Ticker(reactor, CHECK_INTERVAL, self._look_after, "the check of Redis failed")
        self._place = ""
        self._asked = 0.0
        self._asking = False
        self._searched = -SEARCH_INTERVAL
        self._searching = False
        self._aside_running: set[Deferred[None]] = set()
        self.why = "Redis is not connected yet"

    @property
    def up(self) -> bool:
        """Whether commands are taken."""
        connection = self._client.connection
        return connection is not None and not connection.why

    @property
    def tries(self) -> int:
        """How often it was tried to connect."""
        return self._client.tries

    def start(self) -> None:
        """Begin; what is not there yet is waited for."""
        self._outages.begin(self)
        self._look.start()
        self._client.start()

    def stop(self) -> Deferred[None]:
        """End, and what is on its way with it."""
        if not self._client.running:
            return succeed(None)
        self._look.stop()
        aside = list(self._aside_running)
        for one in aside:
            one.cancel()
        return gatherResults([self._client.stop(), *aside]).addCallback(lambda _: None)

    def do(self, *arguments: str | bytes | int) -> Deferred[Any]:
        """Send a command, if that can be done now.

        Returns:
            What Redis answers: bytes, an int, None, or a list of such. Fails with RedisUnavailable, at once while
            there is no connection; or with ResponseError, which is what Redis says.
        """
        connection = self._client.connection
        if connection is None:
            return fail(RedisUnavailable(self.why))
        if connection.waiting >= MAX_UNANSWERED:
            return fail(RedisUnavailable("too much waits for Redis's answers"))
        return connection.execute_command(*arguments)

    def abort(self, reason: str) -> None:
        """End the connection, if there is one; the next is tried."""
        self._client.abort(reason)

    def look_for_newer(self) -> None:
        """See whether another server has taken the place of this client's: one with a later generation of offsets.

        The search covers the client's own address and each place that a Sentinel names. A client whose server has an
        earlier generation reconnects. There is at most one search every ``SEARCH_INTERVAL`` seconds.
        """
        connection, now = self._client.connection, self._reactor.seconds()
        if connection is None or self._searching or now - self._searched < SEARCH_INTERVAL:
            return
        self._searched, self._searching = now, True
        self._aside(self._search(connection))

    async def _search(self, connection: Connection) -> None:
        try:
            own = _number(await connection.execute_command(*self._generation_asked))
            standings = [await self._standing(found) for found in await self._resolver.find()]
        except Exception:  # noqa: BLE001 - nobody can be asked now; whoever saw the later generation asks again
            return
        finally:
            self._searching = False
        if max(standings) > own and connection is self._client.connection:
            connection.abort("another server has taken its place")

    async def _choose(self) -> Endpoint:
        """Where the master is. Where Sentinels disagree, they and what they name are asked."""
        found = await self._resolver.find()
        if len(found) == 1:
            return found[0]
        standings = [await self._standing(one) for one in found]
        # A promoted replica has the same generation as its old master until the first daemon writes to it.
        return max(zip(standings, found, strict=True), key=lambda one: (one[0], one[1].place != self._place))[1]

    async def _standing(self, found: Endpoint) -> int:
        """The generation of offsets that a server is in; -1 where it is no master, or can't be asked."""
        factory = Factory.forProtocol(lambda: Connection(self._reactor))
        factory.noisy = False
        try:
            connection = cast(Connection, await found.endpoint.connect(factory))
        except Exception:  # noqa: BLE001 - it is not there, for whatever reason
            return -1
        timer = self._reactor.callLater(self._settings.patience, connection.abort, "it did not answer")
        try:
            await self._enter(connection)
            return _number(await connection.execute_command(*self._generation_asked))
        except Exception:  # noqa: BLE001 - as above
            return -1
        finally:
            if timer.active():
                timer.cancel()
            connection.abort("it was asked")
            await connection.gone

    @property
    def _generation_asked(self) -> tuple[str, ...]:
        return ("HGET", f"{self._settings.prefix}:g", "generation")

    # Connector.

    async def connect(self) -> Connection:
        self._found = None
        self._found = found = await self._choose()
        factory = Factory.forProtocol(self._make)
        factory.noisy = False
        connection = cast(Connection, await found.endpoint.connect(factory))
        self._place = found.place
        return connection

    async def prepare(self, connection: Connection, progress: Callable[[], object]) -> None:
        await self._enter(connection)
        if self._prepare is not None:
            await self._prepare(connection)
        if connection.ended:
            raise RedisUnavailable(connection.why)

    def end(self, connection: Connection) -> None:
        connection.abort("this daemon is shutting down")

    def give_up(self, connection: Connection, error: BaseException) -> None:
        connection.abort(str(error) if isinstance(error, RedisUnavailable) else why(error))

    def on_up(self, connection: Connection) -> None:
        back = " again" if self._outages.is_open else ""
        if self._outages.up(self):
            name = self._outages.name
            self.log.info("{name}: connected to Redis at {place}{back}", name=name, place=self._place, back=back)
        self._turn(True)

    def on_down(self, connection: Connection) -> None:
        self._down(f"Redis at {self._place} is lost", self._end_of(connection))
        self._turn(False)

    def on_failure(self, connection: Connection | None, error: BaseException) -> None:
        if connection is not None:
            self._down(f"Redis at {self._at} can't be used", self._end_of(connection))
        else:
            at = f" at {self._at}" if self._found is not None else ""  # which Sentinels were asked, they say themselves
            self._down(f"Redis{at} can't be reached", why(error))

    @property
    def _at(self) -> str:
        return self._found.place if self._found is not None else ""

    def _end_of(self, connection: Connection) -> str:
        return self._found.end_of(connection) if self._found is not None else connection.why

    async def _enter(self, connection: Connection) -> None:
        """Log in; raises RedisUnavailable where Sentinels named it and it is no master."""
        address = self._resolver.address
        if address.password:
            await log_in(connection, address.user, address.password)
        # A subscriber's PING is answered otherwise, but so early it is none yet. It fails while Redis is loading.
        await connection.execute_command("PING")
        if address.db:
            await connection.execute_command("SELECT", address.db)
        if address.service:
            role = await connection.execute_command("ROLE")
            if role[0] != b"master":
                raise RedisUnavailable("it is not the master any more, or not yet")

    def _look_after(self) -> None:
        connection = self._client.connection
        if connection is None:
            return
        now, oldest = self._reactor.seconds(), connection.oldest
        if self._resolver.address.service and now - self._asked >= SENTINEL_INTERVAL and not self._asking:
            self._asked, self._asking = now, True
            self._aside(self._ask_sentinels(connection))
        if oldest is None:
            if now - connection.heard >= CHECK_INTERVAL:
                connection.execute_command("PING").addErrback(self._no_pong, connection)
        elif now - oldest > self._settings.patience:
            connection.abort(f"it answered nothing for {self._settings.patience:g} seconds")

    async def _ask_sentinels(self, connection: Connection) -> None:
        # One that is cut off from them goes on as a master, and what it takes is lost later.
        try:
            found = await self._choose()
        except Exception:  # noqa: BLE001 - who does not answer says nothing
            return
        finally:
            self._asking = False
        if found.place != self._place and connection is self._client.connection:
            connection.abort("Sentinels know another master now")

    def _aside(self, question: Coroutine[Deferred[Any], Any, None]) -> None:
        """Ask something while the connection is used."""
        asked = Deferred.fromCoroutine(question)
        self._aside_running.add(asked)
        asked.addErrback(self._aside_failed).addBoth(lambda _: self._aside_running.discard(asked))

    def _aside_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("a Redis connection could not look up the master", failure)

    def _no_pong(self, failure: Failure, connection: Connection) -> None:
        if failure.check(RedisUnavailable) is None:
            connection.abort(why(failure.value))

    def _down(self, what: str, reason: str) -> None:
        self.why = f"{what}: {reason}"
        if self._client.running:
            self._outages.down("{name}: {what}: {reason}", reason, self, what=what)

    def _turn(self, up: bool) -> None:
        if self._turned is not None:
            self._turned(up)


def _number(answer: bytes | None) -> int:
    return int(answer or 0)
