"""SIGSTOP that is over when it returns: the signal by itself only asks, and a busy process goes on for a moment."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

#: Seconds until all must stand still.
PATIENCE = 10


def wait_until_stopped(group: int) -> None:
    """Wait until every thread of every process of a group stands still, as after SIGSTOP to it (Linux)."""
    end = time.monotonic() + PATIENCE
    while any(state not in "TtZX" for state in _states(group)):
        assert time.monotonic() < end, f"process group {group} does not stop"
        time.sleep(0.001)


def _states(group: int) -> Iterable[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if _fields(process)[2] == str(group):
                yield from [_fields(thread)[0] for thread in (process / "task").iterdir()]
        except (OSError, IndexError):
            continue  # it has ended meanwhile


def _fields(process: Path) -> list[str]:
    # The name, in parentheses, may hold anything.
    return (process / "stat").read_text().rpartition(")")[2].split()
