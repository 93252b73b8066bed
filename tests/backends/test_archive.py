"""``kschat migrate-store``: what was in one store is in the other, whatever interrupts it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
from twisted.internet.threads import deferToThread

from kschat.backends.archive import ArchiveReader, Checkpoint, Section
from kschat.backends.moving import Differs, move
from kschat.backends.postgresql.archive import PostgresqlArchive
from kschat.backends.postgresql.settings import Settings
from kschat.backends.redis import RedisStore
from kschat.backends.redis import Settings as RedisSettings
from kschat.backends.redis.store.archive import RedisArchive
from kschat.backends.sqlite import archive as sqlite_archive
from kschat.backends.sqlite.archive import SqliteArchive
from kschat.backends.sqlite.database import Settings as SqliteSettings
from kschat.backends.sqlite.store import SqliteStore
from kschat.chat.interfaces import IStore, StoreUnavailable
from tests.backends import moved_stores
from tests.backends.filled import everything, fill
from tests.contracts.made import message, to
from tests.support.postgresql import PostgreSQL, shared_postgresql
from tests.support.redis import shared_redis
from tests.support.waiting import real_reactor


class Cut(Exception):
    """The process ends here."""


class CutArchive(PostgresqlArchive):
    """Ends after some pages."""

    pages = 0

    async def write(self, section: Section, records: Any, checkpoint: Checkpoint) -> None:
        if self.pages == 0:
            raise Cut
        self.pages -= 1
        await super().write(section, records, checkpoint)


class InterruptedTests(moved_stores.MovingTestCase):
    """What goes on after a crash, and what is refused."""

    async def filled(self) -> tuple[str, dict[str, Any]]:
        """A file, and all that it tells."""
        path = self.mktemp()
        store = await self.sqlite_store(path)
        await fill(store)
        told = await everything(store)
        await store.stop()
        return path, told

    async def cut(self, path: str, server: PostgreSQL, pages: int) -> bool:
        """Move, and end after so many pages; whether that was before the end."""
        source, target = SqliteArchive(path), CutArchive(Settings(url=server.url), real_reactor())
        target.pages = pages
        try:
            await move(source, target, moved_stores.unreported)
            return False
        except Cut:
            return True
        finally:
            await target.close()
            await source.close()

    async def test_it_goes_on_wherever_it_ended(self) -> None:
        self.patch(sqlite_archive, "PAGE_BYTES", 100_000)
        self.patch(sqlite_archive, "PAGE_RECORDS", 30)
        server = await shared_postgresql()
        path, before = await self.filled()
        ends = 0
        while await self.cut(path, server, 3):
            ends += 1
            # Until it is whole, no daemon uses it.
            store = self.made(server.url)
            store.start()
            await self.until(lambda store=store: store._client.tries > 1, "a try")  # type: ignore[misc]
            self.assertFalse(store.up)
            with self.assertRaisesRegex(StoreUnavailable, "kschat migrate-store again"):
                await store.append(to("ben"))
            await store.stop()
        self.assertGreater(ends, 4)
        after = await everything(await self.store(server))
        for name, told in before.items():
            self.assertEqual(after[name], told, name)

    async def test_a_command_that_is_killed_goes_on_when_it_is_given_again(self) -> None:
        server = await self.own_server("fsync = off")
        path, before = await self.filled()
        # The last statement but one of those that fill the tables waits for this.
        with psycopg.connect(server.superuser()) as other:
            await self.cut(path, server, 0)
            other.execute("LOCK TABLE kschat.blocks IN EXCLUSIVE MODE")
            process = self.command(path, server)
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'kschat'"
            await self.until(lambda: bool(server.do(waits)), "the command to be amid its work")
            process.kill()
            process.communicate()
        self.assertGreater(server.do("SELECT count(*) FROM kschat.messages")[0][0], 0)
        await self.until(lambda: not server.do("SELECT 1 FROM pg_stat_activity WHERE usename = 'kschat'"), "its end")
        process = self.command(path, server, "--json")
        output, errors = await deferToThread(process.communicate)
        self.assertEqual(process.returncode, 0, errors)
        self.assertEqual(json.loads(output)["sections"]["revocations"]["count"], 3)
        # What was done before is not done again.
        self.assertNotIn("messages: 0 moved", errors)
        self.assertNotRegex(errors, "messages: [0-9,]+ moved")
        self.assertRegex(errors, "messages: [0-9,]+ compared")
        after = await everything(await self.store(server))
        for name, told in before.items():
            self.assertEqual(after[name], told, name)

    def command(self, path: str, server: PostgreSQL, *options: str) -> subprocess.Popen[str]:
        """The command itself."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from kschat.cli import run; run()",
                "migrate-store",
                f"sqlite:{path}",
                server.url,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    async def test_what_was_changed_on_the_way_is_noticed(self) -> None:
        server = await shared_postgresql()
        path, _ = await self.filled()
        self.assertTrue(await self.cut(path, server, 5))
        # A daemon was started on the source again, and cursors and messages went on.
        store = await self.sqlite_store(path)
        await store.append([message("ann", "ben")])
        await store.stop()
        with self.assertRaises(Differs) as caught:
            await self.cut(path, server, 1000)
        self.assertIn(Section.USERS, caught.exception.sections)
        self.assertIn("the two stores do not hold the same users (", str(caught.exception))
        self.assertTrue(server.do("SELECT 1 FROM kschat.moving"))

    async def test_a_row_that_is_lost_is_noticed(self) -> None:
        server = await shared_postgresql()
        path, _ = await self.filled()
        self.assertTrue(await self.cut(path, server, 9))
        server.do("UPDATE kschat.messages SET msg = '1' WHERE id = (SELECT max(id) FROM kschat.messages)")
        with self.assertRaises(Differs) as caught:
            await self.cut(path, server, 1000)
        self.assertEqual(list(caught.exception.sections), [Section.MESSAGES])

    async def refused(self, source: Callable[[], ArchiveReader], server: PostgreSQL) -> str:
        with self.assertRaises(StoreUnavailable) as caught:
            await self.moved(source(), server)
        return str(caught.exception)

    async def test_what_is_in_use_or_not_empty_is_refused(self) -> None:
        server = await shared_postgresql()
        path = self.mktemp()
        store = await self.sqlite_store(path)
        await store.append(to("ben"))
        with self.assertRaisesRegex(StoreUnavailable, "another kschat uses it"):
            SqliteArchive(path)
        await store.stop()
        target = await self.store(server)
        self.assertIn("stop all of its daemons first", await self.refused(lambda: SqliteArchive(path), server))
        await target.append(to("ben"))
        await target.stop()
        self.assertIn("a store is there already", await self.refused(lambda: SqliteArchive(path), server))
        server.do("DROP SCHEMA kschat CASCADE")
        self.assertTrue(await self.cut(path, server, 2))
        other = self.mktemp()
        await (await self.sqlite_store(other)).stop()
        self.assertIn("a part of another store", await self.refused(lambda: SqliteArchive(other), server))
        with self.assertRaisesRegex(StoreUnavailable, "there is no file"):
            SqliteArchive(self.mktemp())

    async def test_events_that_wait_for_a_back_end_are_not_dropped_in_silence(self) -> None:
        server, redis = await shared_postgresql(), await shared_redis()
        path = self.mktemp()
        store = SqliteStore(SqliteSettings(path, hooks=True), real_reactor(), real_reactor())
        self.addCleanup(store.stop)
        store.start()
        await self.up(store)
        await store.append(to("ben", "cem"))
        await store.stop()
        self.assertIn("2 events for a back end wait", await self.refused(lambda: SqliteArchive(path), server))
        settings = RedisSettings(url=redis.url, prefix=self.id(), hooks=True)
        other = RedisStore(settings, real_reactor())
        self.addCleanup(other.stop)
        other.start()
        await self.up(other)
        await other.append(to("ben"))
        await other.stop()
        told = await self.refused(lambda: RedisArchive(settings, (), real_reactor()), server)
        self.assertIn("1 events for a back end wait", told)
        source, target = SqliteArchive(path), self.target(server)
        try:
            found = await move(source, target, moved_stores.unreported, drop_events=True)
        finally:
            await target.close()
            await source.close()
        self.assertEqual(found[Section.MESSAGES].count, 2)

    async def test_a_redis_with_a_daemon_is_refused(self) -> None:
        server, redis = await shared_postgresql(), await shared_redis()
        settings = RedisSettings(url=redis.url, prefix=self.id())
        self.assertIn(
            "has kept nothing there", await self.refused(lambda: RedisArchive(settings, (), real_reactor()), server)
        )
        now = int(redis.do("TIME")[0])
        redis.do("ZADD", f"{self.id()}:r:daemons", now * 1000, "daemon")
        told = await self.refused(lambda: RedisArchive(settings, (), real_reactor()), server)
        self.assertIn("stop all of its daemons first", told)


class SqliteTests(moved_stores.SourceContract):
    async def source(self) -> IStore:
        self.path = self.mktemp()
        return await self.sqlite_store(self.path)

    def reader(self) -> ArchiveReader:
        return SqliteArchive(self.path)


class RedisTests(moved_stores.SourceContract):
    async def source(self) -> IStore:
        self.settings = RedisSettings(url=(await shared_redis()).url, prefix=self.id())
        store = RedisStore(self.settings, real_reactor())
        self.addCleanup(store.stop)
        store.start()
        await self.up(store)
        return store

    def reader(self) -> ArchiveReader:
        archive = RedisArchive(self.settings, (), real_reactor())
        self.addCleanup(archive.close)
        return archive


class PostgresqlTests(moved_stores.SourceContract):
    """From one database to another of the same server."""

    async def source(self) -> IStore:
        server = await shared_postgresql()
        server.do("DROP DATABASE IF EXISTS other WITH (FORCE)")
        server.do("CREATE DATABASE other OWNER kschat")
        self.url = server.url.rpartition("/")[0] + "/other"
        store = self.made(self.url)
        store.start()
        await self.up(store)
        return store

    def reader(self) -> ArchiveReader:
        archive = PostgresqlArchive(Settings(url=self.url), real_reactor())
        self.addCleanup(archive.close)
        return archive
