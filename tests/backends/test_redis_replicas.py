"""A message counts as stored once so many replicas have it, where that is asked for."""

from __future__ import annotations

import re
from signal import SIGCONT, SIGSTOP

from twisted.internet.defer import DeferredList
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis import Settings, revoke
from kschat.backends.redis.store.copies import Copies
from kschat.chat.interfaces import Progress, StoreUnavailable
from kschat.chat.revocation import RevocationRequest
from kschat.counters import Counters
from tests.backends.redis_stores import StoreTestCase, lines
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to
from tests.contracts.updates import delete
from tests.support.redis import Redis
from tests.support.waiting import real_reactor


class ReplicasTests(StoreTestCase):
    async def pair(self) -> tuple[Redis, Redis]:
        """A master, and a replica that is in step with it."""
        master = await self.own_redis("repl-diskless-sync-delay 0\nrepl-timeout 60\n")
        replica = await self.own_redis(f"replicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica")
        return master, replica

    async def test_what_is_answered_the_replica_has(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
        for count in range(1, 30):
            await store.append(to("ben"))
            self.assertEqual(replica.do("XLEN", f"{self.id()}:i:ben"), count)
        await store.save_progress(Progress({"ben": 3}, {}))
        self.assertEqual(replica.do("HGET", f"{self.id()}:u:ben", "c"), b"3")

    async def test_batches_that_do_not_wait_for_each_other_are_answered_in_order(self) -> None:
        master, _ = await self.pair()
        store = await self.store(master, wait=1)
        answers = [store.append(to("ben", "ben")) for _ in range(20)]
        self.assertEqual([offsets(await one) for one in answers], [[n, n + 1] for n in range(1, 41, 2)])

    async def test_what_the_replica_does_not_have_is_refused_and_kept_once(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
        replica.signal(SIGSTOP)
        with capturedLogs() as events:
            with self.assertRaises(StoreUnavailable) as refused:
                await store.append([message("ann", "ben", cid="c1")])
            self.assertIn("only 0 of 1 replicas have what was written", str(refused.exception))
            # Redis itself does not miss the replica for a minute. No other Send has to wait for it.
            tries = store._client._writes.tries
            await self.until(lambda: store._client._writes.tries > tries + 2, "some tries")
            self.assertFalse(store.up)
        (text,) = lines(events)
        self.assertTrue(text.endswith("is lost: only 0 of 1 replicas have what was written"), text)
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 10)  # who reads it could see it again, with another mid
        replica.signal(SIGCONT)
        await self.up(store)
        (again,) = await store.append([message("ann", "ben", cid="c1")])
        self.assertTrue(again.repeat)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([again]))
        self.assertEqual(self.counters.waits, {"too_few": 1, "enough": 1})

    async def test_a_repeat_of_a_change_is_as_safe_as_the_first(self) -> None:
        """By its cid, and of a text that is so already: both were answered from what the master alone had."""
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
        hasty = await self.store(master)
        (sent,) = await store.append([message("ann", "ben")])
        replica.signal(SIGSTOP)
        await hasty.change(delete(sent.message, cid="c1"))
        for cid in ("c1", "c2"):
            with self.assertRaises(StoreUnavailable):
                await store.change(delete(sent.message, cid=cid))
            replica.signal(SIGCONT)
            await self.up(store)
            self.assertTrue((await store.change(delete(sent.message, cid=cid))).repeat)
            replica.signal(SIGSTOP)
            await hasty.append(to("cem"))  # which it does not have

    async def test_a_revocation_by_command_waits_too(self) -> None:
        master, replica = await self.pair()
        await self.store(master, wait=1)
        settings = self.settings(master.url, wait=1, wait_timeout=0.5)

        async def revoked(user: str) -> int | None:
            revocation = RevocationRequest(user=user).revocation(1000, 0)
            return await revoke(settings, settings, real_reactor(), revocation=revocation, now=1000)

        self.assertIsNotNone(await revoked("ann"))
        replica.signal(SIGSTOP)
        with self.assertRaises(StoreUnavailable) as refused:
            await revoked("ben")
        text = "only 0 of 1 replicas have what was written, though Redis has it: run it again"
        self.assertEqual(str(refused.exception), text)
        replica.signal(SIGCONT)
        self.assertIsNotNone(await revoked("ben"))

    async def test_a_repeat_is_as_safe_as_the_first(self) -> None:
        """The first was stored by a daemon that waits for nothing: the repeat's answer says that the replica has it."""
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
        hasty = await self.store(master)
        replica.signal(SIGSTOP)
        await hasty.append([message("ann", "ben", cid="c1")])
        with self.assertRaises(StoreUnavailable):
            await store.append([message("ann", "ben", cid="c1")])
        replica.signal(SIGCONT)
        await self.up(store)
        (again,) = await store.append([message("ann", "ben", cid="c1")])
        self.assertTrue(again.repeat)
        self.assertEqual(replica.do("XLEN", f"{self.id()}:i:ben"), 1)

    async def test_a_replica_that_is_gone_for_a_moment_refuses_nothing(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, wait=1, wait_timeout=20.0, patience=60.0)
        replica.signal(SIGSTOP)
        answers = [store.append(to("ben")) for _ in range(5)]
        await self.until(lambda: master.do("XLEN", f"{self.id()}:i:ben") > 0, "the master to have the first")
        self.assertEqual([one.called for one in answers], [False] * 5)
        replica.signal(SIGCONT)
        self.assertEqual([offsets(await one) for one in answers], [[n] for n in range(1, 6)])

    async def test_many_who_read_share_a_wait(self) -> None:
        """A crowd that connects while a replica is silent would else keep Redis's connection waiting for minutes."""
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
        await store.append([message("ann", f"user {number}") for number in range(30)])

        def waits() -> int:
            found = re.search(rb"cmdstat_wait:calls=(\d+)", master.do("INFO", "commandstats"))
            return int(found[1]) if found else 0

        async def read() -> list[bool]:
            pages = [store.read(f"user {number}", 0, 10) for number in range(30)]
            return [was_read for was_read, _ in await DeferredList(pages, consumeErrors=True)]

        before = waits()
        self.assertEqual(await read(), [True] * 30)
        self.assertLess(waits() - before, 10)
        before = waits()
        replica.signal(SIGSTOP)
        # Nothing was written since; the first reader's own write is what the replica does not have.
        self.assertEqual(await read(), [False] * 30)
        self.assertLess(waits() - before, 10)
        replica.signal(SIGCONT)
        await self.until(lambda: b"lag=0" in master.do("INFO", "replication"), "the replica")
        self.assertEqual(await read(), [True] * 30)

    async def test_the_disks_are_asked_where_the_server_can_tell(self) -> None:
        common = "appendonly yes\nappendfsync always\nrepl-diskless-sync-delay 0\n"
        master = await self.own_redis(common)
        replica = await self.own_redis(f"{common}replicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica")
        can_tell = master.do("COMMAND", "INFO", "WAITAOF")[0] is not None
        with capturedLogs() as events:
            store = await self.store(master, wait=1, wait_timeout=5.0, wait_disk=True)
            for count in range(1, 10):
                await store.append(to("ben"))
                self.assertEqual(replica.do("XLEN", f"{self.id()}:i:ben"), count)
        asked = b"cmdstat_waitaof" in master.do("INFO", "commandstats")
        self.assertIs(asked, can_tell)
        warned = [text for text in lines(events) if "can't say what is on disks" in text]
        self.assertEqual(len(warned), 0 if can_tell else 1, lines(events))

    async def test_a_master_that_too_few_follow_takes_no_writes_and_shows_no_messages(self) -> None:
        master, replica = await self.pair()
        store = await self.store(master, wait=1)
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
        text = await self.refusal(self.made(redis.url, wait=2))
        self.assertIn("0 replicas follow it, and redis_wait asks for 2", text)


class CopiesTests(SynchronousTestCase):
    """What is asked, and what the answers mean, without a Redis."""

    def copies(self, wanted: int, seconds: float = 1.5) -> Copies:
        return Copies(Settings(url="redis://h", wait=wanted, wait_timeout=seconds), Counters())

    def test_what_memory_has(self) -> None:
        copies = self.copies(2)
        self.assertEqual(copies.command, ("WAIT", 2, 1500))
        self.assertEqual([copies.missing(answer) for answer in (2, 3)], ["", ""])
        self.assertEqual(copies.missing(1), "only 1 of 2 replicas have what was written")
        self.assertEqual(copies.missing(0, "what was read"), "only 0 of 2 replicas have what was read")

    def test_what_disks_have(self) -> None:
        copies = self.copies(1)
        copies.on_disk = True
        self.assertEqual(copies.command, ("WAITAOF", 1, 1, 1500))
        self.assertEqual(copies.in_memory, ("WAIT", 1, 1500))
        self.assertEqual(copies.missing([1, 1]), "")
        self.assertEqual(copies.missing([0, 1]), "Redis's own disk does not have what was written")
        self.assertEqual(copies.missing([1, 0]), "the disks of only 0 of 1 replicas have what was written")

    def test_no_wait_is_for_ever(self) -> None:
        self.assertEqual(self.copies(1, 0.0001).command, ("WAIT", 1, 1))
