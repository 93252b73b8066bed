"""``kschat backup``: whole copies, while the daemon writes, or none."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from kschat.backends.sqlite import backup
from kschat.backends.sqlite.backup import PARTIAL, Copied, back_up, tell_restored
from kschat.backends.sqlite.database import SchemaVersions
from kschat.chat.interfaces import StoreUnavailable
from tests.backends.test_sqlite_failures import ROOT
from tests.backends.turns import PATIENCE, StoreTestCase
from tests.contracts.made import message, to


class BackupTestCase(StoreTestCase):
    """A store, and where its copy goes."""

    def setUp(self) -> None:
        super().setUp()
        self.copies = self.directory / "copies"
        self.copies.mkdir()
        self.copy = str(self.copies / "copy.db")

    def refusal(self, path: str | None = None) -> str:
        """Why no copy can be made; there is none then."""
        before = sorted(os.listdir(self.copies))
        with self.assertRaises(StoreUnavailable) as caught:
            back_up(path or self.path, self.copy, SchemaVersions.shipped())
        self.assertEqual(sorted(os.listdir(self.copies)), before)
        return str(caught.exception)

    def foreign(self, name: str, version: int) -> str:
        """The path of a database of another program, which counts its versions as well, and keeps a log."""
        path = str(self.directory.absolute() / name)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE messages (id)")
            connection.execute(f"PRAGMA user_version = {version}")
        return path


class TestBackup(BackupTestCase):
    """In this process."""

    def test_a_copy_holds_all_that_was_acknowledged_and_needs_no_other_file(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append(to(*["ben"] * 10)))
        result(store.settle())
        result(store.append(to("ben")))
        copied = back_up(self.path, self.copy, SchemaVersions.shipped())
        self.assertEqual(copied, Copied(11, os.path.getsize(self.copy)))
        self.assertEqual(os.listdir(self.copies), ["copy.db"])
        self.assertEqual(Path(self.copy).stat().st_mode & 0o777, 0o600)
        os.chmod(self.copies, 0o500)
        self.addCleanup(os.chmod, self.copies, 0o700)
        with closing(sqlite3.connect(f"{Path(self.copy).absolute().as_uri()}?immutable=1", uri=True)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(connection.execute("SELECT count(*) FROM messages").fetchone(), (11,))

    def test_a_copy_reaches_the_disk_in_steps(self) -> None:
        # Else the system writes all of it at once, and senders' commits wait behind that.
        store = self.started()
        self.turns.result(store.append(to(*["ben"] * 10)))
        self.turns.result(store.settle())
        synced: list[int] = []
        self.patch(backup, "STEP_PAGES", 4)
        self.patch(os, "fdatasync", synced.append)
        size = back_up(self.path, self.copy, SchemaVersions.shipped()).size
        self.assertGreaterEqual(len(synced), size // (4 * 4096))
        self.assertGreater(len(synced), 1)

    def test_what_is_there_is_not_overwritten(self) -> None:
        self.turns.result(self.started().settle())
        for make in (
            lambda: Path(self.copy).write_text("dear"),
            lambda: os.symlink("nowhere", self.copy),
            lambda: os.mkdir(self.copy),
        ):
            make()
            self.assertEqual(self.refusal(), f"{self.copy} is there already: name another file, or move it away")
            os.rename(self.copy, str(self.directory / str(len(os.listdir(self.directory)))))

    def test_what_comes_into_being_amid_it_is_not_overwritten(self) -> None:
        self.turns.result(self.started().settle())
        self.patch(backup, "_verify", lambda partial, counts: Path(self.copy).write_text("dear"))
        with self.assertRaisesRegex(StoreUnavailable, "is there already"):
            back_up(self.path, self.copy, SchemaVersions.shipped())
        self.assertEqual(Path(self.copy).read_text(), "dear")
        self.assertEqual(os.listdir(self.copies), ["copy.db"])

    def test_what_can_not_be_copied_is_told(self) -> None:
        self.turns.result(self.started().settle())
        self.assertEqual(self.refusal(self.path + ".not"), f"there is no file {self.path}.not")
        diary = self.directory / "diary"
        diary.write_bytes(b"Dear diary, " * 1000)
        self.assertRegex(
            self.refusal(str(diary)), f"^{diary} cannot be copied to {self.copy}: it is no SQLite database"
        )
        empty = self.directory.absolute() / "empty"
        empty.write_bytes(b"")
        self.assertEqual(self.refusal(str(empty)), f"{empty} is empty: kschat has kept nothing there")
        recipes = self.foreign("recipes", 0)
        self.assertEqual(
            self.refusal(recipes), f"{recipes}: it is a database of something else than kschat: name another file"
        )
        self.copy = str(self.directory / "nowhere" / "copy.db")
        with self.assertRaises(StoreUnavailable) as caught:
            back_up(self.path, self.copy, SchemaVersions.shipped())
        self.assertEqual(str(caught.exception), f"{self.copy}{PARTIAL} cannot be written: No such file or directory")

    def test_a_copy_that_does_not_hold_what_it_should_is_removed(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        counts = backup._counts
        calls = iter(range(2))
        self.patch(backup, "_counts", lambda connection: {**counts(connection), "messages": next(calls)})
        self.assertIn("does not hold what it should", self.refusal())

    def test_whatever_ends_it_no_file_is_left(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        for error in (KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device")):

            def end(*arguments: Any, error: BaseException = error) -> None:
                raise error

            self.patch(backup, "_verify", end)
            with self.assertRaises((KeyboardInterrupt, SystemExit, StoreUnavailable)):
                back_up(self.path, self.copy, SchemaVersions.shipped())
            self.assertEqual(os.listdir(self.copies), [])

    def test_what_a_killed_one_left_is_replaced(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        Path(self.copy + PARTIAL).write_bytes(b"half of a page" * 1000)
        Path(self.copy + PARTIAL + "-journal").write_bytes(b"half of a page" * 1000)
        self.assertEqual(back_up(self.path, self.copy, SchemaVersions.shipped()).messages, 1)
        self.assertEqual(os.listdir(self.copies), ["copy.db"])

    def test_a_store_that_stands_at_the_name_of_an_incomplete_copy_is_not_emptied(self) -> None:
        store = self.started()
        self.turns.result(store.append(to("ben")))
        self.turns.result(store.stop())
        for make in (os.link, os.symlink):
            make(os.path.abspath(self.path), self.copy + PARTIAL)
            self.assertEqual(self.refusal(), f"{self.copy + PARTIAL} is the store itself: name another file")
            os.unlink(self.copy + PARTIAL)
        self.assertEqual(back_up(self.path, self.copy, SchemaVersions.shipped()).messages, 1)

    def test_a_link_at_the_name_of_an_incomplete_copy_is_not_followed(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        dear = self.directory / "dear"
        dear.write_text("dear")
        os.symlink(dear, self.copy + PARTIAL)
        self.assertIn("symbolic link", self.refusal())
        self.assertEqual(dear.read_text(), "dear")

    def test_a_link_to_the_store_is_followed(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        os.symlink("kschat.db", self.directory / "link.db")
        self.assertEqual(back_up(str(self.directory / "link.db"), self.copy, SchemaVersions.shipped()).messages, 1)


class TestCommand(BackupTestCase):
    """The command, beside a process that writes all the time."""

    def run_beside(self, *arguments: str) -> subprocess.Popen[str]:
        """``kschat`` with these arguments."""
        environ = {**os.environ, "KSCHAT_STORE": f"sqlite:{os.path.abspath(self.path)}", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", "from kschat.cli import run; run()", *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def written(self) -> "subprocess.Popen[str]":
        """A process that sends batches for ever, and prints what was answered."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.keep", os.path.abspath(self.path), "1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_a_backup_under_load_ends_and_holds_what_was_acknowledged_before(self) -> None:
        writer = self.written()
        assert writer.stdout is not None
        before = [json.loads(writer.stdout.readline()) for _ in range(30)]
        backup = self.run_beside("backup", os.path.abspath(self.copy))
        # The pipe is kept empty, so that the writer goes on.
        after = 0
        while backup.poll() is None:
            self.assertTrue(writer.stdout.readline())
            after += 1
        said, errors = backup.communicate()
        self.assertEqual((backup.returncode, errors), (0, ""))
        self.assertGreater(after, 0)
        self.assertEqual(os.listdir(self.copies), ["copy.db"])
        with closing(sqlite3.connect(self.copy)) as connection:
            there = {f"{id_:016x}{suffix}" for id_, suffix in connection.execute("SELECT id, suffix FROM messages")}
        self.assertLessEqual({mid for batch in before for mid, *_ in batch}, there)
        self.assertEqual(said.split()[1:4], ["holds", f"{len(there):,}", "messages,"])
        self.assertIsNone(writer.poll())

    def test_a_backup_that_is_ended_leaves_nothing(self) -> None:
        store = self.started()
        for _ in range(20):
            self.turns.result(store.append([message(msg=b'"%s"' % (b"x" * 20_000)) for _ in range(100)]))
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process = self.run_beside("backup", os.path.abspath(self.copy))
            begun = time.monotonic()
            while not os.listdir(self.copies) and process.poll() is None:
                self.assertLess(time.monotonic() - begun, PATIENCE)
            process.send_signal(number)
            process.communicate()
            # It may have been faster; then the copy is whole.
            self.assertLessEqual(set(os.listdir(self.copies)), {"copy.db"})
            if os.listdir(self.copies):
                with closing(sqlite3.connect(self.copy)) as connection:
                    self.assertEqual(connection.execute("SELECT count(*) FROM messages").fetchone(), (2000,))
                os.unlink(self.copy)

    def test_other_stores_and_no_name_are_refused_with_a_sentence(self) -> None:
        for arguments, sentence in (
            (("backup",), "kschat: backup: name the file that is to be written: kschat backup COPY\n"),
            (("backup", "x", "--store", "memory"), "kschat: store: the store memory keeps no file\n"),
            (
                ("backup", "a", "b", "--store", "memory"),
                "kschat: backup: there is one COPY, 'a': 'b' is one too many\n",
            ),
            (
                ("backup", "a", "--store", "memory", "b"),
                "kschat: backup: there is one COPY, 'a': 'b' is one too many\n",
            ),
            (
                ("backup", "--store", "memory", "a", "b"),
                "kschat: backup: there is one COPY, 'a': 'b' is one too many\n",
            ),
            (("backup", "a", "store=memory"), "kschat: 'store=memory' is no option: write --store memory\n"),
            (("backup", "a", "--storre", "memory"), "kschat: option --storre not recognized (did you mean --store?)\n"),
            (("restored", "--store", "redis"), "kschat: restored: name the Redis: --redis redis://host:6379/0\n"),
        ):
            said, errors = self.run_beside(*arguments).communicate()
            self.assertEqual(said, "")
            self.assertTrue(errors.startswith(sentence), errors)

    def test_restored_leaves_a_file_that_is_no_store_as_it_was_and_makes_none(self) -> None:
        root = self.directory.absolute()
        (root / "empty").write_bytes(b"")
        (root / "diary").write_bytes(b"Dear diary, " * 1000)
        other = "it is a database of something else than kschat: name another file"
        for path, reason in {
            str(root / "empty"): " is empty: kschat has kept nothing there",
            str(root / "diary"): ": it is no SQLite database",
            self.foreign("recipes", 0): f": {other}",
            self.foreign("others", 3): f": {other}",
            self.foreign("newer", 99): f": {other}",
        }.items():
            before = {file.name: file.read_bytes() for file in root.iterdir() if file.is_file()}
            with self.assertRaises(StoreUnavailable) as caught:
                tell_restored(path, SchemaVersions.shipped(), lambda: 0.0)
            self.assertTrue(str(caught.exception).startswith(f"{path}{reason}"), caught.exception)
            self.assertEqual({file.name: file.read_bytes() for file in root.iterdir() if file.is_file()}, before)
        absent = str(root / "absent")
        said, errors = self.run_beside("restored", "--store", f"sqlite:{absent}").communicate()
        self.assertEqual((said, errors), ("", f"kschat: restored: there is no file {absent}\n"))
        said, errors = self.run_beside("restored", "--store", f"sqlite:{root}/empty").communicate()
        self.assertEqual(errors, f"kschat: restored: {root}/empty is empty: kschat has kept nothing there\n")
        self.assertEqual({file.name: file.read_bytes() for file in root.iterdir() if file.is_file()}, before)

    def test_restored_says_where_offsets_go_on(self) -> None:
        self.turns.result(self.started().append(to("ben")))
        path = os.path.abspath(self.path)
        process = self.run_beside("restored")
        said, errors = process.communicate()
        self.assertEqual(
            (said, errors), ("", f"kschat: restored: {path}: another kschat uses it (process {os.getpid()})\n")
        )
        self.doCleanups()
        said, errors = self.run_beside("restored").communicate()
        self.assertRegex(said, r"begins a new epoch; offsets continue beyond \d{16}\n$")
        ((_, offset),) = self.turns.result(self.started().append(to("ben")))[0].places
        self.assertEqual(offset, int(said.split()[-1]) + 1)
