"""What is wrong in a file is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from chaos import archive


class ArchiveTests(SynchronousTestCase):
    """Files with the columns that are looked at."""

    def file(self, *rows: tuple[int, str, int, str], total: int = 1) -> Path:
        """A file with these messages (id, suffix, sender, cid), and an inbox that has a hole at 2."""
        path = Path(self.mktemp())
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TABLE messages (id INTEGER, suffix TEXT, sender INTEGER, cid TEXT, total INTEGER, msg BLOB)"
            )
            connection.execute("CREATE TABLE inbox (user INTEGER, offset INTEGER)")
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", [(*row, total, b'"hi"') for row in rows]
            )
            connection.executemany("INSERT INTO inbox VALUES (1, ?)", [(1,), (3,)])
        connection.close()
        return path

    def test_a_cid_that_is_stored_twice_a_message_that_is_not_stored_and_a_hole_are_found(self) -> None:
        path = self.file((1, "0a0b0c0d", 1, "a"), (2, "0a0b0c0d", 1, "a"), (3, "0a0b0c0d", 2, "b"))
        found = archive.verdict(path, {"b": "00000000000000030a0b0c0d", "c": "x"}, {})
        expected = {"stored twice with the same cid": 1, "acknowledged but not stored": 1, "inboxes with a hole": 1}
        rest = {"faults of the file": 0, "stored otherwise than it was changed to": 0}
        self.assertEqual({**expected, **rest}, found)

    def test_a_text_that_is_not_what_it_was_changed_to_is_found(self) -> None:
        cases = ((1, ("ho", "hi"), 1), (1, (None, "hi"), 1), (1, ("hi", "hi"), 0), (0, ("ho", "ho"), 0))
        for total, texts, count in cases:
            path = self.file((1, "0a0b0c0d", 1, "a"), (2, "0a0b0c0d", 1, "b"), total=total)
            mids = [f"{number:016x}0a0b0c0d" for number in (1, 2)]
            found = archive.verdict(path, {}, dict(zip(mids, texts, strict=True)))
            self.assertEqual(count, found["stored otherwise than it was changed to"])
