"""A Redis that comes back, with all that it had confirmed or with less: no offset is given twice."""

from __future__ import annotations

from kschat.backends.redis import RedisStore
from kschat.backends.redis.packed import GENERATION
from kschat.chat.interfaces import InboxPage, InboxState, Notes, StoreUnavailable
from tests.backends.redis_stores import Listener, StoreTestCase
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to
from tests.support.redis import Redis


class LostTestCase(StoreTestCase):
    async def daemon(self, redis: Redis) -> tuple[RedisStore, Listener]:
        """A store that is up, and who is told of its renewals."""
        store, listener = self.made(redis.url), Listener()
        store.attach(listener)
        store.start()
        await self.up(store)
        return store, listener


class RestartTests(LostTestCase):
    """Another life of the server. Whether it lost anything no daemon can tell for all: offsets go on far beyond."""

    async def test_after_a_crash_without_loss_all_is_there_and_offsets_go_on_beyond(self) -> None:
        redis = await self.own_redis("appendonly yes\nappendfsync always\n")
        store, listener = await self.daemon(redis)
        before = await store.append([*to("ben", "ben"), message(cid="c1")])
        await store.note(Notes({"ben": 2}, {"ben": 1000}))
        epoch = store.epoch
        redis.kill()
        await self.up(store, False)
        await redis.start()
        await self.up(store)
        self.assertEqual(store.epoch, epoch, "recovery goes on")
        self.assertEqual(listener.renewals, 0)
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, 3))
        after = await store.append([*to("ben", "ben"), message(cid="c1")])
        self.assertEqual(offsets(after), [GENERATION + 1, GENERATION + 2, 3])
        self.assertTrue(after[2].repeat)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([*before, *after[:2]]))
        self.assertEqual((await store.read("ben", 3, 10)).entries, entries(after[:2]))
        page = await store.read("ben", GENERATION + 1, 10)
        self.assertEqual(page, InboxPage(entries(after[1:2]), 1, GENERATION + 2, 2 * GENERATION))
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, GENERATION + 2))
        await store.note(Notes({"ben": GENERATION + 1}, {}))
        self.assertEqual((await store.inbox("ben")).cursor, GENERATION + 1)

    async def test_no_offset_that_was_lost_is_given_again(self) -> None:
        redis = await self.own_redis()
        one, _ = await self.daemon(redis)
        other, _ = await self.daemon(redis)
        await one.append(to("ben", "ben"))
        redis.do("SAVE")
        lost = await one.append(to("ben", "ben", "ben"))
        self.assertEqual(offsets(lost), [3, 4, 5])
        await redis.restart()
        await self.up(one, False)
        await self.up(other)  # knows nothing of what was lost, and is the first to write
        await self.up(one)
        self.assertEqual((await other.inbox("ben")).last, 2)
        answers = await other.append(to("ben"))
        self.assertGreater(offsets(answers)[0], 5)
        # A socket of the other daemon that has all up to 5 hears of it, and its cursor hides nothing.
        self.assertEqual((await one.read("ben", 5, 10)).entries, entries(answers))
        await one.note(Notes({"ben": 5}, {}))
        self.assertEqual((await one.read("ben", (await one.inbox("ben")).cursor, 10)).entries, entries(answers))

    async def test_mids_go_on_too(self) -> None:
        redis = await self.own_redis()
        store, _ = await self.daemon(redis)
        await store.append(to("ben"))
        redis.do("SAVE")
        await redis.restart()
        await self.up(store, False)
        await self.up(store)
        (answer,) = await store.append(to("ben"))
        self.assertEqual([entry.message.mid for entry in (await store.read("ben", 1, 1)).entries], [answer.message.mid])


class EmptyTests(LostTestCase):
    """A server with nothing in it: another store."""

    async def test_a_server_that_forgot_all_is_another_store(self) -> None:
        redis = await self.own_redis()
        store, listener = await self.daemon(redis)
        await store.append(to("ben", "ben"))
        epoch = store.epoch
        await redis.restart()
        await self.up(store, False)
        await self.up(store)
        self.assertNotEqual(store.epoch, epoch)
        self.assertEqual(listener.renewals, 1)
        (offset,) = offsets(await store.append(to("ben")))
        self.assertGreater(offset, 2)

    async def test_a_flush_is_noticed_by_the_next_batch_which_is_refused(self) -> None:
        redis = await self.own_redis()
        store, listener = await self.daemon(redis)
        await store.append(to("ben", "ben"))
        redis.do("FLUSHALL")
        with self.assertRaises(StoreUnavailable):
            await store.append(to("ben"))
        await self.until(lambda: listener.renewals == 1 and store.up, "the store to be renewed")
        (offset,) = offsets(await store.append(to("ben")))
        self.assertGreater(offset, 2)

    async def test_a_flush_is_noticed_also_by_who_writes_nothing(self) -> None:
        redis = await self.own_redis()
        store, listener = await self.daemon(redis)
        redis.do("FLUSHALL")
        await self.until(lambda: listener.renewals == 1 and store.up, "the store to be renewed")

    async def test_cursors_of_before_are_refused(self) -> None:
        redis = await self.own_redis()
        store, listener = await self.daemon(redis)
        await store.append(to("ben", "ben"))
        redis.do("FLUSHALL")
        with self.assertRaises(StoreUnavailable):
            await store.note(Notes({"ben": 2}, {}))
        await self.until(lambda: listener.renewals == 1 and store.up, "the store to be renewed")
        self.assertEqual(await store.inbox("ben"), InboxState())

    async def test_all_daemons_learn_of_it_and_a_new_one_gives_no_offset_that_an_old_one_knows(self) -> None:
        redis = await self.own_redis()
        old, listener = await self.daemon(redis)
        await old.append(to(*["ben"] * 5))
        redis.do("FLUSHALL")
        new, _ = await self.daemon(redis)
        await self.until(lambda: listener.renewals == 1 and old.up, "the old one to learn of it")
        self.assertEqual(old.epoch, new.epoch)
        for store in (new, old):
            self.assertGreater(offsets(await store.append(to("ben")))[0], 5)
