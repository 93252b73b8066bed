"""What one script of the Redis store does at the most, counted in commands and bytes, and never in time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults

from kschat.backends.redis import RedisStore
from kschat.backends.redis.store import store as store_module
from kschat.backends.redis.store import write_queue
from kschat.backends.redis.store.rounds import STEP_BYTES, STEP_ENTRIES
from kschat.chat.interfaces import Progress, Stored
from kschat.chat.lines import MAX_LINE, NO_LINE
from kschat.chat.message import Message
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import message, mid
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import real_reactor

#: Bytes of a page (``pageBytes.lua``), and of each large message here.
PAGE_BYTES = 256_000
LARGE = 100_000


class BoundsTestCase(StoreTestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        self.redis = await shared_redis()

    async def commands(self, asked: Awaitable[Any]) -> tuple[Any, int]:
        """What is answered, and how many commands of Redis that took, those of scripts among them."""
        self.redis.do("CONFIG", "RESETSTAT")
        answer = await asked
        return answer, sum(calls(self.redis).values())


def calls(redis: Redis) -> dict[str, int]:
    """How often each command was done since the last reset."""
    lines = redis.do("INFO", "commandstats").decode().splitlines()
    stats = (line.removeprefix("cmdstat_").split(":calls=") for line in lines if line.startswith("cmdstat_"))
    return {name: int(rest.split(",")[0]) for name, rest in stats}


class LargeRoomTests(BoundsTestCase):
    """A room of 100,000 messages."""

    SIZE = 100_000

    async def test_read_marks_and_counts_do_not_walk_through_the_room(self) -> None:
        store = await self.store(self.redis)
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        written = await self.filled(store)
        # Cem wrote the first and the last, Ann all others, and Ben nothing.
        for user, at, unread in (("ben", 10, 1000), ("cem", 10, 1000), ("ben", -600, 599), ("cem", -2100, 1000)):
            moved, steps = await self.commands(store.mark_read(user, "#r", written[at].mid))
            self.assertTrue(moved)
            self.assertLess(steps, 30, (user, at))
            await self.counted(store, {user: unread})
        for user in ("ann", "ben", "cem"):
            moved, steps = await self.commands(store.mark_read(user, "#r", written[5].mid))
            self.assertEqual(moved, user == "ann", "the others had read more, and Ann nothing of Cem's")
            self.assertLess(steps, 30, user)
        # Now most of it goes, and counts and marks with it.
        await store.stop()
        store = await self.store(self.redis, retention_messages=2000)
        await store.sweep()
        await self.counted(store, {"ann": 1, "ben": 599, "cem": 1000})
        self.assertFalse(await store.mark_read("cem", "#r", written[-2050].mid))
        self.assertTrue(await store.mark_read("cem", "#r", written[-801].mid))
        await self.counted(store, {"cem": 799})

    async def counted(self, store: RedisStore, expected: dict[str, int]) -> None:
        """Ask for conversations: so many are unread in the one there is, and that is found in few steps."""
        for user, unread in expected.items():
            (one,), steps = await self.commands(store.conversations(user, 10))
            self.assertEqual(one.unread, unread, user)
            self.assertLess(steps, 30, user)

    async def filled(self, store: RedisStore) -> list[Message]:
        """What was written, oldest first."""
        written: list[Message] = []
        senders = ["cem", *["ann"] * (self.SIZE - 2), "cem"]
        for start in range(0, self.SIZE, 500):
            answers = await store.append([message(sender, "#r") for sender in senders[start : start + 500]])
            written += [answer.message for answer in answers]
        return written


class BytesTests(BoundsTestCase):
    """Large messages: what one script answers with is cut by bytes, and nothing is left out."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.it = await self.store(self.redis)
        self.answers: list[int] = []
        do = self.it._client._reads.do
        self.patch(self.it._client._reads, "do", lambda *command: do(*command).addCallback(self.weighed))
        write = self.it._client._writes.do
        self.patch(self.it._client._writes, "do", lambda *command: write(*command).addCallback(self.weighed))

    def weighed(self, answer: Any) -> Any:
        self.answers.append(weight(answer))
        return answer

    def tearDown(self) -> None:
        self.assertLess(max(self.answers), PAGE_BYTES + LARGE)

    async def written(self, count: int, **changes: Any) -> list[Message]:
        batch = [
            message(**{"msg": Raw(b'"%b"' % (b"x" * LARGE)), **{key: make(n) for key, make in changes.items()}})
            for n in range(count)
        ]
        return [answer.message for answer in await self.it.append(batch)]

    async def test_pages_of_an_inbox(self) -> None:
        written = await self.written(25)
        found: list[Message] = []
        while True:
            page = await self.it.read("ben", len(found), 100)
            self.assertEqual((page.first, page.last), (1, 25))
            if not page.entries:
                break
            found += [entry.message for entry in page.entries]
        self.assertEqual(found, written)

    async def test_pages_of_a_conversation(self) -> None:
        written = await self.written(25)
        page = await self.it.history("ann", "ben", before=None, limit=100)
        self.assertTrue(page.more)
        self.assertEqual(await self.whole(self.it, "ben", "ann"), written)

    async def test_the_newest_message_of_each_conversation(self) -> None:
        written = await self.written(45, recipient=lambda n: f"user {n}")
        listed = await self.it.conversations("ann", 100)
        self.assertEqual([one.peer for one in listed], [f"user {n}" for n in reversed(range(45))])
        line = Raw(b'"%b"' % (b"x" * (MAX_LINE - 2)))
        expected = [msgspec.structs.replace(one, msg=line) for one in reversed(written)]
        self.assertEqual([one.last for one in listed], expected)
        self.assertTrue(all(one.cut for one in listed))
        self.assertLess(self.answers[-1], 45 * (MAX_LINE + 200), "no large message is read")

    async def test_the_newest_messages_of_a_version_that_made_no_lines(self) -> None:
        written = await self.written(5, recipient=lambda n: f"user {n}")
        for key in self.redis.do("KEYS", f"{self.it._client.prefix}h:*"):
            self.redis.do("HDEL", key, "b")
        listed = await self.it.conversations("ann", 100)
        self.assertEqual(
            [one.last for one in listed], [msgspec.structs.replace(one, msg=NO_LINE) for one in reversed(written)]
        )
        self.assertTrue(all(one.cut for one in listed))
        self.assertLess(sum(self.answers[-3:]), LARGE, "no large message is answered with")

    async def test_a_line_of_an_earlier_message_is_not_shown(self) -> None:
        """A daemon of a version that makes no lines may have written the newest message."""
        await self.written(1)
        (key,) = self.redis.do("KEYS", f"{self.it._client.prefix}h:*")
        line = self.redis.do("HGET", key, "b")
        (newest,) = await self.it.append([message()])
        self.redis.do("HSET", key, "b", line)
        (listed,) = await self.it.conversations("ann", 100)
        self.assertEqual((listed.last, listed.cut), (newest.message, False))

    async def test_the_first_of_many_repeats(self) -> None:
        written = await self.written(25, cid=str)
        again = [message(recipient="cem", cid=str(number % 25)) for number in range(60)]
        firsts = [msgspec.structs.replace(written[n % 25], msg=one.msg) for n, one in enumerate(again)]
        expected = [Stored(one, (("ben", n % 25 + 1),), True, whole=False) for n, one in enumerate(firsts)]
        self.redis.do("CONFIG", "RESETSTAT")
        self.assertEqual(await self.it.append(again), expected)
        self.assertNotIn("xrange", calls(self.redis), "no large message is read")
        # Those of a version that kept nothing for it are read, and not answered with.
        self.redis.do("DEL", f"{self.it._client.prefix}e:ann")
        self.assertEqual(await self.it.append(again), expected)
        self.assertLess(sum(self.answers[-3:]), LARGE, "no large message is answered with")


def weight(answer: Any) -> int:
    """Bytes of an answer."""
    return sum(map(weight, answer)) if isinstance(answer, list) else len(answer) if isinstance(answer, bytes) else 8


class StepsTests(BoundsTestCase):
    """Retention goes in steps by entries and bytes."""

    async def steps(self, store: RedisStore) -> list[dict[str, int]]:
        """The commands of each step of one round."""
        steps: list[dict[str, int]] = []
        run = store._retention._run

        async def counted(script: str, argument: bytes) -> Any:
            self.redis.do("CONFIG", "RESETSTAT")
            more = await run(script, argument)
            steps.append(calls(self.redis))
            return more

        self.patch(store._retention, "_run", lambda *run: Deferred.fromCoroutine(counted(*run)))
        await store.sweep()
        return steps

    async def test_messages_to_a_large_room(self) -> None:
        store = await self.store(self.redis, retention_messages=1)
        members = [f"user {number}" for number in range(300)]
        await gatherResults([store.join("#r", user, 1000) for user in members])
        await store.append([message(members[0], "#r", cid=str(n)) for n in range(20)])
        steps = await self.steps(store)
        self.assertEqual((await store.inbox(members[-1])).first, 20)
        self.assertGreater(len(steps), 20 * 299 // STEP_ENTRIES)
        for commands in steps:
            self.assertLess(sum(commands.values()), 12 * STEP_ENTRIES)

    async def test_large_messages(self) -> None:
        old = [
            message(
                mid=mid((int(real_reactor().seconds() * 1000) - 10**9 + n) << 16), msg=Raw(b'"%b"' % (b"x" * LARGE))
            )
            for n in range(40)
        ]
        for changes in ({"retention_messages": 1}, {"retention_seconds": 3600.0}):
            store = await self.store(self.redis, prefix=f"{self.id()}{changes}", **changes)
            await store.append(old)
            steps = await self.steps(store)
            self.assertLess((await store.inbox("ben")).last - (await store.inbox("ben")).first, 1)
            removed = [commands.get("xdel", 0) for commands in steps]
            self.assertGreaterEqual(sum(removed), 39)
            self.assertLessEqual(max(removed), STEP_BYTES // LARGE + 1)


class ManyTests(BoundsTestCase):
    """What is of many users is done in parts."""

    async def test_notes_of_many_users(self) -> None:
        store = await self.store(self.redis)
        seen = {f"user {number}": number for number in range(3 * store_module.MAX_SCRIPT_USERS + 1)}
        self.redis.do("CONFIG", "RESETSTAT")
        await store.save_progress(Progress({}, seen))
        self.assertGreaterEqual(calls(self.redis)["evalsha"], 4)
        self.assertEqual(await store.last_seen(list(seen)), seen)

    async def test_a_room_that_has_grown_unseen_is_written_to_in_parts_and_all_stays_in_order(self) -> None:
        self.patch(write_queue, "MAX_SCRIPT_WRITES", 40)
        self.patch(write_queue, "MAX_WRITES_IN_FLIGHT", 1000)
        one, other = await self.store(self.redis), await self.store(self.redis)
        for user in ("ann", "ben"):
            await one.join("#r", user, 1000)
        await one.append([message("ann", "#r")])
        members = [f"user {number}" for number in range(15)]
        await gatherResults([other.join("#r", user, 1000) for user in members])
        batches = [[message("ann", "#r") for _ in range(10)] for _ in range(3)]
        asked: list[Deferred[Any]] = [one.append(batches[0]), one.append(batches[1]), one.join("#r", "late", 1000)]
        asked += [one.append(batches[2]), one.append([message("ann", "ben")])]
        self.redis.do("CONFIG", "RESETSTAT")
        results = await gatherResults(asked)
        self.assertTrue(results.pop(2))
        answers = [answer for batch in results for answer in batch]
        self.assertEqual([answer.message for answer in answers[:-1]], [one for batch in batches for one in batch])
        for number, answer in enumerate(answers[:-1]):
            expected = {"ben": number + 2, **dict.fromkeys(members, number + 1)}
            if number >= 20:
                expected["late"] = number - 19
            self.assertEqual(dict(answer.places), expected)
        self.assertEqual(answers[-1].places, (("ben", 32),))
        mids = [answer.message.mid for answer in answers]
        self.assertEqual(mids, sorted(mids))
