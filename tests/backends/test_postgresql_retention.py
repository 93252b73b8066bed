"""What is deleted of the PostgreSQL store, and what is not: as of the others."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from twisted.internet.defer import gatherResults, succeed

from kschat.backends.generations import GENERATION
from kschat.backends.postgresql import retention
from kschat.backends.postgresql.erasure import STEP_MESSAGES
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat.interfaces import InboxPage, InboxState, IStore
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.contracts import retention as contract
from tests.contracts import unread
from tests.contracts.istore import entries
from tests.contracts.made import message, mid, to
from tests.contracts.retention import aged
from tests.contracts.updates import react
from tests.support.postgresql import shared_postgresql


class RetentionTestCase(PostgresqlTestCase):
    def setUp(self) -> None:
        # Between steps.
        self.patch(retention, "rest", lambda clock, took, times: succeed(None))

    async def begun(self, **changes: Any) -> PostgresqlStore:
        self.server = await shared_postgresql()
        return await self.store(self.server, **changes)

    def held(self) -> list[int]:
        """How many messages, updates and entries of inboxes there are."""
        return [
            self.server.do(f"SELECT count(*) FROM kschat.{name}")[0][0] for name in ("messages", "updates", "inbox")
        ]


class AgeTests(RetentionTestCase):
    """Messages older than the bound go."""

    async def test_what_is_older_is_deleted_everywhere_and_what_is_younger_stays(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        answers = await store.append([aged(9000, cid="c1"), aged(4000, cid="c2"), aged(100, cid="c3")])
        await store.sweep()
        self.assertEqual(await store.inbox("ben"), InboxState(0, 3, 3))
        self.assertEqual(await store.read("ben", 0, 10), InboxPage(entries(answers)[2:], 3, 3, GENERATION))
        self.assertEqual((await store.history("ann", "ben", before=None, limit=10)).messages, (answers[2].message,))
        self.assertEqual(self.held(), [1, 0, 1])
        repeats = await store.append([aged(0, cid="c3"), aged(0, cid="c1")])
        self.assertEqual([one.repeat for one in repeats], [True, False])

    async def test_what_is_old_is_found_where_new_messages_lie_in_the_place_of_deleted_ones(self) -> None:
        await self.begun()
        fill = (
            "INSERT INTO kschat.messages (conversation, id, suffix, sender, total, own, time, size, msg) "
            "SELECT 1, n, '', 1, n, n, 0, 100, repeat('x', 100)::bytea FROM generate_series({}, {}) AS n"
        )
        for statement in (
            fill.format(1, 10_000),
            "DELETE FROM kschat.messages",
            "VACUUM kschat.messages",
            fill.format(20_001, 30_000),
            fill.format(10_001, 10_001),
            "ANALYZE kschat.messages",
        ):
            self.server.do(statement)
        with psycopg.connect(self.server.superuser(), options="-c search_path=kschat -c enable_seqscan=off") as asking:
            for before, found in ((20_000, 1), (10_000, 0)):
                explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {retention._OLD[0]}"
                ((((plan,),),),) = [asking.execute(explained.encode(), {"before": before}).fetchall()]
                self.assertEqual(plan["Plan"]["Actual Rows"], found)
                # The table has some hundred pages.
                self.assertLess(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"], 20)

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
            await store.sweep()
            self.assertEqual((await store.read("cem", 0, 9)).entries, entries(cem), later)
            found = [one for one in entries(ben) if one.message.recipient == "ben"]
            self.assertEqual((await store.read("ben", 0, 9)).entries, found)
        self.assertEqual(self.held(), [0, 0, 0])

    async def test_unread_messages_that_were_deleted_do_not_count(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        batch = [aged(9000), aged(8999, sender="ben", recipient="ann"), aged(100), aged(99)]
        batch += [aged(98, sender="ben", recipient="ann"), aged(97)]
        rooms = [aged(9000 - n, sender="ann" if n % 3 else "ben", recipient="#r") for n in range(5)]
        rooms += [aged(90 - n, sender="ann" if n % 3 else "ben", recipient="#r") for n in range(5)]
        await store.append(sorted(batch + rooms, key=lambda one: one.mid))
        await store.sweep()
        counts = {one.peer: one.unread for one in await store.conversations("ben", 10)}
        self.assertEqual(counts, {"ann": 3, "#r": 3})
        self.assertTrue(await store.mark_read("ben", "#r", rooms[6].mid))
        self.assertFalse(await store.mark_read("ben", "#r", rooms[3].mid))
        self.assertTrue(await store.mark_read("ben", "ann", batch[3].mid))
        counts = {one.peer: one.unread for one in await store.conversations("ben", 10)}
        self.assertEqual(counts, {"ann": 1, "#r": 2})

    async def test_more_than_one_step_s_worth_goes_in_one_round(self) -> None:
        store = await self.begun(retention_seconds=3600.0)
        old = [aged(9000 - n / 1000) for n in range(2 * STEP_MESSAGES + 1)]
        await store.append(old)
        await store.change(react(old[0], "+1", mid=mid((int((time.time() - 8000) * 1000)) << 16)))
        await store.sweep()
        self.assertEqual(self.held(), [0, 0, 0])

    async def test_without_bounds_all_is_kept(self) -> None:
        store = await self.begun()
        await store.append([aged(10**8), aged(10**7)])
        await store.sweep()
        self.assertEqual(self.held(), [2, 0, 2])


class CountTests(RetentionTestCase):
    """Of each inbox and each conversation the newest messages stay."""

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
        self.assertIsNone(await store.find("ann", batch[0].mid, "fay"))
        (again,) = await store.append([message("fay", "ann", cid="c0")])
        self.assertTrue(again.repeat, "the inbox still has it")
        # What neither holds is deleted.
        await store.append([message("gil", "ann") for _ in range(3)])
        await store.sweep()
        (again,) = await store.append([message("fay", "ann", cid="c0")])
        self.assertFalse(again.repeat)

    async def test_updates_go_with_the_inboxes_that_hold_them(self) -> None:
        store = await self.begun(retention_messages=3)
        (one,) = await store.append([message()])
        for number in range(8):
            await store.change(react(one.message, f"{number}", "ben"))
        await store.sweep()
        self.assertEqual(self.held(), [1, 3, 6])

    async def test_many_are_deleted_in_one_round_by_one_daemon(self) -> None:
        store = await self.begun(retention_messages=10)
        other = await self.store(self.server, retention_messages=10)
        await store.append(to(*["ben", "cem"] * (2 * STEP_MESSAGES)))
        await gatherResults([store.sweep(), other.sweep()])
        await store.sweep()
        self.assertEqual(self.held(), [20, 0, 20])


class PostgresqlBoundedTests(unread.UnreadContract, contract.RetentionContract, RetentionTestCase):
    seeds = range(5)

    async def make_bounded_store(self, most: int) -> IStore:
        return await self.store(await shared_postgresql(), retention_messages=most)

    async def make_store_of_age(self, seconds: float) -> PostgresqlStore:
        return await self.store(await shared_postgresql(), retention_seconds=seconds)

    async def tidy(self, store: IStore) -> None:
        assert isinstance(store, PostgresqlStore)
        await store.sweep()
