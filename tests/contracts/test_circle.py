"""The tests' own buses keep the contract, so that what is seen with them is true of others."""

from twisted.trial.unittest import TestCase

from kschat.chat.bus import IBus
from tests.contracts.bus import BusesContract
from tests.contracts.circle import Circle


class CircleContractTests(BusesContract, TestCase):
    async def make_buses(self, count: int) -> list[IBus]:
        circle = Circle()
        return [circle.bus() for _ in range(count)]
