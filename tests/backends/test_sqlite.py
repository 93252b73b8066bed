"""The store in an SQLite file."""

import os
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from kschat.backends.sqlite import Settings, SqliteStore
from kschat.chat.interfaces import IStore
from tests.contracts import istore

reactor: Any = _reactor


class SqliteStoreContractTests(istore.StoreContract, TestCase):
    """While the newest messages are in memory."""

    timeout = 60

    async def make_store(self) -> IStore:
        directory = mkdtemp()
        self.addCleanup(rmtree, directory)
        store = SqliteStore(Settings(os.path.join(directory, "kschat.db"), "normal"), reactor, reactor)
        store.start()
        self.addCleanup(store.stop)
        return store


class IndexedSqliteStoreContractTests(SqliteStoreContractTests):
    """Once they are in the tables."""

    async def settle(self, store: IStore) -> None:
        assert isinstance(store, SqliteStore)
        await store.settle()
