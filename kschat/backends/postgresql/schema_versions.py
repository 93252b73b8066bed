"""Brings the tables up to date: a file in ``schema/`` for each version, under a lock that other daemons wait for.

``N.sql`` changes the tables of version N - 1 to those of version N, and version 0 is a database without our schema.
After them ``functions.sql`` makes all functions again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final

import msgspec
import psycopg

from kschat.chat.interfaces import StoreUnavailable

#: The schema of the database that all is in.
SCHEMA: Final = "kschat"

#: The keys of our advisory locks in the database: of changes to the schema, of being the only daemon, of retention.
UPGRADE_LOCK: Final = 0x6B736368_61740001
USE_LOCK: Final = 0x6B736368_61740002
RETENTION_LOCK: Final = 0x6B736368_61740003

#: Milliseconds that a daemon waits for another one that upgrades, until it says so, and tries again.
LOCK_MILLISECONDS: Final = 1000


#: Drops all functions of ours.
_DROP: Final = (
    "DO $$ DECLARE one regprocedure; BEGIN "
    f"FOR one IN SELECT oid FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace "
    "LOOP EXECUTE 'DROP FUNCTION ' || one || ' CASCADE'; END LOOP; END $$"
)


class Schema(msgspec.Struct, frozen=True):
    """A version of the schema.

    Attributes:
        steps: change the tables; the first makes version 1.
        functions: makes all functions of the newest version.
    """

    steps: Sequence[str]
    functions: str

    @property
    def version(self) -> int:
        """The newest."""
        return len(self.steps)


def shipped() -> Schema:
    """What comes with this package."""
    directory = resources.files(__package__) / "schema"
    steps: list[str] = []
    while (step := directory / f"{len(steps) + 1}.sql").is_file():
        steps.append(step.read_text("utf-8"))
    return Schema(steps, (directory / "functions.sql").read_text("utf-8"))


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


def check_whole(connection: psycopg.Connection[Any]) -> None:
    """Raises StoreUnavailable: ``kschat migrate-store`` has begun to fill the tables, and has not ended."""
    found = connection.execute(f"SELECT EXISTS (SELECT FROM {SCHEMA}.moving)").fetchone()
    if found and found[0]:
        raise StoreUnavailable(
            "it holds a part of a store that is moved there: run kschat migrate-store again until it is done"
        )


def upgrade(connection: psycopg.Connection[Any], schema: Schema, begins: Callable[[str], object]) -> None:
    """Bring the schema to the newest version. That may take long: no statement of it has a time limit.

    Args:
        connection: in no transaction.
        schema: what it is to be.
        begins: called with what is done, once it is begun.

    Raises:
        StoreUnavailable: it is newer; or another daemon upgrades it right now.
        psycopg.Error: as PostgreSQL does.
    """
    if version_of(connection, schema.version) == schema.version:
        return
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout TO {LOCK_MILLISECONDS}")
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (UPGRADE_LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise StoreUnavailable("another kschat brings its schema up to date") from None
        connection.execute("SET LOCAL lock_timeout TO 0")
        # Another daemon may have done it meanwhile.
        version = version_of(connection, schema.version)
        if version == schema.version:
            return
        begins(f"brings its schema from version {version} to {schema.version}" if version else "makes its tables")
        connection.execute("SET LOCAL statement_timeout TO 0")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
        there = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (SCHEMA,)).fetchone()
        if not (there and there[0]):
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for step in schema.steps[version:]:
            connection.execute(step.encode())
        connection.execute(_DROP.encode())
        connection.execute(schema.functions.encode())
        connection.execute("UPDATE state SET version = %s", (schema.version,))
