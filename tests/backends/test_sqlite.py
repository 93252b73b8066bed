"""The store in an SQLite file: the contract, restarts, and what other modules of this name don't test."""

import os
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.memory import MemoryStore
from kschat.backends.sqlite import Settings, SqliteStore, hooks
from kschat.backends.sqlite.database import SchemaVersions, connect
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.store import TIDY_EVERY
from kschat.backends.sqlite.transactions import Transactions
from kschat.chat.interfaces import Entry, InboxState, IStore, Progress, RoomFull, Stored, StoreUnavailable
from kschat.chat.outbox import Commit, Event, Retry, WaitingUser
from kschat.chat.push import PushSubscription
from tests.backends.turns import StoreTestCase, Turns
from tests.contracts import istore, outbox, unread
from tests.contracts.istore import entries, kept
from tests.contracts.made import message, mid, to
from tests.contracts.updates import delete, edit

reactor: Any = _reactor


class SqliteStoreContractTests(istore.StoreContract, istore.FailingStoreContract, TestCase):
    """While the newest messages are in memory."""

    timeout = 60

    async def make_store(self) -> IStore:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.clock = Clock()
        store = SqliteStore(Settings(str(self.directory / "kschat.db"), "normal"), reactor, self.clock)
        store.start()
        self.addCleanup(store.stop)
        return store

    async def break_off(self, store: IStore) -> None:
        self.directory.rename(self.directory.with_suffix(".away"))
        with self.assertRaises(StoreUnavailable):
            await store.append([message("nobody", "nobody")])

    async def bring_back(self, store: IStore) -> None:
        self.directory.with_suffix(".away").rename(self.directory)
        self.clock.advance(5)
        await store.leave("#nowhere", "nobody")


class SqliteOutboxContractTests(outbox.OutboxContract, TestCase):
    """While the newest messages are in memory."""

    timeout = 60

    async def make_store(self) -> IStore:
        settings = Settings(f"{self.mktemp()}.db", "normal", hooks=True)
        store = SqliteStore(settings, reactor, Clock())
        store.start()
        self.addCleanup(store.stop)
        return store


class IndexedSqliteOutboxContractTests(SqliteOutboxContractTests):
    """While all messages are in the tables."""

    async def settle(self, store: Any) -> None:
        await store.settle()


class SqliteStoreUnreadTests(unread.UnreadContract, TestCase):
    timeout = 60

    async def make_bounded_store(self, most: int) -> IStore:
        self.clock = Clock()
        settings = Settings(self.mktemp(), "normal", retention_messages=most)
        store = SqliteStore(settings, reactor, self.clock)
        store.start()
        self.addCleanup(store.stop)
        return store

    async def tidy(self, store: IStore) -> None:
        assert isinstance(store, SqliteStore)
        await store.settle()
        self.clock.advance(TIDY_EVERY)
        while await store._writer.between(lambda transactions: transactions.retention.due):
            pass


class IndexedSqliteStoreContractTests(SqliteStoreContractTests):
    """Once they are in the tables."""

    async def settle(self, store: IStore) -> None:
        assert isinstance(store, SqliteStore)
        await store.settle()


class TestRestart(StoreTestCase):
    """What a store finds that another one left."""

    def test_all_that_was_answered_is_there(self) -> None:
        result = self.turns.result
        for indexed in (False, True):
            self.path = str(self.directory / f"{indexed}.db")
            store = self.started()
            for user in ("ann", "ben"):
                result(store.join("#r", user, 10))
            answers = result(store.append([*to("ben", "ben"), message(cid="c1", attachments=(b"x",))]))
            (in_room,) = result(store.append([message("ann", "#r", cid="c2")]))
            result(store.mark_read("ben", "ann", answers[1].message.mid))
            result(store.save_progress(Progress({"ben": 2}, {"ben": 1000})))
            if indexed:
                result(store.settle())
            store = self.restarted(store)
            self.assertEqual(result(store.inbox("ben")), InboxState(2, 1, 4))
            expected = [*entries(answers), Entry(4, in_room.message)]
            self.assertEqual(result(store.read("ben", 0, 10)).entries, expected)
            self.assertEqual(result(store.last_seen(["ben"])), {"ben": 1000})
            listed = [(one.peer, one.unread) for one in result(store.conversations("ben", 10))]
            self.assertEqual(listed, [("#r", 1), ("ann", 1)])
            again = result(store.append([message(cid="c1"), message("ann", "#r", cid="c2"), message(), *to("cem")]))
            self.assertEqual(again[0], kept(answers[2].message, 3, True))
            self.assertEqual(again[1], Stored(in_room.message, in_room.places, True))
            self.assertEqual(istore.offsets(again[2:]), [5, 1])
            with self.assertRaises(RoomFull):
                result(store.join("#r", "cem", 2))
            self.assertFalse(result(store.join("#r", "ann", 2)))

    def test_mids_go_on_rising_though_the_clock_went_back(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append([message(mid=mid(1 << 56))]))
        store = self.restarted(store)
        (answer,) = result(store.append([message(mid=mid(5))]))
        self.assertEqual(answer.message.mid, mid((1 << 56) + 1))

    def test_it_does_not_matter_that_the_store_remembers_nothing(self) -> None:
        self.patch(Transactions, "index", _index_and_forget)
        result = self.turns.result
        store = self.started()
        seen: list[int] = []
        for _ in range(3):
            seen += istore.offsets(result(store.append(to("ben", "cem"))))
            result(store.append([message("cem", "ben")]))
            result(store.settle())
            result(store.append([message("ben", "ann")]))
            result(store.settle())
        self.assertEqual(seen, [1, 1, 3, 2, 5, 3])
        self.assertEqual([one.unread for one in result(store.conversations("ben", 10))], [3, 3])
        self.assertEqual([one.unread for one in result(store.conversations("ann", 10))], [3, 0])


_index = Transactions.index


def _index_and_forget(transactions: Transactions) -> None:
    _index(transactions)
    transactions._appender.indexed(transactions._appender.number, 0)


class TestEnd(StoreTestCase):
    """Starting and stopping."""

    def test_what_was_asked_before_the_end_is_answered_and_later_refused(self) -> None:
        store = self.started()
        asked = [store.append(to("ben")) for _ in range(5)]
        read = store.read("ben", 0, 10)
        ended = store.stop()
        self.assertEqual([istore.offsets(self.turns.result(one)) for one in asked], [[n] for n in range(1, 6)])
        self.turns.result(ended)
        self.turns.result(read.addErrback(lambda failure: failure.trap(StoreUnavailable)))
        for refused in (store.append(to("ben")), store.read("ben", 0, 1)):
            self.failureResultOf(refused, StoreUnavailable)
        self.successResultOf(store.stop())
        self.assertEqual(sorted(os.listdir(self.directory)), ["kschat.db", "kschat.db.given", "kschat.db.lock"])

    def test_a_store_that_was_not_started_refuses(self) -> None:
        store = SqliteStore(Settings(self.path), self.turns, self.turns)
        self.failureResultOf(store.append(to("ben")), StoreUnavailable)
        self.successResultOf(store.stop())
        self.assertEqual(os.listdir(self.directory), [])

    def test_batches_that_wait_share_a_commit(self) -> None:
        store = self.started()
        commits: list[str] = []
        self.turns.result(store.append(to("ben")))
        transactions = store._writer.transactions
        assert transactions is not None
        first = store._writer.between(
            lambda transactions: transactions.database.connection.set_trace_callback(commits.append)
        )
        asked = [store.append(to("ben")) for _ in range(50)]
        self.turns.result(first)
        for one in asked:
            self.turns.result(one)
        self.assertLess(commits.count("COMMIT"), 10)


class TestAgreement(StoreTestCase):
    """Against the memory store, which is simple."""

    users = st.sampled_from(["ann", "ben", "cem"])
    peers = st.sampled_from(["ann", "ben", "cem", "#r", "#s"])
    rooms = st.sampled_from(["#r", "#s"])
    texts = st.tuples(users, peers, st.sampled_from([None, None, "1", "2"]))
    steps = st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.lists(texts, min_size=1, max_size=4)),
            st.tuples(st.just("note"), users, st.integers(0, 8)),
            st.tuples(st.just("read"), users, peers, st.integers(0, 30)),
            st.tuples(st.just("join"), rooms, users, st.integers(0, 3)),
            st.tuples(st.just("leave"), rooms, users),
            st.tuples(st.just("settle")),
            st.tuples(st.just("restart")),
        ),
        max_size=20,
    )

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(steps)
    def test_whatever_is_done_both_tell_the_same(self, steps: list[Any]) -> None:
        self.path = str(self.directory / f"{len(os.listdir(self.directory))}.db")
        result = self.turns.result
        memory = MemoryStore(10**6, 10**9)
        store = SqliteStore(Settings(self.path, "normal"), self.turns, self.turns)
        store.start()
        mids: list[str] = []
        try:
            for step in steps:
                match step:
                    case ("append", texts):
                        batch = [message(sender, peer, cid=cid) for sender, peer, cid in texts]
                        answers = result(store.append(batch))
                        expected = result(memory.append(batch))
                        self.assertEqual([*map(_unordered, answers)], [*map(_unordered, expected)])
                        mids += [answer.message.mid for answer in answers]
                    case ("note", user, cursor):
                        result(store.save_progress(Progress({user: cursor}, {user: cursor})))
                        result(memory.save_progress(Progress({user: cursor}, {user: cursor})))
                    case ("read", user, peer, which):
                        which_mid = mids[which % len(mids)] if mids else "none"
                        arguments = (user, peer, which_mid)
                        self.assertEqual(result(store.mark_read(*arguments)), result(memory.mark_read(*arguments)))
                    case ("join", room, user, most):
                        self.assertEqual(
                            _told(self.turns, store.join(room, user, most)),
                            _told(self.turns, memory.join(room, user, most)),
                        )
                    case ("leave", room, user):
                        self.assertEqual(result(store.leave(room, user)), result(memory.leave(room, user)))
                    case ("settle",):
                        result(store.settle())
                    case ("restart",):
                        result(store.stop())
                        store = SqliteStore(Settings(self.path, "normal"), self.turns, self.turns)
                        store.start()
                self.assert_the_same(store, memory, mids)
        finally:
            result(store.stop())

    def assert_the_same(self, store: IStore, memory: IStore, mids: list[str]) -> None:
        result = self.turns.result
        for user in ("ann", "ben", "cem"):
            asked: list[Any] = [
                lambda one, user=user: one.inbox(user),
                lambda one, user=user: one.read(user, 1, 3),
                lambda one, user=user: one.conversations(user, 2),
                lambda one, user=user: one.last_seen([user]),
            ]
            asked += [
                lambda one, user=user, peer=peer, before=before: one.history(user, peer, before=before, limit=2)
                for peer in ("ann", "ben", "cem", "#r", "#s")
                for before in (None, *mids[-1:])
            ]
            for place, ask in enumerate(asked):
                self.assertEqual(result(ask(store)), result(ask(memory)), (user, place))


def _unordered(stored: Stored) -> Any:
    return stored.message, sorted(stored.places), stored.repeat, stored.refused


def _told(turns: Turns, answer: Any) -> Any:
    try:
        return turns.result(answer)
    except RoomFull:
        return "full"


class TestWiped(StoreTestCase):
    """What is deleted, or edited, is in the file no more."""

    def test_no_byte_of_the_text_is_left_in_the_file(self) -> None:
        result = self.turns.result
        store = self.started()
        secret, other = b"do not keep this", b"x" * 60_000
        sent = result(
            store.append(
                [
                    message(msg=Raw(b'"%b"' % secret)),
                    message(msg=Raw(b'"%b %b"' % (other, secret)), cid="c1"),
                    message(msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(secret * 1000,)),
                    message(msg=Raw(b'"%b"' % secret)),
                    *to("ben", "ben"),
                ]
            )
        )
        result(store.settle())
        for stored in sent[:3]:
            result(store.change(delete(stored.message)))
        result(store.change(edit(sent[3].message, b'"' + secret[:7] + b'"')))
        result(store.stop())
        self.assertNotIn(secret, Path(self.path).read_bytes())
        self.assertFalse(Path(self.path + "-wal").exists())


class TestPlans(SynchronousTestCase):
    """No statement looks at more of a table than it needs."""

    #: What is small, or is there only for the statement.
    SMALL = (
        "json_each",
        "mine",
        "asked",
        "gone",
        "last",
        "doomed",
        "touched",
        "one",
        "progress",
        "hook_progress",
        "hook_joins",
    )

    def test_nothing_scans_a_table(self) -> None:
        path = str(Path(self.mktemp()).absolute())
        transactions = Transactions(
            Settings(path, "normal", retention_seconds=10.0, retention_messages=2, hooks=True), SchemaVersions.shipped()
        )
        self.addCleanup(transactions.close)
        said: list[str] = []
        transactions.database.connection.set_trace_callback(said.append)
        connection = connect(path, "ro")
        self.addCleanup(connection.close)
        connection.set_trace_callback(said.append)
        self.use(transactions, Queries(connection))
        connection.set_trace_callback(None)
        transactions.database.connection.set_trace_callback(None)
        statements = {one for one in said if one.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")}
        self.assertGreater(len(statements), 30)
        for statement in statements:
            for plan in transactions.database.connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall():
                self.assertNotIn("(sender=?)", plan[3], statement)
                if plan[3].startswith("SCAN") and not re.fullmatch(
                    r"SCAN ((\d+ )?CONSTANT ROWS?|\(subquery-\d+\))", plan[3]
                ):
                    self.assertIn(plan[3].split()[1].removeprefix("temp."), self.SMALL, f"{plan[3]} in {statement}")

    def use_hooks(self, transactions: Transactions, queries: Queries) -> None:
        tables, connection = transactions.hooks, queries.connection
        hooks.log(connection, int(hooks.end(connection)), 10)
        hooks.joins(connection, 10)
        hooks.connected(connection, ["ann", "ben"])
        hooks.all_connected(connection, "", 10)
        hooks.cursors(connection, ["ann", "ben"])
        hooks.waiting(connection, 10, 10)
        hooks.queued(connection, "w", 10, 10)
        made = [Event(str(number), "a", "ann", 1, Raw(b"{}")) for number in range(3)]
        with transactions.wiping():
            tables.commit(
                Commit(
                    log=hooks.end(connection),
                    joins=1,
                    connected=["ann"],
                    disconnected=["ben"],
                    undelivered={"ann": 1},
                    waiting=[WaitingUser("ben", 1)],
                    settled=["cem"],
                    events={"w": made},
                    most=2,
                )
            )
            tables.settle([2], [Retry(3, 1, 1)])
            tables.expire(0, 10)
            tables.backlog()
            tables.erase("ann")
            tables.erase_events("ann", 0)

    def use(self, transactions: Transactions, queries: Queries) -> None:
        """Do each thing once before and after the tables followed."""
        for which in range(2):
            transactions.begin()
            for user in ("ann", "ben", "cem"):
                transactions.join("#r", user, 10, 10)
            room, *_ = transactions.append([message("ann", "#r", cid="c0"), *to(*["ben"] * 9)])
            (one,) = transactions.append([message(cid="c1")])
            transactions.commit()
            transactions.begin()
            transactions.save_progress(Progress({"ben": 1}, {"ben": 1}))
            for peer in ("ann", "#r"):
                transactions.mark_read("ben", peer, one.message.mid)
            transactions.leave("#r", "cem")
            transactions.change(edit(one.message, cid=f"e{which}"))
            for number in range(3):
                transactions.subscribe("ann", PushSubscription(f"https://push.example.org/{number}", "key", "auth"), 2)
            for endpoint in ("https://push.example.org/2", None):
                transactions.unsubscribe("ann", endpoint)
            transactions.commit()
            queries.subscriptions(transactions.memtable, "ann")
            queries.find(transactions.memtable, "ben", one.message.mid, "ann")
            queries.readers(transactions.memtable, "#r", "ann", room.message.mid)
            queries.inbox(transactions.memtable, "ben")
            queries.read(transactions.memtable, "ben", 0, 10)
            queries.last_seen(transactions.memtable, ["ben", "ann"])
            queries.ends(transactions.memtable, ["ben", "ann"])
            queries.members(transactions.memtable, "#room")
            for peer in ("ann", "#r"):
                queries.history(transactions.memtable, "ben", peer, None, 10)
            queries.conversations(transactions.memtable, "ben", 10)
            self.use_hooks(transactions, queries)
            transactions.index()
            transactions._appender.forget()
        for now in (1.0, 10**10):
            transactions.retention.begin(now)
            while transactions.retention.due:
                transactions.tidy()
