"""One file, two daemons: whatever became of the lock, only one of them acknowledges."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from kschat.backends.sqlite.database import BASE_STEP
from kschat.chat.interfaces import InboxState, StoreUnavailable
from tests.backends.sqlite_versions import TO_VERSION_1
from tests.backends.test_sqlite_failures import FailureTestCase
from tests.backends.turns import StoreTestCase
from tests.contracts.istore import entries, kept
from tests.contracts.made import message, to
from tests.contracts.updates import edit

BY_ANOTHER_NAME = "another kschat uses it, by another name, or the lock beside it was removed: stop that one first"


class TestLocks(FailureTestCase):
    """The file itself is locked, beside its lock."""

    def test_the_lock_was_removed(self) -> None:
        first = self.started()
        self.turns.result(first.append(to("ben")))
        os.unlink(self.path + ".lock")
        second = self.started()
        self.assertEqual(self.refusal(second), BY_ANOTHER_NAME)
        self.turns.result(first.append(to("ben")))
        self.turns.result(first.stop())
        self.assert_back(second, BY_ANOTHER_NAME)
        self.assertEqual(self.turns.result(second.append(to("ben")))[0].places, (("ben", 3),))

    def test_a_hard_link(self) -> None:
        first = self.started()
        self.turns.result(first.append(to("ben")))
        path = self.path
        self.path = str(self.directory / "other.db")
        os.link(path, self.path)
        second = self.started()
        self.assertEqual(self.refusal(second), BY_ANOTHER_NAME)
        self.assertEqual(self.turns.result(first.append(to("ben")))[0].places, (("ben", 2),))

    def test_a_symbolic_link(self) -> None:
        real = self.directory / "elsewhere"
        real.mkdir()
        os.symlink("elsewhere/real.db", self.path)
        store = self.started()
        self.turns.result(store.append(to("ben")))
        self.turns.advance(1)
        self.turns.result(store.settle())
        self.assertEqual(self.turns.result(store.append(to("ben")))[0].places, (("ben", 2),))
        self.assertEqual(os.listdir(self.directory).count("kschat.db"), 1)
        self.assertEqual(len(os.listdir(self.directory)), 2)
        link, self.path = self.path, str(real / "real.db")
        self.assertEqual(self.refusal(self.started()), f"another kschat uses it (process {os.getpid()})")
        self.turns.result(store.stop())
        self.path = link
        self.assertEqual(self.turns.result(self.started().append(to("ben")))[0].places, (("ben", 3),))
        self.assertEqual([line for line in self.logged if "not available" in line and "another" not in line], [])


class TestOpener(FailureTestCase):
    """Where no lock tells (not every file system has locks that do): the file says who opened it last."""

    def test_a_daemon_lets_go_of_a_file_that_another_one_has_opened_since(self) -> None:
        first = self.started()
        (one,) = self.turns.result(first.append([message(cid="c1")]))
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("UPDATE progress SET opener = 'another'")
            refused = message()
            with self.assertRaisesRegex(StoreUnavailable, "another kschat has opened it since"):
                self.turns.result(first.append([refused]))
            self.assertEqual(other.execute("SELECT count(*) FROM messages").fetchone(), (1,))
        self.assert_back(first, "another kschat has opened it since")
        again, two = self.turns.result(first.append([message(cid="c1"), message()]))
        self.assertEqual(again, kept(one.message, 1, True))
        self.assertEqual(two.places, (("ben", 2),))


class TestConflict(StoreTestCase):
    """Two daemons have written to one file at once, and gave the same offsets."""

    def conflict(self, *statements: str) -> None:
        """Write as another daemon did that knew nothing of what was written since."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            for statement in statements:
                other.execute(statement)

    def test_the_file_can_be_opened_and_nothing_of_it_is_lost(self) -> None:
        result = self.turns.result
        store = self.started()
        for user in ("ann", "ben", "cem"):
            result(store.join("#r", user, 10))
        known = entries(result(store.append(to("ben", "ben"))))
        result(store.settle())
        epoch = store.epoch
        fresh = [message(cid="c1"), message("ann", "#r"), message("ben", "ann"), message(cid="c2")]
        result(store.append(fresh))
        result(store.stop())
        # The same once more, a little later.
        columns = "suffix, conversation, sender, recipient, place, places, total, own, ids, time, cid, msg, attachments"
        self.conflict(
            "UPDATE progress SET indexed = (SELECT id FROM messages ORDER BY id LIMIT 1 OFFSET 1)",
            *[f"DELETE FROM {table} WHERE message > (SELECT indexed FROM progress)" for table in ("inbox", "thread")],
            "DELETE FROM cids",
            f"INSERT INTO messages (id, {columns}) "
            f"SELECT (SELECT max(id) FROM messages) + id % 1000 + 1, {columns} FROM messages "
            "WHERE id > (SELECT indexed FROM progress)",
        )
        store = self.started()
        self.assertNotEqual(result(store.inbox("ben")), InboxState())
        self.assertNotEqual(store.epoch, epoch)
        found = result(store.read("ben", 0, 100)).entries
        self.assertEqual(found[:2], known)
        offsets = [entry.offset for entry in found[2:]]
        self.assertEqual(offsets, list(range(offsets[0], offsets[0] + 6)))
        self.assertGreater(offsets[0], BASE_STEP)
        self.assertEqual([entry.message.mid for entry in found], sorted({entry.message.mid for entry in found}))
        self.assertEqual([entry.message.recipient for entry in found[2:]], ["ben", "#r", "ben"] * 2)
        self.assertEqual(len(result(store.read("cem", 0, 100)).entries), 2)
        self.assertEqual({one.peer: one.unread for one in result(store.conversations("ben", 10))}, {"ann": 6, "#r": 2})
        self.assertEqual({one.peer: one.unread for one in result(store.conversations("ann", 10))}, {"ben": 2, "#r": 0})
        again, last = result(store.append([message(cid="c1"), message()]))
        self.assertEqual((again.repeat, again.message.mid), (True, fresh[0].mid))
        self.assertEqual(last.places, (("ben", offsets[-1] + 1),))
        result(store.settle())
        store = self.restarted(store)
        self.assertEqual(result(store.append(to("ben")))[0].places, (("ben", offsets[-1] + 2),))

    def test_edits_of_both_get_offsets_of_their_own(self) -> None:
        result = self.turns.result
        store = self.started()
        (one,) = result(store.append(to("ben")))
        result(store.settle())
        result(store.change(edit(one.message, cid="e1")))
        result(store.stop())
        columns = "suffix, conversation, sender, recipient, places, total, own, ids, time, cid, msg, extra"
        self.conflict(
            "UPDATE progress SET indexed = (SELECT min(id) FROM messages)",
            "DELETE FROM inbox WHERE message > (SELECT indexed FROM progress)",
            "DELETE FROM cids",
            f"INSERT INTO messages (id, {columns}) SELECT id + 1, {columns} FROM messages "
            "WHERE id > (SELECT indexed FROM progress)",
        )
        store = self.started()
        for user in ("ann", "ben"):
            found = result(store.read(user, 1, 10)).entries
            self.assertEqual([bytes(entry.message.msg) for entry in found], [b'"edited"'] * 2)
            self.assertEqual(found[1].offset, found[0].offset + 1)
        self.assertEqual([one.unread for one in result(store.conversations("ben", 10))], [1])

    def test_a_file_of_the_first_version_in_that_state_can_be_opened(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append(to("ben")))
        result(store.stop())
        self.conflict(
            "INSERT INTO messages (id, suffix, conversation, sender, recipient, place, total, own, ids, time, msg) "
            "SELECT id + 1, suffix, conversation, sender, recipient, place, total, own, ids, time, msg FROM messages",
            "UPDATE progress SET indexed = 0",
            *TO_VERSION_1,
        )
        store = self.started()
        self.assertEqual(len(result(store.read("ben", 0, 10)).entries), 2)
        self.assertEqual([one.unread for one in result(store.conversations("ben", 10))], [2])


class TestLog(StoreTestCase):
    """The write-ahead log does not keep its largest size."""

    def test_it_is_cut_back_when_all_is_quiet(self) -> None:
        result = self.turns.result
        store = self.started()
        large: Any = b'"%s"' % (b"x" * 100_000)
        result(store.append(to("ben")))
        log = Path(self.path + "-wal")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM messages").fetchone()
            for _ in range(10):
                result(store.append([message(msg=large) for _ in range(20)]))
                self.turns.advance(1)
            result(store.settle())
            self.assertGreater(log.stat().st_size, 20_000_000)
        result(store.append(to("ben")))
        for _ in range(2):
            self.turns.advance(1)
            result(store.settle())
        # ``settle`` itself writes a little.
        self.assertLess(log.stat().st_size, 100_000)
        self.assertEqual(result(store.inbox("ben")).last, 202)
