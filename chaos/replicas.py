"""A Redis with a replica and three Sentinels, and the failovers from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hiredis import ReplyError
from twisted.internet.task import deferLater

from chaos.gate import Gate, address, number_of
from chaos.proxy import Link
from chaos.stage import Stuck
from tests.support.redis import Redis

#: The name by which Sentinels know the master.
SERVICE: Final = "chat"

#: How a master loses its place: Sentinels are told to replace it, it is killed, or it is cut off from the replica and
#: two of the Sentinels, with one Sentinel and the daemon that asks only that one on its side.
ORDERED: Final = "failover, ordered"
KILLED: Final = "failover, killed"
CUT_OFF: Final = "failover, cut off"
KINDS: Final = (ORDERED, KILLED, CUT_OFF)

#: Seconds that a partition lasts after the other side has its own master.
APART: Final = 5.0

SENTINELS: Final = 3

#: Seconds that a failover may take, and until both servers are in step again.
PATIENCE: Final = 60.0
LOOK: Final = 0.05


class Replicas:
    """The servers over all their lives.

    Nothing in their own configuration keeps an old master from taking writes; daemons wait for the replica instead
    (``redis_wait``), unless the run is about what is lost otherwise.

    Args:
        reactor: the real one.
        fsync: ``appendfsync``.
        wait: ``redis_wait`` of the daemons.

    Attributes:
        kinds: see ``Pair``.
    """

    def __init__(self, reactor: Any, fsync: str = "always", *, wait: int = 1) -> None:
        self._reactor = reactor
        self._wait = wait
        self.kinds = KINDS
        common = f"appendonly yes\nappendfsync {fsync}\nrepl-diskless-sync-delay 0\n"
        self.master = Redis(f"{common}{_announced(0)}")
        self.replica = Redis(f"{common}{_announced(1)}replicaof {address(0)} {self.master.port}\n")
        config = (
            f"sentinel monitor {SERVICE} {address(0)} {self.master.port} {SENTINELS // 2 + 1}\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 3000\n"
            f"sentinel parallel-syncs {SERVICE} 1\n"
        )
        self._sentinels = [
            Redis(f'{config}bind-source-addr {address(at)}\nsentinel announce-ip "{address(at)}"\n', sentinel=True)
            for at in range(2, 2 + SENTINELS)
        ]
        servers = (self.master, self.replica, *self._sentinels)
        self._numbers = {server.port: number for number, server in enumerate(servers)}
        self._cut: frozenset[int] = frozenset()
        self._gates = [
            Gate(reactor, number, server.port, whose=_whose, severed=self._severed)
            for number, server in enumerate(servers)
        ]

    @property
    def servers(self) -> dict[str, Redis]:
        """All, by name."""
        sentinels = {f"Sentinel {number}": one for number, one in enumerate(self._sentinels)}
        return {"Redis": self.master, "the replica": self.replica, **sentinels}

    @property
    def url(self) -> str:
        """How to connect, by the Sentinels."""
        places = ",".join(f"127.0.0.1:{one.port}" for one in self._sentinels)
        return f"redis+sentinel://{places}/{SERVICE}/0"

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"Redis with a replica and {SENTINELS} Sentinels, redis_wait = {self._wait}"

    def settings_for(self, daemon: int) -> Mapping[str, object]:
        """See ``Pair``. Daemon 0 knows only the Sentinel that is cut off with the master."""
        url = self.url if daemon else f"redis+sentinel://127.0.0.1:{self._sentinels[0].port}/{SERVICE}/0"
        return {"store": "redis", "redis": url, "redis_wait": self._wait}

    async def start(self) -> None:
        """Start all. The replica is in step when this returns, and the Sentinels know it and each other."""
        for gate in self._gates:
            await gate.start()
        for one in self.servers.values():
            await one.start()
        await self.settle()

    async def close(self) -> None:
        """Close all gates."""
        for gate in self._gates:
            await gate.stop()

    def stop(self) -> None:
        """End all, and remove their files."""
        for one in self.servers.values():
            one.stop()

    async def befall(self, kind: str) -> None:
        """Let the replica take the master's place. When this returns, one server is the master of the other, in step.

        Args:
            kind: one of ``KINDS``.

        Raises:
            Stuck: it did not come in time.
        """
        old, new = self.master, self.replica
        asked = self._sentinels
        if kind == KILLED:
            old.kill()
        elif kind == CUT_OFF:
            asked = asked[1:]
            self._sever(frozenset((self._numbers[old.port], self._numbers[self._sentinels[0].port])))
        else:
            await self._until(self._ordered, "a Sentinel to begin a failover")
        await self._until(lambda: self._names(new, asked), "the Sentinels to name the replica as the master")
        self.master, self.replica = new, old
        if kind == KILLED:
            await old.start()
        elif kind == CUT_OFF:
            await deferLater(self._reactor, APART)
            self._sever(frozenset())
        await self.settle()

    async def settle(self) -> None:
        """Wait until the replica is in step with the master, and the Sentinels know both. Raises Stuck."""
        await self._until(self._in_step, "the replica to be in step with the master")

    def _ordered(self) -> bool:
        try:
            self._sentinels[0].do("SENTINEL", "FAILOVER", SERVICE)
        except ReplyError:  # the last one is not over for this Sentinel, or it does not know the replica yet
            return False
        return True

    def _sever(self, numbers: frozenset[int]) -> None:
        """Cut these servers off from all others; with an empty set, end the partition."""
        self._cut = numbers
        for gate in self._gates:
            gate.hold()

    def _severed(self, one: int, other: int) -> bool:
        return (one in self._cut) is not (other in self._cut)

    def _names(self, one: Redis, sentinels: Sequence[Redis]) -> bool:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return all(sentinel.do(*asked)[1] == str(one.port).encode() for sentinel in sentinels)

    def _in_step(self) -> bool:
        if self._names(self.replica, self._sentinels):
            # A busy machine kept the master from answering for a second, so the Sentinels replaced it once more.
            self.master, self.replica = self.replica, self.master
        master, replica = self.master.do("INFO", "replication"), self.replica.do("INFO", "replication")
        if b"role:slave" not in replica or b"master_link_status:up" not in replica or b"role:master" not in master:
            return False
        if b"connected_slaves:1" not in master or b"state=online" not in master:
            return False
        return all(self._knows_all(sentinel) for sentinel in self._sentinels)

    def _knows_all(self, sentinel: Redis) -> bool:
        words = sentinel.do("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(words[::2], words[1::2], strict=True))
        healthy = facts[b"flags"] == b"master" and facts[b"port"] == str(self.master.port).encode()
        if not healthy or int(facts[b"num-other-sentinels"]) != SENTINELS - 1:
            return False
        replicas = sentinel.do("SENTINEL", "REPLICAS", SERVICE)
        found = [dict(zip(one[::2], one[1::2], strict=True)) for one in replicas]
        return [one[b"port"] for one in found if one[b"flags"] == b"slave" and one[b"master-link-status"] == b"ok"] == [
            str(self.replica.port).encode()
        ]

    def _state(self) -> str:
        """The state of all servers, for the text of ``Stuck``."""
        said = []
        for name, one in (("master", self.master), ("replica", self.replica)):
            said.append(f"{name}, {one.port}: " + one.do("INFO", "replication").decode().replace("\r\n", " "))
        for one in self._sentinels:
            said.append(f"Sentinel: {one.do('SENTINEL', 'MASTER', SERVICE)}")
            said.append(f"Sentinel: {one.do('SENTINEL', 'REPLICAS', SERVICE)}")
        return "\n".join(said)

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        end = self._reactor.seconds() + PATIENCE
        while not true():
            if self._reactor.seconds() > end:
                raise Stuck(f"waited {PATIENCE:g} s in vain for {what}\n{self._state()}")
            await deferLater(self._reactor, LOOK)


def _announced(number: int) -> str:
    """The settings with which a server announces its address, and connects from it."""
    where = address(number)
    return f"bind-source-addr {where}\nreplica-announce-ip {where}\n"


def _whose(_: bytes, link: Link) -> int | None:
    """A server connects from its own address."""
    return number_of(link.client.transport.getPeer().host)
