"""What is left of a user who was erased: every table of SQLite and every key of Redis is looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Raw
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from kschat.backends.redis import Settings as RedisSettings
from kschat.backends.redis.store.store import RedisStore
from kschat.backends.sqlite import Settings, SqliteStore
from kschat.backends.sqlite.store import ERASE_REST, TIDY_EVERY
from kschat.chat.interfaces import IStore, Progress, StoreUnavailable
from kschat.chat.outbox import Commit, Event, WaitingUser
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import Revocation
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import message
from tests.contracts.updates import delete, edit, react
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import real_reactor

#: Unlike all else that may be in a file.
NAME = "erased-user-7f3a"
TEXT = "what the erased user wrote 7f3a"


async def filled(store: IStore, *, reacts: bool = True) -> None:
    """The user is everywhere where a user can be. ``reacts``: also in what Redis can't take out of rooms."""
    large, text = Raw(b'"%b"' % (TEXT.encode() * 200)), Raw(b'"%b"' % TEXT.encode())
    for room in ("#r", "#left"):
        for user in (NAME, "ben", "cem"):
            await store.join(room, user, 10)
    direct = await store.append(
        [
            message(NAME, "ben", cid="1", msg=large, attachments=(TEXT.encode(),)),
            message("ben", NAME, cid="1", msg=text),
            message(NAME, NAME, msg=text),
            message("ben", NAME, cid="4", msg=large),
        ]
    )
    for update in (
        edit(direct[0].message, b'"%b"' % TEXT.encode(), cid="5"),
        react(direct[0].message, "+", sender="ben", cid="6"),
        react(direct[1].message, "+", sender=NAME, cid="7"),
        delete(direct[3].message),
    ):
        await store.change(update)
    in_rooms = await store.append(
        [
            message(NAME, "#r", cid="2", msg=large),
            message(NAME, "#left", msg=text, name=NAME),
            message("ben", "#r", cid="3"),
            message("cem", "#left"),
            message("ben", "cem"),
        ]
    )
    updates = [react(one.message, "+", sender=NAME) for one in in_rooms[2:4]] + [delete(in_rooms[0].message)]
    if not reacts:
        updates = [react(in_rooms[0].message, "+", sender="ben")]
    for update in updates:
        await store.change(update)
    await store.leave("#left", NAME)
    for user, peer in ((NAME, "dan"), ("ben", NAME), ("ben", "dan")):
        await store.block(user, peer, 10)
    await store.subscribe(NAME, PushSubscription(f"https://push.example.org/{TEXT}", "key", "auth"), 10)
    await store.mark_read(NAME, "ben", "7" * 16)
    await store.save_progress(Progress({NAME: 1, "ben": 1}, {NAME: 1000, "ben": 1000}))
    await store.revoke(Revocation(f"u{NAME}", 1, 2**60, False), now=1, most=10)

    if store.outbox is not None:
        await fill_outbox(store.outbox)


async def fill_outbox(outbox: Any) -> None:
    """The user is also wherever a user can be because of hooks."""
    await outbox.acquire("me", 60)
    page = await outbox.log(await outbox.end(), 100)
    joins = await outbox.joins(100)
    made = [
        Event("1", "a", NAME, 1, Raw(b'{"user":"%b"}' % NAME.encode())),
        Event("2", "a", "ben", 1, Raw(b'{"senders":["%b"]}' % NAME.encode()), (NAME,)),
        Event("3", "a", "ben", 1, Raw(b"{}"), ("cem",)),
    ]
    commit = Commit(log=page.upto, joins=joins[-1].number, connected=[NAME], undelivered={NAME: 1}, events={"w": made})
    await outbox.commit("me", commit)
    await outbox.commit("me", Commit(waiting=[WaitingUser(NAME, 5, 1)]))
    await outbox.mark([NAME])
    done = await outbox.queued("w", 1, 1)
    await outbox.settle("w", [done[0].number], [])


class SqliteErasureTests(TestCase):
    timeout = 60
    hooks = False

    def started(self, **settings: Any) -> SqliteStore:
        self.clock = Clock()
        store = SqliteStore(Settings(self.path, "normal", hooks=self.hooks, **settings), real_reactor(), self.clock)
        store.start()
        self.addCleanup(store.stop)
        return store

    def setUp(self) -> None:
        self.path = self.mktemp()

    def file(self) -> bytes:
        """The whole file."""
        return Path(self.path).read_bytes()

    def cells(self) -> Iterator[tuple[str, Any]]:
        """Each value of each table."""
        with closing(sqlite3.connect(self.path)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for row in connection.execute(f"SELECT * FROM {table}"):
                    yield from ((table, cell) for cell in row)

    async def test_no_table_has_anything_of_the_user_but_a_revocation(self) -> None:
        store = self.started()
        await filled(store)
        await store.erase(NAME)
        await store.stop()
        found = [
            (table, cell)
            for table, cell in self.cells()
            if isinstance(cell, str | bytes)
            and (NAME.encode() in (text := cell.encode() if isinstance(cell, str) else cell) or TEXT.encode() in text)
        ]
        self.assertEqual([("revocations", f"u{NAME}")], found)
        # Nor is it in what SQLite has freed.
        data = self.file()
        self.assertNotIn(TEXT.encode(), data)
        self.assertLessEqual(data.count(NAME.encode()), 2, "the revocation, in its table and in its index")

    async def test_senders_are_served_between_the_steps_until_the_store_is_stopped(self) -> None:
        store = self.started()
        await filled(store)
        between, rests = store._writer.between, []

        def slow(work: Any) -> Any:
            self.clock.rightNow += 0.01
            return between(work)

        self.patch(store._writer, "between", slow)
        erased = store.erase(NAME)
        for _ in range(3):
            await self.until_it_rests()
            (call,) = [one for one in self.clock.calls if one.func.__name__ != "_look_after"]
            rests.append(call.getTime() - self.clock.seconds())
            self.clock.advance(rests[-1])
        self.assertEqual([0.01 * ERASE_REST] * 3, [round(one, 6) for one in rests])
        await self.until_it_rests()
        await store.stop()
        with self.assertRaises(StoreUnavailable):
            await erased

    async def until_it_rests(self) -> None:
        """Wait until the step that is under way is done."""
        while len(self.clock.getDelayedCalls()) < 2:
            await deferLater(real_reactor(), 0.005)

    async def test_no_row_refers_to_what_is_gone(self) -> None:
        store = self.started()
        await filled(store)
        await store.erase(NAME)
        await store.stop()
        with closing(sqlite3.connect(self.path)) as connection:
            for statement in (
                "SELECT * FROM inbox WHERE message NOT IN (SELECT id FROM messages)",
                "SELECT * FROM thread WHERE message NOT IN (SELECT id FROM messages)",
                "SELECT * FROM cids WHERE message NOT IN (SELECT id FROM messages)",
                "SELECT * FROM lines WHERE message NOT IN (SELECT id FROM messages)",
                "SELECT * FROM held WHERE message NOT IN (SELECT id FROM messages)",
                "SELECT * FROM participants WHERE conversation NOT IN (SELECT id FROM conversations)",
                "SELECT * FROM participants WHERE user IN (SELECT id FROM users WHERE name LIKE '#%')",
                "SELECT * FROM inbox WHERE user IN (SELECT id FROM users WHERE name LIKE '#%')",
            ):
                self.assertEqual([], connection.execute(statement).fetchall(), statement)
            self.assertEqual([("ok",)], connection.execute("PRAGMA integrity_check").fetchall())

    async def test_offsets_go_on_after_a_restart(self) -> None:
        store = self.started()
        (last,) = await store.append([message("cem", "ben"), message(NAME, "ben")][1:])
        (mine,) = await store.append([message("ben", NAME)])
        await store.erase(NAME)
        await store.stop()
        store = self.started()
        self.assertEqual((await store.inbox("ben")).last, last.places[0][1])
        again = await store.append([message("cem", "ben"), message("ben", NAME)])
        self.assertGreater(again[0].places[0][1], last.places[0][1])
        self.assertGreater(again[1].places[0][1], mine.places[0][1])

    async def test_a_room_with_holes_keeps_as_many_messages_as_it_may(self) -> None:
        store = self.started(retention_messages=60)
        for user in (NAME, "ben", "cem"):
            await store.join("#r", user, 10)
        for _ in range(10):
            await store.append([message("ben", "#r") for _ in range(5)] + [message(NAME, "#r") for _ in range(20)])
        await store.erase(NAME)
        await store.settle()
        self.clock.advance(TIDY_EVERY)
        while await store._writer.between(lambda transactions: transactions.retention.due):
            pass
        # The newest message that is left has the number 230: of the newest 60 up to it, 15 are Ben's.
        page = await store.history("ben", "#r", before=None, limit=100)
        self.assertEqual(15, len(page.messages))


class SqliteHooksErasureTests(SqliteErasureTests):
    """The same with hooks."""

    hooks = True


class RedisErasureTests(StoreTestCase):
    hooks = False

    def settings(self, url: str, **changes: Any) -> RedisSettings:
        return super().settings(url, hooks=self.hooks, **changes)

    def values(self, redis: Redis, prefix: str) -> Iterator[tuple[bytes, bytes]]:
        """Each text of each key: its own name, fields and values."""
        cursor = b"0"
        while True:
            cursor, keys = redis.do("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", 1000)
            for key in keys:
                yield key, key
                for text in flat(self.value(redis, key)):
                    yield key, text
            if cursor == b"0":
                return

    def value(self, redis: Redis, key: bytes) -> Any:
        kind = redis.do("TYPE", key)
        commands = {
            b"string": ("GET", key),
            b"hash": ("HGETALL", key),
            b"set": ("SMEMBERS", key),
            b"zset": ("ZRANGE", key, 0, -1),
            b"stream": ("XRANGE", key, "-", "+"),
        }
        # Some expire.
        return [] if kind == b"none" else redis.do(*commands[kind])

    async def test_no_key_has_anything_of_the_user_but_what_is_named(self) -> None:
        redis = await shared_redis()
        store = await self.store(redis, send_rate=100.0, send_burst=1.0, retention_messages=1000)
        await filled(store, reacts=False)
        await store.erase(NAME)
        found = [
            (key.decode().removeprefix(f"{self.id()}:"), text)
            for key, text in self.values(redis, self.id())
            if NAME.encode() in text or TEXT.encode() in text
        ]
        places = [key for key, text in found if key == "c:#r" and NAME.encode() in text]
        rest = [(key, text) for key, text in found if key != "c:#r"]
        # The recipients of a message to a room with a cid, and the revocation.
        self.assertEqual(1, len(places))
        self.assertEqual({"t", "t:n", "t:u"}, {key for key, _ in rest})
        self.assertEqual({f"u{NAME}".encode()}, {text for _, text in rest})

    async def test_updates_of_rooms_stay_without_any_text(self) -> None:
        redis = await shared_redis()
        store = await self.store(redis)
        await filled(store)
        await store.erase(NAME)
        await store.rewritten()
        found = {
            (key.decode().removeprefix(f"{self.id()}:"))
            for key, text in self.values(redis, self.id())
            if NAME.encode() in text
        }
        # Messages of others with a reaction or the recipients, what is listed or repeated of them, and updates.
        of_others = {"c:#r", "c:#left", "h:#r", "h:#left", "e:ben", "i:ben", "i:cem"}
        self.assertEqual({*of_others, "t", "t:n", "t:u"}, found)
        self.assertFalse([key for key, text in self.values(redis, self.id()) if TEXT.encode() in text])

    async def test_offsets_go_on_on_another_daemon(self) -> None:
        redis = await shared_redis()
        store, other = await self.store(redis), await self.store(redis)
        await store.append([message("cem", "ben")])
        (last,) = await store.append([message(NAME, "ben")])
        (mine,) = await store.append([message("ben", NAME)])
        await store.erase(NAME)
        self.assertGreaterEqual((await other.inbox("ben")).last, last.places[0][1])
        again = await other.append([message("cem", "ben"), message("ben", NAME)])
        self.assertGreater(again[0].places[0][1], last.places[0][1])
        self.assertGreater(again[1].places[0][1], mine.places[0][1])
        page = await other.read("ben", last.places[0][1], 10)
        self.assertEqual([again[0].message], [entry.message for entry in page.entries])

    async def test_a_room_with_holes_keeps_as_many_messages_as_it_may(self) -> None:
        store: RedisStore = await self.store(await shared_redis(), retention_messages=60)
        for user in (NAME, "ben", "cem"):
            await store.join("#r", user, 10)
        for _ in range(10):
            await store.append([message("ben", "#r") for _ in range(5)] + [message(NAME, "#r") for _ in range(20)])
        await store.erase(NAME)
        await store.sweep()
        # Of the newest 60 numbers of 250, ten are Ben's.
        page = await store.history("ben", "#r", before=None, limit=100)
        self.assertEqual(10, len(page.messages))


class RedisHooksErasureTests(RedisErasureTests):
    """The same with hooks."""

    hooks = True


def flat(value: Any) -> Iterator[bytes]:
    """Each text in what Redis answered."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)
    elif isinstance(value, dict):
        yield from flat(list(value.items()))
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode()
