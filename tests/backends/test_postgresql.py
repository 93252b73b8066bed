"""The store on a real PostgreSQL: the contract, and several daemons on the same one."""

from __future__ import annotations

import signal

from twisted.internet.defer import gatherResults

from kschat.chat.interfaces import Entry, IStore
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.contracts import istore
from tests.contracts.istore import offsets
from tests.contracts.made import message, mid, to
from tests.support.postgresql import shared_postgresql


class PostgresqlContractTests(istore.StoreContract, PostgresqlTestCase):
    async def make_store(self) -> IStore:
        return await self.store(await shared_postgresql())


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

    async def test_a_daemon_that_comes_later_goes_on_with_the_same_offsets(self) -> None:
        server = await shared_postgresql()
        first = await self.store(server)
        await first.append(to("ben", "ben"))
        await first.stop()
        second = await self.store(server)
        self.assertEqual(offsets(await second.append(to("ben"))), [3])
