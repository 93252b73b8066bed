"""Brings the tables up to date: a file in ``schema/`` for each version, under a lock that other daemons wait for.

``N.sql`` makes version N of version N - 1, and version 0 is a database without our schema.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

import psycopg

from kschat.chat.interfaces import StoreUnavailable

#: The schema of the database that all is in.
SCHEMA: Final = "kschat"

#: The keys of our advisory locks in the database: of changes to the schema, of being the only daemon, of retention.
UPGRADE_LOCK: Final = 0x6B736368_61740001
USE_LOCK: Final = 0x6B736368_61740002
RETENTION_LOCK: Final = 0x6B736368_61740003


def shipped() -> list[str]:
    """The steps that come with this package; the first makes version 1."""
    directory = resources.files(__package__) / "schema"
    steps: list[str] = []
    while (step := directory / f"{len(steps) + 1}.sql").is_file():
        steps.append(step.read_text("utf-8"))
    return steps


def version_of(connection: psycopg.Connection[Any], known: int) -> int:
    """The version of the schema; 0 where there is none.

    Raises:
        StoreUnavailable: it is newer than ``known``.
        psycopg.Error: as PostgreSQL does.
    """
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.state",)).fetchone()
    if not (found and found[0]):
        return 0
    row = connection.execute(f"SELECT version FROM {SCHEMA}.state").fetchone()
    version = int(row[0]) if row else 0
    if version > known:
        raise StoreUnavailable(
            f"its schema is version {version}, and this kschat knows versions up to {known}: "
            "run the kschat that wrote it, or a newer one"
        )
    return version


def upgrade(connection: psycopg.Connection[Any], steps: list[str]) -> None:
    """Bring the schema to the newest version. Raises as ``version_of``."""
    if version_of(connection, len(steps)) == len(steps):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (UPGRADE_LOCK,))
        # Another daemon may have done it meanwhile.
        version = version_of(connection, len(steps))
        if version == len(steps):
            return
        there = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (SCHEMA,)).fetchone()
        if not (there and there[0]):
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for number, step in enumerate(steps[version:], version + 1):
            connection.execute(step.encode())
            connection.execute("UPDATE state SET version = %s", (number,))
