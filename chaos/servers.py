"""What a cluster is made of, and what befalls each part: one RabbitMQ, one Redis, several daemons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from signal import SIGCONT, SIGSTOP, Signals
from types import MappingProxyType
from typing import Any, Protocol, cast

from twisted.internet.task import deferLater

from chaos.daemon import Daemon
from chaos.disclosed import Disclosed, LogSearch
from chaos.nodes import Nodes
from chaos.replicas import Replicas
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
    """RabbitMQ or Redis as a part."""

    def __init__(self, name: str, server: RabbitMQ | Redis) -> None:
        self.name = name
        self.port = server.port
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
        redis: a Redis with a replica, instead of a single one.
        wait: ``redis_wait``, with ``redis``.
        rabbitmq: a RabbitMQ cluster, instead of a single node.
        more: further settings of the daemons.

    Attributes:
        redis: the store.
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
        redis: Replicas | None = None,
        wait: int = 1,
        rabbitmq: Nodes | None = None,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._rabbitmq: RabbitMQ | Nodes = rabbitmq or RabbitMQ()
        own = Redis(f"appendonly yes\nappendfsync {fsync}") if redis is None else None
        self.redis: Redis | Replicas = own or cast(Replicas, redis)
        settings: dict[str, object] = {"store": "redis"}
        if own is None:
            settings["redis_wait"] = wait
        # Soon enough for a connection that is half dead to be noticed in a run.
        settings |= {"ping_interval": 5, "ping_timeout": 4, "no_access_log": True, **more}
        self.members = []
        for number in range(daemons):
            url = self._rabbitmq.url if isinstance(self._rabbitmq, RabbitMQ) else self._rabbitmq.url_for(number)
            redis_url = self.redis.url if isinstance(self.redis, Redis) else self.redis.url_for(number)
            places = {"amqp": url, "redis": redis_url, "peer_listen": _inner()}
            self.members.append(Member(f"daemon {number}", Daemon(reactor, free_port(), secret, settings | places)))
        parts: list[Part] = [*self.members]
        if isinstance(self._rabbitmq, RabbitMQ):
            parts.append(Service("RabbitMQ", self._rabbitmq))
        if own is not None:
            parts.append(Service("Redis", own))
        self.parts: Mapping[str, Part] = {part.name: part for part in parts}

    async def start(self) -> None:
        """Start all."""
        for one in (self._rabbitmq, self.redis, *self.members):
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
        if isinstance(self.redis, Replicas):
            for name, server in self.redis.servers.items():
                search.read(name, server.log_lines())
        if isinstance(self._rabbitmq, Nodes):
            for node in self._rabbitmq.nodes:
                search.read(f"RabbitMQ node {node.number}", node.rabbitmq.log_lines())
        return search

    async def abandon(self) -> None:
        """End all in any case, and remove their files."""
        for member in self.members:
            await member.daemon.abandon()
        self.redis.stop()
        self._rabbitmq.stop()


def _inner() -> str:
    """Where a daemon takes what others hand on to it."""
    return f"tcp:{free_port()}:interface=127.0.0.1"


async def befall(reactor: Any, part: Part, kind: str, away: float, stopped: float) -> None:
    """One fault from its beginning to its end.

    Args:
        reactor: the real one.
        part: what it befalls.
        kind: one of ``KINDS``.
        away: seconds until what was killed is started again.
        stopped: seconds that a process is stopped for.
    """
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
    names = ("RabbitMQ", "Redis", "daemon")
    faults: list[tuple[str, str]] = []
    while len(faults) < count:
        some = [(name, kind) for name in names for kind in KINDS]
        chance.shuffle(some)
        faults += some
    return [(chance.choice(members).name if name == "daemon" else name, kind) for name, kind in faults[:count]]
