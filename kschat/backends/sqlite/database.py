"""Opens the file: one daemon at a time, the schema up to date, each error as a sentence.

A version of the schema is a file in ``schema/``: ``N.sql`` makes version N of version N - 1 (and 0
is an empty file), all of it in one transaction with the new ``PRAGMA user_version``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import msgspec

from kschat.backends.sqlite.highwater import SUFFIX, HighWaterFile, HighWaterMark, this_boot
from kschat.chat.interfaces import StoreUnavailable

#: Seconds for which another process (the sqlite3 shell, say) may lock the file before jobs fail.
BUSY_SECONDS: Final = 1.0

#: Memory for pages of the file, in each of the two connections.
CACHE_KILOBYTES: Final = 16_000

#: The write-ahead log is truncated to this many bytes when it restarts, and to nothing when nobody writes. A long read,
#: such as a backup, makes it grow.
WAL_BYTES: Final = 16_000_000

#: Changed rows, and bytes of messages, after which another thread checkpoints the log, which waits for the disk twice.
CHECKPOINT_ROWS: Final = 4000
CHECKPOINT_BYTES: Final = 4_000_000

#: Pages of the log after which the writer checkpoints what the other thread has left, so that the log can restart.
CHECKPOINT_PAGES: Final = 4000

#: The least distance between the offsets of two epochs: more messages than any user has.
BASE_STEP: Final = 1 << 32

#: A clock with more microseconds than this is wrong. It is half of the largest integer that a double holds exactly.
LAST_BASE: Final = 1 << 52

#: The oldest SQLite that has all features that are used here.
OLDEST_SQLITE: Final = (3, 35)

#: Those of version 1, which every later one has.
TABLES: Final = frozenset({"users", "conversations", "messages", "inbox", "progress"})

Sync = Literal["full", "normal"]

#: How a file is opened: parameters of SQLite's URI.
Mode = Literal["ro", "rw", "ro&immutable=1"]


class Settings(msgspec.Struct, frozen=True):
    """Settings of the store.

    Attributes:
        path: the file; beside it lie ``-wal``, ``-shm``, ``.lock`` and ``.given``.
        sync: ``full``: each commit waits for the disk; ``normal``: the newest may be lost with the machine's power.
        retention_seconds: messages are deleted at this age; 0 for never.
        retention_messages: the newest that are kept in an inbox and a conversation; 0 for all.
        hooks: whether there is an outbox.
    """

    path: str
    sync: Sync = "full"
    retention_seconds: float = 0.0
    retention_messages: int = 0
    hooks: bool = False


class SchemaVersions:
    """The steps from each version of the schema to the next.

    Args:
        steps: SQL scripts; the first makes version 1.
    """

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    @classmethod
    def shipped(cls) -> SchemaVersions:
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
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not (tables >= TABLES if version else not tables):
            raise StoreUnavailable("it is a database of something else than kschat: name another file")
        if version > len(self.steps):
            raise StoreUnavailable(
                f"its schema is version {version}, and this kschat knows versions up to {len(self.steps)}: "
                "run the kschat that wrote it, or a newer one"
            )
        return version

    def upgrade(self, connection: sqlite3.Connection, version: int) -> None:
        """Bring the schema from ``version`` to the newest, step by step. Raises sqlite3.Error."""
        for number in range(version, len(self.steps)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.steps[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )


class Lock:
    """Keeps other daemons away from the file, until released or until this process ends.

    Raises:
        StoreUnavailable: another process holds it.
        OSError: the lock file cannot be created.
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
        """Release the lock."""
        os.close(self._file)


class FileIdentity(msgspec.Struct, frozen=True):
    """Identifies a file: by its epoch, and by its place on the disk."""

    epoch: str
    device: int
    inode: int


class Database:
    """The file, opened for writing, and locked.

    Args:
        settings: of the store. A symbolic link is resolved once, here.
        versions: of the schema.
        known: the file that was opened before. A daemon whose clients know offsets of one file must not continue
            with another file or with an older copy.
        wall: the time of day, in seconds since 1970.
        restored: treat the file as restored, whatever it looks like.

    Attributes:
        connection: for the thread that opened it.
        which: identifies the file.
        renewed: why a new epoch began at this opening; None if none did.

    Raises:
        StoreUnavailable: with a sentence that says why.
    """

    def __init__(
        self,
        settings: Settings,
        versions: SchemaVersions,
        known: FileIdentity | None = None,
        *,
        wall: Callable[[], float] = time.time,
        restored: bool = False,
    ) -> None:
        # SQLite goes by the real path as well, with the names of the files beside it.
        self.path = os.path.realpath(settings.path)
        self._wall = wall
        self._opener = secrets.token_hex(8)
        self._mine = True
        self._changes = self._bytes = 0
        self.renewed: str | None = None
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
        if not Path(self.path).parent.is_dir():
            raise StoreUnavailable(f"there is no directory {Path(self.path).parent}")
        with ExitStack() as opened:
            try:
                opened.callback(Lock(self.path + ".lock").release)
                # Only the owner may read messages; SQLite gives the files beside it the same mode.
                create = os.O_CREAT if known is None else 0
                self._file = os.open(self.path, os.O_RDONLY | create | os.O_CLOEXEC, 0o600)
                # Closed after SQLite's descriptors: closing any descriptor of a file drops SQLite's locks on it.
                opened.callback(os.close, self._file)
                _lock_itself(self._file)
                self._high_water_file = HighWaterFile(self.path + SUFFIX)
                opened.callback(self._high_water_file.close)
                self.connection = connect(self.path, "rw")
                opened.callback(self.connection.close)
                self._prepare(settings, versions, known, restored)
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(why(error)) from error
            self._opened = opened.pop_all()

    def _prepare(
        self, settings: Settings, versions: SchemaVersions, known: FileIdentity | None, restored: bool
    ) -> None:
        execute = self.connection.execute
        version = versions.check(self.connection)
        if known is not None and not (version and self._which() == known):
            raise StoreUnavailable(_ANOTHER)
        (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(f"its disk can't do SQLite's write-ahead log (journal mode {mode})")
        self._sync = settings.sync
        execute(f"PRAGMA synchronous = {settings.sync}")
        execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        versions.upgrade(self.connection, version)
        found = self._high_water_file.read()
        reason = _TOLD if restored else self._went_back(settings, found, fresh=not version, known=known is not None)
        if reason is not None and known is not None:
            raise StoreUnavailable(_ANOTHER)
        execute("BEGIN IMMEDIATE")
        execute("UPDATE progress SET openings = openings + 1, opener = ?", (self._opener,))
        if reason is not None:
            self.renew(reason, found.base if found is not None else 0)
        execute("COMMIT")
        self.opened()
        self._files = self._identities()

    def _went_back(self, settings: Settings, found: HighWaterMark | None, *, fresh: bool, known: bool) -> str | None:
        """Why this file may be older than the offsets that clients know; None if it is not."""
        epoch, copied, number = self.connection.execute(
            "SELECT epoch, copied, max(indexed, coalesce((SELECT max(id) FROM messages), 0)) FROM progress"
        ).fetchone()
        stat = os.fstat(self._file)
        if fresh:
            return None if found is None else f"there was another one, says {Path(self.path).name}{SUFFIX}"
        if copied:
            return "it is a copy, made by kschat backup"
        if found is not None and found.epoch == epoch and number < found.number:
            return "messages that were acknowledged are not in it"
        if known:
            return None
        if found is None:
            return f"{Path(self.path).name}{SUFFIX}, which tells what was last given, is not beside it"
        if found.epoch != epoch or found.inode != stat.st_ino:
            return "it replaced another file"
        if found.closed and found.closed != stat.st_ctime_ns:
            return "it was changed since kschat closed it"
        if not found.closed and found.boot != this_boot() and settings.sync != "full":
            return "the machine stopped while it was in use, and with store_sync normal the newest may be lost"
        return None

    def renew(self, reason: str, base: int = 0) -> None:
        """Begin a new epoch, in the open transaction, with offsets greater than all that clients may know.

        How far the lost offsets went is unknown. The time in microseconds is greater than any offset so far, in any
        copy of the file, unless a user receives a million messages a second. If the clock is wrong, ``BASE_STEP``
        beyond the last base is. Call ``opened`` after the commit.

        Args:
            reason: for the log.
            base: the greatest base that is known from outside the file.
        """
        now = int(self._wall() * 1_000_000)
        (before,) = self.connection.execute("SELECT base FROM progress").fetchone()
        base = max(before, base) + BASE_STEP
        self.connection.execute(
            "UPDATE progress SET epoch = ?, base = ?, copied = 0",
            (secrets.token_hex(8), max(base, now) if now < LAST_BASE else base),
        )
        self.renewed = reason

    def opened(self) -> None:
        """Write the high-water mark. Raises sqlite3.Error, OSError."""
        epoch, base, number = self.connection.execute(
            "SELECT epoch, base, max(indexed, coalesce((SELECT max(id) FROM messages), 0)) FROM progress"
        ).fetchone()
        self._high_water = HighWaterMark(epoch, base, os.fstat(self._file).st_ino, this_boot(), 0, number)
        self._high_water_file.write(self._high_water)
        self._number = number
        self.base: int = base
        self.which = self._which()

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            StoreUnavailable: the file was replaced, or another daemon has opened it since.
        """
        self.check()
        self.connection.execute("BEGIN IMMEDIATE")
        if self.connection.execute("SELECT opener FROM progress").fetchone() != (self._opener,):
            self._mine = False
            raise StoreUnavailable(_TAKEN)

    @contextmanager
    def in_passing(self) -> Iterator[None]:
        """A background transaction. It is durable no later than the next one that a sender waits for.

        Raises:
            StoreUnavailable, sqlite3.Error: as of ``begin``, and as of the commit.
        """
        execute = self.connection.execute
        execute("PRAGMA synchronous = normal")
        self.begin()
        yield
        execute("COMMIT")
        execute(f"PRAGMA synchronous = {self._sync}")

    def has_written_much(self) -> bool:
        """Whether ``CHECKPOINT_ROWS`` or ``CHECKPOINT_BYTES`` were written since this last returned True.

        By rows alone, 18 messages of 900 kB filled the log to ``CHECKPOINT_PAGES``: the writer had to do it itself, and
        senders waited 50 ms for it.
        """
        changes = self.connection.total_changes
        much = changes - self._changes >= CHECKPOINT_ROWS or self._bytes >= CHECKPOINT_BYTES
        if much:
            self._changes = changes
            self._bytes = 0
        return much

    def wrote(self, size: int) -> None:
        """Messages of so many bytes were committed."""
        self._bytes += size

    def gave(self, number: int) -> None:
        """Raise the high-water mark: messages up to this number are about to be acknowledged. Raises OSError."""
        self._high_water_file.gave(number)
        self._number = number

    def check(self) -> None:
        """Check that the files are still the ones that were opened.

        SQLite would continue to write to a deleted file, and everything would be lost with the process.

        Raises:
            StoreUnavailable: they are not.
        """
        try:
            same = self._identities() == self._files
        except OSError as error:
            raise StoreUnavailable(why(error)) from error
        if not same:
            raise StoreUnavailable(_ANOTHER)

    def look_after(self, quiet: bool) -> None:
        """Maintenance, once a second.

        Args:
            quiet: nothing was written since the last call; then the write-ahead log is truncated, and the cache of this
                connection emptied.

        Raises:
            StoreUnavailable: see ``check``.
            sqlite3.Error, OSError: the disk fails.
        """
        self.check()
        self._high_water_file.keep(msgspec.structs.replace(self._high_water, number=self._number))
        if quiet and os.path.getsize(self.path + "-wal"):
            # Do not wait for readers: the next second is soon enough.
            self.connection.execute("PRAGMA busy_timeout = 0")
            try:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                # What was written may fill the cache, and is seldom read.
                self.connection.execute("PRAGMA shrink_memory")
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def _which(self) -> FileIdentity:
        (epoch,) = self.connection.execute("SELECT epoch FROM progress").fetchone()
        stat = os.stat(self.path)
        return FileIdentity(epoch, stat.st_dev, stat.st_ino)

    def _identities(self) -> tuple[tuple[int, int], ...]:
        stats = (os.stat(self.path), os.stat(self.path + "-wal"))
        return tuple([(stat.st_dev, stat.st_ino) for stat in stats])

    def close(self) -> None:
        """Close the file and release it. Errors are ignored."""
        with self._opened, suppress(sqlite3.Error, OSError):
            self.connection.close()
            # If another process still reads, the log is checkpointed later, which changes the file.
            if self._mine and not os.path.exists(self.path + "-wal"):
                closed = os.fstat(self._file).st_ctime_ns
                self._high_water_file.write(
                    msgspec.structs.replace(self._high_water, closed=closed, number=self._number)
                )


def _lock_itself(file: int) -> None:
    """Lock the database file itself: this also works by a hard link, and after the ``.lock`` was removed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreUnavailable(
            "another kschat uses it, by another name, or the lock beside it was removed: stop that one first"
        ) from None


def connect(path: str, mode: Mode) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        cached_statements=64,
    )
    # Detect a damaged page when it is read.
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
    return connection


def why(error: Exception) -> str:
    """Why the file could not be used, in a sentence that an operator can act on."""
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
_ANOTHER: Final = "another file has replaced it: put the right one back, or restart kschat to use this one"
_TAKEN: Final = "another kschat has opened it since"
_TOLD: Final = "kschat restored was run"

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
