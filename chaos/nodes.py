"""A cluster of three RabbitMQ nodes, and partitions between them.

Each node has an address of the loopback as its host, and listens for the others at 127.0.0.1. A gate listens at its own
address.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from signal import SIGCONT, SIGSTOP
from subprocess import DEVNULL
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from chaos.gate import Gate, address
from chaos.proxy import Link, Proxy
from tests.support.launch import free_port
from tests.support.rabbitmq import Membership, RabbitMQ

COUNT: Final = 3

#: Seconds of silence, 25 % more or less, after which a node counts as gone (Erlang's net_ticktime).
TICK_TIME: Final = 4

#: Seconds between two checks whether a port is open.
CHECK_EVERY: Final = 0.02


class Node:
    """One node over all its lives.

    Attributes:
        number: from 0.
        rabbitmq: its server.
        way: the gate by which the others reach it.
    """

    def __init__(self, reactor: Any, number: int, rabbitmq: RabbitMQ, way: Gate) -> None:
        self._reactor = reactor
        self.number = number
        self.rabbitmq = rabbitmq
        self.way = way

    async def start(self) -> None:
        """Start it; it serves, and is one of the cluster, when this returns."""
        starting = Deferred.fromCoroutine(self.rabbitmq.start())
        # RabbitMQ refuses to start while its port is in use at any address, so the gate must open later.
        while not starting.called and not await self._listens(self.rabbitmq.dist_port):
            await deferLater(self._reactor, CHECK_EVERY)
        await self.way.start()
        await starting

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.rabbitmq.kill()
        await self.way.stop()

    async def end(self) -> None:
        """SIGTERM, and wait for its end."""
        await self.rabbitmq.end()
        await self.way.stop()

    async def is_whole(self) -> bool:
        """Whether it serves, and sees all nodes running."""
        # A paused node accepts no connections.
        return await self._listens(self.rabbitmq.port) and (await self.running()).count("@") == COUNT

    async def running(self) -> str:
        """The running nodes that it sees, as Erlang writes them; "" if it does not answer."""
        try:
            return await self.rabbitmq.ctl("--longnames", "eval", "rabbit_nodes:all_running().")
        except (AssertionError, subprocess.TimeoutExpired):  # the node is pausing or starting
            return ""

    async def _listens(self, port: int) -> bool:
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port, timeout=1)
        try:
            await endpoint.connect(Factory.forProtocol(_Visitor))
        except ConnectError:
            return False
        return True


class Nodes:
    """All nodes, from their start to their end, and the proxies by which daemons reach them.

    Args:
        reactor: the real one.
        daemons: the number of daemons. Each has its own proxy to each node, and a different first node.

    Attributes:
        nodes: by their numbers.
    """

    def __init__(self, reactor: Any, daemons: int) -> None:
        self._reactor = reactor
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._cut: frozenset[int] = frozenset()
        names = [f"node{number}@{address(number)}" for number in range(COUNT)]
        config = (
            "cluster_partition_handling = pause_minority\ncluster_formation.peer_discovery_backend = classic_config\n"
        )
        config += "".join(f"cluster_formation.classic_config.nodes.{at} = {one}\n" for at, one in enumerate(names, 1))
        cookie = secrets.token_hex(16)
        self.nodes = []
        for number, name in enumerate(names):
            membership = Membership(name, self._epmd_port, cookie, f"-kernel net_ticktime {TICK_TIME}")
            rabbitmq = RabbitMQ(config, membership)
            way = Gate(reactor, number, rabbitmq.dist_port, whose=_whose, severed=self._severed)
            self.nodes.append(Node(reactor, number, rabbitmq, way))
        self._ways = [[Proxy(reactor, node.rabbitmq.port) for node in self.nodes] for _ in range(daemons)]

    def url_for(self, daemon: int) -> str:
        """The URL that a daemon is given, by its number."""
        ways = self._ways[daemon]
        first = daemon % COUNT
        places = ",".join(f"127.0.0.1:{way.port}" for way in (*ways[first:], *ways[:first]))
        return f"amqp://guest:guest@{places}/%2F"

    async def listen(self) -> None:
        """Open the proxies' ports."""
        for ways in self._ways:
            for way in ways:
                await way.start()

    async def start(self) -> None:
        """Start all, one after the other: the first forms the cluster, and the others join it."""
        places = ",".join(map(address, range(COUNT)))
        # An epmd that Erlang starts by itself would never be stopped.
        epmd = [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", places]
        self._epmd = subprocess.Popen(epmd, stdout=DEVNULL, stderr=DEVNULL)  # noqa: ASYNC220 - it does not block
        for node in self.nodes:
            await node.start()

    async def is_whole(self) -> bool:
        """Whether all nodes serve, and see each other running."""
        for node in self.nodes:
            if not await node.is_whole():
                return False
        return True

    async def state(self) -> str:
        """The state of each node, for the text of ``Stuck``."""
        said = [f"{node.number}: {await node.running() or 'no answer'}" for node in self.nodes]
        return "; ".join(said)

    def at(self, daemon: int) -> int | None:
        """The node that a daemon is connected to; None if there is none, or more than one at the moment."""
        found = [number for number, way in enumerate(self._ways[daemon]) if any(link.whole for link in way.links)]
        return found[0] if len(found) == 1 else None

    def move(self, daemon: int) -> None:
        """Cut a daemon's connection, so that it connects to the next node."""
        for way in self._ways[daemon]:
            for link in list(way.links):
                link.cut()

    def cut(self, *numbers: int) -> None:
        """Cut each of these nodes off from all others; all other nodes reach each other again."""
        self._cut = frozenset(numbers)
        for node in self.nodes:
            node.way.hold()

    def hold(self, number: int) -> None:
        """Stop a node (SIGSTOP): its connections stay open."""
        self.nodes[number].rabbitmq.signal(SIGSTOP)

    def release(self, number: int) -> None:
        """Continue a stopped node."""
        self.nodes[number].rabbitmq.signal(SIGCONT)

    async def close(self) -> None:
        """Close all proxies and gates."""
        for way in (*(way for ways in self._ways for way in ways), *(node.way for node in self.nodes)):
            await way.stop()

    def stop(self) -> None:
        """End all in any case, and remove their files."""
        for node in self.nodes:
            node.rabbitmq.stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _severed(self, one: int, other: int) -> bool:
        return one != other and (one in self._cut or other in self._cut)


class _Visitor(Protocol):
    """Connects and disconnects."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        self.transport.abortConnection()


def _whose(said: bytes, _: Link) -> int | None:
    """A node sends its name first; ``rabbitmqctl`` has a name without a number."""
    found = re.search(rb"(?<![\w-])node(\d)@", said)
    return int(found[1]) if found else None
