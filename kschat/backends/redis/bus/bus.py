"""``RedisBus``: exchanges events between daemons by Redis publish and subscribe."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.backends.lag import Lag
from kschat.backends.redis.bus.heartbeat import Heartbeat
from kschat.backends.redis.bus.outbox import Outbox
from kschat.backends.redis.bus.presence_registry import MAX_CALL_USERS, PresenceRegistry
from kschat.backends.redis.bus.subscriptions import Subscriptions
from kschat.backends.redis.client import packing
from kschat.backends.redis.client.connection import Connection, RedisUnavailable, ResponseError
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.ticker import Ticker
from kschat.chat.bus import BusEvent, BusListener, IBus, Wants
from kschat.chat.clocks import WallClock
from kschat.chat.cluster_commands import ClusterCommand, packed, unpacked
from kschat.chat.interfaces import IMeasured
from kschat.counters import Counters
from kschat.outage_log import OutageLog

#: Calls that Redis has not answered, beyond which commands wait for the next one.
MAX_IN_FLIGHT: Final = 8

#: Questions that wait to be told. Each is of a socket that connects.
MAX_ASKS: Final = 10_000

#: Seconds between two probes of the way from this daemon to Redis and back.
PROBE_INTERVAL: Final = 1.0

#: Bytes of what says whose commands they are.
ORIGIN: Final = 8

#: The origin of commands that are heard by the daemon that tells them, too.
ECHO: Final = bytes(ORIGIN)


@implementer(IBus, IMeasured)
class RedisBus:
    """What daemons tell each other. Two connections: one publishes and keeps the registry, one listens.

    Channels, after the prefix and ``:r:``: ``u:USER`` for a user's sockets, which each daemon listens to that has
    one; ``all``; ``t:ORIGIN``, by which this daemon times itself; and those of ``presence_registry``.

    Args:
        publish: the Redis to publish to, which keeps the registry as well.
        subscribe: the Redis to listen at: the same one, or a replica of it.
        reactor: the real one.
        counters: counts what is told, and what of it is dropped.
        heartbeat: how often this daemon says that it lives.
        wall: tells when users went.
    """

    log = Logger()
    measures: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        publish: Settings,
        subscribe: Settings,
        reactor: Any,
        counters: Counters,
        heartbeat: Heartbeat | None = None,
        wall: WallClock = time.time,
    ) -> None:
        self._reactor = reactor
        self._counters = counters
        self._origin = secrets.token_bytes(ORIGIN)
        self._prefix = publish.prefix.encode() + b":r:"
        self._user = self._prefix + b"u:"
        self._presence = self._prefix + b"p:"
        self._all = self._prefix + b"all"
        self._wants = self._prefix + b"w"
        self._probes = self._prefix + b"t:" + self._origin.hex().encode()
        self._listener: BusListener | None = None
        outages = OutageLog(self.log, name="the bus")
        self._subscriptions = Subscriptions(subscribe, reactor, outages, self._arrived, self._turned)
        self._client = RedisClient(publish, reactor, outages, None, self._prepare, self._published)
        self._registry = PresenceRegistry(
            lambda: self._client,
            self._prefix,
            heartbeat or Heartbeat(),
            reactor,
            wall,
            self._lost,
            self._wanted,
            self._entered,
            publish.url != subscribe.url,
        )
        self._outbox = Outbox(counters)
        self._asks: list[tuple[bytes, bytes, bytes, bytes, Deferred[int]]] = []
        self._flushing: list[Deferred[None]] = []
        self._in_flight = 0
        self._turn_set = False
        self._is_up = False
        self._lag = Lag(reactor)
        self._look = Ticker(reactor, PROBE_INTERVAL, self._probe, "the lag of the bus could not be measured")
        for channel in (self._all, self._wants, self._probes):
            self._subscriptions.add(channel)

    # IBus.

    @property
    def up(self) -> bool:
        return self._is_up

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``: from publishing to hearing."""
        return self._lag.seconds

    def attach(self, listener: BusListener) -> None:
        self._listener = listener

    def start(self) -> None:
        self._subscriptions.start()
        self._client.start()
        self._look.start()

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._look.stop()
        if self._client.up and self._registry.ready:
            try:
                await self._tell()
                while self._registry.moved:
                    await self._tell()
                await self._registry.leave()
            except Exception as error:  # noqa: BLE001 - the others take this daemon off by themselves
                self.log.info("this daemon could not be removed from the presence registry: {why}", why=why(error))
        self._registry.down()
        await self._client.stop()
        await self._subscriptions.stop()

    def listen(self, user: str) -> Deferred[None]:
        self._subscriptions.add(self._user + user.encode())
        both = gatherResults([self._registry.wants_told(), self._subscriptions.listening()], consumeErrors=True)
        return both.addCallback(lambda _: None)

    def unlisten(self, user: str) -> None:
        self._subscriptions.drop(self._user + user.encode())

    def here(self, user: str) -> None:
        self._registry.here(user)
        self._soon()
        if self._listener is not None:
            self._listener.on_presence(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        self._registry.gone(user, seen)
        self._soon()

    def publish(self, users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        self._put([self._user + user.encode() for user in users], command, ECHO if echo else self._origin)

    def ask(self, user: str, command: ClusterCommand) -> Deferred[int]:
        if not self._is_up or len(self._asks) >= MAX_ASKS:
            return succeed(0)
        self._counters.commands_sent += 1
        name = user.encode()
        body = self._origin + packing.array([packed(command)])
        answer: Deferred[int] = Deferred()
        channel = self._user + name
        own = b"1" if channel in self._subscriptions else b"0"
        self._asks.append((name, channel, own, body, answer))
        self._soon()
        return answer

    def flush(self) -> Deferred[None]:
        if not self._is_up:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        self._flushing.append(waits)
        self._soon()
        return waits

    def publish_all(self, command: ClusterCommand) -> None:
        self._put([self._all], command, self._origin, for_all=True)

    def daemons(self) -> Deferred[int | None]:
        if not self._is_up:
            return succeed(None)
        return self._registry.count().addErrback(_unknown)

    def want(self, wants: Wants) -> None:
        self._registry.want(wants)

    def watch(self, user: str) -> None:
        self._subscriptions.add(self._presence + user.encode())

    def unwatch(self, user: str) -> None:
        self._subscriptions.drop(self._presence + user.encode())

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        return Deferred.fromCoroutine(self._online(users))

    async def _online(self, users: Sequence[str]) -> dict[str, bool | None]:
        found: dict[str, bool | None] = dict.fromkeys(users)
        if self._is_up:
            try:
                await self._subscriptions.settled()
                while self._registry.moved and self._registry.ready:
                    self._flush()  # so that the answer knows of who came and went before
                found = await self._registry.online(users)
            except RedisUnavailable:
                pass  # then it is unknown, which is what ``found`` says already
            except ResponseError as error:
                self._client.abort(why(error))  # the next connection finds out whether it refuses that still
        # Who came or went while it was asked: the one is known, the other is told.
        here = self._registry.users
        return {user: True if user in here else known for user, known in found.items()}

    def _probe(self) -> None:
        if self._is_up:
            # It is one of the numbers that ``_lag`` has given, and so finds its way back as it is.
            self._client.do("PUBLISH", self._probes, repr(self._lag.ask())).addErrback(self._not_told)

    # Notifier.

    def _put(self, channels: Sequence[bytes], command: ClusterCommand, origin: bytes, *, for_all: bool = False) -> None:
        self._counters.commands_sent += len(channels)
        if self._is_up:
            self._outbox.put(channels, packed(command), origin, for_all)
            self._soon()
        else:
            self._counters.commands_dropped += len(channels)

    def _soon(self) -> None:
        if not self._turn_set and self._client.up:
            self._turn_set = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._turn_set = False
        if not self._client.up:
            self._registry.keep_moves()
        elif self._registry.ready and self._in_flight < MAX_IN_FLIGHT and self._waits:
            self._flush()

    @property
    def _waits(self) -> bool:
        """Whether anything waits to be told."""
        return bool(self._registry.moved or self._outbox or self._asks or self._flushing)

    def _flush(self) -> None:
        Deferred.fromCoroutine(self._tell()).addErrback(self._not_told)

    async def _tell(self) -> None:
        commands, count = self._outbox.take()
        asks, self._asks = self._asks[:MAX_CALL_USERS], self._asks[MAX_CALL_USERS:]
        flushing: list[Deferred[None]] = []
        asked = packing.texts([part for ask in asks for part in ask[:4]])
        others: list[int] = []
        self._in_flight += 1
        try:
            told = self._registry.turn(commands, asked)
            if not self._registry.moved and not self._asks:
                flushing, self._flushing = self._flushing, []
            elif self._in_flight < MAX_IN_FLIGHT:
                self._soon()  # there was more than one call tells
            others = await told
        except Exception:
            self._counters.commands_dropped += count + len(asks)
            raise
        finally:
            self._in_flight -= 1
            if self._waits:
                self._soon()
            _fire(asks, others, flushing)

    def _not_told(self, failure: Failure) -> None:
        if failure.check(RedisUnavailable) is None:
            self._client.abort(why(failure.value))

    # Hearing.

    def _arrived(self, channel: bytes, body: bytes) -> None:
        if self._listener is None:
            return
        try:
            if channel.startswith(self._user):
                self._hear(channel[len(self._user) :].decode(), body)
            elif channel.startswith(self._presence):
                online = body[:1] == b"1"
                seen = None if online else int(float(body[1:]))
                self._listener.on_presence(channel[len(self._presence) :].decode(), online, seen)
            elif channel == self._probes:
                self._lag.answered(float(body))
            elif channel == self._all:
                self._hear(None, body)
            elif channel == self._wants:
                origin, wants = body[:-1].decode(), int(body[-1:])
                if origin != self._registry.id:
                    self._registry.heard_wants(wants)
        except (ValueError, OverflowError, msgspec.MsgspecError) as error:
            self.log.warn("a command from Redis could not be decoded: {error}", error=str(error))
        except Exception:  # noqa: BLE001 - and is logged; the connection serves others as well
            self.log.failure("a command from Redis could not be handled")

    def _hear(self, user: str | None, body: bytes) -> None:
        if body[:ORIGIN] != self._origin and self._listener is not None:
            self._listener.on_commands(user, unpacked(body[ORIGIN:]))

    # What befalls it.

    async def _prepare(self, connection: Connection) -> None:
        await self._registry.enter(connection.execute_command)

    def _published(self, up: bool) -> None:
        if up:
            self._registry.up()
            self._soon()
        else:
            self._registry.down()
            self._registry.keep_moves()
            self._counters.commands_dropped += self._outbox.take()[1] + len(self._asks)
            asks, self._asks = self._asks, []
            flushing, self._flushing = self._flushing, []
            _fire(asks, (), flushing)
        self._turned(up)

    def _turned(self, _: bool) -> None:
        is_up = self._client.up and self._subscriptions.up
        if is_up is not self._is_up:
            self._is_up = is_up
            self._lag.lost()
            if self._listener is not None:
                self._listener.on_bus_event(BusEvent.UP if is_up else BusEvent.DOWN)

    def _entered(self) -> None:
        self._soon()
        if self._is_up and self._listener is not None:
            # Redis has forgotten this daemon, and so others' users too perhaps, of whom it said nothing.
            self._listener.on_bus_event(BusEvent.UP)

    def _lost(self, users: Sequence[str], seen: int) -> None:
        if self._listener is not None:
            self._listener.on_daemon_lost(users, seen)

    def _wanted(self, wants: Wants) -> None:
        if self._listener is not None:
            self._listener.on_wants(wants)


def _unknown(failure: Failure) -> None:
    failure.trap(RedisUnavailable, ResponseError)


def _fire(
    asks: Sequence[tuple[bytes, bytes, bytes, bytes, Deferred[int]]],
    others: Sequence[int],
    flushing: Sequence[Deferred[None]],
) -> None:
    """Say how many are to answer each question (of what could not be asked: none), and that all was told."""
    for at, (*_, answer) in enumerate(asks):
        answer.callback(others[at] if at < len(others) else 0)
    for waits in flushing:
        waits.callback(None)
