"""Changed messages in Redis: their earlier texts are gone from its memory, however the copying went."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, succeed

from kschat.backends.redis import RedisStore
from kschat.backends.redis.client import packing
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import message, to
from tests.contracts.updates import delete, edit, react
from tests.support.redis import Redis, shared_redis

SECRET = b"nobody is to find this"


class RewritingTests(StoreTestCase):
    """On a real Redis, which shows the bytes of a stream as it would write them to disk."""

    async def made_one(self) -> tuple[Redis, RedisStore]:
        """A Redis, and a store that copies nothing by itself."""
        redis = await shared_redis()
        redis.do("CONFIG", "SET", "rdbcompression", "no")
        return redis, await self.still(redis)

    async def still(self, redis: Redis, **settings: Any) -> RedisStore:
        """A store that copies nothing by itself."""
        store = await self.store(redis, **settings)
        nothing: Deferred[None] = succeed(None)
        self.patch(store._rewriting, "sweep", lambda: nothing)
        return store

    def bytes_of(self, redis: Redis) -> bytes:
        """All that Redis has of the conversation of ann and ben."""
        parts = [redis.do("DUMP", f"{self.id()}:{key}:3:annben") for key in "cwyh"]
        return b"".join(part for part in parts if part)

    async def step(self, store: RedisStore, entries: int = 1000) -> Any:
        """One step of the copying. Whether there is more."""
        return await store._client.read("rewrite", packing.pack("3:annben", entries, 10**6, 1000))

    async def sent(self, store: RedisStore, *messages: Message) -> list[Message]:
        """Messages, as they are kept."""
        answers: list[Stored] = await store.append(list(messages))
        return [answer.message for answer in answers]

    async def texts(self, store: RedisStore) -> list[bytes]:
        """The conversation."""
        return [bytes(one.msg) for one in await self.whole(store, "ann", "ben")]

    async def test_a_deleted_text_is_gone_once_the_stream_was_copied(self) -> None:
        redis, store = await self.made_one()
        secret, *others = await self.sent(store, message(msg=Raw(b'"%b"' % SECRET), cid="c1"), *to("ben", "ben"))
        await store.change(delete(secret))
        self.assertIn(SECRET, self.bytes_of(redis))
        before = await store.read("ben", 0, 10)
        self.assertEqual(await self.step(store), 0)
        self.assertNotIn(SECRET, self.bytes_of(redis))
        self.assertEqual(redis.do("EXISTS", *[f"{self.id()}:{key}" for key in ("w:3:annben", "y:3:annben")]), 0)
        self.assertEqual(await store.read("ben", 0, 10), before)
        self.assertEqual(await self.texts(store), [b"null", *[bytes(one.msg) for one in others]])
        (again,) = await store.append([message(msg=Raw(b'"again"'), cid="c1")])
        self.assertEqual((again.repeat, again.whole, again.message.mid), (True, False, secret.mid))

    async def test_it_is_done_soon_after_the_change(self) -> None:
        redis = await shared_redis()
        redis.do("CONFIG", "SET", "rdbcompression", "no")
        store = await self.store(redis)
        (secret,) = await self.sent(store, message(msg=Raw(b'"%b"' % SECRET)))
        await store.change(edit(secret))
        await store.rewritten()
        self.assertNotIn(SECRET, self.bytes_of(redis))
        self.assertEqual(await self.texts(store), [b'"edited"'])

    async def test_what_happens_amid_the_copying_is_in_the_copy(self) -> None:
        redis, store = await self.made_one()
        sent = await self.sent(store, *[message(msg=Raw(b'"%b %d"' % (SECRET, n))) for n in range(10)])
        await store.change(edit(sent[0], b"0"))
        self.assertEqual(await self.step(store, 3), 1)
        await store.change(react(sent[1], "+1", "ben"))
        self.assertEqual(await self.step(store, 3), 1)
        late = await self.sent(store, message(msg=Raw(b"10")))
        await store.change(delete(sent[9]))
        expected = [b"0", *[bytes(one.msg) for one in sent[1:9]], b"null", b"10"]
        self.assertEqual(await self.texts(store), expected)
        while await self.step(store, 3):
            self.assertEqual(await self.texts(store), expected)
        self.assertEqual(await self.texts(store), expected)
        self.assertNotIn(SECRET + b" 0", self.bytes_of(redis))
        self.assertNotIn(SECRET + b" 9", self.bytes_of(redis))
        again = await self.sent(store, message(msg=Raw(b"11")))
        self.assertGreater(again[0].mid, late[0].mid)
        self.assertEqual(await self.texts(store), [*expected, b"11"])

    async def test_changes_in_a_busy_conversation_do_not_keep_the_copying_from_its_end(self) -> None:
        redis, store = await self.made_one()
        sent = await self.sent(store, *[message(msg=Raw(b'"%b %d"' % (SECRET, n))) for n in range(10)])
        await store.change(delete(sent[5]))
        for number in range(5):
            await self.step(store, 3)
            # One that was copied already.
            await store.change(edit(sent[0], b"%d" % number))
            expected = [b"%d" % number, *[bytes(one.msg) for one in sent[1:5]], b"null"]
            self.assertEqual((await self.texts(store))[:6], expected)
        self.assertNotIn(SECRET + b" 5", self.bytes_of(redis))
        for _ in range(10):
            await self.step(store, 3)
        self.assertEqual((await self.texts(store))[:6], expected)
        self.assertNotIn(SECRET + b" 0", self.bytes_of(redis))
        self.assertEqual(redis.do("EXISTS", *[f"{self.id()}:{key}:3:annben" for key in "wyz"]), 0)
        self.assertEqual(redis.do("SCARD", f"{self.id()}:x:changed"), 0)

    async def test_another_daemon_finishes_what_one_has_left(self) -> None:
        redis, store = await self.made_one()
        (secret,) = await self.sent(store, message(msg=Raw(b'"%b"' % SECRET)))
        await store.change(delete(secret))
        await store.stop()
        other = await self.store(redis)
        await other.rewritten()
        self.assertNotIn(SECRET, self.bytes_of(redis))
        self.assertEqual(await self.texts(other), [b"null"])

    async def test_daemons_that_change_one_message_at_once_lose_nothing(self) -> None:
        redis, one = await self.made_one()
        other = await self.still(redis)
        (target,) = await self.sent(one, message())
        waiting = [
            store.change(react(target, emoji, user))
            for emoji in ("1", "2", "3")
            for store, user in ((one, "ann"), (other, "ben"))
        ]
        for answer in waiting:
            self.assertIsNone((await answer).refused)
        (now,) = await self.whole(one, "ann", "ben")
        extra: Any = now.extra
        self.assertEqual(sorted(extra.reactions), [("ann", "3"), ("ben", "3")])
        self.assertEqual(await one.ends(["ben"]), {"ben": 7})

    async def test_retention_deletes_changed_messages_too(self) -> None:
        store = await self.still(await shared_redis(), retention_messages=2)
        sent = await self.sent(store, *[message(msg=Raw(b'"%b"' % SECRET)) for _ in range(4)])
        await store.change(edit(sent[0], b"0"))
        await store.change(edit(sent[3], b"3"))
        for _ in range(3):
            await store.sweep()
        self.assertEqual(await self.texts(store), [bytes(sent[2].msg), b"3"])
        self.assertEqual(await self.step(store), 0)
        self.assertEqual(await self.texts(store), [bytes(sent[2].msg), b"3"])
