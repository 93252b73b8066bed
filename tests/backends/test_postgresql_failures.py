"""What goes wrong with a real PostgreSQL: each is told once, refused at once, and survived without a restart."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kschat.backends.generations import GENERATION
from kschat.backends.postgresql import kind
from kschat.backends.postgresql import store as store_module
from kschat.backends.postgresql import writer as writer_module
from kschat.backends.postgresql.probe import probe
from kschat.backends.postgresql.restored import restored
from kschat.backends.postgresql.schema_versions import Schema
from kschat.backends.postgresql.session import Session
from kschat.backends.postgresql.settings import Settings
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat.interfaces import Entry, IMeasured, IStore, Stored, StoreUnavailable
from kschat.chat.message import Error, Message
from kschat.settings import load
from kschat.settings.table import describe
from tests.backends.postgresql_stores import PostgresqlTestCase
from tests.backends.stores import Listener
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to
from tests.support import SECRET
from tests.support.launch import free_port
from tests.support.postgresql import PostgreSQL, shared_postgresql
from tests.support.waiting import real_reactor


def lines(events: Any) -> list[str]:
    """What the log says of the store."""
    return [text for text in map(formatEvent, events) if text is not None and text.startswith("the store")]


class FailureTestCase(PostgresqlTestCase):
    async def refuses(self, store: IStore) -> str:
        """Why it keeps nothing."""
        with self.assertRaises(StoreUnavailable) as caught:
            await store.append(to("ben"))
        return str(caught.exception)

    async def goes_on(self, store: IStore) -> None:
        """It takes messages again."""
        await self.up(store)
        (answer,) = await store.append(to("ben"))
        self.assertEqual((await store.read("ben", answer.places[0][1] - 1, 1)).entries[0].message, answer.message)

    async def refusal(self, store: PostgresqlStore) -> str:
        """The one line that the log has of a store that can't be up, also after another try."""
        with capturedLogs() as events:
            store.start()
            await self.until(lambda: store._client.tries > 2, "three tries")
        self.assertFalse(store.up)
        (text,) = lines(events)
        self.assertNotIn("\n", text)
        self.assertNotIn("secret", text)
        return text


class Sender:
    """Sends messages with cids to Ben, and a batch that is refused again, until it is acknowledged.

    Attributes:
        kept: what was acknowledged, by cid.
        tries: how often a batch was refused.
    """

    def __init__(self, store: IStore, name: str) -> None:
        self._store = store
        self._name = name
        self.kept: dict[str, Stored] = {}
        self.tries = 0
        self.running = True

    async def run(self) -> None:
        number = 0
        while self.running:
            batch = [message("ann", "ben", cid=f"{self._name}{number + n}") for n in range(5)]
            number += 5
            while not await self._send(batch):
                self.tries += 1
                await deferLater(real_reactor(), 0.05)

    async def _send(self, batch: list[Message]) -> bool:
        try:
            answers = await self._store.append(batch)
        except StoreUnavailable:
            return False
        self.kept.update({str(one.message.cid): one for one in answers})
        return True


async def enough(senders: list[Sender], more: int) -> None:
    """Wait until so many more messages are acknowledged."""
    wanted = sum(len(one.kept) for one in senders) + more
    while sum(len(one.kept) for one in senders) < wanted:
        await deferLater(real_reactor(), 0.02)


async def whole_inbox(store: IStore, user: str) -> list[Entry]:
    """All entries."""
    found: list[Entry] = []
    while page := list((await store.read(user, found[-1].offset if found else 0, 1000)).entries):
        found += page
    return found


class KilledTests(FailureTestCase):
    async def test_nothing_acknowledged_is_lost_when_it_is_killed_under_load(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        senders = [Sender(store, name) for name in "abc"]
        running = gatherResults([_begun(one) for one in senders])
        for _ in range(3):
            await enough(senders, 100)
            server.kill()
            await self.up(store, False)
            await server.start()
            await self.up(store)
        for one in senders:
            one.running = False
        await running
        self.assertGreaterEqual(sum(one.tries for one in senders), 3)
        found = await whole_inbox(store, "ben")
        self.assertEqual([entry.offset for entry in found], list(range(1, len(found) + 1)))
        acknowledged = {cid: one for sender in senders for cid, one in sender.kept.items()}
        # Each once: also those that were kept though their sender was told that they were refused.
        self.assertEqual(sorted(str(entry.message.cid) for entry in found), sorted(acknowledged))
        for entry in found:
            answer = acknowledged[str(entry.message.cid)]
            self.assertEqual((entry.message.mid, entry.offset), (answer.message.mid, answer.places[0][1]))

    async def test_one_that_ends_in_order_is_reconnected(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        (first,) = await store.append(to("ben"))
        with capturedLogs() as events:
            await server.end()
            await self.up(store, False)
            self.assertIn("PostgreSQL", await self.refuses(store))
            await server.start()
            await self.up(store)
        self.assertEqual(offsets(await store.append(to("ben"))), [2])
        self.assertEqual((await store.read("ben", 0, 1)).entries, entries([first]))
        self.assertIn("again", lines(events)[-1])

    async def test_connections_that_an_administrator_ends(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        await store.append(to("ben"))
        await store.read("ben", 0, 1)
        server.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'kschat'")
        await self.until(lambda: store._client.tries > 1, "another connection")
        await self.goes_on(store)

    async def test_one_that_stops_does_nothing_late(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        server.signal(signal.SIGSTOP)
        with self.assertRaises(StoreUnavailable):
            await store.append(to("ben"))
        await self.up(store, False)
        server.signal(signal.SIGCONT)
        await self.up(store)
        self.assertEqual(offsets(await store.append(to("ben"))), [1])


class TakesNoWritesTests(FailureTestCase):
    """PostgreSQL is there, and refuses."""

    async def test_read_only(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        with capturedLogs() as events:
            server.do("ALTER SYSTEM SET default_transaction_read_only = on")
            server.do("SELECT pg_reload_conf()")
            await self.until(lambda: bool(server.do("SHOW default_transaction_read_only") == [("on",)]), "it")
            while store.up:
                with self.assertRaises(StoreUnavailable):
                    while True:
                        await store.append(to("ben"))
            self.assertIn("accepts no writes", await self.refuses(store))
            await self.until(lambda: store._client.tries > 3, "some tries")
            server.do("ALTER SYSTEM RESET default_transaction_read_only")
            server.do("SELECT pg_reload_conf()")
            await self.goes_on(store)
        self.assertLessEqual(len(lines(events)), 3, lines(events))
        self.assertIn("again", lines(events)[-1])

    async def test_wrong_credentials_and_names_are_told_once(self) -> None:
        server = await shared_postgresql()
        for wrong, reason in (
            (server.url.replace(":secret@", ":secret2@"), "the user or the password is wrong"),
            (f"{server.url}2", "there is no such database"),
        ):
            self.assertIn(reason, await self.refusal(self.made(wrong)))

    async def test_a_newer_schema_is_left_alone(self) -> None:
        server = await shared_postgresql()
        await (await self.store(server)).stop()
        server.do("UPDATE kschat.state SET version = 99")
        self.assertIn("its schema is version 99", await self.refusal(self.made(server.url)))

    async def test_a_second_daemon_without_a_router_is_refused(self) -> None:
        server = await shared_postgresql()
        first = await self.store(server, alone=True)
        second = self.made(server.url, alone=True)
        self.assertIn("another kschat uses it", await self.refusal(second))
        await first.stop()
        await self.up(second)

    async def test_tables_that_are_dropped_are_another_store(self) -> None:
        server = await shared_postgresql()
        store = self.made(server.url)
        listener = Listener()
        store.attach(listener)
        store.start()
        await self.up(store)
        await store.append(to("ben"))
        epoch = store.epoch
        server.do("DROP SCHEMA kschat CASCADE")
        await self.refuses(store)
        await self.until(lambda: store.epoch != epoch, "another epoch")
        await self.up(store)
        self.assertEqual(listener.renewals, 1)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [])

    async def test_a_batch_that_can_not_be_kept_harms_no_other(self) -> None:
        server = await shared_postgresql()
        store = await self.store(server)
        await store.append([message("ann", "ben")])
        server.do("ALTER TABLE kschat.messages ADD CONSTRAINT no_eve CHECK (cid IS DISTINCT FROM 'eve')")
        asked = [store.append([message("eve", "ben", cid=cid)]) for cid in ("1", "eve", "2", "3")]
        results: list[Any] = await gatherResults([one.addErrback(lambda failure: failure.value) for one in asked])
        self.assertIsInstance(results[1], StoreUnavailable)
        self.assertEqual([offsets(one) for at, one in enumerate(results) if at != 1], [[2], [3], [4]])
        self.assertTrue(store.up)

    async def held(self, server: PostgreSQL) -> tuple[PostgresqlStore, Callable[[], None]]:
        """A store that sends two messages a statement, keeps no cid "bad", and sends nothing until that is called."""
        self.patch(writer_module, "MAX_MESSAGES", 2)
        store = await self.store(server)
        await store.join("#r", "ann", 10)
        await store.append([message("ann", "ben")])
        server.do("ALTER TABLE kschat.messages ADD CONSTRAINT no_eve CHECK (cid IS DISTINCT FROM 'bad')")
        goes_on = threading.Event()
        self.addCleanup(goes_on.set)
        store._writer.work(lambda session: goes_on.wait(30))
        return store, goes_on.set

    async def test_what_was_sent_behind_a_refused_batch_does_not_overtake_the_rest_of_it(self) -> None:
        """Two statements are in flight: the second comes before the first one's batches are sent again one by one."""
        store, goes_on = await self.held(await shared_postgresql())
        cids = ["1", "bad", "2", "3", "4", "5"]
        asked: list[Deferred[Any]] = [store.append([message("ann", "ben", cid=cid)]) for cid in cids]
        goes_on()
        results: list[Any] = await gatherResults([one.addErrback(lambda failure: failure.value) for one in asked])
        self.assertIsInstance(results.pop(1), StoreUnavailable)
        self.assertEqual([offsets(one) for one in results], [[2], [3], [4], [5], [6]])
        mids = [one.message.mid for (one,) in results]
        self.assertEqual(mids, sorted(mids))
        self.assertTrue(store.up)

    async def test_a_statement_behind_a_refused_batch_is_not_done_before_the_rest_of_it(self) -> None:
        store, goes_on = await self.held(await shared_postgresql())
        asked: list[Deferred[Any]] = [store.append([message("ann", "#r", cid=cid)]) for cid in ("bad", "1")]
        asked.append(store.leave("#r", "ann"))
        goes_on()
        results: list[Any] = await gatherResults([one.addErrback(lambda failure: failure.value) for one in asked])
        self.assertIsInstance(results[0], StoreUnavailable)
        self.assertEqual((results[1][0].refused, results[2]), (None, True))

    async def test_a_sender_who_is_erased_while_a_message_is_stored(self) -> None:
        server = await shared_postgresql()
        store = await self.store(server)
        await store.append([message("ann", "eve")])
        # Another daemon's statement, which is not committed yet.
        names = (
            "now() + '1 min', 1, 0, 0, 0, 0, '{7}', '{a}', '{eve}', '{ben}', '{NULL}', '{1}', '{NULL}', '{4}', '{null}'"
        )
        with psycopg.connect(server.superuser(), options="-c search_path=kschat") as other:
            other.execute(f"SELECT * FROM append({names.replace('{null}', '{1}')}, '{{NULL}}', '{{NULL}}')".encode())
            erasing = store.erase("eve")
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'kschat'"
            await self.until(lambda: bool(server.do(waits)), "the erasure to wait")
        self.assertEqual(await erasing, 2)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [])
        (answer,) = await store.append([message("eve", "ben")])
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([answer]))

    async def test_an_earlier_schema_is_brought_up_to_date(self) -> None:
        server = await shared_postgresql()
        store = await self.store(server)
        (first,) = await store.append(to("ben"))
        await store.stop()
        server.do("ALTER TABLE kschat.users DROP COLUMN full_at")
        later = "SELECT tablename FROM pg_tables WHERE schemaname = 'kschat' AND tablename ~ '^(moving$|hook_)'"
        for (table,) in server.do(later):
            server.do(f"DROP TABLE kschat.{table}")
        server.do("CREATE FUNCTION kschat.append(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'")
        server.do("UPDATE kschat.state SET version = 1")
        store = await self.store(server, send_rate=0.001, send_burst=1)
        answers = [await store.append([message("eve", "ben")]) for _ in range(2)]
        self.assertEqual(offsets(answers[0]), [2])
        self.assertEqual(answers[1][0].refused, Error.TOO_MANY)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([first, *answers[0]]))
        self.assertEqual(server.do("SELECT count(*) FROM pg_proc WHERE proname = 'append'"), [(1,)])

    async def test_a_step_of_the_schema_may_take_longer_than_any_other_statement(self) -> None:
        server = await shared_postgresql()
        await (await self.store(server)).stop()
        slow, later = self.made(server.url, patience=0.5), self.made(server.url)
        for one in (slow, later):
            one._schema = Schema([*one._schema.steps, "SELECT pg_sleep(3)"], one._schema.functions)
        with capturedLogs() as events:
            slow.start()
            await self.until(lambda: bool(lines(events)), "the step to begin")
            later.start()
            await self.up(slow)
            await self.up(later)
        self.assertEqual(slow._client.tries, 1)
        version = slow._schema.version
        begun, waited = lines(events)[:2]
        self.assertEqual(begun, f"the store: brings its schema from version {version - 1} to {version}")
        self.assertIn("can't be used: another kschat brings its schema up to date", waited)

    async def test_a_daemon_that_stops_amid_a_step_leaves_the_version_before(self) -> None:
        server = await shared_postgresql()
        await (await self.store(server)).stop()
        slow = self.made(server.url)
        slow._schema = Schema([*slow._schema.steps, "SELECT pg_sleep(60)"], slow._schema.functions)
        slow.start()
        sleeps = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        await self.until(lambda: bool(server.do(sleeps)), "the step to begin")
        await slow.stop()
        await self.store(server)

    async def test_many_daemons_make_the_tables_once(self) -> None:
        server = await shared_postgresql()
        stores = [self.made(server.url) for _ in range(4)]
        for one in stores:
            one.start()
        for one in stores:
            await self.up(one)
        self.assertEqual(len({one.epoch for one in stores}), 1)


class StallingProxy(ProxyServer):
    """Forwards a connection to a server, until it is told to forward none that is set up."""

    factory: Proxy

    def connectionMade(self) -> None:
        self.factory.open += 1
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open -= 1
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.factory.stalls and b"SET search_path" in data:
            self.factory.stalled += 1
        else:
            super().dataReceived(data)


class Proxy(ProxyFactory):
    """Stands before a server.

    Attributes:
        url: host and port where it listens.
        open: connections.
        stalls: whether the server seems to stop once it has let a client in.
        stalled: connections that it seemed to stop for.
    """

    protocol = StallingProxy
    noisy = False
    stalls = False
    open = stalled = 0
    url = ""


class HangingTests(FailureTestCase):
    """A server that lets a client in, and then answers nothing."""

    async def proxy(self, server: PostgreSQL) -> Proxy:
        proxy = Proxy("127.0.0.1", server.port)
        listening = real_reactor().listenTCP(0, proxy, interface="127.0.0.1")
        self.addCleanup(self.until, lambda: not proxy.open, "the connections to end")
        self.addCleanup(listening.stopListening)
        proxy.url = f"127.0.0.1:{listening.getHost().port}"
        return proxy

    async def test_a_reader_gives_it_up(self) -> None:
        server = await shared_postgresql()
        proxy = await self.proxy(server)
        store = self.made(f"postgresql://kschat:secret@{proxy.url}/kschat")
        store.start()
        await self.up(store)
        proxy.stalls = True
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 10)
        self.assertEqual(proxy.stalled, 1)
        proxy.stalls = False
        await store.read("ben", 0, 10)

    async def test_a_check_that_is_given_up_leaves_no_thread(self) -> None:
        proxy = await self.proxy(await shared_postgresql())
        proxy.stalls = True
        settings = Settings(url=f"postgresql://kschat:secret@{proxy.url}/kschat")
        probing = Deferred.fromCoroutine(probe(settings, real_reactor()))
        await self.until(lambda: bool(proxy.stalled), "the server to hang")
        probing.cancel()
        with self.assertRaises(CancelledError):
            await probing
        await self.until(lambda: not proxy.open, "the connection to end")

    async def test_the_search_for_a_newer_primary_gives_it_up(self) -> None:
        self.patch(store_module, "SEARCH_INTERVAL", 0.1)
        server = await shared_postgresql()
        proxy = await self.proxy(server)
        store = self.made(f"postgresql://kschat:secret@127.0.0.1:{server.port},{proxy.url}/kschat")
        store.start()
        await self.up(store)
        proxy.stalls = True
        await self.until(lambda: proxy.stalled > 1, "another search")
        self.assertTrue(store.up)

    async def test_a_host_that_is_dark_makes_no_other_one_late(self) -> None:
        server = await shared_postgresql()
        with socket.create_server(("127.0.0.1", 0)) as dark:
            store = self.made(
                f"postgresql://kschat:secret@127.0.0.1:{server.port},127.0.0.1:{dark.getsockname()[1]}/kschat"
                "?connect_timeout=2",
                patience=1.0,
            )
            store.start()
            await self.up(store)
            await store.append(to("ben"))
            await store.stop()


class LagTests(FailureTestCase):
    """How far behind PostgreSQL is."""

    async def test_the_connection_that_writes_is_timed(self) -> None:
        store = await self.store(await shared_postgresql())
        verifyObject(IMeasured, store)
        await self.until(lambda: not store._lag.waits and store.lag is not None, "an answer")
        freed = threading.Event()
        busy = store._work(lambda session: freed.wait(60))
        await self.until(lambda: (store.lag or 0) > 0.3, "the lag")
        freed.set()
        await busy
        await self.until(lambda: not store._lag.waits, "the answer")
        self.assertGreater(store.lag or 0, 0.3)
        assert store._client.connection is not None
        store._client.connection.abort("the test says so")
        await self.until(lambda: store.lag is None, "the loss")


class WarningTests(SynchronousTestCase):
    """Which warnings of PostgreSQL make a commit doubtful."""

    def doubt(self, function: str) -> str:
        session = Session.__new__(Session)
        session.doubt = ""
        notice: Any = SimpleNamespace(
            severity_nonlocalized="WARNING", message_primary="a warning", source_function=function
        )
        session._noticed(notice)
        return session.doubt

    def test_a_commit_that_did_not_wait_for_its_standby_is_doubtful(self) -> None:
        self.assertEqual(self.doubt("SyncRepWaitForLSN"), "it warned: a warning")

    def test_transaction_numbers_that_run_out_are_no_doubt(self) -> None:
        for function in ("GetNewTransactionId", "GetNewMultiXactId"):
            self.assertEqual(self.doubt(function), "")


class FailoverTests(FailureTestCase):
    """A primary and a standby."""

    async def pair(self, config: str = "") -> tuple[PostgreSQL, PostgreSQL]:
        primary = await self.own_server(config)
        standby = PostgreSQL("hot_standby = on", primary)
        self.addCleanup(standby.stop)
        await standby.start()
        streams = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
        await self.until(lambda: bool(primary.do(streams)), "the standby to follow")
        return primary, standby

    async def synchronous(self) -> tuple[PostgreSQL, PostgreSQL]:
        primary, standby = await self.pair()
        primary.do("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.do("SELECT pg_reload_conf()")
        sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        await self.until(lambda: bool(primary.do(sync)), "a synchronous standby")
        return primary, standby

    def url(self, *servers: PostgreSQL) -> str:
        places = ",".join(f"127.0.0.1:{one.port}" for one in servers)
        return f"postgresql://kschat:secret@{places}/kschat"

    async def test_a_synchronous_standby_that_takes_over_has_all(self) -> None:
        primary, standby = await self.synchronous()
        store = self.made(self.url(primary, standby))
        store.start()
        await self.up(store)
        sender = Sender(store, "a")
        running = _begun(sender)
        await enough([sender], 100)
        primary.kill()
        await self.up(store, False)
        await standby.promote()
        await self.up(store)
        await enough([sender], 50)
        sender.running = False
        await running
        found = await whole_inbox(store, "ben")
        self.assertEqual(sorted(str(entry.message.cid) for entry in found), sorted(sender.kept))
        # Nobody can be sure that the standby had all: offsets begin beyond.
        self.assertGreater(found[-1].offset, GENERATION)

    async def test_without_its_standby_nothing_is_acknowledged(self) -> None:
        primary, standby = await self.synchronous()
        store = await self.store(primary)
        await store.append([message(cid="c0")])
        standby.signal(signal.SIGSTOP)
        with self.assertRaises(StoreUnavailable):
            await store.append([message(cid="c1")])
        await self.up(store, False)
        standby.signal(signal.SIGCONT)
        await self.up(store)
        (again,) = await store.append([message(cid="c1")])
        self.assertEqual(again.places, (("ben", 2),))
        self.assertEqual([one.message.cid for one in (await store.read("ben", 0, 10)).entries], ["c0", "c1"])

    async def test_a_primary_that_was_given_up_is_left_though_it_answers(self) -> None:
        self.patch(store_module, "SEARCH_INTERVAL", 0.1)
        primary, standby = await self.pair()
        one = self.made(self.url(primary, standby))
        one.start()
        await self.up(one)
        await one.append(to("ben"))
        await standby.promote()
        await self.up(one, False)
        await self.up(one)
        (answer,) = await one.append(to("ben"))
        self.assertGreater(answer.places[0][1], GENERATION)
        self.assertEqual(primary.do("SELECT count(*) FROM kschat.messages"), [(1,)])

    async def test_a_standby_is_no_store(self) -> None:
        _, standby = await self.pair()
        self.assertIn("accepts no writes", await self.refusal(self.made(standby.url)))

    async def test_a_restart_that_may_have_lost_the_newest_begins_beyond(self) -> None:
        server = await self.own_server("synchronous_commit = off\n")
        with capturedLogs() as events:
            store = await self.store(server)
        self.assertIn("synchronous_commit is off", "\n".join(lines(events)))
        await store.append(to("ben"))
        server.kill()
        await self.up(store, False)
        await server.start()
        await self.up(store)
        self.assertGreater(offsets(await store.append(to("ben")))[0], GENERATION)

    async def test_a_dump_that_is_put_back_begins_beyond(self) -> None:
        server = await self.own_server()
        store = await self.store(server)
        await store.append(to("ben", "ben"))
        server.dump()
        await store.append(to("ben"))
        await store.stop()
        server.do("DROP SCHEMA kschat CASCADE")
        server.restore()
        later = await self.store(server)
        self.assertGreater(offsets(await later.append(to("ben")))[0], GENERATION)
        self.assertEqual(len((await later.read("ben", 0, 10)).entries), 3)

    async def test_an_operator_tells_of_what_nobody_notices(self) -> None:
        """A disk that was reset to a snapshot: the same server, the same timeline, the same tables."""
        server = await shared_postgresql()
        settings = Settings(url=server.url)
        self.assertFalse(restored(settings))
        store = await self.store(server)
        await store.append(to("ben", "ben"))
        self.assertTrue(restored(settings))
        (offset,) = offsets(await store.append(to("ben")))
        self.assertGreater(offset, GENERATION)
        page = await store.read("ben", 0, 10)
        self.assertEqual([entry.offset for entry in page.entries], [1, 2, offset])
        self.assertGreaterEqual(page.ceiling, offset)
        self.assertTrue(restored(settings))
        self.assertGreater(offsets(await store.append(to("ben")))[0], page.ceiling)
        away = Settings(url=f"postgresql://kschat:secret@127.0.0.1:{free_port()}/kschat")
        self.assertIn("refused", str(self.assertRaises(StoreUnavailable, restored, away)))


class ChoosingTests(SynchronousTestCase):
    """What is said of a URL, and of psycopg."""

    def test_events_for_a_back_end_are_made_from_it_and_no_password_is_shown(self) -> None:
        secret = Path(self.mktemp())
        secret.write_text("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        given = {"secret": SECRET, "store": "postgresql://u:passed@h/d", "hooks_secret_file": str(secret)}
        config = load({**given, "hooks_url": "https://localhost/hooks"}, {})
        self.assertTrue(kind.settings_of(config, "//u:passed@h/d").hooks)
        self.assertNotIn("passed", describe(config))

    def test_without_psycopg_it_says_what_to_install(self) -> None:
        self.patch(kind, "find_spec", lambda name: None)
        error = self.assertRaises(ValueError, kind.STORE.check, "//localhost/kschat")
        self.assertIn("pip install 'kschat[postgresql]'", str(error))

    def test_a_url_that_libpq_can_not_read_is_refused_without_its_password(self) -> None:
        for wrong in (
            "//u:secret@h:notaport,h2:1:2/d",
            "//u:secret@h/d?nothing=1",
            "//u:se%zzcret@h/d",
        ):
            error = self.assertRaises(ValueError, kind.STORE.check, wrong)
            self.assertNotIn("secret", str(error))
        for right in ("//h/d", "//u:p@h1:1,h2:2/d?sslmode=verify-full&target_session_attrs=primary", "///d?host=/tmp"):
            kind.STORE.check(right)


def _begun(sender: Sender) -> Deferred[None]:
    return Deferred.fromCoroutine(sender.run())
