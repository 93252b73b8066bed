"""SchemaVersions of the SQLite store's schema."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from kschat.backends.sqlite import database
from kschat.backends.sqlite.database import Database, SchemaVersions, Settings
from kschat.chat.interfaces import StoreUnavailable
from tests.backends.sqlite_versions import TO_VERSION_1
from tests.backends.turns import StoreTestCase
from tests.contracts.istore import entries
from tests.contracts.made import message, to


class TestVersions(StoreTestCase):
    """From each version to the newest, and no further."""

    def opened(self, versions: SchemaVersions) -> None:
        """Open the file of this test with these versions, and close it."""
        Database(Settings(self.path), versions).close()

    def sql(self, statement: str) -> list[Any]:
        """What the file answers."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchall()

    def schema(self) -> list[Any]:
        """The tables and indexes of the file."""
        return self.sql("SELECT type, name, sql FROM sqlite_master ORDER BY name")

    def refusal(self, versions: SchemaVersions) -> str:
        """Why the file can't be opened."""
        with self.assertRaises(StoreUnavailable) as caught:
            self.opened(versions)
        return str(caught.exception)

    def test_the_shipped_steps_are_numbered_without_a_hole(self) -> None:
        shipped = SchemaVersions.shipped()
        directory = Path(database.__file__).parent / "schema"
        names = sorted(path.name for path in directory.iterdir())
        self.assertEqual(names, sorted(f"{number + 1}.sql" for number in range(len(shipped.steps))))
        self.assertTrue(shipped.steps)

    def test_every_earlier_version_comes_to_the_newest(self) -> None:
        shipped = SchemaVersions.shipped()
        self.opened(shipped)
        newest = self.schema()
        for earlier in range(len(shipped.steps)):
            self.path = str(self.directory / f"{earlier}.db")
            self.opened_at(earlier)
            self.opened(shipped)
            self.assertEqual(self.sql("PRAGMA user_version"), [(len(shipped.steps),)])
            self.assertEqual(self.schema(), newest)

    def opened_at(self, version: int) -> None:
        """Make the file of this test one that an earlier kschat left."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for step in SchemaVersions.shipped().steps[:version]:
                connection.executescript(step)
            connection.execute(f"PRAGMA user_version = {version}")

    def test_what_was_written_by_an_earlier_version_is_there_after_the_next_step(self) -> None:
        result = self.turns.result
        store = self.started()
        answers = result(store.append(to("ben", "ben")))
        result(store.stop())
        shipped = SchemaVersions.shipped().steps
        more = ["ALTER TABLE messages ADD COLUMN color TEXT", "CREATE TABLE palette (color TEXT)"]
        self.opened(SchemaVersions([*shipped, more[0]]))
        self.assertEqual(self.sql("PRAGMA user_version"), [(len(shipped) + 1,)])
        self.opened(SchemaVersions([*shipped, *more]))
        self.assertEqual(self.sql("PRAGMA user_version"), [(len(shipped) + 2,)])
        self.assertEqual(self.sql("SELECT color FROM messages"), [(None,), (None,)])
        self.sql("DROP TABLE palette")
        self.sql(f"PRAGMA user_version = {len(shipped)}")
        store = self.started()
        self.assertEqual(result(store.read("ben", 0, 10)).entries, entries(answers))

    def test_a_step_that_fails_leaves_the_version_before(self) -> None:
        shipped = SchemaVersions.shipped().steps
        self.opened(SchemaVersions(shipped))
        before = self.schema()
        refusal = self.refusal(
            SchemaVersions([*shipped, "CREATE TABLE palette (color TEXT); INSERT INTO nowhere VALUES (1)"])
        )
        self.assertIn("no such table: nowhere", refusal)
        self.assertEqual((self.schema(), self.sql("PRAGMA user_version")), (before, [(len(shipped),)]))
        self.opened(SchemaVersions(shipped))

    def test_a_newer_version_is_refused_and_left_alone(self) -> None:
        self.opened(SchemaVersions.shipped())
        self.sql("PRAGMA user_version = 99")
        self.assertEqual(
            self.refusal(SchemaVersions.shipped()),
            f"its schema is version 99, and this kschat knows versions up to {len(SchemaVersions.shipped().steps)}: "
            "run the kschat that wrote it, or a newer one",
        )
        self.assertEqual(self.sql("PRAGMA user_version"), [(99,)])

    def test_a_database_of_something_else_is_refused_and_left_alone(self) -> None:
        self.sql("CREATE TABLE recipes (name TEXT)")
        self.assertIn("a database of something else than kschat", self.refusal(SchemaVersions.shipped()))
        self.assertEqual([row[1] for row in self.schema()], ["recipes"])
        self.assertEqual(self.sql("PRAGMA journal_mode"), [("delete",)])

    def test_the_file_is_for_its_owner_alone(self) -> None:
        self.opened(SchemaVersions.shipped())
        self.assertEqual(Path(self.path).stat().st_mode & 0o077, 0)

    def test_unread_messages_of_rooms_are_counted_in_a_file_of_the_first_version(self) -> None:
        result = self.turns.result
        store = self.started()
        for user in ("ann", "ben", "cem"):
            result(store.join("#r", user, 10))
        sent = result(store.append([message(user, "#r") for user in ("ann", "ben", "ann", "cem", "ann", "ben")]))
        result(store.mark_read("ann", "#r", sent[2].message.mid))
        result(store.settle())
        result(store.append([message("ann", "#r"), message("ben", "#r")]))
        result(store.stop())
        self.make_first()
        for settled in (False, True):
            store = self.started()
            for user, unread in (("ann", 3), ("ben", 5), ("cem", 7)):
                (one,) = result(store.conversations(user, 10))
                self.assertEqual((one.peer, one.unread), ("#r", unread + settled))
            result(store.append([message("dan", "eve")]))
            for user in ("ann", "ben", "cem"):
                result(store.join("#s", user, 10))
            if not settled:
                # By a fourth, so that all have one more.
                result(store.join("#r", "dan", 10))
                result(store.append([message("dan", "#r")]))
            result(store.settle())
            result(store.stop())

    def make_first(self) -> None:
        """Make the file of this test what the first version would have left."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for statement in TO_VERSION_1:
                connection.execute(statement)
