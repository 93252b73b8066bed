"""A Redis that comes back, with all that it had confirmed or with less: no offset is given twice."""

from __future__ import annotations

from twisted.internet.task import deferLater

from kschat.backends.generations import GENERATION
from kschat.backends.redis import RedisStore
from kschat.backends.redis.store.restored import restored
from kschat.chat.interfaces import InboxPage, InboxState, Progress, StoreUnavailable
from tests.backends.redis_stores import StoreTestCase
from tests.backends.stores import Listener
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to
from tests.support.redis import Redis
from tests.support.waiting import real_reactor


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
        await store.save_progress(Progress({"ben": 2}, {"ben": 1000}))
        epoch = store.epoch
        redis.kill()
        await self.up(store, False)
        await redis.start()
        await self.up(store)
        self.assertEqual(store.epoch, epoch, "recovery goes on")
        self.assertEqual(listener.renewals, 0)
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, 3))
        after = await store.append([*to("ben", "ben"), message(cid="c1")])
        begin = offsets(after)[0] - 1
        self.assertEqual(offsets(after), [begin + 1, begin + 2, 3])
        self.assertGreater(begin, GENERATION)
        self.assertEqual(begin % GENERATION, 0)
        self.assertTrue(after[2].repeat)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([*before, *after[:2]]))
        self.assertEqual((await store.read("ben", 3, 10)).entries, entries(after[:2]))
        page = await store.read("ben", begin + 1, 10)
        self.assertEqual(page, InboxPage(entries(after[1:2]), 1, begin + 2, begin + GENERATION))
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, begin + 2))
        await store.save_progress(Progress({"ben": begin + 1}, {}))
        self.assertEqual((await store.inbox("ben")).cursor, begin + 1)

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
        await one.save_progress(Progress({"ben": 5}, {}))
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
            await store.save_progress(Progress({"ben": 2}, {}))
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


class RestoreTests(LostTestCase):
    """An older copy is put in place of what was there."""

    async def copied(self) -> Redis:
        """A server whose copy has two messages, of which Ben was given more since."""
        redis = await self.own_redis("enable-debug-command yes\n")
        self.old, _ = await self.daemon(redis)
        self.kept = await self.old.append([*to("ben"), message(cid="c1")])
        await self.old.save_progress(Progress({"ben": 1}, {}))
        redis.do("SAVE")
        self.copy = (redis.directory / "dump.rdb").read_bytes()
        return redis

    async def lose(self, redis: Redis, store: RedisStore) -> int:
        """Ben is given messages that the copy does not have; his last offset."""
        lost = await store.append([*to(*["ben"] * 10), message(cid="c2")])
        return offsets(lost)[-1]

    async def put_back(self, redis: Redis) -> None:
        """The copy is put in place, with the server ended meanwhile."""
        redis.kill()
        (redis.directory / "dump.rdb").write_bytes(self.copy)
        await redis.start()

    async def nothing_is_missed(self, store: RedisStore, offset: int) -> int:
        """What is acknowledged from now on comes to a client of before, by its offset; its cids are known or new."""
        answers = await store.append([*to("ben", "ben"), message(cid="c1"), message(cid="c2")])
        self.assertEqual([one.repeat for one in answers], [False, False, True, False])
        self.assertEqual(answers[2].message, self.kept[1].message)
        fresh = [answers[0], answers[1], answers[3]]
        self.assertGreater(offsets(fresh)[0], offset)
        found = [entry.message for entry in (await store.read("ben", offset, 100)).entries]
        self.assertEqual(found[-3:], [one.message for one in fresh])
        state = await store.inbox("ben")
        self.assertEqual(state.last, offsets(fresh)[-1])
        self.assertLessEqual(state.cursor, 2)
        # A cursor that was noted of what is lost hides nothing.
        await store.save_progress(Progress({"ben": offset}, {}))
        (after,) = await store.append(to("ben"))
        cursor = (await store.inbox("ben")).cursor
        self.assertIn(after.message, [entry.message for entry in (await store.read("ben", cursor, 100)).entries])
        return offsets([after])[0]

    async def test_with_a_daemon_that_lives(self) -> None:
        redis = await self.copied()
        offset = await self.lose(redis, self.old)
        await self.put_back(redis)
        await self.up(self.old, False)
        await self.up(self.old)
        await self.nothing_is_missed(self.old, offset)

    async def test_with_daemons_that_know_nothing_twice(self) -> None:
        redis = await self.copied()
        offset = await self.lose(redis, self.old)
        for _ in range(2):
            # Each run after the copy would otherwise repeat the same generations.
            await self.old.stop()
            await self.put_back(redis)
            # A generation is told from another by the second in which it begins.
            second = redis.do("TIME")[0]
            while redis.do("TIME")[0] == second:
                await deferLater(real_reactor(), 0.05)
            self.old, _ = await self.daemon(redis)
            offset = await self.nothing_is_missed(self.old, offset)

    async def test_in_the_same_life_of_the_server(self) -> None:
        redis = await self.copied()
        other, listener = await self.daemon(redis)
        offset = await self.lose(redis, self.old)
        (redis.directory / "dump.rdb").write_bytes(self.copy)
        redis.do("DEBUG", "RELOAD", "NOSAVE")
        with self.assertRaises(StoreUnavailable):
            await self.old.append(to("ben"))
        for store in (self.old, other):
            await self.up(store)
        offset = await self.nothing_is_missed(self.old, offset)
        await self.nothing_is_missed_by(other, offset)
        self.assertEqual(listener.renewals, 0)

    async def test_in_the_same_life_of_the_server_whoever_only_reads_notices(self) -> None:
        redis = await self.copied()
        offset = await self.lose(redis, self.old)
        (redis.directory / "dump.rdb").write_bytes(self.copy)
        redis.do("DEBUG", "RELOAD", "NOSAVE")
        generation = int(redis.do("HGET", f"{self.id()}:g", "generation"))
        await self.until(
            lambda: int(redis.do("HGET", f"{self.id()}:g", "generation")) > generation, "a generation to begin"
        )
        await self.up(self.old)
        await self.nothing_is_missed(self.old, offset)

    async def test_with_nobody_to_notice_it_can_be_told(self) -> None:
        redis = await self.copied()
        offset = await self.lose(redis, self.old)
        await self.old.stop()
        (redis.directory / "dump.rdb").write_bytes(self.copy)
        redis.do("DEBUG", "RELOAD", "NOSAVE")
        self.assertTrue(await restored(self.settings(redis.url), real_reactor()))
        store, _ = await self.daemon(redis)
        await self.nothing_is_missed(store, offset)

    async def test_it_can_be_told_while_daemons_live(self) -> None:
        redis = await self.copied()
        store, listener = await self.daemon(redis)
        before = await store.append(to("ben"))
        self.assertTrue(await restored(self.settings(redis.url), real_reactor()))
        self.assertTrue(await restored(self.settings(redis.url), real_reactor()))
        after = await store.append(to("ben"))
        self.assertGreater(offsets(after)[0], GENERATION)
        self.assertEqual((await store.read("ben", offsets(before)[0], 10)).entries, entries(after))
        self.assertEqual(listener.renewals, 0)

    async def test_where_nothing_is_there_is_nothing_to_tell(self) -> None:
        redis = await self.own_redis()
        self.assertFalse(await restored(self.settings(redis.url), real_reactor()))
        redis.kill()
        with self.assertRaises(StoreUnavailable):
            await restored(self.settings(redis.url), real_reactor())

    async def nothing_is_missed_by(self, store: RedisStore, offset: int) -> None:
        answers = await store.append(to("ben"))
        self.assertEqual((await store.read("ben", offset, 10)).entries, entries(answers))
