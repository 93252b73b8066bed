"""The replica of a daemon without Redis."""

from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.alone import LoneReplica
from kschat.chat.ireplica import IReplica
from tests.contracts.replica import Ears, ReplicaContract


class LoneReplicaContractTests(ReplicaContract, TestCase):
    async def make_replicas(self, count: int) -> list[IReplica]:
        return [LoneReplica() for _ in range(count)]


class OneOfSeveral(SynchronousTestCase):
    def test_of_who_is_not_here_it_knows_nothing(self) -> None:
        replica, ears = LoneReplica(only=False), Ears()
        replica.attach(ears)
        replica.here("ann")
        self.assertEqual(self.successResultOf(replica.online(["ann", "ben"])), {"ann": True, "ben": None})
        replica.gone("ann", 5)
        self.assertEqual(self.successResultOf(replica.online(["ann"])), {"ann": None})
        self.assertEqual(ears.changes, [("ann", True, None), ("ann", None, 5)])
