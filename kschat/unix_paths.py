"""Paths of UNIX sockets, whose length is bounded by the system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Bytes in the path of a UNIX socket: ``sun_path`` of unix(7) without its last NUL.
MAX_PATH: Final = 107


def open_directory(path: str) -> int | None:
    """The directory of a path that is too long; None if the path will do. Raises OSError."""
    if len(os.fsencode(path)) <= MAX_PATH:
        return None
    return os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def short_path(path: str, directory: int | None) -> str:
    """The same path by way of its open directory (proc(5), ``/proc/self/fd``).

    Raises:
        OSError: it is too long all the same.
    """
    short = path if directory is None else f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    if len(os.fsencode(short)) > MAX_PATH:
        raise OSError(36, f"its path is longer than {MAX_PATH} bytes; name another one (control)")
    return short


@contextmanager
def reachable(path: str) -> Iterator[str]:
    """A path by which a socket can be opened meanwhile. Raises OSError."""
    directory = open_directory(path)
    try:
        yield short_path(path, directory)
    finally:
        if directory is not None:
            os.close(directory)
