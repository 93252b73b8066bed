"""The table of clients in docs/compatibility.md: what the tests of compatibility tell, and how it is written.

``python -m tests.compatibility`` runs them and writes it; a test compares the page with what they test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from tests.support.needs import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "compatibility.md"
BEGIN: Final = "<!-- clients: made by `make compatibility` -->\n"
END: Final = "<!-- end of clients -->\n"

DEFAULT: Final = "default"
POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
NGINX: Final = "nginx"
HAPROXY: Final = "haproxy"

#: How a client is told to connect.
TRANSPORTS: Final = (DEFAULT, POLLING, WEBSOCKET)

#: The columns: how a client is told to connect, or through what.
COLUMNS: Final = {
    DEFAULT: "default options (polling, then WebSocket)",
    POLLING: "polling only",
    WEBSOCKET: "WebSocket only",
    NGINX: "all three through nginx",
    HAPROXY: "all three through haproxy",
}

#: Names the file that passed tests add a line to.
VARIABLE: Final = "KSCHAT_TESTS_FOUND"


class Client(Enum):
    """Whose client."""

    NPM = "socket.io-client"
    PYTHON = "python-socketio"


class Row(msgspec.Struct, frozen=True, order=True):
    """One client: whose, and its major version."""

    client: Client
    version: int


#: The exact versions, as tests/node/package.json and tests/python have them.
ROWS: Final = {
    Row(Client.NPM, 1): "1.7.4",
    Row(Client.NPM, 2): "2.5.0",
    Row(Client.NPM, 3): "3.1.3",
    Row(Client.NPM, 4): "4.8.4",
    Row(Client.PYTHON, 4): "4.6.1",
    Row(Client.PYTHON, 5): "5.18.1",
}

Cell = tuple[Row, str]


def found(row: Row, column: str) -> None:
    """A test has seen that a client works so."""
    path = os.environ.get(VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{row.client.value} {row.version} {column}\n")


def read(text: str) -> set[Cell]:
    """What tests wrote by ``found``."""
    cells = set()
    for line in text.splitlines():
        client, version, column = line.split()
        cells.add((Row(Client(client), int(version)), column))
    return cells


def all_cells() -> set[Cell]:
    """What is there to be seen."""
    return {(row, column) for row in ROWS for column in COLUMNS}


def table(cells: Iterable[Cell]) -> str:
    """The table of what was seen."""
    seen = set(cells)
    lines = ["| client | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for row, version in ROWS.items():
        shown = ("yes" if (row, column) in seen else "no" for column in COLUMNS)
        lines.append(f"| {row.client.value} {version} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def with_table(page: str, text: str) -> str:
    """``page`` with ``text`` between the markers. Raises ValueError if it has no markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no markers to put the table between")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    """Run the tests, write the table; the status is trial's."""
    with tempfile.TemporaryDirectory(prefix="kschat-tests-") as directory:
        path = Path(directory) / "found"
        path.touch()
        command = [sys.executable, "-m", "twisted.trial", "tests.e2e.test_compatibility"]
        status = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, VARIABLE: str(path)}, check=False)
        text = table(read(path.read_text("utf-8")))
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), text), "utf-8")
    print(text)
    return status.returncode


if __name__ == "__main__":
    sys.exit(main())
