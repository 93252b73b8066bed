"""Three RabbitMQ nodes that are one cluster, and what may happen to the way between them.

Each node has an address of the loopback as its host, and listens for the others at 127.0.0.1. At its own address there
is a gate.
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

#: Nodes that are not heard for so many seconds, a quarter more or less, count as gone (Erlang's net_ticktime).
TICK_TIME: Final = 4

#: Seconds between two looks whether something listens.
LOOK: Final = 0.02


class Node:
    """One node over all its lives.

    Attributes:
        number: from 0.
        rabbitmq: its server.
        way: where the others reach it.
    """

    def __init__(self, reactor: Any, number: int, rabbitmq: RabbitMQ, way: Gate) -> None:
        self._reactor = reactor
        self.number = number
        self.rabbitmq = rabbitmq
        self.way = way

    async def start(self) -> None:
        """Start it; it serves, and is one of the cluster, when this returns."""
        starting = Deferred.fromCoroutine(self.rabbitmq.start())
        # RabbitMQ looks first whether anybody listens at its port, at whatever address.
        while not starting.called and not await self._listens(self.rabbitmq.dist_port):
            await deferLater(self._reactor, LOOK)
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
        """Whether it serves, and knows that all nodes do."""
        # One that has paused accepts no connections.
        return await self._listens(self.rabbitmq.port) and (await self.running()).count("@") == COUNT

    async def running(self) -> str:
        """The nodes that it knows to run, as Erlang writes them; "" where it does not say."""
        try:
            return await self.rabbitmq.ctl("--longnames", "eval", "rabbit_nodes:all_running().")
        except (AssertionError, subprocess.TimeoutExpired):  # it pauses, or starts, in this moment
            return ""

    async def _listens(self, port: int) -> bool:
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port, timeout=1)
        try:
            await endpoint.connect(Factory.forProtocol(_Visitor))
        except ConnectError:
            return False
        return True


class Nodes:
    """All nodes, from their start to their end, and the ways by which daemons reach them.

    Args:
        reactor: the real one.
        daemons: how many daemons there are. Each has a way of its own to each node, and begins with another one.

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
        """Let the ways to the nodes have their ports."""
        for ways in self._ways:
            for way in ways:
                await way.start()

    async def start(self) -> None:
        """Start all, one after the other: so the first makes the cluster, and the others join it."""
        places = ",".join(map(address, range(COUNT)))
        # Erlang would leave one behind.
        epmd = [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", places]
        self._epmd = subprocess.Popen(epmd, stdout=DEVNULL, stderr=DEVNULL)  # noqa: ASYNC220 - it does not block
        for node in self.nodes:
            await node.start()

    async def is_whole(self) -> bool:
        """Whether all nodes serve, and know that of each other."""
        for node in self.nodes:
            if not await node.is_whole():
                return False
        return True

    async def state(self) -> str:
        """How all stand, for whoever wants to know why nothing comes."""
        said = [f"{node.number}: {await node.running() or 'it does not say'}" for node in self.nodes]
        return "; ".join(said)

    def at(self, daemon: int) -> int | None:
        """The node that a daemon is connected to; None where it is to none, or to several in this moment."""
        found = [number for number, way in enumerate(self._ways[daemon]) if any(link.whole for link in way.links)]
        return found[0] if len(found) == 1 else None

    def move(self, daemon: int) -> None:
        """Cut a daemon's connection, so that it takes the next node."""
        for way in self._ways[daemon]:
            for link in list(way.links):
                link.cut()

    def cut(self, *numbers: int) -> None:
        """Let these nodes hear no other, nor be heard; all others hear each other again."""
        self._cut = frozenset(numbers)
        for node in self.nodes:
            node.way.hold()

    def hold(self, number: int) -> None:
        """Stop a node: all its connections stand, and nothing is done."""
        self.nodes[number].rabbitmq.signal(SIGSTOP)

    def release(self, number: int) -> None:
        """Let it go on."""
        self.nodes[number].rabbitmq.signal(SIGCONT)

    async def close(self) -> None:
        """Let nobody reach anything."""
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
    """Connects, and leaves."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        self.transport.abortConnection()


def _whose(said: bytes, _: Link) -> int | None:
    """The node that connects says first who it is; who asks as an operator (``rabbitmqctl``) has no number."""
    found = re.search(rb"(?<![\w-])node(\d)@", said)
    return int(found[1]) if found else None
