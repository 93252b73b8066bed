"""Moves stores to PostgreSQL, for tests; and what each store that can be moved passes."""

from __future__ import annotations

from typing import Any

from kschat.backends.archive import ArchiveReader, Section
from kschat.backends.moving import move
from kschat.backends.postgresql import archive as postgresql_archive
from kschat.backends.postgresql.archive import PostgresqlArchive
from kschat.backends.postgresql.settings import Settings
from kschat.backends.redis.store import archive as redis_archive
from kschat.backends.sqlite import archive as sqlite_archive
from kschat.backends.sqlite.database import Settings as SqliteSettings
from kschat.backends.sqlite.store import SqliteStore
from kschat.chat.interfaces import IStore
from tests.backends.filled import everything, fill
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.contracts.istore import offsets
from tests.contracts.made import message, to
from tests.support.postgresql import PostgreSQL, shared_postgresql
from tests.support.waiting import real_reactor


def unreported(what: str, section: Section, count: int) -> None:
    """Nothing is told."""


class MovingTestCase(PostgresqlTestCase):
    """Moves to PostgreSQL."""

    def target(self, server: PostgreSQL) -> PostgresqlArchive:
        archive = PostgresqlArchive(Settings(url=server.url), real_reactor())
        self.addCleanup(archive.close)
        return archive

    async def moved(self, source: ArchiveReader, server: PostgreSQL) -> dict[Section, Any]:
        target = self.target(server)
        try:
            return await move(source, target, unreported)
        finally:
            await target.close()
            await source.close()

    async def sqlite_store(self, path: str) -> SqliteStore:
        store = SqliteStore(SqliteSettings(path), real_reactor(), real_reactor())
        self.addCleanup(store.stop)
        store.start()
        await self.up(store)
        return store


class SourceContract(MovingTestCase):
    """Of each store that can be moved."""

    async def source(self) -> IStore:
        """An empty store, which is up."""
        raise NotImplementedError

    def reader(self) -> ArchiveReader:
        """Reads it, once it was stopped."""
        raise NotImplementedError

    async def test_all_is_there_and_goes_on(self) -> None:
        self.patch(sqlite_archive, "PAGE_BYTES", 100_000)
        self.patch(sqlite_archive, "PAGE_RECORDS", 30)
        self.patch(postgresql_archive, "PAGE_RECORDS", 30)
        self.patch(redis_archive, "PAGE_RECORDS", 30)
        self.patch(redis_archive, "PAGE_BYTES", 100_000)
        server = await shared_postgresql()
        source = await self.source()
        known = await fill(source)
        before = await everything(source)
        await source.stop()
        found = await self.moved(self.reader(), server)
        self.assertTrue(all(found[section].count for section in Section), found)
        store = await self.store(server)
        after = await everything(store)
        for name, told in before.items():
            self.assertEqual(after[name], told, name)
        # What is sent again is known; and what is new goes on.
        again = await store.append([message(one.sender, one.recipient, cid=one.cid) for one in known])
        self.assertEqual([(one.repeat, one.message.mid) for one in again], [(True, one.mid) for one in known])
        ends = await store.ends(["ann", "ben", "gone"])
        self.assertEqual(offsets(await store.append(to("ann", "ben"))), [ends["ann"] + 1, ends["ben"] + 1])
        (newest,) = await store.append([message("cem", "#r")])
        self.assertEqual({name for name, _ in newest.places}, {"ann", "ben", "dee"})
        await store.mark_read("ann", "#r", newest.message.mid)
        unread = {one.peer: one.unread for one in await store.conversations("ann", 100)}
        self.assertEqual(unread["#r"], 0)
        # One who was erased comes back, and gets no offset a second time.
        (back,) = offsets(await store.append(to("gone")))
        self.assertGreater(back, 1)
