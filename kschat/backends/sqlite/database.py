"""Opens the file: one daemon alone, the schema brought up to date, and every failure a sentence.

A version of the schema is a file in ``schema/``: ``N.sql`` makes version N of version N - 1 (and 0
is an empty file), all of it in one transaction with the new ``PRAGMA user_version``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import msgspec

from kschat.chat.interfaces import StoreUnavailable

#: How long another process (a backup, the sqlite3 shell) may hold the file before it counts as locked, in seconds.
BUSY_SECONDS: Final = 1.0

#: Memory for pages of the file, in each of the two connections.
CACHE_KILOBYTES: Final = 16_000

#: The oldest SQLite that knows all that is asked of it.
OLDEST_SQLITE: Final = (3, 35)

Sync = Literal["full", "normal"]


class Settings(msgspec.Struct, frozen=True):
    """How the file is used.

    Attributes:
        path: the file; beside it lie ``-wal``, ``-shm`` and ``.lock``.
        sync: ``full``: each commit waits for the disk; ``normal``: the newest may be lost with the machine's power.
        retention_seconds: messages are deleted at this age; 0 for never.
        retention_messages: the newest that are kept in an inbox and a conversation; 0 for all.
    """

    path: str
    sync: Sync = "full"
    retention_seconds: float = 0.0
    retention_messages: int = 0


class Versions:
    """The steps from each version of the schema to the next.

    Args:
        steps: SQL scripts; the first makes version 1.
    """

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    @classmethod
    def shipped(cls) -> Versions:
        """Those that come with this package."""
        directory = resources.files(__package__) / "schema"
        steps: list[str] = []
        while (step := directory / f"{len(steps) + 1}.sql").is_file():
            steps.append(step.read_text("utf-8"))
        return cls(steps)

    def check(self, connection: sqlite3.Connection) -> int:
        """The version of the schema.

        Raises:
            StoreUnavailable: it is newer than is known here, or no schema of ours. Nothing was changed.
        """
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(self.steps):
            raise StoreUnavailable(
                f"its schema is version {version}, and this kschat knows versions up to {len(self.steps)}: "
                "run the kschat that wrote it, or a newer one"
            )
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreUnavailable("it is a database of something else than kschat: name another file")
        return version

    def upgrade(self, connection: sqlite3.Connection, version: int) -> None:
        """Bring the schema from ``version`` to the newest, step by step. Raises sqlite3.Error."""
        for number in range(version, len(self.steps)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.steps[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )


class Lock:
    """Keeps other daemons away from the file, as long as it is held or this process lives.

    Raises:
        StoreUnavailable: another one holds it.
        OSError: the lock's file can't be made.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = os.read(self._file, 20).strip().decode("ascii", "replace")
            os.close(self._file)
            raise StoreUnavailable(f"another kschat uses it (process {holder or 'unknown'})") from None
        except OSError:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)


class Which(msgspec.Struct, frozen=True):
    """Tells one file from another: by what stands in it, and by where it lies on the disk."""

    epoch: str
    device: int
    inode: int


class Database:
    """The file, opened for writing, and locked.

    Args:
        settings: which, and how.
        versions: of the schema.
        known: the file that was opened before. A daemon that has told its clients offsets of one file must not
            go on with another, nor with an older copy, where those mean something else.

    Attributes:
        connection: for the thread that opened it.
        which: which file it is.

    Raises:
        StoreUnavailable: with a sentence that says why.
    """

    def __init__(self, settings: Settings, versions: Versions, known: Which | None = None) -> None:
        self.path = os.path.abspath(settings.path)
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
        if not Path(self.path).parent.is_dir():
            raise StoreUnavailable(f"there is no directory {Path(self.path).parent}")
        try:
            self._lock = Lock(self.path + ".lock")
        except OSError as error:
            raise StoreUnavailable(why(error)) from error
        try:
            # What it holds is for nobody else to read; SQLite gives the files beside it the same mode.
            create = os.O_CREAT if known is None else 0
            os.close(os.open(self.path, os.O_RDONLY | create | os.O_CLOEXEC, 0o600))
            self.connection = connect(self.path, "rw")
            try:
                self._prepare(settings, versions, known)
            except BaseException:
                self.connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise StoreUnavailable(why(error)) from error
        except BaseException:
            self._lock.release()
            raise

    def _prepare(self, settings: Settings, versions: Versions, known: Which | None) -> None:
        execute = self.connection.execute
        version = versions.check(self.connection)
        if known is not None and not (version and self._which() == known):
            raise StoreUnavailable(_ANOTHER)
        (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(f"its disk can't do SQLite's write-ahead log (journal mode {mode})")
        execute(f"PRAGMA synchronous = {settings.sync}")
        versions.upgrade(self.connection, version)
        execute("UPDATE progress SET openings = openings + 1")
        self.which = self._which()
        self._files = self._identities()

    def check(self) -> None:
        """Look whether the files are still the ones that were opened.

        SQLite goes on writing to a file that was deleted, and all of it would be gone with the process.

        Raises:
            StoreUnavailable: they are not.
        """
        try:
            same = self._identities() == self._files
        except OSError as error:
            raise StoreUnavailable(why(error)) from error
        if not same:
            raise StoreUnavailable(_ANOTHER)

    def _which(self) -> Which:
        (epoch,) = self.connection.execute("SELECT epoch FROM progress").fetchone()
        stat = os.stat(self.path)
        return Which(epoch, stat.st_dev, stat.st_ino)

    def _identities(self) -> tuple[tuple[int, int], ...]:
        stats = (os.stat(self.path), os.stat(self.path + "-wal"))
        return tuple([(stat.st_dev, stat.st_ino) for stat in stats])

    def close(self) -> None:
        """Close the file and let others have it. Errors are of no interest any more."""
        try:
            self.connection.close()
        except sqlite3.Error:
            pass
        finally:
            self._lock.release()


def connect(path: str, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """A connection that begins no transaction by itself. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=64
    )
    # A page that is damaged shall be noticed where it is read, not where it breaks something else.
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
    return connection


def why(error: Exception) -> str:
    """Why the file could not be used, in words that an operator can act on."""
    if isinstance(error, StoreUnavailable):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error) if error.errno != errno.ENOENT else _DELETED
    name = getattr(error, "sqlite_errorname", "")
    for begin, sentence in _SENTENCES.items():
        if name.startswith(begin):
            return f"{sentence} ({error})"
    return f"{error} ({name})" if name else str(error)


_DELETED: Final = "it was deleted: put it back, or restart kschat to begin with an empty one"
_ANOTHER: Final = "another file has taken its place: put the right one back, or restart kschat to go on with this one"

#: What to say of an SQLite error, by the begin of its name.
_SENTENCES: Final = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it can't be written to",
    "SQLITE_CANTOPEN": "it can't be opened",
    "SQLITE_BUSY": "another process has locked it",
    "SQLITE_LOCKED": "another process has locked it",
    "SQLITE_CORRUPT": "it is damaged, and has to be replaced by a backup",
    "SQLITE_NOTADB": "it is no SQLite database, or is damaged",
    "SQLITE_IOERR": "the disk can't read or write",
}
