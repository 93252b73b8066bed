"""Copies a database while a daemon uses it; marks one as restored, or revokes tokens in it. For the command line.

SQLite's backup API copies inside one read transaction: writers continue, and the copy does not contain what they
write meanwhile. (The ``.backup`` command of the sqlite3 shell uses one transaction a step and starts over after each
commit of another process, so that it does not finish while messages arrive.) A copy gets its name only when it is
complete, counted and on the disk.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from kschat.backends.sqlite import revoked
from kschat.backends.sqlite.database import Database, Mode, SchemaVersions, Settings, connect, why
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.revocation import MAX_REVOCATIONS, Revocation

#: The suffix of a copy's name until it is complete. A killed process leaves such a file; the next backup to the same
#: name replaces it.
PARTIAL: Final = ".partial"

#: Pages that are copied between two checks for signals. Each step is then written to the disk: what the copy leaves to
#: the system to write, senders wait for, when the daemon syncs its log.
STEP_PAGES: Final = 1024

_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


class Copied(msgspec.Struct, frozen=True):
    """The contents of a copy.

    Attributes:
        messages: how many.
        size: in bytes.
    """

    messages: int
    size: int


def back_up(path: str, copy: str, versions: SchemaVersions) -> Copied:
    """Copy the database at ``path`` to ``copy``, which must not exist. A daemon may use the database meanwhile.

    No file is left behind after an exception, KeyboardInterrupt and SystemExit included.

    Raises:
        StoreUnavailable: the copy could not be made; the text says why.
    """
    try:
        source = os.path.realpath(path)
        if not os.path.isfile(source):
            raise StoreUnavailable(f"there is no file {path}")
        if os.path.lexists(copy):
            raise StoreUnavailable(f"{copy} is there already: name another file, or move it away")
        with ExitStack() as undo:
            if os.path.exists(copy + PARTIAL) and os.path.samefile(copy + PARTIAL, source):
                raise StoreUnavailable(f"{copy + PARTIAL} is the store itself: name another file")
            partial, file = _reserve(copy, undo)
            counts = _copy(source, partial, file, versions)
            _verify(partial, counts)
            size = os.path.getsize(partial)
            _publish(partial, copy)
        return Copied(counts["messages"], size)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, FileExistsError):
            raise StoreUnavailable(f"{copy} is there already: name another file, or move it away") from None
        if isinstance(error, OSError):
            raise StoreUnavailable(f"{error.filename or copy} cannot be written: {error.strerror or error}") from error
        raise StoreUnavailable(f"{path} cannot be copied to {copy}: {why(error)}") from error


def _reserve(copy: str, undo: ExitStack) -> tuple[str, int]:
    """Create an empty, locked file beside ``copy``, which ``undo`` deletes; its path, and its descriptor."""
    partial = copy + PARTIAL
    # A signal between creation and registration would leave the file behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        return partial, _claim(copy, partial, undo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _claim(copy: str, partial: str, undo: ExitStack) -> int:
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    undo.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreUnavailable(f"another backup to {copy} is on its way") from None
    undo.callback(_remove, partial)
    os.ftruncate(file, 0)
    return file


def _remove(partial: str) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(partial + suffix)


def _copy(source: str, partial: str, file: int, versions: SchemaVersions) -> dict[str, int]:
    """Copy everything into ``partial``, which is open as ``file``; return how many rows each table has."""
    with closing(connect(source, "rw")) as origin, closing(connect(partial, "rw")) as target:
        origin.execute("PRAGMA query_only = ON")
        version = _version(origin, source, versions)
        # An incomplete copy is deleted, so it needs neither a journal nor syncs.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        origin.execute("BEGIN")
        try:
            counts = _counts(origin)
            # Python handles signals in the callback. Other processes' commits do not restart the copy, because this
            # connection holds a read transaction.
            origin.backup(target, pages=STEP_PAGES, progress=lambda status, remaining, total: os.fdatasync(file))
        finally:
            origin.execute("ROLLBACK")
        # The copy is a single file, without a log.
        target.execute("PRAGMA journal_mode = DELETE")
        if version > 1:
            target.execute("UPDATE progress SET copied = 1")
    return counts


def _version(connection: sqlite3.Connection, path: str, versions: SchemaVersions) -> int:
    """The version of the schema. Raises StoreUnavailable, whose text names the file, if kschat cannot read it."""
    try:
        version = versions.check(connection)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{path}: {error}") from None
    if not version:
        raise StoreUnavailable(f"{path} is empty: kschat has kept nothing there")
    return version


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    tables = [name for (name,) in connection.execute(_TABLES).fetchall()]
    return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def _verify(partial: str, counts: dict[str, int]) -> None:
    """Open the copy and count its rows."""
    with closing(connect(partial, "ro")) as copied:
        if _counts(copied) != counts:
            raise StoreUnavailable(f"{partial} does not hold what it should, and was removed: is the disk sound?")


def _publish(partial: str, copy: str) -> None:
    """Flush the copy to the disk and give it its name. Raises FileExistsError if the name is taken."""
    _sync(partial)
    try:
        os.link(partial, copy)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if os.path.lexists(copy):
            raise FileExistsError(copy) from None
        os.rename(partial, copy)
    _sync(str(Path(copy).absolute().parent))


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def tell_restored(path: str, versions: SchemaVersions, wall: Callable[[], float]) -> int:
    """Begin a new epoch in a restored database, while no daemon uses it.

    Returns:
        The base: offsets of the new epoch are greater.

    Raises:
        StoreUnavailable: it could not be done, and no file was changed; the text says why.
    """
    database = open_unused(path, versions, wall, restored=True)
    database.close()
    return database.base


def open_unused(path: str, versions: SchemaVersions, wall: Callable[[], float], *, restored: bool = False) -> Database:
    """Open a store that is there, and that no daemon uses. Raises StoreUnavailable."""
    if not os.path.isfile(path):
        raise StoreUnavailable(f"there is no file {path}")
    try:
        # Opening would make a store of an empty file. Without a log beside it, a file can be read with no lock and no
        # other file.
        mode: Mode = "ro" if os.path.exists(f"{path}-wal") else "ro&immutable=1"
        with closing(connect(path, mode)) as connection:
            _version(connection, path, versions)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {why(error)}") from error
    try:
        return Database(Settings(path), versions, wall=wall, restored=restored)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{path}: {error}") from None


def revoke_in(path: str, versions: SchemaVersions, revocation: Revocation, now: int) -> None:
    """Keep a revocation in a database, while no daemon uses it. ``now``: milliseconds since 1970.

    Raises:
        StoreUnavailable: it could not be done; the text says why.
        RevocationsFull: there are too many.
    """
    database = open_unused(path, versions, lambda: now / 1000)
    try:
        database.begin()
        revoked.keep(database.connection, revocation, now, MAX_REVOCATIONS)
        database.connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailable(why(error)) from error
    finally:
        database.close()
