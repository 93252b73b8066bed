"""Copies a database while a daemon uses it, and tells a database that it was restored. For the command line.

A copy is made by SQLite's backup interface inside one read transaction: writers go on, and what they write meanwhile is
not in the copy. (The sqlite3 shell's ``.backup`` has a transaction for each step, and begins again after each commit of
another process, so that it does not end while messages come.) A copy has its name only once it is whole, counted and on
the disk.
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

from kschat.backends.sqlite.database import Database, Settings, Versions, connect, why
from kschat.chat.interfaces import StoreUnavailable

#: What the name of a copy has in addition until it is whole. One that was left by a process that was killed is
#: replaced by the next backup to the same name.
PARTIAL: Final = ".partial"

#: Pages that are copied between two looks for signals.
STEP_PAGES: Final = 4096

_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds.

    Attributes:
        messages: how many.
        size: in bytes.
    """

    messages: int
    size: int


def back_up(path: str, copy: str, versions: Versions) -> Copied:
    """Copy the database at ``path`` to ``copy``, which must not be there. A daemon may use it meanwhile.

    What is raised amid it, KeyboardInterrupt and SystemExit too, leaves no file behind.

    Raises:
        StoreUnavailable: it could not be done, for the reason that it says.
    """
    try:
        source = os.path.realpath(path)
        if not os.path.isfile(source):
            raise StoreUnavailable(f"there is no file {path}")
        if os.path.lexists(copy):
            raise StoreUnavailable(f"{copy} is there already: name another file, or move it away")
        with ExitStack() as undo:
            partial = _reserve(copy, undo)
            counts = _copy(source, partial, versions)
            _verify(partial, counts)
            size = os.path.getsize(partial)
            _publish(partial, copy)
        return Copied(counts["messages"], size)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, FileExistsError):
            raise StoreUnavailable(f"{copy} is there already: name another file, or move it away") from None
        raise StoreUnavailable(error.strerror or str(error) if isinstance(error, OSError) else why(error)) from error


def _reserve(copy: str, undo: ExitStack) -> str:
    """An empty file beside ``copy`` that is this process's alone, and goes with ``undo``."""
    partial = copy + PARTIAL
    # A signal that comes between the two would leave it there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        _claim(copy, partial, undo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return partial


def _claim(copy: str, partial: str, undo: ExitStack) -> None:
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    undo.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreUnavailable(f"another backup to {copy} is on its way") from None
    undo.callback(_remove, partial)
    os.ftruncate(file, 0)


def _remove(partial: str) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(partial + suffix)


def _copy(source: str, partial: str, versions: Versions) -> dict[str, int]:
    """Copy all of it in one step; how many rows each table has."""
    with closing(connect(source, "rw")) as origin, closing(connect(partial, "rw")) as target:
        origin.execute("PRAGMA query_only = ON")
        version = versions.check(origin)
        if not version:
            raise StoreUnavailable(f"{source} is empty")
        # What is not whole is removed: so nothing has to be undone, nor to wait for the disk.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        origin.execute("BEGIN")
        try:
            counts = _counts(origin)
            # Python handles signals in the callback; and what another process writes begins nothing again, since this
            # transaction is one.
            origin.backup(target, pages=STEP_PAGES, progress=lambda status, remaining, total: None)
        finally:
            origin.execute("ROLLBACK")
        # One file that needs no other beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        if version > 1:
            target.execute("UPDATE progress SET copied = 1")
    return counts


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    tables = [name for (name,) in connection.execute(_TABLES).fetchall()]
    return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def _verify(partial: str, counts: dict[str, int]) -> None:
    """Open what was written, anew, and count."""
    with closing(connect(partial, "ro")) as copied:
        if _counts(copied) != counts:
            raise StoreUnavailable("the copy does not hold what it should, and was removed: is the disk sound?")


def _publish(partial: str, copy: str) -> None:
    """Give it its name, once it is on the disk; raises FileExistsError where something has the name."""
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


def tell_restored(path: str, versions: Versions, wall: Callable[[], float]) -> int:
    """Begin a new epoch in a database that was put back to an older state, while no daemon uses it.

    Returns:
        The offset beyond which those of the new epoch are.

    Raises:
        StoreUnavailable: it could not be done, for the reason that it says.
    """
    if not os.path.isfile(path):
        raise StoreUnavailable(f"there is no file {path}")
    database = Database(Settings(path), versions, wall=wall, restored=True)
    database.close()
    return database.base
