"""The store on a real Redis: the contract, and several daemons on the same one."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults

from kschat.backends.memory import MemoryStore
from kschat.backends.redis.store import write_queue
from kschat.chat.interfaces import Entry, InboxPage, IStore, Progress, Stored, StoreUnavailable
from kschat.chat.message import Error
from tests.backends.redis_stores import StoreTestCase
from tests.contracts import istore, outbox
from tests.contracts.istore import offsets
from tests.contracts.made import message, mid, to
from tests.support.redis import shared_redis


class RedisContractTests(istore.StoreContract, StoreTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_redis())


class RedisOutboxContractTests(outbox.OutboxContract, StoreTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_redis(), hooks=True)


class FailingRedisContractTests(istore.FailingStoreContract, StoreTestCase):
    """A Redis that stops, and goes on: what is in its socket's buffer then comes too late."""

    async def make_store(self) -> IStore:
        self.redis = await self.own_redis()
        return await self.store(self.redis)

    async def break_off(self, store: IStore) -> None:
        self.redis.signal(signal.SIGSTOP)
        await self.up(store, False)

    async def bring_back(self, store: IStore) -> None:
        self.redis.signal(signal.SIGCONT)
        await self.up(store)


class ModelTests(StoreTestCase):
    """Whatever is done, in whatever order: the answers are those of the store in memory."""

    async def test_it_answers_as_the_store_in_memory_does(self) -> None:
        redis = await shared_redis()
        users = ["ann", "ben", "cem"]
        for seed in range(8):
            chance = random.Random(seed)
            ours: IStore = await self.store(redis, prefix=f"{self.id()}{seed}")
            theirs: IStore = MemoryStore(10**6, 10**9)
            mids = [mid(1)]
            for number in range(150):
                do = self.step(chance, users, mids, number)
                expected, found = self.plain(await do(theirs)), self.plain(await do(ours))
                self.assertEqual(found, expected, (seed, number))
                if isinstance(expected, list) and expected and isinstance(expected[0], Stored):
                    mids += [one.message.mid for one in expected]
                for one in users:
                    listed = await theirs.conversations(one, 10)
                    self.assertEqual(await ours.conversations(one, 10), listed, (seed, number))

    def step(
        self, chance: random.Random, users: list[str], mids: list[str], number: int
    ) -> Callable[[IStore], Deferred[Any]]:
        """Anything that may be asked."""
        user, peer = chance.choice(users), chance.choice([*users, "#r", "#s"])
        room, which = chance.choice(["#r", "#s"]), chance.choice(mids)
        batch = [
            message(chance.choice(users), chance.choice([*users, "#r"]), cid=chance.choice([None, None, "c", "d"]))
            for _ in range(chance.randint(1, 5))
        ]
        steps: list[Callable[[IStore], Deferred[Any]]] = [
            lambda store: store.append(batch),
            lambda store: store.append(batch),
            lambda store: store.mark_read(user, peer, which),
            lambda store: store.join(room, user, 3),
            lambda store: store.leave(room, user),
            lambda store: store.save_progress(Progress({user: number}, {peer: number})),
            lambda store: store.history(user, peer, before=which, limit=5),
            lambda store: store.conversations(user, 10),
            lambda store: store.read(user, number // 3, 5),
            lambda store: store.inbox(user),
            lambda store: store.last_seen([*users, "#r"]),
        ]
        return chance.choice(steps)

    def plain(self, answer: Any) -> Any:
        """An answer without the order that nobody promises, nor the bounds of a store's own offsets."""
        if isinstance(answer, InboxPage):
            return (answer.entries, answer.first, answer.last)
        if isinstance(answer, list) and answer and isinstance(answer[0], Stored):
            return [msgspec.structs.replace(one, places=tuple(sorted(one.places))) for one in answer]
        return answer


class DaemonsTests(StoreTestCase):
    """Several daemons on one Redis."""

    async def test_what_one_daemon_keeps_another_reads(self) -> None:
        redis = await shared_redis()
        one, other = await self.store(redis), await self.store(redis)
        (answer,) = await one.append([message("ann", "ben", cid="c1")])
        self.assertEqual((await other.read("ben", 0, 10)).entries, [Entry(1, answer.message)])
        (again,) = await other.append([message("ann", "ben", cid="c1")])
        self.assertEqual((again.message, again.repeat), (answer.message, True))
        await one.save_progress(Progress({"ben": 1}, {}))
        self.assertEqual((await other.inbox("ben")).cursor, 1)
        self.assertEqual(one.epoch, other.epoch)

    async def test_offsets_and_mids_of_all_daemons_are_one_order(self) -> None:
        redis = await shared_redis()
        stores = [await self.store(redis) for _ in range(3)]
        for user in ("ann", "ben", "cem"):
            await stores[0].join("#r", user, 10)
        asked = []
        for number in range(30):
            for at, store in enumerate(stores):
                # The clocks of daemons are never the same.
                own = mid((1_700_000_000_000 + 10 * number - 1000 * at) << 16)
                asked.append(store.append([message("ann", "ben", mid=own), message("cem", "#r", mid=own)]))
        answers = [answer for batch in await gatherResults(asked) for answer in batch]
        given = sorted(place for answer in answers for user, place in answer.places if user == "ben")
        self.assertEqual(given, list(range(1, 181)))
        entries = (await stores[1].read("ben", 0, 1000)).entries
        self.assertEqual([entry.offset for entry in entries], given)
        mids = [entry.message.mid for entry in entries]
        self.assertEqual(mids, sorted(set(mids)))

    async def test_a_daemon_that_comes_later_goes_on_with_the_same_offsets(self) -> None:
        redis = await shared_redis()
        first = await self.store(redis)
        await first.append(to("ben", "ben"))
        await first.stop()
        second = await self.store(redis)
        self.assertEqual(offsets(await second.append(to("ben"))), [3])

    async def test_prefixes_keep_chats_apart(self) -> None:
        redis = await shared_redis()
        one, other = await self.store(redis), await self.store(redis, prefix=self.id() + "2")
        await one.append(to("ben"))
        self.assertEqual((await other.inbox("ben")).last, 0)
        keys = redis.do("KEYS", self.id() + "*")
        self.assertTrue(all(key.startswith((self.id() + ":").encode()) for key in keys if b"2:" not in key), keys)

    async def test_a_long_backlog_delays_no_batch(self) -> None:
        redis = await shared_redis()
        store = await self.store(redis)
        body = Raw(b'"%b"' % (b"x" * 2000))
        for _ in range(10):
            await store.append([message("ann", "ben", msg=body) for _ in range(500)])
        order: list[str] = []
        reads = [store.read("ben", 0, 5000).addCallback(lambda _: order.append("read")) for _ in range(5)]
        append = store.append([message("cem", "dan")]).addCallback(lambda _: order.append("append"))
        await gatherResults([*reads, append])
        # Redis has answered the first ones before it saw the batch, but not all had to be taken in before.
        self.assertLess(order.index("append"), 5)

    async def test_a_room_of_many_is_written_to_without_keeping_redis_from_all_else(self) -> None:
        store = await self.store(await shared_redis())
        self.patch(write_queue, "MAX_SCRIPT_WRITES", 100)
        self.patch(write_queue, "MAX_WRITES_IN_FLIGHT", 200)
        self.patch(write_queue, "ASSUMED_ROOM_SIZE", 50)
        members = [f"user {number}" for number in range(40)]
        await gatherResults([store.join("#r", user, 100) for user in members])
        batches = [[message(members[0], "#r") for _ in range(10)] for _ in range(5)]
        asked: list[Deferred[Any]] = [store.append(batch) for batch in batches]
        results: list[Any] = await gatherResults([*asked, store.leave("#r", members[1])])
        self.assertTrue(results.pop())
        flat = [one for answer in results for one in answer]
        self.assertEqual([one.message for one in flat], [one for batch in batches for one in batch])
        for number, one in enumerate(flat):
            self.assertEqual(sorted(one.places), sorted((user, number + 1) for user in members[1:]))

    async def test_what_waits_in_the_lane_fails_with_the_link(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        self.patch(write_queue, "MAX_WRITES_IN_FLIGHT", 10)
        redis.signal(signal.SIGSTOP)
        asked = [store.append(to(*["ben"] * 8)) for _ in range(5)]
        redis.kill()
        for one in asked:
            with self.assertRaises(StoreUnavailable):
                await one
        await self.up(store, False)
        await redis.start()
        await self.up(store)
        self.assertEqual((await store.inbox("ben")).last, 0)

    async def test_of_a_batch_that_was_split_what_is_kept_is_answered_and_the_rest_refused(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        self.patch(write_queue, "MAX_SCRIPT_BYTES", 1000)
        redis.do("SET", f"{self.id()}:i:eve", "somebody's")
        batch = [message("ann", user, msg=Raw(b'"%b"' % (b"x" * 900))) for user in ("ben", "eve", "ben")]
        answers = await store.append(batch)
        self.assertEqual([one.refused for one in answers], [None, Error.NO_STORE, None])
        self.assertEqual([one.places for one in answers], [(("ben", 1),), (), (("ben", 2),)])

    async def test_what_was_begun_is_answered_before_it_ends(self) -> None:
        store = await self.store(await shared_redis())
        asked = [store.append(to("ben")) for _ in range(10)]
        await store.stop()
        self.assertEqual([offsets(self.successResultOf(one)) for one in asked], [[n] for n in range(1, 11)])
        self.failureResultOf(store.append(to("ben")))
