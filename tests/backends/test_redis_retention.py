"""What is deleted of the Redis store, and what is not: as of the SQLite store."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.generations import GENERATION
from kschat.backends.redis import RedisStore
from kschat.backends.redis.store.retention import (
    HURRIED_REST,
    LOCK_MILLISECONDS,
    MAX_SAVING,
    SAVING_INTERVAL,
    Retention,
)
from kschat.backends.redis.store.rounds import STEP_ENTRIES
from kschat.backends.rounds import REST, ROUND_INTERVAL, STEP_PAUSE
from kschat.chat.interfaces import InboxPage, InboxState, IStore, Progress
from tests.backends.redis_stores import StoreTestCase
from tests.contracts import retention as contract
from tests.contracts import unread
from tests.contracts.istore import entries
from tests.contracts.made import message, mid, to
from tests.contracts.retention import aged
from tests.support.redis import shared_redis


class RetentionTestCase(StoreTestCase):
    async def begun(self, **changes: Any) -> RedisStore:
        return await self.store(await shared_redis(), **changes)

    def held(self, key: str) -> int:
        """How many entries a key has."""
        redis, name = self.redis, f"{self.id()}:{key}"
        kind = redis.do("TYPE", name).decode()
        if kind == "none":
            return 0
        return int(redis.do({"stream": "XLEN", "hash": "HLEN", "zset": "ZCARD", "set": "SCARD"}[kind], name))

    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        self.redis = await shared_redis()


class AgeTests(RetentionTestCase):
    """Messages older than the bound go, oldest first."""

    async def test_what_is_older_is_deleted_everywhere_and_what_is_younger_stays(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        answers = await store.append([aged(9000, cid="c1"), aged(4000, cid="c2"), aged(100, cid="c3")])
        await store.sweep()
        self.assertEqual(await store.inbox("ben"), InboxState(0, 3, 3))
        self.assertEqual(await store.read("ben", 0, 10), InboxPage(entries(answers)[2:], 3, 3, GENERATION))
        self.assertEqual((await store.history("ann", "ben", before=None, limit=10)).messages, (answers[2].message,))
        self.assertEqual([self.held(key) for key in ("c:3:annben", "i:ben", "d:ann")], [1, 1, 1])
        repeats = await store.append([aged(0, cid="c3"), aged(0, cid="c1")])
        self.assertEqual([one.repeat for one in repeats], [True, False])

    async def test_after_the_clock_was_ahead_messages_are_as_old_as_they_say(self) -> None:
        now = time.time()
        wall = [now]
        store = await self.begun(retention_seconds=86400.0, wall=lambda: wall[0])
        number = int((now + 3 * 86400) * 1000) << 16
        answers = await store.append(
            [
                message(mid=mid(number + 32 * n), time=int((now + seconds) * 1000), recipient=recipient)
                for n, (seconds, recipient) in enumerate([(3 * 86400, "ben"), (10, "ben"), (20, "cem"), (5000, "ben")])
            ]
        )
        for later, ben, cem in (
            (80_000, answers, answers[2:3]),
            (86_400 + 1000, answers[3:], []),
            (86_400 + 6000, [], []),
        ):
            wall[0] = now + later
            for _ in range(2):
                await store.sweep()
            self.assertEqual((await store.read("cem", 0, 9)).entries, entries(cem), later)
            found = [one for one in entries(ben) if one.message.recipient == "ben"]
            self.assertEqual((await store.read("ben", 0, 9)).entries, found)
        self.assertEqual([self.held(key) for key in ("c:3:annben", "c:3:anncem", "i:ben")], [0, 0, 0])

    async def test_a_clock_that_was_behind_for_a_moment_makes_nothing_old(self) -> None:
        now = time.time()
        store = await self.begun(retention_seconds=86400.0)
        number = int((now - 100) * 1000) << 16
        await store.append(
            [
                message(mid=mid(number), time=int((now - 100) * 1000)),
                message(mid=mid(number + 1), time=int((now - 3 * 86400) * 1000)),
                message(mid=mid(int(now * 1000) << 16), time=int(now * 1000)),
            ]
        )
        await store.sweep()
        self.assertEqual(len((await store.read("ben", 0, 9)).entries), 3)

    async def test_a_lock_that_ends_later_than_any_does_is_let_go(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        await store.append([aged(9000)])
        # So it is when the server's clock was set back by three days.
        self.redis.do("SET", f"{self.id()}:x:lock", "another", "PX", 3 * 86_400_000)
        await store.sweep()
        self.assertEqual(len((await store.read("ben", 0, 9)).entries), 1)
        await store.sweep()
        self.assertEqual((await store.read("ben", 0, 9)).entries, [])

    async def test_an_inbox_that_was_emptied_is_looked_at_again_though_the_server_s_clock_was_ahead(self) -> None:
        now = time.time()
        store = await self.begun(retention_seconds=3600.0)
        await store.append([aged(9000)])
        await store.sweep()
        # Its own clock does not say when: what comes next may be as old as the last.
        for index in ("x:age:i", "x:age:c"):
            for name in self.redis.do("ZRANGE", f"{self.id()}:{index}", 0, -1):
                self.assertLess(float(self.redis.do("ZSCORE", f"{self.id()}:{index}", name)), (now - 3000) * 1000)

    async def test_the_conversation_of_two_goes_with_its_last_message_and_can_start_again(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        await store.append([aged(9000 - n, sender="cem") for n in range(3)])
        await store.mark_read("ben", "cem", mid(2**62))
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("c:3:bencem", "h:3:bencem", "v:ben", "v:cem")], [0] * 4)
        await store.append([aged(0, sender="cem"), aged(0, sender="cem")])
        (one,) = await store.conversations("ben", 10)
        self.assertEqual((one.peer, one.unread), ("cem", 2))

    async def test_what_comes_after_is_deleted_in_its_turn(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        for _ in range(3):
            await store.append([aged(9000), aged(8000, recipient="#r")])
            await store.sweep()
            self.assertEqual([self.held(key) for key in ("c:3:annben", "c:#r", "i:ben")], [0, 0, 0])
            # What the sweep looks at next is what has nothing too old in it; here the clock of the index is put back.
            for index in ("x:age:i", "x:age:c"):
                for name in self.redis.do("ZRANGE", f"{self.id()}:{index}", 0, -1):
                    self.redis.do("ZADD", f"{self.id()}:{index}", 0, name)

    async def test_a_room_stays_with_its_members(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        await store.append([aged(9000, recipient="#r", cid="c1")])
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("c:#r", "i:ben", "d:ann")], [0, 0, 0])
        self.assertEqual(await store.inbox("ben"), InboxState(0, 2, 1))
        (answer,) = await store.append([aged(0, recipient="#r")])
        self.assertEqual(answer.places, (("ben", 2),))
        self.assertEqual((await store.conversations("ben", 10))[0].unread, 1)

    async def test_unread_messages_that_were_deleted_do_not_count(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        batch = [aged(9000), aged(8999, sender="ben", recipient="ann"), aged(100), aged(99)]
        batch += [aged(98, sender="ben", recipient="ann"), aged(97)]
        rooms = [aged(9000 - n, sender="ann" if n % 3 else "ben", recipient="#r") for n in range(5)]
        rooms += [aged(90 - n, sender="ann" if n % 3 else "ben", recipient="#r") for n in range(5)]
        # In the order of time, since what is older than what is there already is made younger.
        await store.append(sorted(batch + rooms, key=lambda one: one.mid))
        await store.sweep()
        unread = {one.peer: one.unread for one in await store.conversations("ben", 10)}
        self.assertEqual(unread, {"ann": 3, "#r": 3})
        self.assertTrue(await store.mark_read("ben", "#r", rooms[6].mid))
        self.assertFalse(await store.mark_read("ben", "#r", rooms[3].mid))
        self.assertTrue(await store.mark_read("ben", "ann", batch[3].mid))
        unread = {one.peer: one.unread for one in await store.conversations("ben", 10)}
        self.assertEqual(unread, {"ann": 1, "#r": 2})

    async def test_more_than_one_step_s_worth_goes_in_one_round(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        await store.append([aged(9000 - n / 1000) for n in range(2 * STEP_ENTRIES + 1)])
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("c:3:annben", "i:ben")], [0, 0])

    async def test_without_bounds_all_is_kept(self) -> None:
        store = await self.begun()
        await store.append([aged(10**9), aged(10**8)])
        await store.sweep()
        self.assertEqual(self.held("i:ben"), 2)

    async def test_what_is_too_old_and_not_swept_yet_leaves_no_hole_that_is_claimed(self) -> None:
        store = await self.begun()
        answers = await store.append([aged(9000), aged(0)])
        # The conversation was swept, and the inbox not yet.
        self.redis.do("HSET", f"{self.id()}:g", "age", f"{int((time.time() - 100) * 1000)}-0")
        self.redis.do("XTRIM", f"{self.id()}:c:3:annben", "MAXLEN", 1)
        self.assertEqual((await store.inbox("ben")).first, 2)
        self.assertEqual((await store.read("ben", 0, 1)).entries, entries(answers)[1:])


class UsersTests(RetentionTestCase):
    """What a user leaves behind goes as messages do."""

    async def passes(self, *names: str) -> None:
        """As long as messages are kept passes, for users (and conversations) that the sweep has looked at."""
        for index in ("x:age:i", "x:age:c"):
            for name in names or self.redis.do("ZRANGE", f"{self.id()}:{index}", 0, -1):
                self.redis.do("ZADD", f"{self.id()}:{index}", "XX", 0, name)

    async def test_users_that_came_once_leave_nothing(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        users = [f"user {number}" for number in range(3000)]
        long_ago = int((time.time() - 9000) * 1000)
        await store.append([aged(9000 - n / 1000, recipient=user) for n, user in enumerate(users[::2])])
        await store.save_progress(Progress(dict.fromkeys(users[::2], 1), dict.fromkeys(users, long_ago)))
        await store.sweep()
        self.assertEqual((await store.inbox("user 0")).last, 1, "they may come back for as long again")
        await self.passes()
        await store.sweep()
        left = self.redis.do("KEYS", f"{self.id()}:*")
        self.assertEqual(left, [f"{self.id()}:g".encode()])

    async def test_who_was_seen_lately_or_has_messages_stays(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        now = int(time.time() * 1000)
        await store.append([aged(9000, recipient="ben"), aged(8999, recipient="cem"), aged(10, recipient="dan")])
        await store.save_progress(Progress({"ben": 1, "dan": 1}, {"ben": now, "dan": 1000}))
        for _ in range(3):
            await store.sweep()
            await self.passes("iben", "icem", "idan")
        self.assertEqual(await store.inbox("ben"), InboxState(1, 2, 1))
        self.assertEqual(await store.inbox("cem"), InboxState())
        self.assertEqual(await store.inbox("dan"), InboxState(1, 1, 1))
        self.assertEqual(await store.last_seen(["ben", "dan"]), {"ben": now, "dan": 1000})

    async def test_an_inbox_that_begins_anew_gives_no_offset_that_any_gave_before(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        await store.append([aged(9000 - n / 1000) for n in range(7)] + [aged(10, recipient="cem")])
        await store.sweep()
        await self.passes("iben")
        await store.sweep()
        self.assertEqual(await store.inbox("ben"), InboxState())
        answers = await store.append([aged(0), aged(0), aged(0, recipient="cem"), aged(0, recipient="dan")])
        self.assertEqual([answer.places[0][1] for answer in answers], [8, 9, 2, 8])
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries(answers[:2]))
        self.assertEqual(await store.inbox("ben"), InboxState(0, 8, 9))
        for room in ("#r",):
            for user in ("eve", "fay", "gil"):
                await store.join(room, user, 10)
        (answer,) = await store.append([aged(0, sender="eve", recipient="#r")])
        self.assertEqual(answer.places, (("fay", 8), ("gil", 8)))

    async def test_a_room_that_all_have_left_goes_with_its_last_message(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        await store.append([aged(9000, recipient="#r")])
        for user in ("ann", "ben"):
            await store.leave("#r", user)
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("c:#r", "h:#r", "n:#r", "m:#r", "v:ann", "o:2:#rann")], [0] * 6)

    async def test_offsets_go_on_in_the_next_generation_before_one_is_full(self) -> None:
        store = await self.begun()
        await store.append(to("ben", "ben"))
        full = GENERATION - 262_144
        self.redis.do("XADD", f"{self.id()}:i:ben", f"1-{full}", "n", "1-1", "c", "3:annben")
        (last,) = await store.append(to("ben"))
        (first,) = await store.append(to("ben"))
        self.assertEqual((last.places[0][1], first.places[0][1]), (full + 2, GENERATION + 1))
        page = await store.read("ben", full + 1, 10)
        self.assertEqual([entry.offset for entry in page.entries], [full + 2, GENERATION + 1])
        self.assertEqual(page.ceiling, 2 * GENERATION)


class CountTests(RetentionTestCase):
    """Of each inbox and each conversation the newest messages stay."""

    async def test_an_inbox_and_a_conversation_keep_their_newest(self) -> None:
        store = await self.begun(retention_messages=3)
        answers = await store.append([message(cid=f"c{n}") for n in range(10)])
        await store.sweep()
        self.assertEqual(await store.inbox("ben"), InboxState(0, 8, 10))
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries(answers)[7:])
        page = await store.history("ann", "ben", before=None, limit=10)
        self.assertEqual(page.messages, tuple(answer.message for answer in answers[7:]))
        self.assertEqual([self.held(key) for key in ("c:3:annben", "i:ben", "d:ann")], [3, 3, 3])

    async def test_a_message_stays_as_long_as_either_holds_it(self) -> None:
        store = await self.begun(retention_messages=3)
        # Ben's inbox is full of others' messages; each conversation is short.
        senders = ("ann", "cem", "dan", "eve")
        first = await store.append([message(sender, "ben") for sender in senders for _ in range(2)])
        await store.sweep()
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries(first)[5:])
        self.assertEqual(len((await store.history("ben", "ann", before=None, limit=10)).messages), 2)
        # Ann's talk with Fay is long, but what Ann is to get of it is not.
        batch = [message("ann", "fay") if n % 3 else message("fay", "ann", cid=f"c{n}") for n in range(9)]
        answers = await store.append(batch)
        await store.sweep()
        theirs = [one for one in answers if one.message.sender == "fay"]
        self.assertEqual((await store.read("ann", 0, 10)).entries, entries(theirs))
        self.assertEqual((await store.history("ann", "fay", before=None, limit=10)).messages, tuple(batch[6:]))
        (again,) = await store.append([message("fay", "ann", cid="c0")])
        self.assertTrue(again.repeat, "the inbox still has it")
        # What neither holds is deleted.
        await store.append([message("gil", "ann") for _ in range(3)])
        await store.sweep()
        self.assertEqual(self.held("c:3:annfay"), 4, "the newest three, and one that Fay's inbox holds")
        (again,) = await store.append([message("fay", "ann", cid="c0")])
        self.assertFalse(again.repeat)

    async def test_more_than_one_step_s_worth_goes_in_one_round(self) -> None:
        store = await self.begun(retention_messages=10)
        await store.append(to(*["ben", "cem"] * (2 * STEP_ENTRIES)))
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("i:ben", "i:cem", "c:3:annben", "c:3:anncem")], [10] * 4)

    async def test_a_bound_that_is_set_later_finds_what_was_written_before(self) -> None:
        store = await self.begun()
        await store.append(to(*["ben"] * 10))
        await store.stop()
        store = await self.begun(retention_messages=3)
        await store.sweep()
        self.assertEqual([self.held(key) for key in ("i:ben", "c:3:annben")], [3, 3])

    async def test_unread_messages_that_were_deleted_do_not_count(self) -> None:
        store = await self.begun(retention_messages=3)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        await store.append([message("ann", peer) for peer in ("ben", "#r") for _ in range(10)])
        await store.sweep()
        unread = {one.peer: one.unread for one in await store.conversations("ben", 10)}
        self.assertEqual(unread, {"ann": 3, "#r": 3})


class RedisBoundedTests(unread.UnreadContract, contract.RetentionContract, StoreTestCase):
    made_stores = 0

    async def make_bounded_store(self, most: int) -> IStore:
        self.made_stores += 1
        prefix = f"{self.id()}{self.made_stores}"
        return await self.store(await shared_redis(), prefix=prefix, retention_messages=most)

    async def make_store_of_age(self, seconds: float) -> RedisStore:
        return await self.store(await shared_redis(), retention_seconds=seconds)

    async def tidy(self, store: IStore) -> None:
        assert isinstance(store, RedisStore)
        await store.sweep()


class RoundTests(RetentionTestCase):
    """Who deletes, and when."""

    async def test_one_daemon_at_a_time_deletes(self) -> None:
        one, other = await self.begun(retention_messages=3), await self.begun(retention_messages=3)
        await one.append(to(*["ben"] * (3 * STEP_ENTRIES)))
        await gatherResults([one.sweep(), other.sweep()])
        self.assertEqual(self.held("i:ben"), 3)
        self.assertEqual(self.redis.do("EXISTS", f"{self.id()}:x:lock"), 0)

    async def test_a_key_that_is_somebody_else_s_keeps_nothing_else_from_being_deleted(self) -> None:
        store = await self.begun(retention_messages=3, retention_seconds=3600.0)
        await store.append([aged(9000 - n, recipient=user) for n, user in enumerate(["eve", "ben"] * 5)])
        await store.append([aged(9 - n / 1000, recipient=user) for n, user in enumerate(["eve", "ben"] * 5)])
        for key in ("i:eve", "h:3:anneve"):
            self.redis.do("DEL", f"{self.id()}:{key}")
            self.redis.do("SET", f"{self.id()}:{key}", "somebody's")
        await store.sweep()
        self.assertEqual([self.held("i:ben"), self.held("c:3:annben")], [3, 3])

    async def test_many_that_have_a_little_too_much_are_done_in_few_steps(self) -> None:
        store = await self.begun(retention_messages=2)
        await store.append(to(*(f"user {n % 300}" for n in range(900))))
        before = self.calls()
        await store.sweep()
        self.assertEqual(self.held("x:full"), 0)
        self.assertEqual([self.held(f"i:user {n}") for n in range(300)], [2] * 300)
        self.assertLess(self.calls() - before, 20)

    def calls(self) -> int:
        """How many scripts Redis has run."""
        stats = self.redis.do("INFO", "commandstats").decode()
        return int(stats.split("cmdstat_evalsha:calls=")[1].split(",")[0])

    async def test_a_store_that_ends_amid_a_round_ends(self) -> None:
        store = await self.begun(retention_messages=3)
        await store.append(to(*["ben"] * (3 * STEP_ENTRIES)))
        swept = store.sweep()
        await store.stop()
        await swept


class RestTests(SynchronousTestCase):
    """When a step may begin, on a clock of the test: others use Redis as well."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[Any, ...]] = []
        self.saving = ""
        self.steps: list[Deferred[int]] = []
        self.retention = Retention(self.do, self.run_script, "p:", 3600.0, 0, self.clock, lambda: 10_000.0)
        self.addCleanup(self.retention.stop)

    def do(self, *command: Any) -> Deferred[Any]:
        self.asked.append(command)
        if command[0] == "INFO":
            names = ("loading", "rdb_bgsave_in_progress", "aof_rewrite_in_progress")
            return succeed("".join(f"{name}:{int(name == self.saving)}\r\n" for name in names).encode())
        return succeed({"SET": b"OK", "ZREVRANGEBYSCORE": [], "ZREVRANGE": []}.get(command[0]))

    def run_script(self, script: str, argument: bytes) -> Deferred[int]:
        self.steps.append(Deferred())
        return self.steps[-1]

    def step(self, seconds: float) -> None:
        """Let the step that runs take so long, and have left something."""
        self.clock.advance(seconds)
        self.steps[-1].callback(1)

    def begins_after(self, seconds: float) -> None:
        """The next step begins then, and not before."""
        count = len(self.steps)
        self.clock.advance(seconds * 0.99)
        self.assertEqual(len(self.steps), count)
        self.clock.advance(seconds * 0.02)
        self.assertEqual(len(self.steps), count + 1)

    def test_a_rest_is_longer_than_the_step_and_less_so_where_a_round_is_late(self) -> None:
        self.retention.sweep()
        for took in (0.002, 0.1, 0.5):
            self.step(took)
            self.begins_after(max(REST * took, STEP_PAUSE))
        self.step(0.0)
        self.begins_after(STEP_PAUSE)
        self.step(ROUND_INTERVAL)
        self.begins_after(HURRIED_REST * ROUND_INTERVAL)

    def begun_while_it_saves(self, saving: str) -> None:
        """A round has begun while Redis saves, and no step has."""
        self.steps.clear()
        self.saving = saving
        self.retention.sweep()
        self.assertEqual(self.steps, [])

    def end(self) -> None:
        """Let the step that runs have left nothing, and the one of the other script."""
        for _ in range(2):
            self.steps[-1].callback(0)

    def test_it_waits_while_redis_saves(self) -> None:
        for saving in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress"):
            self.begun_while_it_saves(saving)
            for _ in range(2):
                self.asked.clear()
                self.clock.advance(SAVING_INTERVAL)
                # No other daemon begins meanwhile.
                extended = ("PEXPIRE", "p:x:lock", LOCK_MILLISECONDS)
                self.assertEqual(self.asked, [("INFO", "persistence"), extended])
            self.assertEqual(self.steps, [])
            self.saving = ""
            self.clock.advance(SAVING_INTERVAL)
            self.assertEqual(len(self.steps), 1)
            self.end()
            self.clock.advance(SAVING_INTERVAL)

    def test_it_asks_between_steps_but_not_before_each(self) -> None:
        self.retention.sweep()
        self.step(0.001)
        self.saving = "aof_rewrite_in_progress"
        self.asked.clear()
        self.begins_after(STEP_PAUSE)
        self.assertNotIn(("INFO", "persistence"), self.asked)
        self.step(SAVING_INTERVAL)
        self.clock.advance(REST * SAVING_INTERVAL)
        self.assertIn(("INFO", "persistence"), self.asked)
        self.assertEqual(len(self.steps), 2)
        self.saving = ""
        self.clock.advance(SAVING_INTERVAL)
        self.assertEqual(len(self.steps), 3)

    def test_it_does_not_wait_for_ever_and_the_wait_makes_no_round_late(self) -> None:
        self.begun_while_it_saves("aof_rewrite_in_progress")
        waits = int(MAX_SAVING / SAVING_INTERVAL)
        self.clock.pump([SAVING_INTERVAL] * (waits - 1))
        self.assertEqual(self.steps, [])
        self.clock.advance(SAVING_INTERVAL)
        self.assertEqual(len(self.steps), 1)
        self.step(SAVING_INTERVAL)
        self.begins_after(REST * SAVING_INTERVAL)
        self.end()
        # The next round waits as long again.
        self.begun_while_it_saves("aof_rewrite_in_progress")
        self.clock.pump([SAVING_INTERVAL] * (waits - 1))
        self.assertEqual(self.steps, [])
