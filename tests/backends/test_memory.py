"""The store and the router inside one process."""

from twisted.trial.unittest import TestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat.interfaces import IStore
from tests.contracts import istore, router


class MemoryStoreContractTests(istore.StoreContract, TestCase):
    async def make_store(self) -> IStore:
        return MemoryStore(10_000, 100_000_000)


class MemoryRouterContractTests(router.RouterContract, TestCase):
    async def make_router(self) -> MemoryRouter:
        return MemoryRouter()
