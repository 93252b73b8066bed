"""What a cluster is made of, and what befalls each part: one RabbitMQ, one Redis and its disk, the connections to them,
several daemons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from signal import SIGCONT, SIGSTOP, Signals
from types import MappingProxyType
from typing import Any, Protocol

from twisted.internet.task import deferLater

from chaos import disk
from chaos.daemon import Daemon
from chaos.disclosed import Disclosed, LogSearch
from chaos.disk import SlowDisk
from chaos.links import KINDS as LINK_KINDS
from chaos.links import ServiceProxy
from chaos.nodes import Nodes
from chaos.pairs import Pair
from tests.support.launch import free_port
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis

#: What befalls a part.
KINDS = ("killed", "stopped", "restarted")


class Part(Protocol):
    """Something that can be killed, stopped and restarted."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def port(self) -> int:
        """Where it accepts connections."""

    def signal(self, number: Signals) -> None:
        """Send its process a signal."""

    def log_lines(self) -> Iterator[str]:
        """The lines of its log, over all its lives."""

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""

    async def end(self) -> None:
        """SIGTERM, and wait for its end."""

    async def start(self) -> None:
        """Start it again; it serves when this returns."""


class Service:
    """RabbitMQ or Redis as a part.

    Attributes:
        proxy: by which daemons reach it.
        disk: its disk; None if that is always quick.
    """

    def __init__(self, name: str, server: RabbitMQ | Redis, proxy: ServiceProxy, disk: SlowDisk | None = None) -> None:
        self.name = name
        self.port = server.port
        self.proxy = proxy
        self.disk = disk
        self._server = server
        self.log_lines = server.log_lines
        self.signal = server.signal
        self.start = server.start
        self.end = server.end

    async def kill(self) -> None:
        """See ``Part``."""
        self._server.kill()


class Member:
    """A daemon as a part.

    Attributes:
        statuses: what it ended with when it was asked to end.
    """

    def __init__(self, name: str, daemon: Daemon) -> None:
        self.name = name
        self.port = daemon.port
        self.daemon = daemon
        self.log_lines = daemon.log_lines
        self.signal = daemon.signal
        self.start = daemon.start
        self.kill = daemon.kill
        self.statuses: list[int] = []

    async def end(self) -> None:
        """See ``Part``."""
        self.statuses.append(await self.daemon.stop())


class Servers:
    """All parts, from their start to their end.

    Args:
        reactor: the real one.
        secret: of the tokens.
        fsync: Redis's ``appendfsync``. With ``always`` it answers once what it was told is on the disk.
        daemons: how many.
        pair: the store with its copy, instead of a single Redis.
        rabbitmq: a RabbitMQ cluster, instead of a single node.
        more: further settings of the daemons.

    Attributes:
        store_url: how to open the store.
        members: the daemons.
        parts: all, by name.
    """

    def __init__(
        self,
        reactor: Any,
        secret: str,
        fsync: str = "always",
        daemons: int = 3,
        *,
        pair: Pair | None = None,
        rabbitmq: Nodes | None = None,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._rabbitmq: RabbitMQ | Nodes = rabbitmq or RabbitMQ()
        self._pairs = () if pair is None else (pair,)
        self._proxies: list[ServiceProxy] = []
        # Soon enough for a connection that is half dead to be noticed in a run.
        settings = {"store": "redis", "ping_interval": 5, "ping_timeout": 4, "no_access_log": True, **more}
        parts: list[Part] = []
        if isinstance(self._rabbitmq, RabbitMQ):
            parts.append(self._service("RabbitMQ", self._rabbitmq, reactor))
            settings["amqp"] = self._address(self._rabbitmq)
        self._disk: SlowDisk | None = None
        self._redis: Redis | None = None
        if pair is None or "redis" not in pair.settings_for(0):
            self._disk = SlowDisk(reactor)
            self._redis = Redis(f"appendonly yes\nappendfsync {fsync}", environ=self._disk.environ)
            parts.append(self._service("Redis", self._redis, reactor, self._disk))
            settings["redis"] = self._address(self._redis)
        self.store_url = str(self._redis and self._redis.url) if pair is None else pair.url
        self.members = []
        for number in range(daemons):
            own: dict[str, object] = {"peer_listen": _inner()}
            if isinstance(self._rabbitmq, Nodes):
                own["amqp"] = self._rabbitmq.url_for(number)
            if pair is not None:
                own |= pair.settings_for(number)
            self.members.append(Member(f"daemon {number}", Daemon(reactor, free_port(), secret, settings | own)))
        parts += self.members
        self.parts: Mapping[str, Part] = {part.name: part for part in parts}

    def _service(self, name: str, server: RabbitMQ | Redis, reactor: Any, disk: SlowDisk | None = None) -> Service:
        proxy = ServiceProxy(reactor, server.port)
        self._proxies.append(proxy)
        return Service(name, server, proxy, disk)

    def _address(self, server: RabbitMQ | Redis) -> str:
        """How daemons connect to it, by its proxy."""
        return server.url.replace(f":{server.port}/", f":{self._proxies[-1].port}/")

    async def start(self) -> None:
        """Start all."""
        for proxy in self._proxies:
            await proxy.start()
        for one in (*self._services, *self.members):
            await one.start()

    async def end(self) -> None:
        """End the daemons, in order."""
        for member in self.members:
            await member.end()

    def search(self, disclosed: Disclosed) -> LogSearch:
        """Search the logs of all daemons and servers."""
        search = LogSearch(disclosed)
        for name, part in self.parts.items():
            search.read(name, part.log_lines())
        for pair in self._pairs:
            for name, server in pair.servers.items():
                search.read(name, server.log_lines())
        if isinstance(self._rabbitmq, Nodes):
            for node in self._rabbitmq.nodes:
                search.read(f"RabbitMQ node {node.number}", node.rabbitmq.log_lines())
        return search

    async def abandon(self) -> None:
        """End all in any case, and remove their files."""
        for member in self.members:
            await member.daemon.abandon()
        for proxy in self._proxies:
            await proxy.stop()
        for one in self._services:
            one.stop()
        if self._disk is not None:
            self._disk.remove()

    @property
    def _services(self) -> Sequence[RabbitMQ | Nodes | Redis | Pair]:
        return (self._rabbitmq, *((self._redis,) if self._redis is not None else ()), *self._pairs)


def _inner() -> str:
    """Where a daemon takes what others hand on to it."""
    return f"tcp:{free_port()}:interface=127.0.0.1"


async def befall(
    reactor: Any, part: Part, kind: str, *, away: float, stopped: float, delay: int = disk.DELAYS[0]
) -> None:
    """One fault from its beginning to its end.

    Args:
        reactor: the real one.
        part: what it befalls.
        kind: one of ``KINDS``; of a service also of ``LINK_KINDS``; of one with a disk ``disk.KIND``.
        away: seconds until what was killed is started again.
        stopped: seconds that a process is stopped for, or that something is wrong with its connections or its disk.
        delay: milliseconds that a sync of a slow disk takes longer.
    """
    if kind in LINK_KINDS:
        assert isinstance(part, Service)
        await part.proxy.befall(kind, stopped)
        return
    if kind == disk.KIND:
        assert isinstance(part, Service)
        assert part.disk is not None
        part.disk.slow(delay, stopped)
        await deferLater(reactor, stopped)
        return
    if kind == "stopped":
        part.signal(SIGSTOP)
        try:
            await deferLater(reactor, stopped)
        finally:
            part.signal(SIGCONT)
        return
    if kind == "killed":
        await part.kill()
        await deferLater(reactor, away)
    else:
        await part.end()
    await part.start()


def deck(chance: random.Random, members: Sequence[Member], count: int) -> list[tuple[str, str]]:
    """So many faults, by the name of the part and the kind: each kind befalls each before one does again."""
    services = ("RabbitMQ", "Redis")
    faults: list[tuple[str, str]] = []
    while len(faults) < count:
        some = [(name, kind) for name in (*services, "daemon") for kind in KINDS]
        some += [(name, kind) for name in services for kind in LINK_KINDS]
        some.append(("Redis", disk.KIND))
        chance.shuffle(some)
        faults += some
    return [(chance.choice(members).name if name == "daemon" else name, kind) for name, kind in faults[:count]]
