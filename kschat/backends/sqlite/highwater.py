"""The high-water mark: a file beside the database that reveals a restored database.

A restored database would assign offsets a second time, in an epoch in which clients already have messages at these
offsets. Nothing inside the database can reveal that. So each commit also writes the number of its last message to this
file: 16 bytes a transaction, without waiting for the disk.

The file holds the number as 16 hex digits on one line, and a line of JSON.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import msgspec

#: The file's name is the database's with this suffix.
SUFFIX: Final = ".given"

_DIGITS: Final = 16
_MOST_BYTES: Final = 1000


class HighWaterMark(msgspec.Struct, frozen=True):
    """The last message that was acknowledged, and the database that holds it.

    Attributes:
        epoch: of the offsets.
        base: of the offsets; see the table ``progress``.
        inode: of the database.
        boot: the machine's boot id; "" if unknown.
        closed: the database's ``st_ctime_ns`` after an orderly close; else 0.
        number: of the newest message that was acknowledged.
    """

    epoch: str
    base: int
    inode: int
    boot: str
    closed: int = 0
    number: int = 0


class HighWaterFile:
    """The file, open.

    Args:
        path: of the file, which is created if missing.

    Raises:
        OSError: the file cannot be opened. Each method but ``close`` may raise it too.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _opened(path)

    def read(self) -> HighWaterMark | None:
        """The mark; None if the file is new or damaged."""
        digits, _, line = os.pread(self._file, _MOST_BYTES, 0).partition(b"\n")
        try:
            given = msgspec.json.decode(line, type=HighWaterMark)
            return msgspec.structs.replace(given, number=int(digits, 16))
        except (msgspec.DecodeError, ValueError):
            return None

    def write(self, given: HighWaterMark) -> None:
        """Write the whole mark, and wait for the disk."""
        text = b"%016x\n%s\n" % (given.number, msgspec.json.encode(given))
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))
        os.fdatasync(self._file)

    def gave(self, number: int) -> None:
        """Write only the number of the newest message. It survives a crash of this process, not of the machine."""
        os.pwrite(self._file, b"%016x" % number, 0)

    def keep(self, given: HighWaterMark) -> None:
        """Make it again, with ``highwater``, if it was deleted."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return
        deleted, self._file = self._file, _opened(self._path)
        os.close(deleted)
        self.write(given)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def this_boot() -> str:
    """FileIdentity start of the machine this is, where the system says."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
