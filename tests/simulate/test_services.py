"""The simulated store, router and bus keep what those of the daemon keep."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from kschat.chat.bus import IBus
from kschat.chat.interfaces import IRouter, IStore
from simulate.ledger import ModelStore
from simulate.services import RETRY, SLOW, Exchange, FarBus, FarRouter, FarStore, Hall
from tests.contracts.bus import BusesContract
from tests.contracts.istore import FailingStoreContract, StoreContract
from tests.contracts.router import FailingRouterContract, RouterContract
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


class FarStoreTests(StoreContract, FailingStoreContract, SimulatedTestCase):
    async def make_store(self) -> IStore:
        return FarStore(ModelStore(), self.clock, self.random)

    async def break_off(self, store: IStore) -> None:
        assert isinstance(store, FarStore)
        store.refused = True
        store.cut()

    async def bring_back(self, store: IStore) -> None:
        assert isinstance(store, FarStore)
        store.heal()
        passed: Deferred[None] = deferLater(self.clock, 2 * max(RETRY))
        await passed
        self.assertTrue(store.up)


class FarBusTests(BusesContract, SimulatedTestCase):
    async def make_buses(self, count: int) -> list[IBus]:
        hall = Hall()
        return [FarBus(hall, self.clock, self.random) for _ in range(count)]

    async def settle(self) -> None:
        await self.all_arrives()

    async def comes_true(self, right: Callable[[], bool]) -> None:
        await self.all_arrives()
        self.assertTrue(right())


class FarRouterTests(RouterContract, FailingRouterContract, SimulatedTestCase):
    async def make_router(self) -> IRouter:
        return FarRouter(Exchange(), self.clock, self.random)

    async def settle(self) -> None:
        await self.all_arrives()

    async def break_off(self, router: IRouter) -> None:
        assert isinstance(router, FarRouter)
        router.refused = True
        router.cut()
