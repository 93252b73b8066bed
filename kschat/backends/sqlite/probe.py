"""Checks whether a daemon that starts now could use the file, without creating, writing or upgrading it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from kschat.backends.sqlite.database import SchemaVersions, connect, why
from kschat.chat.interfaces import StoreUnavailable


def probe(path: str) -> str:
    """Look at the file.

    Args:
        path: of the database.

    Returns:
        What was found, for a line that says that all is well.

    Raises:
        StoreUnavailable: a daemon could not use it; the text is one sentence.
    """
    file = Path(os.path.realpath(path))
    try:
        if not file.parent.is_dir():
            raise StoreUnavailable(f"there is no directory {file.parent}")
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise StoreUnavailable(f"the directory {file.parent} can't be written to")
        if file.is_dir():
            raise StoreUnavailable("it is a directory")
        if not file.exists():
            return "is made at the first start"
        if not os.access(file, os.R_OK | os.W_OK):
            raise StoreUnavailable("it can't be read and written to by this user")
        with closing(connect(str(file), "ro")) as connection:
            version = SchemaVersions.shipped().check(connection)
        _check_lock(file.with_name(file.name + ".lock"))
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(why(error)) from error
    return f"schema {version}" if version else "empty"


def _check_lock(path: Path) -> None:
    """Raises StoreUnavailable where another daemon has the file."""
    if not path.exists():
        return
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).strip().decode("ascii", "replace")
        raise StoreUnavailable(f"another kschat uses it (process {holder or 'unknown'})") from None
    finally:
        os.close(lock)
