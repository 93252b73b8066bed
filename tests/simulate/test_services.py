"""The simulated store, router and bus keep what those of the daemon keep."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from kschat.backends.memory import MemoryStore
from kschat.chat.bus import IBus
from kschat.chat.interfaces import IRouter, IStore
from tests.contracts.bus import BusesContract
from tests.contracts.istore import StoreContract
from tests.contracts.router import RouterContract
from simulate.services import SLOW, Exchange, FarBus, FarRouter, FarStore, Hall
from tests.support.waiting import real_reactor


class SimulatedTestCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.random = Random(7)
        goes = LoopingCall(self.clock.advance, 0.001)
        goes.start(0)
        self.addCleanup(goes.stop)

    async def all_arrives(self) -> None:
        """Fires when whatever was under way has arrived."""
        for _ in range(4):
            passed: Deferred[None] = deferLater(self.clock, max(SLOW))
            await passed
        await deferLater(real_reactor(), 0)


class FarStoreTests(StoreContract, SimulatedTestCase):
    async def make_store(self) -> IStore:
        return FarStore(MemoryStore(100_000, 100_000_000), self.clock, self.random)


class FarBusTests(BusesContract, SimulatedTestCase):
    async def make_buses(self, count: int) -> list[IBus]:
        hall = Hall()
        return [FarBus(hall, self.clock, self.random) for _ in range(count)]

    async def settle(self) -> None:
        await self.all_arrives()

    async def comes_true(self, right: Callable[[], bool]) -> None:
        await self.all_arrives()
        self.assertTrue(right())


class FarRouterTests(RouterContract, SimulatedTestCase):
    async def make_router(self) -> IRouter:
        return FarRouter(Exchange(), self.clock, self.random)

    async def settle(self) -> None:
        await self.all_arrives()
