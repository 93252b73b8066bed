"""The outbox on a real PostgreSQL: several daemons, a log that is full, and what is left of an erased user."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults

from kschat.backends.postgresql import hooks
from kschat.chat.outbox import MAX_JOINS, MAX_LOG, Backlog, Commit
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.backends.test_erasure import NAME, TEXT, filled
from tests.contracts.made import message, to
from tests.contracts.outbox import NOW, event
from tests.support.postgresql import shared_postgresql


class OutboxTests(PostgresqlTestCase):
    async def hooked(self, **changes: Any) -> tuple[Any, Any]:
        """A store, and its outbox."""
        self.server = await shared_postgresql()
        store: Any = await self.store(self.server, hooks=True, **changes)
        self.assertTrue(await store.outbox.acquire("me", 60))
        return store, store.outbox

    async def test_all_daemons_log_and_another_one_goes_on_where_the_first_has_ended(self) -> None:
        one, outbox = await self.hooked()
        two: Any = await self.store(self.server, hooks=True)
        stored = await gatherResults([store.append(to("ben", "cem")) for store in (one, two) * 20])
        page = await outbox.log(await outbox.end(), 30)
        self.assertGreaterEqual(len(page.messages), 30)
        await outbox.commit("me", Commit(log=page.upto, events={"w": [event("a")]}))
        self.assertFalse(await two.outbox.acquire("you", 60))
        await outbox.release("me")
        self.assertTrue(await two.outbox.acquire("you", 60))
        rest = await two.outbox.log(await two.outbox.end(), 1000)
        mids = sorted(one.mid for one in (*page.messages, *rest.messages))
        self.assertEqual(mids, sorted(one.message.mid for batch in stored for one in batch))
        self.assertEqual([one.event for one in await two.outbox.queued("w", NOW, 10)], [event("a")])

    async def test_a_lease_expires(self) -> None:
        _, outbox = await self.hooked()
        await outbox.acquire("me", 0.0)
        self.assertTrue(await outbox.acquire("you", 60))
        self.assertFalse(await outbox.acquire("me", 60))

    async def test_a_batch_that_is_committed_late_is_found_later(self) -> None:
        _, outbox = await self.hooked()
        store = await self.store(self.server, hooks=True)
        await store.append(to("ben"))
        upto = await outbox.end()
        self.server.do("UPDATE kschat.hook_log SET number = DEFAULT")
        await store.append(to("cem"))
        page = await outbox.log(upto, 10)
        self.assertIsNone(page.upto)
        page = await outbox.log(await outbox.end(), 10)
        self.assertEqual([one.places[0][0] for one in page.messages], ["ben", "cem"])

    async def test_what_is_stored_while_the_log_is_full_is_counted_once(self) -> None:
        store, outbox = await self.hooked()
        self.patch(hooks, "LOGGED", hooks.LOGGED.replace(f">= {MAX_LOG}", ">= 2"))
        for _ in range(4):
            for one in await store.append(to("ben", "cem")):
                self.assertTrue(one.places)
        self.assertEqual([await outbox.backlog() for _ in range(2)], [Backlog(lost=2), Backlog()])
        self.assertEqual(len((await outbox.log(await outbox.end(), 100)).messages), 6)

    async def test_the_oldest_joins_are_dropped_and_counted_once(self) -> None:
        store, outbox = await self.hooked()
        self.server.do(f"SELECT setval('kschat.hook_joins_number_seq', {MAX_JOINS})")
        self.server.do("INSERT INTO kschat.hook_joins OVERRIDING SYSTEM VALUE VALUES (1, '#o', 'o', 1)")
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        self.assertEqual([join.user for join in await outbox.joins(10)], ["ann", "ben"])
        self.assertEqual([(await outbox.backlog()).lost_joins for _ in range(2)], [1, 0])

    async def test_without_hooks_nothing_is_written_for_them(self) -> None:
        server = await shared_postgresql()
        store = await self.store(server)
        self.assertIsNone(store.outbox)
        await store.join("#r", "ann", 10)
        await store.append(to("ben"))
        for table in ("log", "joins", "marks", "events"):
            self.assertEqual(server.do(f"SELECT count(*) FROM kschat.hook_{table}"), [(0,)], table)

    async def test_no_table_has_anything_of_an_erased_user_but_a_revocation(self) -> None:
        store, outbox = await self.hooked()
        await filled(store)
        await store.append([message("ben", NAME)])
        await store.erase(NAME)
        await outbox.commit("me", Commit())
        found = []
        for (table,) in self.server.do("SELECT tablename FROM pg_tables WHERE schemaname = 'kschat'"):
            for row in self.server.do(f"SELECT t.* FROM kschat.{table} t"):
                for cell in flat(row):
                    text = cell if isinstance(cell, bytes) else str(cell).encode()
                    if NAME.encode() in text or TEXT.encode() in text:
                        found.append((table, text))
        self.assertEqual(found, [("revocations", f"u{NAME}".encode())])


def flat(value: Any) -> Any:
    """Each value in a row, also those of arrays."""
    for one in value:
        if isinstance(one, list):
            yield from flat(one)
        else:
            yield one
