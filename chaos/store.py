"""The cluster's store, opened once more when all daemons have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.task import deferLater

from kschat.backends.generations import GENERATION
from kschat.backends.postgresql.settings import Settings as PostgresqlSettings
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.backends.redis import RedisStore, Settings
from kschat.chat.interfaces import IStore

__all__ = ["GENERATION", "open_store"]


@asynccontextmanager
async def open_store(reactor: Any, url: str) -> AsyncIterator[IStore]:
    """The store at ``url``, once it answers."""
    store: IStore
    if url.startswith("postgresql:"):
        store = PostgresqlStore(PostgresqlSettings(url=url), reactor)
    else:
        store = RedisStore(Settings(url=url), reactor)
    store.start()
    try:
        while not store.up:
            await deferLater(reactor, 0.02)
        yield store
    finally:
        await store.stop()
