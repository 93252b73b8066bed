"""What one step of the SQLite store costs is bounded by rows and bytes, however many messages there are."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, Self

from msgspec import Raw

from kschat.backends.sqlite import SqliteStore, retention, transactions
from kschat.backends.sqlite.database import CHECKPOINT_BYTES, CHECKPOINT_PAGES, SchemaVersions, Settings, connect
from kschat.backends.sqlite.memtable import MemTable
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.reader import CHECKPOINT_RUNS, Reader
from kschat.backends.sqlite.retention import HURRIED_REST, PIECE_ROWS, REST, Retention
from kschat.backends.sqlite.transactions import Transactions
from kschat.chat.interfaces import PAGE_BYTES, Entry, Stored
from kschat.chat.message import Error, Message
from tests.backends.test_sqlite_retention import NOW, RetentionTestCase, at
from tests.backends.turns import StoreTestCase
from tests.contracts.istore import entries
from tests.contracts.made import message, to

MEMBERS = 20


class Changes:
    """How many rows each transaction of a store changed."""

    def __init__(self, store: SqliteStore) -> None:
        self.transactions: list[int] = []
        self._before = 0
        self._store = store

    def watch(self, transactions: Transactions) -> None:
        """From now on. To be called between two transactions, on the store's thread."""
        self._connection = transactions.database.connection
        self._before = self._connection.total_changes
        self._connection.set_trace_callback(self._said)

    def _said(self, statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            self.transactions.append(self._connection.total_changes - self._before)
            self._before = self._connection.total_changes


class RoomTestCase(StoreTestCase):
    """A room of twenty, and bounds that are as small."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(transactions, "INDEX_PLACES", 500)
        self.patch(transactions, "STEP_PLACES", 60)
        self.patch(transactions, "TRANSACTION_PLACES", 40)

    def with_room(self) -> SqliteStore:
        """A store that has it."""
        store = self.started()
        for number in range(MEMBERS):
            self.turns.result(store.join("#r", f"u{number}", MEMBERS))
        return store


class TestRooms(RoomTestCase):
    """A message to a room counts as often as it has recipients."""

    def test_no_transaction_has_more_rows_than_the_bound_and_others_are_served_between(self) -> None:
        result = self.turns.result
        store = self.with_room()
        changes = Changes(store)
        result(store._writer.between(changes.watch))
        order: list[str] = []
        batches = [[message("u0", "#r") for _ in range(100)] for _ in range(3)]
        for batch in batches:
            store.append(batch).addCallback(lambda answers: order.append(f"{len(answers)} to the room"))
        other = store.append(to("ben"))
        other.addCallback(lambda answers: order.append("ben"))
        result(other)
        result(store.settle())
        self.assertEqual(order, ["100 to the room"] * 3 + ["ben"])
        # A step takes whole statements, and ends with what all its messages have beside places.
        self.assertGreater(len(changes.transactions), 3 * 100 * MEMBERS // 100)
        self.assertLess(max(changes.transactions), 60 + 256)
        for number in range(1, MEMBERS):
            found = result(store.read(f"u{number}", 0, 1000)).entries
            self.assertEqual([entry.offset for entry in found], list(range(1, 301)))
            self.assertEqual([entry.message for entry in found], [one for batch in batches for one in batch])

    def test_what_waits_in_memory_is_bounded_by_rows(self) -> None:
        store = self.with_room()
        waiting: list[int] = []
        commit = Transactions.commit

        def watched(transactions: Transactions) -> None:
            commit(transactions)
            waiting.append(transactions._appender.waiting)

        self.patch(Transactions, "commit", watched)
        for _ in range(20):
            self.turns.result(store.append([message("u0", "#r") for _ in range(50)]))
        self.assertGreater(max(waiting), 400)
        self.assertLess(max(waiting), 500 + 2 * 500)

    def test_a_batch_that_fails_amid_its_parts_keeps_the_parts_before(self) -> None:
        result = self.turns.result
        store = self.with_room()
        commits: list[int] = []
        commit = Transactions.commit

        def failing(transactions: Transactions) -> None:
            commits.append(1)
            if len(commits) == 3:
                raise sqlite3.OperationalError("the test took the disk away")
            commit(transactions)

        batch = [message("u0", "#r", cid=f"c{n}") for n in range(10)]
        patched = self.patch(Transactions, "commit", failing)
        answers = result(store.append(batch))
        patched.restore()
        self.assertEqual([answer.refused for answer in answers], [None] * 4 + [Error.NO_STORE] * 6)
        self.assertEqual(answers[4], Stored(batch[4], (), False, Error.NO_STORE))
        self.turns.advance(10)
        again = result(store.append(batch))
        self.assertEqual([answer.repeat for answer in again], [True] * 4 + [False] * 6)
        self.assertEqual([entry.message for entry in result(store.read("u1", 0, 100)).entries], batch)

    def test_whoever_reads_amid_a_round_finds_all(self) -> None:
        result = self.turns.result
        store = self.with_room()
        sent = [one.message for one in result(store.append([message("u0", "#r", cid=f"c{n}") for n in range(20)]))]
        for step in range(30):
            result(store._writer.between(Transactions.index_some))
            if step % 3 == 0:
                sent += [one.message for one in result(store.append([message("u0", "#r"), message("u1", "u0")]))][:1]
            for user in ("u1", "u9", "u19"):
                found = result(store.read(user, 0, 1000)).entries
                self.assertEqual([entry.message for entry in found], sent)
                self.assertEqual([entry.offset for entry in found], list(range(1, len(sent) + 1)))
                self.assertEqual(result(store.inbox(user)).last, len(sent))
                (one,) = [one for one in result(store.conversations(user, 10)) if one.peer == "#r"]
                self.assertEqual((one.unread, one.last), (len(sent), sent[-1]))
            self.assertTrue(result(store.append([message("u0", "#r", cid="c3")]))[0].repeat)

    def test_a_process_that_is_killed_amid_a_round_loses_nothing(self) -> None:
        result = self.turns.result
        store = self.with_room()
        sent = [one.message for one in result(store.append([message("u0", "#r", cid=f"c{n}") for n in range(20)]))]
        path = self.path
        for step in range(9):
            for suffix in ("", "-wal", ".given"):
                shutil.copyfile(path + suffix, f"{path}{step}{suffix}")
            self.path = f"{path}{step}"
            left = self.started()
            for user in ("u1", "u9", "u19"):
                self.assertEqual([entry.message for entry in result(left.read(user, 0, 1000)).entries], sent)
            result(left.stop())
            with closing(sqlite3.connect(self.path)) as connection:
                self.assertEqual(connection.execute("SELECT count(*) FROM inbox").fetchone(), (19 * 20,))
            result(store._writer.between(Transactions.index_some))


class TestRetention(RetentionTestCase):
    """Deleting goes by rows and time."""

    def test_no_transaction_has_more_rows_than_the_bound(self) -> None:
        result = self.turns.result
        self.patch(retention, "STEP_ROWS", 500)
        for kept in ({"retention_seconds": 3600.0}, {"retention_messages": 10}):
            self.path = str(self.directory / f"{next(iter(kept))}.db")
            store = self.started(**kept)
            for number in range(100):
                result(store.join("#r", f"u{number}", 100))
            result(store.append([at(NOW - 9000 + n / 1000, sender="u0", recipient="#r") for n in range(100)]))
            result(store.settle())
            changes = Changes(store)
            result(store._writer.between(changes.watch))
            self.tidied(store)
            self.assertGreater(len(changes.transactions), 100 * 100 // 1000)
            # What is noted in passing, in tables of the transaction alone, counts there as well.
            self.assertLess(max(changes.transactions), 3 * (500 + PIECE_ROWS))
            left = 0 if "retention_seconds" in kept else 10
            self.assertEqual([self.rows(table) for table in ("messages", "thread", "held")], [left, left, 0])
            self.assertEqual(self.rows("inbox"), left * 99)

    def test_a_step_ends_when_its_time_is_over(self) -> None:
        store = self.started(retention_seconds=3600.0)
        self.turns.result(store.append([at(NOW - 9000 + n / 1000) for n in range(2 * PIECE_ROWS)]))
        self.turns.result(store.stop())
        now = 0.0

        def late() -> float:
            nonlocal now
            now += 1.0
            return now

        opened = Transactions(Settings(self.path, "normal"), SchemaVersions.shipped())
        self.addCleanup(opened.close)
        opened.retention = Retention(connect(self.path, "rw"), 3600.0, 0, 0, late)
        opened.retention.begin(NOW)
        before = self.rows("messages")
        opened.retention.step()
        self.assertEqual(now, 2.0)
        self.assertEqual(before - self.rows("messages"), 0)
        opened.retention = Retention(connect(self.path, "rw"), 3600.0, 0, 0, lambda: 0.0)
        opened.retention.begin(NOW)
        opened.retention.step()
        self.assertLess(self.rows("messages"), before)

    def test_it_rests_after_a_step_in_proportion_and_less_where_a_round_is_late(self) -> None:
        now = 0.0
        opened = Transactions(Settings(self.path, "normal"), SchemaVersions.shipped())
        self.addCleanup(opened.close)
        resting = Retention(connect(self.path, "rw"), 3600.0, 0, 0, lambda: now)
        self.assertIsNone(resting.rest)
        resting.begin(NOW)
        self.assertEqual(resting.rest, 0.0)
        for _ in range(2):
            with resting.timed():
                now += 2.0
            self.assertEqual(resting.rest, 2.0 * REST)
            now += 2.0 * REST
            self.assertEqual(resting.rest, 0.0)
        resting.begin(NOW + 60)
        with resting.timed():
            now += 2.0
        self.assertEqual(resting.rest, 2.0 * HURRIED_REST)

    def test_count_retention_after_offsets_jumped_keeps_the_newest(self) -> None:
        result = self.turns.result
        store = self.started(retention_messages=5)
        answers = [*result(store.append(to(*["ben"] * 3)))]
        result(store.stop())
        Path(self.path + ".given").unlink()
        store = self.started(retention_messages=5)
        answers = [*answers, *result(store.append(to(*["ben"] * 2)))]
        self.tidied(store)
        self.assertEqual(result(store.read("ben", 0, 10)).entries, entries(answers))
        answers = [*answers, *result(store.append(to(*["ben"] * 2)))]
        self.tidied(store)
        self.assertEqual(result(store.read("ben", 0, 10)).entries, entries(answers)[2:])
        self.assertEqual(result(store.inbox("ben")).first, 3)


class TestConversations(StoreTestCase):
    """A list of conversations costs what it shows."""

    def instructions(self, store: SqliteStore, user: str) -> int:
        """How many instructions of SQLite a list of ``user`` takes."""
        count = 0

        def one_more() -> int:
            nonlocal count
            count += 1
            return 0

        opened = store._writer.transactions
        assert opened is not None
        with closing(connect(self.path, "ro")) as connection:
            connection.set_progress_handler(one_more, 1)
            Queries(connection).conversations(opened.memtable, user, 500)
        return count

    def test_no_large_message_is_read(self) -> None:
        result = self.turns.result
        store = self.started()
        large = Raw(b'"%s"' % (b"x" * 500_000))
        result(store.append([message(recipient=f"user {n}", msg=large) for n in range(5)]))
        result(store.append([message(recipient=f"user {n}", msg=large, attachments=(large,)) for n in range(5, 9)]))
        result(store.settle())
        read = self.pages(store, lambda queries, memtable: queries.history(memtable, "ann", "user 1", None, 1))
        self.assertGreater(read, 500_000 // 4096)
        listed = self.pages(store, lambda queries, memtable: queries.conversations(memtable, "ann", 500))
        self.assertLess(listed, 50)

    def pages(self, store: SqliteStore, ask: Callable[[Queries, MemTable], object]) -> int:
        """How many pages of the file a question takes."""
        opened = store._writer.transactions
        assert opened is not None
        with closing(connect(self.path, "ro")) as connection:
            connection.execute("PRAGMA cache_size = 10")
            before = self.reads()
            ask(Queries(connection), opened.memtable)
            return (self.reads() - before) // 4096

    def reads(self) -> int:
        """Bytes that this process has read so far."""
        (line,) = [line for line in Path("/proc/self/io").read_text("ascii").splitlines() if line.startswith("rchar")]
        return int(line.split()[1])

    def test_a_file_of_a_version_that_made_no_lines_is_listed(self) -> None:
        result = self.turns.result
        store = self.started()
        placeholder = b'{"_placeholder":true,"num":0}'
        result(store.append([
            message(msg=Raw(b'"%s"' % (b"x" * 5000))),
            message(recipient="cem", msg=Raw(b"[1,%s]" % placeholder), attachments=(bytes(5000),)),
            message(recipient="dan", msg=Raw(b'["%s",%s]' % (b"x" * 5000, placeholder)), attachments=(b"x",)),
            message(recipient="eve", msg=Raw(b'"short"')),
        ]))  # fmt: skip
        result(store.settle())
        result(store.stop())
        with closing(connect(self.path, "rw")) as connection:
            self.assertEqual(connection.execute("DELETE FROM lines").rowcount, 3)
        listed = result(self.started().conversations("ann", 10))
        self.assertEqual(
            [(one.peer, bytes(one.last.msg), one.last.attachments, one.cut) for one in listed],
            [
                ("eve", b'"short"', (), False),
                ("dan", b"null", (), True),
                ("cem", b"[1,null]", (), True),
                ("ben", b"null", (), True),
            ],
        )

    def test_own_messages_in_a_room_are_not_counted_one_by_one(self) -> None:
        result = self.turns.result
        store = self.started()
        for user in ("ann", "ben"):
            result(store.join("#r", user, 10))
        result(store.append([message("ben", "#r"), *[message("ann", "#r") for _ in range(9)]]))
        result(store.settle())
        few = self.instructions(store, "ann")
        result(store.append([message("ann", "#r") for _ in range(3000)]))
        result(store.settle())
        self.assertLess(self.instructions(store, "ann"), few + 50)
        self.assertEqual([one.unread for one in result(store.conversations("ann", 10))], [1])
        self.assertEqual([one.unread for one in result(store.conversations("ben", 10))], [1000])

    def test_conversations_of_others_cost_nothing(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append([message("ann", "ben"), message("cem", "ann")]))
        few = self.instructions(store, "ann")
        result(store.append([message(f"u{n}", f"v{n}") for n in range(2000)]))
        self.assertLess(self.instructions(store, "ann"), few + 50)
        self.assertEqual([one.peer for one in result(store.conversations("ann", 10))], ["cem", "ben"])

    def test_of_many_that_are_recent_only_those_are_looked_up_that_are_shown(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append([message("ann", f"u{n}") for n in range(2000)]))
        listed = result(store.conversations("ann", 3))
        self.assertEqual([one.peer for one in listed], ["u1999", "u1998", "u1997"])
        opened = store._writer.transactions
        assert opened is not None
        with closing(connect(self.path, "ro")) as connection:
            said: list[str] = []
            connection.set_trace_callback(said.append)
            Queries(connection).conversations(opened.memtable, "ann", 3)
        self.assertLess(len(said), 10)

    def test_whoever_connects_does_not_wait_for_whoever_leafs_through_history(self) -> None:
        store = self.started()
        self.turns.result(store.append(to("ben")))
        free = Event()
        self.addCleanup(free.set)
        history = Queries.history

        def slow(*arguments: Any) -> Any:
            free.wait(60)
            return history(*arguments)

        self.patch(Queries, "history", slow)
        waiting = [store.history("ann", "ben", before=None, limit=10) for _ in range(30)]
        self.assertEqual(self.turns.result(store.inbox("ben")).last, 1)
        self.assertEqual(len(self.turns.result(store.read("ben", 0, 10)).entries), 1)
        free.set()
        for one in waiting:
            self.assertEqual(len(self.turns.result(one).messages), 1)


class TestPages(StoreTestCase):
    """Pages are bounded by bytes where they are read."""

    def test_a_page_ends_before_the_message_that_makes_it_too_large(self) -> None:
        result = self.turns.result
        store = self.started()
        body = Raw(b'"%s"' % (b"x" * (PAGE_BYTES // 4)))
        sent = [one.message for one in result(store.append([message(msg=body) for _ in range(10)]))]
        for settled in (False, True):
            if settled:
                result(store.settle())
            found: list[Entry] = []
            while page := result(store.read("ben", len(found), 100)).entries:
                self.assertLessEqual(len(page), 3)
                found += page
            self.assertEqual([entry.message for entry in found], sent)
            before: str | None = None
            history: list[Message] = []
            while True:
                older = result(store.history("ann", "ben", before=before, limit=100))
                self.assertLessEqual(len(older.messages), 3)
                history[:0] = older.messages
                if not older.more:
                    break
                before = history[0].mid
            self.assertEqual(history, sent)

    def test_what_is_larger_than_a_page_is_a_page(self) -> None:
        result = self.turns.result
        store = self.started()
        body = Raw(b'"%s"' % (b"x" * (2 * PAGE_BYTES)))
        result(store.append([message(msg=body), *to("ben")]))
        for settled in (False, True):
            if settled:
                result(store.settle())
            self.assertEqual([entry.offset for entry in result(store.read("ben", 0, 10)).entries], [1])
            page = result(store.history("ann", "ben", before=None, limit=10))
            self.assertEqual((len(page.messages), page.more), (1, True))
            page = result(store.history("ann", "ben", before=page.messages[0].mid, limit=10))
            self.assertEqual((len(page.messages), page.more), (1, False))


class Checkpoints:
    """A connection that says of each checkpoint how many pages the log has, and have been written back."""

    def __init__(self, pages: list[int]) -> None:
        self.said = iter([(0, count, count) for count in pages])
        self.asked: list[str] = []

    def execute(self, statement: str) -> Self:
        self.asked.append(statement)
        return self

    def fetchone(self) -> tuple[int, int, int]:
        return next(self.said)


class LogTests(RetentionTestCase):
    """The write-ahead log is written back by a thread that no sender waits for, before it is full."""

    def test_what_was_committed_during_a_checkpoint_is_written_back_too(self) -> None:
        store = self.started()
        self.turns.result(store.append([at(NOW)]))
        for pages, runs in (([900, 903, 903], 3), ([7, 7], 2), (list(range(100)), CHECKPOINT_RUNS)):
            reader = Reader(self.turns, store._writer, lambda _: None, "a test's", "rw")
            found = Checkpoints(pages)
            self.patch(reader, "_connection", found)
            reader._checkpoint()
            self.assertEqual(found.asked, ["PRAGMA wal_checkpoint(PASSIVE)"] * runs)

    def test_large_messages_are_written_back_before_the_writer_has_to_do_it(self) -> None:
        store = self.started()
        told: list[int] = []
        self.patch(store._writer, "_checkpoint", lambda: told.append(1))
        body = Raw(b'"%b"' % (b"x" * (CHECKPOINT_BYTES // 3)))
        for number in range(9):
            self.turns.result(store.append([message(msg=body)]))
            self.turns.result(store.leave("#none", "ann"))  # by then the writer has looked
            self.assertEqual(len(told), (number + 1) // 3)
        self.assertLess(2 * CHECKPOINT_BYTES, CHECKPOINT_PAGES * 4096, "the other thread has time to do it")

    def test_in_a_quiet_second_nothing_stays_in_memory(self) -> None:
        store = self.started()
        self.turns.result(store.append([message()]))
        for kept in (1, 0):
            self.turns.result(store._writer.between(lambda transactions: transactions.look_after()))
            transactions = store._writer.transactions
            assert transactions is not None
            self.assertEqual(len(transactions.memtable), kept)
        self.assertEqual([entry.offset for entry in self.turns.result(store.read("ben", 0, 10)).entries], [1])

    def test_it_begins_after_each_step_of_retention(self) -> None:
        store = self.started(retention_seconds=3600.0)
        self.turns.result(store.append([at(NOW - 9000)]))
        told: list[int] = []
        self.patch(store._writer, "_checkpoint", lambda: told.append(1))
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 0)
        self.assertGreater(len(told), 0)
