"""Disks and files that fail the SQLite store: nobody waits for ever, it is said once, and it recovers by itself."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher

from kschat.backends.sqlite import SqliteStore
from kschat.backends.sqlite.database import BASE_STEP
from kschat.chat.interfaces import Entry, StoreUnavailable
from tests.backends.turns import PATIENCE, StoreTestCase
from tests.contracts.istore import entries, kept
from tests.contracts.made import message, to

ROOT = Path(__file__).parent.parent.parent


DELETED = "it was deleted: put it back, or restart kschat to begin with an empty one"
ANOTHER = "another file has replaced it: put the right one back, or restart kschat to use this one"


class FailureTestCase(StoreTestCase):
    """Watches what is logged."""

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("kschat.backends"):
            level = event["log_level"]
            line = event["log_format"].format(**event).replace(self.path, "PATH")
            self.logged.append(line if level is LogLevel.error else f"{level.name}: {line}")

    def refusal(self, store: SqliteStore) -> str:
        """Why nothing can be kept."""
        with self.assertRaises(StoreUnavailable) as caught:
            self.turns.result(store.append(to("ben")))
        with self.assertRaises(StoreUnavailable):
            self.turns.result(store.inbox("ben"))
        return str(caught.exception)

    def retried(self, store: SqliteStore) -> None:
        """Let it be tried to open the file again."""
        self.turns.advance(10)
        with contextlib.suppress(StoreUnavailable):
            self.turns.result(store.leave("#nowhere", "nobody"))

    def try_often(self, store: SqliteStore) -> None:
        """It is tried again and again, in vain."""
        for _ in range(3):
            self.retried(store)
            self.refusal(store)

    def assert_back(self, store: SqliteStore, why: str) -> None:
        """The store keeps messages again, and the log has one line for each change."""
        self.retried(store)
        self.turns.result(store.append([message("ann", "eve")]))
        self.turns.advance(1)
        lost = f"the store PATH is not available: {why}"
        back = "info: the store PATH is available again"
        self.assertEqual([line for line in self.logged if line in (lost, back)], [lost, back], self.logged)


class TestStart(FailureTestCase):
    """The file can't be used when the daemon starts."""

    def test_the_directory_is_missing(self) -> None:
        self.path = str(self.directory / "sub" / "kschat.db")
        store = self.started()
        why = f"there is no directory {Path(self.path).parent.absolute()}"
        self.assertEqual(self.refusal(store), why)
        self.try_often(store)
        Path(self.path).parent.mkdir()
        self.assert_back(store, why)

    def test_the_path_is_a_directory(self) -> None:
        Path(self.path).mkdir()
        store = self.started()
        why = self.refusal(store)
        self.assertEqual(why, "Is a directory")
        self.try_often(store)
        Path(self.path).rmdir()
        self.assert_back(store, why)

    def test_it_is_no_database(self) -> None:
        Path(self.path).write_bytes(b"Dear diary, " * 1000)
        store = self.started()
        why = self.refusal(store)
        self.assertEqual(why, "it is no SQLite database, or is damaged (file is not a database)")
        self.try_often(store)
        self.assertEqual(Path(self.path).read_bytes()[:10], b"Dear diary")
        Path(self.path).unlink()
        self.assert_back(store, why)

    def test_it_may_not_be_written_to(self) -> None:
        # Not in trial's directory, which others may not enter.
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = str(self.directory / "kschat.db")
        store = self.started()
        self.turns.result(store.settle())
        self.turns.result(store.stop())
        self.directory.chmod(0o555)
        Path(self.path).chmod(0o444)
        self.as_nobody()
        self.logged.clear()
        store = self.started()
        why = self.refusal(store)
        self.assertIn(why, ("Permission denied", "it can't be written to (attempt to write a readonly database)"))
        self.try_often(store)
        self.as_somebody()
        self.directory.chmod(0o755)
        Path(self.path).chmod(0o644)
        self.assert_back(store, why)

    def as_nobody(self) -> None:
        """Root may write anywhere; then be somebody else for a while."""
        if os.geteuid() == 0:
            os.seteuid(65534)
            self.addCleanup(self.as_somebody)

    def as_somebody(self) -> None:
        """The end of that."""
        os.seteuid(os.getuid())

    def test_another_daemon_has_it(self) -> None:
        first = self.started()
        (answer,) = self.turns.result(first.append(to("ben")))
        second = self.started()
        why = f"another kschat uses it (process {os.getpid()})"
        self.assertEqual(self.refusal(second), why)
        self.try_often(second)
        self.turns.result(first.append(to("ben")))
        self.turns.result(first.stop())
        self.assert_back(second, why)
        self.assertEqual(self.turns.result(second.read("ben", 0, 1)).entries, entries([answer]))


class TestMiddle(FailureTestCase):
    """The file fails while it is used."""

    def test_the_file_is_deleted(self) -> None:
        """Offsets of an empty file would mean something else to the sockets that are there."""
        store = self.started()
        self.turns.result(store.append(to("ben")))
        away = Path(self.path).rename(self.path + ".away")
        self.assertEqual(self.refusal(store), DELETED)
        self.try_often(store)
        self.assertFalse(Path(self.path).exists(), "a new one was made")
        away.rename(self.path)
        self.assert_back(store, DELETED)
        self.assertEqual(self.turns.result(store.append(to("ben")))[0].places, (("ben", 2),))

    def test_a_daemon_that_is_restarted_begins_with_an_empty_file(self) -> None:
        store = self.started()
        epoch = store.epoch
        self.turns.result(store.append(to("ben")))
        self.turns.result(store.stop())
        Path(self.path).unlink()
        store = self.started()
        # Beyond what was given: who asks for all after an offset of before misses nothing.
        ((_, offset),) = self.turns.result(store.append(to("ben")))[0].places
        self.assertGreater(offset, BASE_STEP)
        self.assertNotEqual(store.epoch, epoch)

    def test_an_older_copy_is_not_taken_for_the_file(self) -> None:
        store = self.started()
        self.turns.result(store.append(to("ben")))
        self.turns.result(store.stop())
        copy = Path(self.path).read_bytes()
        store = self.started()
        self.turns.result(store.append(to("ben")))
        Path(self.path + ".copy").write_bytes(copy)
        Path(self.path + ".copy").rename(self.path)
        self.assertEqual(self.refusal(store), ANOTHER)
        self.try_often(store)

    def test_the_deletion_is_noticed_though_nobody_writes(self) -> None:
        store = self.started()
        self.turns.result(store.settle())
        Path(self.path).unlink()
        self.turns.advance(1)
        self.turns.turn_until(lambda: f"the store PATH is not available: {DELETED}" in self.logged)

    def test_another_file_takes_its_place(self) -> None:
        store = self.started()
        self.turns.result(store.append(to("ben")))
        Path(self.path + ".new").write_bytes(b"")
        Path(self.path + ".new").rename(self.path)
        self.assertEqual(self.refusal(store), ANOTHER)
        self.try_often(store)
        self.assertEqual(Path(self.path).read_bytes(), b"", "it was left as it was")

    def test_another_process_locks_it(self) -> None:
        store = self.started()
        answers = self.turns.result(store.append(to("ben")))
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = [store.append(to("ben")) for _ in range(5)]
            self.assertEqual(self.turns.result(store.read("ben", 0, 1)).entries, entries(answers))
            for one in waiting:
                with self.assertRaisesRegex(StoreUnavailable, "another process has locked it"):
                    self.turns.result(one)
        self.assert_back(store, "another process has locked it (database is locked)")
        self.assertEqual(self.turns.result(store.append(to("ben")))[0].places, (("ben", 2),))

    def test_pages_are_damaged(self) -> None:
        store = self.started()
        self.turns.result(store.append([message(recipient=f"user {n}") for n in range(500)]))
        self.turns.result(store.stop())
        whole = Path(self.path).read_bytes()
        # All but the pages that hold the schema.
        Path(self.path).write_bytes(whole[:49152] + b"\xff" * (len(whole) - 49152))
        store = self.started()
        with self.assertRaisesRegex(StoreUnavailable, "it is damaged, and has to be replaced by a backup"):
            for number in range(500):
                self.turns.result(store.append([message(recipient=f"user {number}")]))
        self.turns.result(store.stop())
        Path(self.path).write_bytes(whole)
        store = self.started()
        self.assertEqual(len(self.turns.result(store.read("user 7", 0, 10)).entries), 1)

    def test_a_damaged_page_fails_its_readers_alone(self) -> None:
        store = self.started()
        for number in range(300):
            self.turns.result(store.append([message(recipient=f"user {number % 100}")]))
        store = self.restarted(store)
        self.turns.result(store.settle())
        with Path(self.path).open("r+b") as file:
            whole = file.read()
            file.seek(49152)
            file.write(b"\xff" * (len(whole) - 49152))
        outcomes = set()
        for number in range(100):
            try:
                self.turns.result(store.read(f"user {number}", 0, 10))
                outcomes.add("read")
            except StoreUnavailable as unavailable:
                outcomes.add(str(unavailable).split("(")[0])
        self.assertIn("it is damaged, and has to be replaced by a backup ", outcomes)
        with Path(self.path).open("r+b") as file:
            file.write(whole)
        for number in range(100):
            self.assertEqual(len(self.turns.result(store.read(f"user {number}", 0, 10)).entries), 3)
        self.assertEqual(len([line for line in self.logged if "could not be read" in line]), 1, self.logged)

    def test_an_error_that_should_not_be_fails_its_callers_and_nobody_after(self) -> None:
        store = self.started()
        first = message()
        self.turns.result(store.append([first]))
        with self.assertRaisesRegex(StoreUnavailable, "an error that should not be"):
            self.turns.result(store.append([message(recipient="cem"), message(mid="no mid")]))
        self.retried(store)
        last = message()
        self.assertEqual(self.turns.result(store.append([last])), [kept(last, 2)])
        self.assertEqual(self.turns.result(store.read("ben", 0, 10)).entries, [Entry(1, first), Entry(2, last)])
        self.assertEqual(self.turns.result(store.read("cem", 0, 10)).entries, [])


class TestProcesses(StoreTestCase):
    """In processes of their own, which are killed and which see full disks."""

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """A process that keeps messages (``tests.backends.keep``)."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.keep", self.path, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            self.addCleanup(stream.close)
        return process

    def test_a_full_disk_is_said_and_survived(self) -> None:
        self.path = str(Path(self.path).absolute())
        process = self.process("full", "400000")
        assert process.stdin is not None and process.stdout is not None
        taken, why = json.loads(process.stdout.readline())
        self.assertGreater(taken, 5)
        self.assertRegex(why, "the disk is full|the disk can't read or write")
        json.loads(process.stdout.readline())
        process.stdin.write("go on\n")
        process.stdin.flush()
        # All that was answered and the last one, and nothing that was refused.
        self.assertEqual(json.loads(process.stdout.readline()), 1)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_what_was_answered_survives_being_killed_at_any_moment(self) -> None:
        self.path = str(Path(self.path).absolute())
        chance = random.Random(20)
        answered: list[list[list[Any]]] = []
        for seed in range(1, 8):
            process = self.process(str(seed))
            assert process.stdout is not None
            answered += [json.loads(process.stdout.readline()) for _ in range(chance.randint(1, 60))]
            process.kill()
            process.wait(PATIENCE)
            answered += [json.loads(line) for line in process.stdout if line.endswith("\n")]
            self.assert_all_there(answered)

    def assert_all_there(self, answered: list[list[list[Any]]]) -> None:
        result = self.turns.result
        store = self.started()
        there: dict[str, tuple[str, int]] = {}
        sender_of: dict[str, str] = {}
        sizes: dict[tuple[int, int, int], list[Entry]] = {}
        for user in "abcdefgh":
            state = result(store.inbox(user))
            found: list[Entry] = []
            while page := result(store.read(user, found[-1].offset if found else 0, 10**6)).entries:
                found += page
            self.assertEqual([entry.offset for entry in found], list(range(1, state.last + 1)))
            there |= {entry.message.mid: (user, entry.offset) for entry in found}
            sender_of |= {entry.message.mid: entry.message.sender for entry in found}
            for entry in found:
                seed, number, size, _ = json.loads(bytes(entry.message.msg))
                sizes.setdefault((seed, number, size), []).append(entry)
        for (_, _, size), whole in sizes.items():
            self.assertEqual(len(whole), size)
        for batch in answered:
            for mid, user, offset, _ in batch:
                self.assertEqual(there[mid], (user, offset))
        again = [
            (mid, message(sender_of[mid], user, cid=cid)) for batch in answered for mid, user, _, cid in batch if cid
        ]
        answers = result(store.append([one for _, one in again])) if again else []
        self.assertEqual([(one.message.mid, one.repeat) for one in answers], [(mid, True) for mid, _ in again])
        result(store.stop())
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            for table in ("inbox", "thread"):
                self.assertEqual(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], len(there))
