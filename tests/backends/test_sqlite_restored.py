"""A file that went back: nothing that is acknowledged after a restore is missed by who knows offsets of before it."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from kschat.backends.sqlite import SqliteStore
from kschat.backends.sqlite.backup import back_up, tell_restored
from kschat.backends.sqlite.database import BASE_STEP, SchemaVersions
from kschat.backends.sqlite.highwater import SUFFIX
from kschat.chat.interfaces import InboxState, Progress, StoreUnavailable
from tests.backends.test_sqlite_failures import ANOTHER, FailureTestCase
from tests.backends.turns import StoreTestCase
from tests.contracts.istore import entries, kept
from tests.contracts.made import message, to


class RestoreTestCase(StoreTestCase):
    """Ten messages to Ben are in the copy, and ten more were acknowledged."""

    def setUp(self) -> None:
        super().setUp()
        self.copy = str(self.directory / "copy.db")

    def started(self, **changes: Any) -> SqliteStore:
        self.store = super().started(**changes)
        return self.store

    def stop(self) -> None:
        """Stop the store that was started last."""
        self.turns.result(self.store.stop())

    def began(self, take: Callable[[], None]) -> SqliteStore:
        """The store with all twenty; the copy is taken amid them."""
        result = self.turns.result
        self.started()
        answers = result(self.store.append([message(cid=f"c{n}") for n in range(1, 11)]))
        self.first = entries(answers)
        result(self.store.save_progress(Progress({"ben": 8}, {})))
        take()
        result(self.store.append([message(cid=f"c{n}") for n in range(11, 21)]))
        result(self.store.save_progress(Progress({"ben": 20}, {})))
        self.epoch = self.store.epoch
        return self.store

    def assert_nothing_is_missed(self) -> None:
        """Ten more messages are acknowledged; who knows offset 20 of before has them all."""
        result = self.turns.result
        store = self.started()
        answers = result(store.append([message(cid=f"d{n}") for n in range(10)]))
        self.assertNotEqual(store.epoch, self.epoch)
        offsets = [answer.places[0][1] for answer in answers]
        self.assertEqual(offsets, list(range(offsets[0], offsets[0] + 10)))
        self.assertGreater(offsets[0], BASE_STEP)
        # By an offset of before; by the cursor, which went back with the file; by all.
        for settled in (False, True):
            if settled:
                result(store.settle())
            self.assertEqual(result(store.read("ben", 20, 100)).entries, entries(answers))
            state = result(store.inbox("ben"))
            self.assertEqual((state.cursor, state.first, state.last), (8, 1, offsets[-1]))
            self.assertEqual(result(store.read("ben", 8, 100)).entries, self.first[8:] + entries(answers))
        # A cid that is in the copy is a repeat; one that was lost is stored.
        repeated, lost = result(store.append([message(cid="c10"), message(cid="c20")]))
        self.assertEqual(repeated, kept(self.first[9].message, 10, True))
        self.assertEqual((lost.repeat, lost.places[0][1]), (False, offsets[-1] + 1))
        (one,) = result(store.conversations("ben", 10))
        self.assertEqual((one.peer, one.unread), ("ann", 21))
        # And then it is as any other file.
        epoch = store.epoch
        store = self.restarted(store)
        (last,) = result(store.append(to("ben")))
        self.assertEqual((store.epoch, last.places[0][1]), (epoch, offsets[-1] + 2))
        self.stop()


class TestRestored(RestoreTestCase):
    """However a file is put back."""

    def back_up(self) -> None:
        back_up(self.path, self.copy, SchemaVersions.shipped())

    def vacuum(self) -> None:
        """What an operator does by hand, which leaves no mark in the copy."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("VACUUM INTO ?", (self.copy,))

    def test_a_copy_takes_the_place_of_the_file(self) -> None:
        self.began(self.back_up)
        self.stop()
        os.replace(self.copy, self.path)
        self.assert_nothing_is_missed()

    def test_a_copy_is_written_over_the_file(self) -> None:
        self.began(self.vacuum)
        self.stop()
        shutil.copyfile(self.copy, self.path)
        self.assert_nothing_is_missed()

    def test_a_copy_by_other_means_takes_the_place_of_the_file(self) -> None:
        self.began(self.vacuum)
        self.stop()
        os.replace(self.copy, self.path)
        self.assert_nothing_is_missed()

    def test_a_copy_goes_to_another_machine(self) -> None:
        for take in (self.back_up, self.vacuum):
            self.path = str(self.directory / f"{take.__name__}.db")
            self.began(take)
            self.stop()
            (self.directory / take.__name__).mkdir()
            self.path = str(self.directory / take.__name__ / "kschat.db")
            os.replace(self.copy, self.path)
            self.assert_nothing_is_missed()

    def test_the_file_that_says_what_was_given_is_lost(self) -> None:
        self.began(self.vacuum)
        self.stop()
        shutil.copyfile(self.copy, self.path)
        os.unlink(self.path + SUFFIX)
        self.assert_nothing_is_missed()

    def test_all_files_are_put_back(self) -> None:
        aside = self.directory / "aside"

        def stopped_and_copied() -> None:
            self.stop()
            shutil.copytree(self.directory, aside, ignore=shutil.ignore_patterns("aside"))
            self.started()

        for overwrite in (False, True):
            self.path = str(self.directory / f"{overwrite}.db")
            self.began(stopped_and_copied)
            self.stop()
            for name in (self.path, self.path + SUFFIX):
                if overwrite:
                    shutil.copyfile(aside / Path(name).name, name)
                else:
                    os.replace(aside / Path(name).name, name)
            self.assert_nothing_is_missed()
            shutil.rmtree(aside)

    def test_the_daemon_was_killed_before_the_copy_was_put_back(self) -> None:
        self.began(self.vacuum)
        killed = Path(self.path + SUFFIX).read_bytes()
        self.stop()
        Path(self.path + SUFFIX).write_bytes(killed)
        shutil.copyfile(self.copy, self.path)
        self.assert_nothing_is_missed()

    def test_it_is_told(self) -> None:
        # A disk that was put back to a snapshot: nothing of it shows.
        self.began(self.vacuum)
        self.stop()
        shutil.copyfile(self.copy, self.path)
        self.started()
        self.turns.result(self.store.settle())
        self.epoch = self.store.epoch
        self.stop()
        base = tell_restored(self.path, SchemaVersions.shipped(), lambda: 0.0)
        self.assertGreaterEqual(base, BASE_STEP)
        self.assert_nothing_is_missed()

    def test_it_can_not_be_told_while_a_daemon_has_the_file(self) -> None:
        self.began(self.back_up)
        with self.assertRaisesRegex(StoreUnavailable, f"another kschat uses it .process {os.getpid()}"):
            tell_restored(self.path, SchemaVersions.shipped(), lambda: 0.0)
        with self.assertRaisesRegex(StoreUnavailable, "there is no file"):
            tell_restored(self.path + ".not", SchemaVersions.shipped(), lambda: 0.0)

    def test_the_same_copy_is_put_back_twice(self) -> None:
        offsets = []
        self.began(self.back_up)
        for _ in range(3):
            self.stop()
            shutil.copyfile(self.copy, self.path)
            store = self.started()
            offsets += [one.places[0][1] for one in self.turns.result(store.append(to("ben")))]
        self.assertEqual(offsets, sorted(set(offsets)))

    def test_the_same_copy_is_begun_with_twice_on_other_machines(self) -> None:
        """Nothing but the time tells one from the other."""
        offsets = []
        self.began(self.back_up)
        self.stop()
        for day in range(1, 4):
            self.path = str(self.directory / str(day))
            shutil.copyfile(self.copy, self.path)
            self.wall = day * 86400.0
            store = self.started()
            offsets += [one.places[0][1] for one in self.turns.result(store.append(to("ben")))]
            self.stop()
        self.assertEqual(offsets, [day * 86400 * 1_000_000 + 1 for day in range(1, 4)])

    def test_a_clock_that_is_far_ahead_makes_no_offsets_that_no_client_can_count(self) -> None:
        self.began(self.back_up)
        self.stop()
        os.replace(self.copy, self.path)
        self.wall = 1e12
        ((_, offset),) = self.turns.result(self.started().append(to("ben")))[0].places
        self.assertEqual(offset, BASE_STEP + 1)


class TestNotRestored(RestoreTestCase):
    """What is no restore goes on with the next offset."""

    def test_a_restart(self) -> None:
        store = self.restarted(self.began(lambda: None))
        self.assertEqual(self.turns.result(store.inbox("ben")), InboxState(20, 1, 20))
        self.assertEqual(self.turns.result(store.append(to("ben")))[0].places, (("ben", 21),))
        self.assertEqual(store.epoch, self.epoch)

    def test_a_backup_and_its_readers_are_none(self) -> None:
        store = self.began(lambda: None)
        back_up(self.path, self.copy, SchemaVersions.shipped())
        self.turns.result(store.stop())
        back_up(self.path, self.copy + "2", SchemaVersions.shipped())
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("SELECT count(*) FROM messages").fetchone()
        self.assertEqual(self.turns.result(self.started().append(to("ben")))[0].places, (("ben", 21),))

    def test_the_file_beside_it_is_deleted_while_it_is_used(self) -> None:
        store = self.began(lambda: os.unlink(self.path + SUFFIX))
        self.turns.advance(1)
        self.turns.result(store.settle())
        store = self.restarted(store)
        self.assertEqual(self.turns.result(store.append(to("ben")))[0].places, (("ben", 21),))


class TestWhileItRuns(FailureTestCase):
    """A file that is replaced under a daemon's hands is refused: its clients know other offsets."""

    def test_a_copy_is_written_over_the_file_between_two_openings(self) -> None:
        store = self.started()
        self.turns.result(store.append(to("ben")))
        copy = str(self.directory / "copy.db")
        back_up(self.path, copy, SchemaVersions.shipped())
        self.turns.result(store.append(to("ben")))
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.assertIn("locked", self.refusal(store))
        with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(self.path)) as target:
            source.backup(target)
        self.turns.advance(10)
        self.assertEqual(self.refusal(store), ANOTHER)
        self.assertIn(f"the store PATH is not available: {ANOTHER}", self.logged)
