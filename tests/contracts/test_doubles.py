"""The chat's tests believe these two, so they do what every store and every router does."""

from twisted.trial.unittest import TestCase

from kschat.chat.interfaces import IRouter, IStore
from tests.contracts import router, store
from tests.contracts.doubles import LateRouter, LateStore


class LateStoreTests(store.StoreContract, store.FailingStoreContract, TestCase):
    async def make_store(self) -> LateStore:
        return LateStore()

    async def settle(self) -> None:
        pass

    async def break_off(self, store: IStore) -> None:
        assert isinstance(store, LateStore)
        store.away = True

    async def bring_back(self, store: IStore) -> None:
        assert isinstance(store, LateStore)
        store.away = False


class LateRouterTests(router.RouterContract, router.FailingRouterContract, TestCase):
    async def make_router(self) -> LateRouter:
        return LateRouter()

    async def break_off(self, router: IRouter) -> None:
        assert isinstance(router, LateRouter)
        router.away = True
