"""The store on a real PostgreSQL: the contract, and several daemons on the same one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
from twisted.internet.defer import Deferred, gatherResults

from kschat.backends.postgresql import queries, updates
from kschat.backends.postgresql import writer as writer_module
from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.session import Session
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat import changes
from kschat.chat.interfaces import Entry, IStore
from kschat.chat.message import Changes
from kschat.chat.push import PushSubscription
from tests.backends.filled import fill
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.contracts import istore, outbox, rates
from tests.contracts.istore import offsets
from tests.contracts.made import message, mid, to
from tests.contracts.updates import edit, react
from tests.support.postgresql import PostgreSQL, shared_postgresql


class PostgresqlContractTests(istore.StoreContract, PostgresqlTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_postgresql())


class PostgresqlOutboxContractTests(outbox.OutboxContract, PostgresqlTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_postgresql(), hooks=True)


class FailingPostgresqlContractTests(istore.FailingStoreContract, PostgresqlTestCase):
    """A PostgreSQL that stops, and goes on: what is in its sockets' buffers then comes too late."""

    async def make_store(self) -> IStore:
        self.server = await self.own_server()
        return await self.store(self.server)

    async def break_off(self, store: IStore) -> None:
        self.server.signal(signal.SIGSTOP)
        await self.up(store, False)

    async def bring_back(self, store: IStore) -> None:
        self.server.signal(signal.SIGCONT)
        await self.up(store)


class PostgresqlRateTests(rates.RateContract, PostgresqlTestCase):
    _server: PostgreSQL | None = None

    async def begun(self, *, send_rate: float = 0.0, send_burst: float = 10.0) -> PostgresqlStore:
        if self._server is None:
            self._server = await shared_postgresql()
        return await self.store(self._server, send_rate=send_rate, send_burst=send_burst)


class PlanTests(PostgresqlTestCase):
    """No query of a daemon goes through a whole table, whatever the tables hold."""

    def scans(self, plan: Any) -> Iterator[dict[str, Any]]:
        """The nodes of a plan that read a table."""
        if "Relation Name" in plan and plan["Node Type"] != "Bitmap Heap Scan":
            yield plan
        if plan["Node Type"] == "Bitmap Index Scan":
            yield plan
        for below in plan.get("Plans", ()):
            yield from self.scans(below)

    async def test_each_query_finds_its_rows_by_an_index(self) -> None:
        server = await shared_postgresql()
        await fill(await self.store(server))
        name, names, number = b"ann", [b"ann", b"ben"], 2**62
        asked: dict[str, Any] = {
            "INBOX": (name,),
            "ENDS": (names,),
            "STANDING": (name,),
            "READ": {"user": 1, "after": 1, "limit": 100},
            "TARGETS": (names, names, [1, 2]),
            "MINE": {"user": name, "peer": b"ben"},
            "HISTORY": {"talk": 1, "before": number, "limit": 100, "gone": 0},
            "PEER": (1, name),
            "CONVERSATIONS": {"user": name, "number": number, "tail": b"", "limit": 100},
            "FIND": (number, name, b""),
            "READERS": (b"#r", number),
            "MEMBERS": (b"#r",),
            "ROOMS": (name,),
            "SEEN": (names,),
            "BLOCKED": (name,),
            "BLOCKS": (name, names),
            "SUBSCRIPTIONS": (name,),
            "REVOCATIONS": (0, 100),
        }
        statements = {key: value for key, value in vars(queries).items() if key.isupper() and isinstance(value, str)}
        used = {key for key, value in statements.items() if value.startswith(("SELECT", "WITH"))}
        self.assertEqual(used - {"COLUMNS", "NAMED"}, set(asked))
        session = Session(places(server.url)[0], 10.0)
        self.addCleanup(session.close)
        for key, parameters in asked.items():
            explained = f"EXPLAIN (FORMAT JSON) {statements[key]}".encode()
            ((plans,),) = session.connection.execute(explained, parameters).fetchall()
            for scan in self.scans(plans[0]["Plan"]):
                found = scan.get("Index Cond") or scan.get("Relation Name") == "state"
                self.assertTrue(found, f"{key}: {scan}")


class DaemonsTests(PostgresqlTestCase):
    """Several daemons on one database."""

    async def test_what_one_daemon_keeps_another_reads(self) -> None:
        server = await shared_postgresql()
        one, other = await self.store(server), await self.store(server)
        (answer,) = await one.append([message("ann", "ben", cid="c1")])
        self.assertEqual((await other.read("ben", 0, 10)).entries, [Entry(1, answer.message)])
        (again,) = await other.append([message("ann", "ben", cid="c1")])
        self.assertEqual((again.message, again.repeat), (answer.message, True))
        self.assertEqual(one.epoch, other.epoch)

    async def test_offsets_are_dense_whichever_daemon_gives_them(self) -> None:
        """Also while each batch has users, conversations and rooms of the others' in another order."""
        server = await shared_postgresql()
        stores = [await self.store(server) for _ in range(3)]
        users = [f"user {n}" for n in range(12)]
        for user in users:
            await stores[0].join("#r", user, 100)
        asked = []
        for number in range(20):
            for at, store in enumerate(stores):
                # The clocks of daemons are never the same.
                own = mid((1_700_000_000_000 + 10 * number - 1000 * at) << 16)
                turned = users[at * 4 :] + users[: at * 4]
                batch = [message(user, turned[-1 - n], mid=own) for n, user in enumerate(turned)]
                batch.append(message(turned[0], "#r", mid=own))
                asked.append(store.append(batch if at % 2 else batch[::-1]))
        answers = [answer for batch in await gatherResults(asked) for answer in batch]
        self.assertEqual([answer.refused for answer in answers], [None] * len(answers))
        for user in users:
            given = sorted(place for answer in answers for name, place in answer.places if name == user)
            self.assertEqual(given, list(range(1, len(given) + 1)))
            page = await stores[1].read(user, 0, 10_000)
            self.assertEqual([entry.offset for entry in page.entries], given)
        newest = (await stores[2].history("user 0", "#r", before=None, limit=100)).messages
        self.assertEqual(len(newest), 60)
        self.assertEqual([one.mid for one in newest], sorted({one.mid for one in newest}))

    async def test_the_same_cid_by_way_of_two_daemons_is_kept_once(self) -> None:
        server = await shared_postgresql()
        stores = [await self.store(server) for _ in range(3)]
        for number in range(20):
            asked = [store.append([message("ann", f"user {number}", cid=f"c{number}")]) for store in stores]
            answers = [one for batch in await gatherResults(asked) for one in batch]
            self.assertEqual(sorted(one.repeat for one in answers), [False, True, True])
            self.assertEqual({one.places for one in answers}, {((f"user {number}", 1),)})

    async def test_a_change_takes_its_locks_in_the_order_of_all_others(self) -> None:
        server = await shared_postgresql()
        store = await self.store(server)
        # Ann has the lower number, and Ben changes.
        (answer,) = await store.append([message("ann", "ben")])
        (answer,) = await store.append([message("ben", "ann")])
        lock = b"SELECT FROM kschat.users WHERE name = %s FOR NO KEY UPDATE"
        with psycopg.connect(server.superuser()) as other:
            other.execute(lock, (b"ann",))
            changing = store.change(edit(answer.message))
            await self.until(lambda: waits(server), "the change to wait")
            # The server would end one of the two if each waited for the other.
            other.execute(lock, (b"ben",))
        self.assertEqual([name for name, _ in (await changing).places], ["ann", "ben"])

    async def test_a_reaction_of_an_erased_user_is_not_put_back_by_a_change(self) -> None:
        server = await shared_postgresql()
        one, other = await self.store(server), await self.store(server, patience=30.0)
        for user in ("ann", "eve"):
            await one.join("#r", user, 10)
        (answer,) = await one.append([message("ann", "#r")])
        await one.change(react(answer.message, "x", "eve"))
        await one.leave("#r", "eve")
        has_read, goes_on = threading.Event(), threading.Event()

        def slow(*arguments: Any) -> Any:
            has_read.set()
            goes_on.wait(30)
            return changes.changed(*arguments)

        self.patch(updates, "changed", slow)
        self.addCleanup(goes_on.set)
        changing = other.change(react(answer.message, "y", "ann"))
        await self.until(has_read.is_set, "the change to read the message")
        erasing = one.erase("eve")
        await self.until(lambda: bool(erasing.called) or waits(server), "the erasure to wait")
        goes_on.set()
        await changing
        await erasing
        (found,) = (await one.history("ann", "#r", before=None, limit=10)).messages
        assert isinstance(found.extra, Changes)
        self.assertNotIn("eve", repr(found.extra))
        self.assertIn("ann", repr(found.extra))

    async def test_a_user_who_comes_back_while_being_erased(self) -> None:
        """A client that connects again joins its rooms again."""
        server = await shared_postgresql()
        store = await self.store(server)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        erasing = store.erase("ann")
        # In the middle of the erasure: its second step comes after all of this.
        asked: list[Deferred[Any]] = [
            store.join("#r", "ann", 10),
            store.append([message("ann", "#r")]),
            store.block("ben", "ann", 10),
            store.block("ann", "ben", 10),
            store.subscribe("ann", PushSubscription("https://push.example/1", "key", "secret"), 10),
        ]
        await gatherResults(asked)
        await erasing
        self.assertEqual((await store.rooms("ann"), await store.members("#r")), ([], ["ben"]))
        self.assertEqual((await store.history("ben", "#r", before=None, limit=10)).messages, ())
        self.assertEqual((await store.blocked("ben"), await store.blocked("ann")), ([], []))
        self.assertEqual(await store.subscriptions("ann"), [])
        (answer,) = await store.append([message("ben", "ann")])
        self.assertEqual((await store.read("ann", 0, 10)).entries, [Entry(answer.places[0][1], answer.message)])

    async def test_mids_differ_though_a_batch_is_sent_before_the_one_before_it_is_answered(self) -> None:
        self.patch(writer_module, "MAX_MESSAGES", 1)
        server = await shared_postgresql()
        store, ahead = await self.store(server), await self.store(server)
        for number in range(20):
            # The other daemon's clock is ahead, and its numbers rise from message to message.
            last = (number + 2) << 20
            await ahead.append(
                [message("ann", f"b{number}", mid=mid(last)), message("cem", f"b{number}", mid=mid(last + 1))]
            )
            batches = [[message("ann", f"b{number}")], [message("ann", f"b{number}")], [message("cem", f"b{number}")]]
            answers = [
                one for batch in await gatherResults([store.append(batch) for batch in batches]) for one in batch
            ]
            self.assertEqual(len({one.message.mid for one in answers}), 3)

    async def test_a_daemon_that_comes_later_goes_on_with_the_same_offsets(self) -> None:
        server = await shared_postgresql()
        first = await self.store(server)
        await first.append(to("ben", "ben"))
        await first.stop()
        second = await self.store(server)
        self.assertEqual(offsets(await second.append(to("ben"))), [3])


def waits(server: PostgreSQL) -> bool:
    """Whether a store waits for a lock."""
    return bool(server.do("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'kschat'"))
