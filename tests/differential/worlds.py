"""The daemons of one world, in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any, Protocol
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from kschat.backends.amqp import AmqpRouter
from kschat.backends.amqp import Settings as AmqpSettings
from kschat.backends.local import LocalBus
from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.redis import RedisBus, RedisStore
from kschat.backends.redis import Settings as RedisSettings
from kschat.backends.sqlite import Settings as SqliteSettings
from kschat.backends.sqlite import SqliteStore
from kschat.chat.confirmations import MAX_GATHER_SECONDS
from kschat.chat.delivery import Bounds
from kschat.counters import Counters
from kschat.rates import RateSettings
from simulate.services import Exchange, FarBus, FarRouter, FarStore, Hall
from tests.chat.daemon import NOW
from tests.chat.peers import Daemon
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.waiting import PATIENCE, real_reactor

#: Members of a room: less than there are users.
MAX_ROOM = 3

#: Presence is gathered, for a tenth of the default time, so that a sequence is played fast. What is limited by rates is
#: refused, which ``tests.chat.test_limiter`` looks at; here nothing is.
RATES = RateSettings(presence_interval=0.01)

#: Batches wait for others, and sockets are asked once for several messages, as with the default settings, but for a
#: tenth of the time.
BOUNDS = Bounds(linger=0.001, gathers=True)
CONFIRMATION_WAIT = MAX_GATHER_SECONDS / 10


class World(Protocol):
    """Some daemons that act as one.

    Attributes:
        daemons: their chats.
    """

    daemons: list[Daemon]

    async def start(self) -> None:
        """Fires when all of it is up."""

    async def stop(self) -> None:
        """End it."""

    async def turn(self) -> None:
        """Let a moment pass."""

    @property
    def now(self) -> float:
        """Seconds, by which patience is measured."""

    @property
    def milliseconds(self) -> int:
        """The daemons' time, since 1970."""


class Simulated:
    """Daemons on one store in memory, on a clock of their own.

    Args:
        count: how many; one is alone, with a store and a router that answer at once.
        seed: of the times that things take on their way.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._clock = clock = Clock()
        clock.advance(NOW)
        store = MemoryStore(1_000_000, 1_000_000_000)
        if count == 1:
            self.daemons = [_daemon(store, MemoryRouter(), clock)]
            return
        random, exchange, hall = Random(seed), Exchange(), Hall()
        self.daemons = [
            _daemon(
                FarStore(store, clock, random),
                FarRouter(exchange, clock, random),
                clock,
                bus=FarBus(hall, clock, random),
            )
            for _ in range(count)
        ]

    async def start(self) -> None:
        for daemon in self.daemons:
            daemon.router.start()
            daemon.bus.start()
        await self.turn()

    async def stop(self) -> None:
        for daemon in self.daemons:
            daemon.bus.stop()
        self._clock.advance(1)

    async def turn(self) -> None:
        self._clock.advance(0.0005)

    @property
    def now(self) -> float:
        return self._clock.seconds()

    @property
    def milliseconds(self) -> int:
        return int(self._clock.seconds() * 1000)


def _has_timers(daemon: Daemon) -> bool:
    """Whether the chat waits for something: cursors to write, presence to tell, users who are still listened for."""
    return (
        daemon.hub.write_behind._timer is not None
        or daemon.context.presence._due is not None
        or bool(daemon.context.admission.lingering)
    )


class Real:
    """Daemons on the real reactor. Subclasses say what they are made of."""

    def __init__(self) -> None:
        self.daemons: list[Daemon] = []
        self._parts: list[Any] = []

    async def start(self) -> None:
        for part in self._parts:
            part.start()
        deadline = self.now + 3 * PATIENCE
        while not await self._is_up():
            if self.now > deadline:
                raise AssertionError("a world does not come up")
            await self.turn()

    async def _is_up(self) -> bool:
        for daemon in self.daemons:
            known = await daemon.bus.online(["nobody"])
            if not (daemon.store.up and daemon.router.up and known["nobody"] is False):
                return False
        return True

    async def stop(self) -> None:
        deadline = self.now + PATIENCE
        while any(map(_has_timers, self.daemons)) and self.now < deadline:
            await self.turn()
        for daemon in self.daemons:
            daemon.context.revoker.stop()
        for part in self._parts:
            await part.stop()

    async def turn(self) -> None:
        passed: Deferred[None] = deferLater(real_reactor(), 0.0005)
        await passed

    @property
    def now(self) -> float:
        return float(real_reactor().seconds())

    @property
    def milliseconds(self) -> int:
        return int(real_reactor().seconds() * 1000)


class OnSqlite(Real):
    """One daemon on a file."""

    def __init__(self) -> None:
        super().__init__()
        reactor = real_reactor()
        self._directory = Path(tempfile.mkdtemp(prefix="kschat-differential-"))
        store = SqliteStore(SqliteSettings(str(self._directory / "kschat.db"), "normal"), reactor, reactor)
        bus = LocalBus()
        self.daemons = [_daemon(store, MemoryRouter(), reactor, bus=bus)]
        self._parts = [store]

    async def stop(self) -> None:
        await super().stop()
        rmtree(self._directory, ignore_errors=True)


class OnRedis(Real):
    """Some daemons on a Redis; their router is a RabbitMQ, or a simulated one.

    Args:
        count: of them.
        redis, broker: what they share; without a broker the router is simulated.
    """

    def __init__(self, count: int, redis: Redis, broker: RabbitMQ | None = None) -> None:
        super().__init__()
        reactor, random, exchange = real_reactor(), Random(1), Exchange()
        settings = RedisSettings(url=redis.url, prefix=f"differential-{uuid4().hex}")
        name = f"differential-{uuid4().hex}"
        for _ in range(count):
            store = RedisStore(settings, reactor)
            router: Any = FarRouter(exchange, reactor, random)
            if broker is not None:
                router = AmqpRouter(AmqpSettings(url=broker.url, exchange=name), reactor)
            bus = RedisBus(settings, settings, reactor, Counters())
            self.daemons.append(_daemon(store, router, reactor, bus=bus))
            self._parts += [store, router, bus]


def _daemon(store: Any, router: Any, clock: Any, *, bus: Any = None) -> Daemon:
    daemon = Daemon(store, router, clock, max_room=MAX_ROOM, bus=bus, rates=RATES, bounds=BOUNDS)
    daemon.hub.confirmations.wait = CONFIRMATION_WAIT
    return daemon


def all_quiet(daemons: Sequence[Daemon]) -> bool:
    """Whether nothing is under way in the pipelines, sockets were asked to confirm what they have, and the store was
    told when users were last seen."""
    return not any(
        daemon.chat.context.delivery.waiting
        or daemon.chat.context.delivery.in_flight
        or len(daemon.hub.confirmations)
        or daemon.hub.write_behind._seen
        for daemon in daemons
    )
