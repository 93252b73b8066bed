"""The chat's tests believe these two, so they do what every store and every router does."""

from twisted.trial.unittest import TestCase

from kschat.chat.interfaces import IRouter, IStore
from tests.contracts import istore, router
from tests.contracts.doubles import LateRouter, LateStore


class LateStoreTests(istore.StoreContract, istore.FailingStoreContract, TestCase):
    async def make_store(self) -> LateStore:
        return LateStore()

    async def break_off(self, store: IStore) -> None:
        assert isinstance(store, LateStore)
        store.answers.away = store.looks.away = store.lists.away = True

    async def bring_back(self, store: IStore) -> None:
        assert isinstance(store, LateStore)
        store.answers.away = store.looks.away = store.lists.away = False


class LateRouterTests(router.RouterContract, router.FailingRouterContract, TestCase):
    async def make_router(self) -> LateRouter:
        return LateRouter()

    async def break_off(self, router: IRouter) -> None:
        assert isinstance(router, LateRouter)
        router.answers.away = router.binds.away = True
