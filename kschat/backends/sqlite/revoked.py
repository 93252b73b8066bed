"""The table of revocations."""

from __future__ import annotations

import sqlite3
from typing import Final

from kschat.chat.interfaces import RevocationsFull
from kschat.chat.revocation import NumberedRevocation, Revocation

#: Revocations that are deleted in one transaction because they are kept no longer.
MAX_PRUNED: Final = 1000

_SELECT: Final = "SELECT number, key, before, until, lifted FROM revocations"


def keep(connection: sqlite3.Connection, revocation: Revocation, now: int, most: int) -> None:
    """Keep a revocation, in the open transaction. See ``IStore.revoke``.

    Raises:
        RevocationsFull: there are too many; nothing was changed.
        sqlite3.Error: as SQLite does.
    """
    execute = connection.execute
    execute(
        "DELETE FROM revocations WHERE number IN (SELECT number FROM revocations WHERE until <= ? LIMIT ?)",
        (now, MAX_PRUNED),
    )
    row = execute(f"{_SELECT} WHERE key = ?", (revocation.key,)).fetchone()
    if row is None and execute("SELECT count(*) FROM revocations").fetchone()[0] >= most:
        raise RevocationsFull
    after = revocation.after(None if row is None else _numbered(*row).revocation)
    execute(
        "INSERT OR REPLACE INTO revocations (key, before, until, lifted) VALUES (?, ?, ?, ?)",
        (after.key, after.before, after.until, after.lifted),
    )


def after(connection: sqlite3.Connection, number: int, limit: int) -> list[NumberedRevocation]:
    """See ``IStore.revocations``. Raises sqlite3.Error."""
    rows = connection.execute(f"{_SELECT} WHERE number > ? ORDER BY number LIMIT ?", (number, limit)).fetchall()
    return [_numbered(*row) for row in rows]


def _numbered(number: int, key: str, before: int, until: int, lifted: int) -> NumberedRevocation:
    return NumberedRevocation(number, Revocation(key, before, until, bool(lifted)))
