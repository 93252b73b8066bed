"""A Redis with a replica and three Sentinels, and the failovers from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hiredis import ReplyError
from twisted.internet.task import deferLater

from chaos.stage import Stuck
from tests.support.redis import Redis

#: The name by which Sentinels know the master.
SERVICE: Final = "chat"

#: How a master loses its place: Sentinels are told to replace it, or it is killed.
KINDS: Final = ("ordered", "killed")

SENTINELS: Final = 3

#: Seconds that a failover may take, and until both servers are in step again.
PATIENCE: Final = 60.0
LOOK: Final = 0.05


class Replicas:
    """The servers over all their lives.

    Nothing in their own configuration keeps an old master from taking writes; daemons wait for the replica instead
    (``redis_replicas``).

    Args:
        reactor: the real one.
        fsync: ``appendfsync``.
    """

    def __init__(self, reactor: Any, fsync: str = "always") -> None:
        self._reactor = reactor
        common = f"appendonly yes\nappendfsync {fsync}\nrepl-diskless-sync-delay 0\n"
        self.master = Redis(common)
        self.replica = Redis(f"{common}replicaof 127.0.0.1 {self.master.port}\n")
        config = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} {SENTINELS // 2 + 1}\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 3000\n"
            f'sentinel parallel-syncs {SERVICE} 1\nsentinel announce-ip "127.0.0.1"\n'
        )
        self._sentinels = [Redis(config, sentinel=True) for _ in range(SENTINELS)]

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

    async def start(self) -> None:
        """Start all. The replica is in step when this returns, and the Sentinels know it and each other."""
        for one in self.servers.values():
            await one.start()
        await self.settle()

    def stop(self) -> None:
        """End all, and remove their files."""
        for one in self.servers.values():
            one.stop()

    async def fail_over(self, kind: str) -> None:
        """Let the replica take the master's place. When this returns, one server is the master of the other, in step.

        Args:
            kind: one of ``KINDS``.

        Raises:
            Stuck: it did not come in time.
        """
        old, new = self.master, self.replica
        if kind == "killed":
            old.kill()
        else:
            await self._until(self._ordered, "a Sentinel to begin a failover")
        await self._until(lambda: self._names(new), "the Sentinels to name the replica as the master")
        self.master, self.replica = new, old
        if kind == "killed":
            await old.start()
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

    def _names(self, one: Redis) -> bool:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return all(sentinel.do(*asked)[1] == str(one.port).encode() for sentinel in self._sentinels)

    def _in_step(self) -> bool:
        if self._names(self.replica):
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
        """How all stand, for whoever wants to know why nothing comes."""
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
