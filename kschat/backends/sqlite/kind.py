"""How the SQLite store describes itself to the settings and the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from kschat.backends.kinds import StoreKind
from kschat.backends.sqlite.archive import SqliteArchive
from kschat.backends.sqlite.database import Settings
from kschat.backends.sqlite.probe import probe
from kschat.backends.sqlite.store import SqliteStore
from kschat.chat.clocks import WallClock
from kschat.counters import Counters


class Configured(Protocol):
    """What it reads of the daemon's configuration."""

    @property
    def store_sync(self) -> str:
        """See ``Settings.sync``."""

    @property
    def retention_days(self) -> float:
        """See ``Settings.retention_seconds``."""

    @property
    def retention_messages(self) -> int:
        """See ``Settings.retention_messages``."""

    @property
    def hooks(self) -> bool:
        """See ``Settings.hooks``."""


def _make(config: Configured, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> SqliteStore:
    settings = Settings(
        path=argument,
        sync="normal" if config.store_sync == "normal" else "full",
        retention_seconds=config.retention_days * 86400,
        retention_messages=config.retention_messages,
        hooks=config.hooks,
    )
    return SqliteStore(settings, reactor, reactor, wall=wall)


def _check(argument: str) -> None:
    """Raises ValueError: it is no path of a file."""
    if "\0" in argument:
        raise ValueError("holds a NUL")
    if argument == ":memory:":
        raise ValueError("names no file: use memory")
    if argument.startswith("//"):
        path = f"{'/' if argument.startswith('///') else ''}{argument.lstrip('/')}"
        raise ValueError(f"is like a URL: use sqlite:{path if path.strip('/') else f'{path}kschat.db'}")
    if argument.startswith("~"):
        reason = "names a path that begins with ~"
        raise ValueError(f"{reason}: write the whole path: ~ is the shell's, and stays as it is here")
    if argument.endswith("/") or Path(argument).is_dir():
        raise ValueError(f"names a directory: use sqlite:{argument.rstrip('/')}/kschat.db")


def _look(argument: str) -> str:
    return f"{os.path.abspath(argument)}, {probe(argument)}"


def _files(argument: str) -> list[Path]:
    return [Path(argument), Path(f"{argument}-wal")]


STORE = StoreKind(
    name="sqlite",
    argument="PATH",
    example="sqlite:kschat.db",
    shared=False,
    keeps=True,
    settings=("store_sync", "retention_days", "retention_messages"),
    make=_make,
    check=_check,
    files=_files,
    look=_look,
    reads=lambda given, argument, reactor: SqliteArchive(argument),
)
