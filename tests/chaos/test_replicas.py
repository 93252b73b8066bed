"""``chaos.replicas``: which server is the master is what the Sentinels say."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chaos.replicas import Replicas


class Server:
    """A Redis that answers INFO by its role."""

    def __init__(self, port: int, role: bytes) -> None:
        self.port = port
        self.role = role

    def do(self, *_: str) -> bytes:
        if self.role == b"master":
            return b"role:master connected_slaves:1 slave0:state=online"
        return b"role:slave master_link_status:up"


class Sentinel:
    """Names a master and its replica."""

    def __init__(self, master: int, replica: int) -> None:
        self._master, self._replica = str(master).encode(), str(replica).encode()

    def do(self, *words: str) -> Any:
        if words[1] == "GET-MASTER-ADDR-BY-NAME":
            return [b"127.0.0.1", self._master]
        if words[1] == "MASTER":
            return [b"flags", b"master", b"port", self._master, b"num-other-sentinels", b"2"]
        return [[b"port", self._replica, b"flags", b"slave", b"master-link-status", b"ok"]]


class InStep(SynchronousTestCase):
    def replicas(self, master: int, replica: int) -> Replicas:
        made: Any = Replicas(Clock())
        made.master, made.replica = Server(1, b"slave" if master == 2 else b"master"), Server(2, b"master")
        if master == 1:
            made.replica.role = b"slave"
        made._sentinels = [Sentinel(master, replica) for _ in range(3)]
        replicas: Replicas = made
        return replicas

    def test_servers_are_in_step_as_they_were_set_up(self) -> None:
        replicas = self.replicas(1, 2)
        self.successResultOf(_settled(replicas))
        self.assertEqual((replicas.master.port, replicas.replica.port), (1, 2))

    def test_a_failover_that_nobody_ordered_is_noticed(self) -> None:
        """On a busy machine Sentinels replace a master that does not answer for a second."""
        replicas = self.replicas(2, 1)
        self.successResultOf(_settled(replicas))
        self.assertEqual((replicas.master.port, replicas.replica.port), (2, 1))


def _settled(replicas: Replicas) -> Any:
    return Deferred.fromCoroutine(replicas.settle())
