"""What goes wrong with a real Redis: each is told once, refused at once, and survived without a restart."""

from __future__ import annotations

import shutil
import signal
import time
from typing import Any

from msgspec import Raw
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs, formatEvent

from kschat.backends.redis.store.codec import BatchEncoder
from kschat.chat.interfaces import Entry, Progress, RoomFull, StoreUnavailable
from tests.backends.redis_stores import StoreTestCase, lines
from tests.contracts.istore import entries, kept, offsets
from tests.contracts.made import message, mid, to
from tests.contracts.updates import delete, react
from tests.support.redis import Redis, Saying, shared_redis
from tests.support.waiting import real_reactor, within

#: What docs/storage.md says that a user of Redis needs.
RIGHTS = "resetchannels &{0}:* ~{0}:* +@connection +@read +@write +@scripting +@pubsub -@dangerous +info +role +time"


class FailureTestCase(StoreTestCase):
    async def refuses(self, store: Any) -> str:
        """Why it keeps nothing."""
        with self.assertRaises(StoreUnavailable) as caught:
            await store.append(to("ben"))
        return str(caught.exception)

    async def goes_on(self, store: Any) -> None:
        """It takes messages again."""
        await self.up(store)
        (answer,) = await store.append(to("ben"))
        self.assertEqual((await store.read("ben", answer.places[0][1] - 1, 1)).entries[0].message, answer.message)


class TakesNoWritesTests(FailureTestCase):
    """Redis is there, and refuses."""

    async def test_full_memory(self) -> None:
        redis = await self.own_redis("maxmemory 100mb\nmaxmemory-policy noeviction\n")
        store = await self.store(redis)
        (answer,) = await store.append(to("ben"))
        with capturedLogs() as events:
            redis.do("CONFIG", "SET", "maxmemory", "1mb")
            self.assertIn("its memory is full", await self.refuses(store))
            await self.up(store, False)
            self.assertIn("its memory is full", await self.refuses(store))
            await self.until(lambda: store._client._writes.tries > 3, "some tries")
            self.assertEqual((await store.read("ben", 0, 10)).entries, [Entry(1, answer.message)])
            redis.do("CONFIG", "SET", "maxmemory", "100mb")
            await self.goes_on(store)
        told = lines(events)
        self.assertEqual(len(told), 2, told)
        self.assertIn("its memory is full (maxmemory)", told[0])
        self.assertIn("again", told[1])

    async def test_memory_that_becomes_full_amid_batches_leaves_none_half(self) -> None:
        redis = await self.own_redis("maxmemory 4mb\nmaxmemory-policy noeviction\n")
        store = await self.store(redis)
        sent = 0
        with self.assertRaises(StoreUnavailable):
            for _ in range(1000):
                await store.append([message("ann", "ben", msg=Raw(b'"%b"' % (b"x" * 5000))) for _ in range(20)])
                sent += 20
        redis.do("CONFIG", "SET", "maxmemory", "100mb")
        await self.up(store)
        self.assertEqual((await store.inbox("ben")).last, sent)
        self.assertEqual(len(await self.whole(store, "ann", "ben")), sent)

    async def test_a_replica(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        with capturedLogs() as events:
            redis.do("REPLICAOF", "127.0.0.1", "1")
            self.assertIn("it is a replica", await self.refuses(store))
            await self.up(store, False)
            await self.until(lambda: store._client._writes.tries > 3, "some tries")
            redis.do("REPLICAOF", "NO", "ONE")
            await self.goes_on(store)
        self.assertEqual(len(lines(events)), 2, lines(events))

    async def test_a_disk_that_fails(self) -> None:
        redis = await self.own_redis("save 3600 1\n")
        store = await self.store(redis)
        await store.append(to("ben"))
        place = redis.directory
        shutil.rmtree(place)
        redis.do("BGSAVE")
        await self.until(lambda: b"rdb_last_bgsave_status:err" in redis.do("INFO", "persistence"), "a failure to save")
        with capturedLogs() as events:
            self.assertIn("it accepts no writes", await self.refuses(store))
            await self.up(store, False)
            redis.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
            await self.goes_on(store)
        self.assertEqual(len(lines(events)), 2, lines(events))

    async def test_too_few_replicas(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        redis.do("CONFIG", "SET", "min-replicas-to-write", "1")
        self.assertIn("fewer replicas", await self.refuses(store))
        redis.do("CONFIG", "SET", "min-replicas-to-write", "0")
        await self.goes_on(store)

    async def test_scripts_that_were_removed(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        redis.do("SCRIPT", "FLUSH")
        await self.refuses(store)
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 1)
        await self.until(
            lambda: store._client._writes.tries > 1 and store._client._reads.tries > 1, "other connections"
        )
        await self.goes_on(store)

    async def test_an_older_redis_is_told(self) -> None:
        info = b"redis_version:6.2.14\r\nrun_id:0123\r\n"
        said = {"PING": b"+PONG\r\n", "INFO": b"$%d\r\n%b\r\n" % (len(info), info), "SCRIPT": b"+OK\r\n"}
        port = real_reactor().listenTCP(0, Factory.forProtocol(lambda: Saying(said)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        text = await self.refusal(self.made(f"redis://127.0.0.1:{port.getHost().port}"))
        self.assertIn("it is of version 6.2.14, and must be of 7 or newer", text)


class UserTests(FailureTestCase):
    """Users of Redis, by ACL."""

    async def test_a_user_with_the_documented_rights_may_do_all(self) -> None:
        prefix = "chat"
        redis = await self.own_redis(f"user ann on >secret {RIGHTS.format(prefix)}\nuser default off\n")
        url = f"redis://ann:secret@127.0.0.1:{redis.port}/0"
        store = self.made(
            url, prefix=prefix, retention_messages=2, retention_seconds=3600.0, send_rate=100.0, send_burst=100.0
        )
        with capturedLogs() as events:
            store.start()
            await self.until(lambda: store._client._writes.tries > 3 or store.up, "the store")
            self.assertTrue(store.up, store._client._writes.why)
            for user in ("ann", "ben"):
                await store.join("#r", user, 10)
            with self.assertRaises(RoomFull):
                await store.join("#r", "cem", 2)
            now = int(time.time() * 1000) << 16
            batch = [message("ann", "ben", cid=f"c{n}", mid=mid(now + n)) for n in range(5)]
            batch += [message("ann", "#r", mid=mid(now + n)) for n in range(5, 10)]
            answers = await store.append([*batch, message("ann", "ben", cid="c1")])
            for update in (react(answers[4].message, "+", sender="ben", cid="u1"), delete(answers[9].message)):
                self.assertIsNone((await store.change(update)).refused)
            await store.rewritten()
            await store.find("ben", answers[4].message.mid, None)
            await store.readers("#r", "ben", answers[8].message.mid)
            await store.mark_read("ben", "ann", answers[1].message.mid)
            await store.mark_read("ben", "#r", answers[7].message.mid)
            await store.save_progress(Progress({"ben": 3}, {"ben": 1}))
            await store.last_seen(["ben"])
            await store.ends(["ben", "nobody"])
            await store.sweep()
            self.assertEqual(len((await store.history("ann", "ben", before=None, limit=10)).messages), 2)
            await store.conversations("ben", 10)
            await store.members("#r")
            await store.leave("#r", "ann")
            self.assertEqual((await store.inbox("ben")).first, 11)
            await store.rooms("ben")
            self.assertGreater(await store.erase("ann"), 0)
        self.assertEqual([line for line in lines(events) if "refuse" in line or "can't" in line], [])

    async def test_a_user_without_the_rights_is_told_in_one_line_what_is_missing(self) -> None:
        for rights, missing in (("+@all -xadd ~*", "XADD"), ("+@all ~other:*", "key"), ("+@all -info ~*", "info")):
            redis = await self.own_redis(f"user ann on >secret {rights}\n")
            store = self.made(f"redis://ann:secret@127.0.0.1:{redis.port}/0")
            text = await self.refusal(store)
            self.assertIn(missing, text)
            self.assertNotIn("secret", text)
            self.failureResultOf(store.append(to("ben")), StoreUnavailable)

    async def test_rights_that_are_taken_away_and_given_back(self) -> None:
        redis = await self.own_redis("user ann on >secret +@all ~*\n")
        store = self.made(f"redis://ann:secret@127.0.0.1:{redis.port}/0")
        store.start()
        await self.up(store)
        redis.do("ACL", "SETUSER", "ann", "-xadd")
        await self.refuses(store)
        self.failureResultOf(store.append(to("ben")), StoreUnavailable)
        redis.do("ACL", "SETUSER", "ann", "+xadd")
        await self.goes_on(store)


class OneKeyTests(FailureTestCase):
    """Keys that somebody else has written to harm nobody but whom they are of."""

    async def test_a_batch_is_undone_whole_when_a_key_amid_it_is_of_another_kind(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        first = await store.append([message("ann", "ben"), message("ann", "#r")])
        prefix = self.id()
        for key in ("i:eve", "c:3:anneve", "h:3:anneve", "d:eve"):
            redis.do("SET", f"{prefix}:{key}", "somebody's")
            bad = message("eve", "ann", cid="c") if key == "d:eve" else message("ann", "eve")
            batch = [message("ann", "ben", cid="c1"), message("ann", "#r", cid="c2"), bad, message("ann", "ben")]
            with self.assertRaises(StoreUnavailable):
                await store.append(batch)
            redis.do("DEL", f"{prefix}:{key}")
            self.assertTrue(store.up, "others are served")
            self.assertEqual((await store.read("ben", 0, 10)).entries, entries(first), key)
            self.assertEqual(len((await store.history("ann", "ben", before=None, limit=10)).messages), 1)
            self.assertEqual([one.unread for one in await store.conversations("ben", 10)], [1, 1])
        again = await store.append([message("ann", "ben", cid="c1"), message("ann", "#r", cid="c2")])
        self.assertEqual([one.repeat for one in again], [False, False])
        self.assertEqual([one.unread for one in await store.conversations("ben", 10)], [2, 2])

    async def test_what_can_t_be_read_fails_alone(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        redis.do("SET", f"{self.id()}:i:eve", "somebody's")
        with capturedLogs() as events:
            for _ in range(3):
                with self.assertRaises(StoreUnavailable):
                    await store.read("eve", 0, 10)
        self.assertEqual(len(lines(events)), 1)
        await self.goes_on(store)
        # Of many who are asked of together, the others are answered.
        redis.do("SET", f"{self.id()}:u:eve", "somebody's")
        await store.save_progress(Progress({"eve": 1, "ben": 1}, {"eve": 1, "ben": 2}))
        self.assertEqual(await store.ends(["eve", "ben"]), {"ben": 1})
        self.assertEqual(await store.last_seen(["eve", "ben"]), {"ben": 2})
        self.assertEqual((await store.inbox("ben")).cursor, 1)


class LateTests(FailureTestCase):
    """What was refused is never done later."""

    async def test_what_a_stopped_redis_finds_when_it_goes_on_is_not_done(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis, patience=1.0)
        await store.join("#r", "ann", 10)
        redis.signal(signal.SIGSTOP)
        asked: list[Any] = [
            store.append([message("ann", "ben")]),
            store.save_progress(Progress({}, {"ben": 1})),
            store.join("#r", "ben", 10),
            store.leave("#r", "ann"),
        ]
        for one in asked:
            with self.assertRaises(StoreUnavailable):
                await one
        redis.signal(signal.SIGCONT)
        await self.up(store)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [])
        self.assertEqual(await store.last_seen(["ben"]), {})
        self.assertEqual(await store.members("#r"), ["ann"])

    async def test_a_script_that_comes_after_its_time_does_nothing(self) -> None:
        redis = await shared_redis()
        store = await self.store(redis)
        time, *who = store._client.head()
        argument = BatchEncoder().encode([message("ann", "ben")], time - 10_000, *who, 1, 0, 0, 0)
        answer = redis.do(*store._client._scripts.command("append", f"{self.id()}:", argument))
        self.assertEqual(answer[1], b"late")
        self.assertEqual((await store.read("ben", 0, 10)).entries, [])

    async def test_clocks_may_differ_and_jump(self) -> None:
        store = await self.store(await shared_redis())
        store._client._ahead -= 3_600_000
        with self.assertRaises(StoreUnavailable):
            await store.append(to("ben"))
        self.assertEqual(offsets(await store.append(to("ben"))), [1])

    async def test_a_redis_that_hangs_is_given_up_soon(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis, patience=1.0)
        redis.signal(signal.SIGSTOP)
        with self.assertRaises(StoreUnavailable):
            await within(store.append(to("ben")), "an answer", str)
        self.failureResultOf(store.append(to("ben")), StoreUnavailable)
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 1)
        redis.signal(signal.SIGCONT)
        await self.goes_on(store)


class WarningTests(FailureTestCase):
    """What an operator should know."""

    async def said(self, redis: Redis) -> list[str]:
        with capturedLogs() as events:
            await self.store(redis)
        return [formatEvent(event) for event in events if event["log_level"].name == "warn"]

    async def test_a_redis_that_deletes_what_it_likes(self) -> None:
        redis = await self.own_redis("appendonly yes\nmaxmemory 100mb\nmaxmemory-policy allkeys-lru\n")
        (text,) = await self.said(redis)
        self.assertIn("maxmemory-policy noeviction", text)
        redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.assertEqual(await self.said(redis), [])

    async def test_a_redis_that_writes_no_log(self) -> None:
        (text,) = await self.said(await self.own_redis())
        self.assertIn("appendonly yes", text)

    async def test_nothing_that_was_said_in_messages_is_in_the_log(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        with capturedLogs() as events:
            redis.do("SET", f"{self.id()}:i:eve", "somebody's")
            with self.assertRaises(StoreUnavailable):
                await store.append([message("ann", "eve", msg=Raw(b'"hush"'))])
            redis.kill()
            await self.up(store, False)
        self.assertNotIn("hush", " ".join(map(formatEvent, events)))


class KeptTests(FailureTestCase):
    """What ``kept`` of the contract can't say."""

    async def test_a_crash_of_the_daemon_alone_loses_nothing(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        (answer,) = await store.append([message(cid="c1")])
        store._client._writes.abort("a crash")
        store._client._reads.abort("a crash")
        other = await self.store(redis)
        self.assertEqual(await other.append([message(cid="c1")]), [kept(answer.message, 1, True)])
