"""The tests' own replicas keep the contract, so that what is seen with them is true of others."""

from twisted.trial.unittest import TestCase

from kschat.chat.ireplica import IReplica
from tests.contracts.circle import Circle
from tests.contracts.replica import ReplicasContract


class CircleContractTests(ReplicasContract, TestCase):
    async def make_replicas(self, count: int) -> list[IReplica]:
        circle = Circle()
        return [circle.replica() for _ in range(count)]
