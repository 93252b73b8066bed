"""The table of clients in docs/compatibility.md says what the tests see, and what is installed for them."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests import compatibility
from tests.compatibility import COLUMNS, ROWS, Client, Row, all_cells, read, table, with_table
from tests.e2e import test_compatibility as scenarios
from tests.support import REPOSITORY
from tests.support.npm import VERSIONS


class TableTests(SynchronousTestCase):
    def test_the_page_claims_what_the_tests_see(self) -> None:
        """They fail where it is not so, all of them."""
        page = compatibility.PAGE.read_text("utf-8")
        self.assertEqual(with_table(page, table(all_cells())), page, "run `make compatibility`")

    def test_there_is_a_test_for_each_row(self) -> None:
        rows = {one.row for one in vars(scenarios).values() if isinstance(getattr(one, "row", None), Row)}
        self.assertEqual(rows, set(ROWS))

    def test_the_versions_are_those_that_are_installed(self) -> None:
        packages = json.loads((REPOSITORY / "tests" / "node" / "package.json").read_text("utf-8"))["dependencies"]
        for row, version in ROWS.items():
            if row.client is Client.NPM:
                self.assertEqual(packages[f"sio{row.version}"], f"npm:socket.io-client@{version}")
                self.assertEqual(VERSIONS[row.version], version)
            else:
                text = (REPOSITORY / "tests" / "python" / f"socketio{row.version}.txt").read_text("utf-8")
                self.assertIn(f"python-socketio[client]=={version}\n", text)

    def test_what_was_not_seen_is_no(self) -> None:
        row, column = next(iter(ROWS)), next(iter(COLUMNS))
        lines = table({(row, column)}).splitlines()
        self.assertEqual(lines[2], "| socket.io-client 1.7.4 | yes |" + " no |" * (len(COLUMNS) - 1))
        self.assertTrue(all(set(line.split("| ")[2:]) <= {"no ", "no |"} for line in lines[3:]))

    def test_what_tests_write_is_read(self) -> None:
        self.assertEqual(
            read("socket.io-client 1 polling\npython-socketio 5 default\n"),
            {(Row(Client.NPM, 1), "polling"), (Row(Client.PYTHON, 5), "default")},
        )

    def test_a_page_without_a_place_for_it_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            with_table("# a page", "x")
