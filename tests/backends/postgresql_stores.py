"""Stores on a real PostgreSQL, for tests."""

from __future__ import annotations

import time
from typing import Any

from kschat.backends.postgresql.settings import Settings
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat.clocks import WallClock
from tests.backends.stores import WaitingTestCase
from tests.support.postgresql import PostgreSQL
from tests.support.waiting import real_reactor


class PostgresqlTestCase(WaitingTestCase):
    """Stores on a server."""

    def made(self, url: str, wall: WallClock = time.time, **changes: Any) -> PostgresqlStore:
        """A store that was not started."""
        settings = Settings(**{"url": url, "patience": 2.0, "last_retry": 0.2, **changes})
        store = PostgresqlStore(settings, real_reactor(), wall)
        self.addCleanup(store.stop)
        return store

    async def store(self, server: PostgreSQL, wall: WallClock = time.time, **changes: Any) -> PostgresqlStore:
        """A store that is up."""
        store = self.made(server.url, wall, **changes)
        store.start()
        await self.up(store)
        return store

    async def own_server(self, config: str = "") -> PostgreSQL:
        """A server that this test may harm."""
        server = PostgreSQL(config)
        self.addCleanup(server.stop)
        await server.start()
        return server
