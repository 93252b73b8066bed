"""The file beside the database that says what was last given out, so that a database that went back is noticed.

A database that is replaced by an older state of itself would give offsets a second time, in an epoch whose clients
already have messages at these offsets. Nothing inside the database can tell. So each commit also writes the number of
the newest message to this file, without waiting for the disk: 16 bytes, once a transaction.

The file holds the number as 16 hex digits on a line, and then one line of JSON.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import msgspec

#: What the file's name has beyond that of the database.
SUFFIX: Final = ".given"

_DIGITS: Final = 16
_MOST_BYTES: Final = 1000


class Given(msgspec.Struct, frozen=True):
    """What was last given out, and of which file.

    Attributes:
        epoch: of the offsets.
        base: of the offsets; see the table ``progress``.
        inode: of the database.
        boot: which start of the machine; "" where it can't be told.
        closed: when the database was last changed (``st_ctime_ns``), if it was closed in order; else 0.
        number: of the newest message that was acknowledged.
    """

    epoch: str
    base: int
    inode: int
    boot: str
    closed: int = 0
    number: int = 0


class GivenFile:
    """The file, open.

    Args:
        path: of the file. It is made where there is none.

    Raises:
        OSError: it can't be opened; so may each method but ``close``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _opened(path)

    def read(self) -> Given | None:
        """What it says; None of a new file, and of one that is damaged."""
        digits, _, line = os.pread(self._file, _MOST_BYTES, 0).partition(b"\n")
        try:
            given = msgspec.json.decode(line, type=Given)
            return msgspec.structs.replace(given, number=int(digits, 16))
        except (msgspec.DecodeError, ValueError):
            return None

    def write(self, given: Given) -> None:
        """Write all of it, and wait for the disk."""
        text = b"%016x\n%s\n" % (given.number, msgspec.json.encode(given))
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))
        os.fdatasync(self._file)

    def gave(self, number: int) -> None:
        """Write the number of the newest message alone. It survives this process, not the machine."""
        os.pwrite(self._file, b"%016x" % number, 0)

    def keep(self, given: Given) -> None:
        """Make it again, with ``given``, if it was deleted."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return
        deleted, self._file = self._file, _opened(self._path)
        os.close(deleted)
        self.write(given)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def this_boot() -> str:
    """Which start of the machine this is, where the system says."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
