"""A message counts as stored once so many replicas have it, where that is asked for."""

from __future__ import annotations

from signal import SIGCONT, SIGSTOP

from kschat.chat.interfaces import Progress, StoreUnavailable
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to
from tests.support.redis import Redis


class ReplicasTests(StoreTestCase):
    async def pair(self) -> tuple[Redis, Redis]:
        """A master, and a replica that is in step with it."""
        master = await self.own_redis("repl-diskless-sync-delay 0\nrepl-timeout 60\n")
        replica = await self.own_redis(f"replicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica")
        return master, replica

    async def test_what_is_answered_the_replica_has(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, replicas=1)
        for count in range(1, 30):
            await store.append(to("ben"))
            self.assertEqual(replica.do("XLEN", f"{self.id()}:i:ben"), count)
        await store.save_progress(Progress({"ben": 3}, {}))
        self.assertEqual(replica.do("HGET", f"{self.id()}:u:ben", "c"), b"3")

    async def test_batches_that_do_not_wait_for_each_other_are_answered_in_order(self) -> None:
        master, _ = await self.pair()
        store = await self.store(master, replicas=1)
        answers = [store.append(to("ben", "ben")) for _ in range(20)]
        self.assertEqual([offsets(await one) for one in answers], [[n, n + 1] for n in range(1, 41, 2)])

    async def test_what_the_replica_does_not_have_is_refused_and_kept_once(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, replicas=1)
        replica.signal(SIGSTOP)
        with self.assertRaises(StoreUnavailable):
            await store.append([message("ann", "ben", cid="c1")])
        await self.up(store)  # the replica is silent, and nobody has missed it yet
        with self.assertRaises(StoreUnavailable):
            await store.append([message("ann", "ben", cid="c1")])  # a repeat is as safe as the first
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 10)  # who reads it could see it again, with another mid
        replica.signal(SIGCONT)
        await self.up(store)
        (again,) = await store.append([message("ann", "ben", cid="c1")])
        self.assertTrue(again.repeat)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([again]))

    async def test_a_master_that_too_few_follow_takes_no_writes_and_shows_no_messages(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, replicas=1)
        answers = await store.append(to("ben"))
        replica.do("REPLICAOF", "NO", "ONE")
        with self.assertRaises(StoreUnavailable):
            await store.append(to("ben"))
        await self.up(store, False)
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 10)
        self.assertEqual((await store.inbox("ben")).last, 2)
        self.assertEqual((await store.history("ann", "ben", before=None, limit=10)).messages[0], answers[0].message)

    async def test_the_log_says_how_many_replicas_are_missing(self) -> None:
        redis = await self.own_redis()
        text = await self.refusal(self.made(redis.url, replicas=2))
        self.assertIn("0 replicas follow it, and redis_replicas asks for 2", text)
