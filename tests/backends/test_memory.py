"""The store and the router inside one process."""

from twisted.trial.unittest import TestCase

from kschat.backends.memory import MemoryStore
from kschat.chat.interfaces import IStore
from tests.contracts import istore


class MemoryStoreContractTests(istore.StoreContract, TestCase):
    async def make_store(self) -> IStore:
        return MemoryStore(10_000, 100_000_000)
