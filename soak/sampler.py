"""Reads the figures of daemons, and of what their messages are in."""

from __future__ import annotations

import socket
import sqlite3
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

#: What is read of ``/metrics``: the series, and the metrics that are its sum.
METRICS: Final = {
    "memory": ("process_resident_memory_bytes",),
    "blocks": ("kschat_allocated_blocks",),
    "descriptors": ("process_open_fds",),
    "sockets": ("kschat_sockets",),
    "sessions": ("kschat_sessions",),
    "timers": ("kschat_timers",),
    "delayed": ("kschat_delayed_calls",),
    "failures": ('kschat_log_events_total{level="critical"}',),
    "cpu": ("process_cpu_seconds_total",),
    "messages": ("kschat_messages_acknowledged_total",),
}

#: Seconds that an answer may take.
_PATIENCE: Final = 30.0


def metrics(ports: Sequence[int]) -> dict[str, float]:
    """The figures of these daemons together. Raises OSError, and KeyError where one is missing."""
    found = dict.fromkeys(METRICS, 0.0)
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        values = {name: value for name, _, value in (line.rpartition(" ") for line in lines)}
        for series, names in METRICS.items():
            found[series] += sum(float(values[name]) for name in names)
    return found


def sqlite(path: Path) -> dict[str, float]:
    """Rows of all tables together, and bytes of the files."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_PATIENCE)) as database:
        rows = sum(rows_of(database).values())
    parts = (path, path.with_name(path.name + "-wal"))
    return {"rows": rows, "file": sum(one.stat().st_size for one in parts if one.exists())}


def rows_of(database: sqlite3.Connection) -> dict[str, int]:
    """Rows, by table."""
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}


def redis(port: int) -> dict[str, float]:
    """Keys, and the bytes that Redis uses."""
    return {
        "keys": float(_asked(port, "DBSIZE").strip()[1:]),
        "redis": next(float(line[12:]) for line in _asked(port, "INFO memory").split() if line[:12] == "used_memory:"),
    }


def _asked(port: int, command: str) -> str:
    """The answer to a command, a number or a bulk string."""
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as link:
        link.sendall(command.encode() + b"\r\n")
        with link.makefile("rb") as answer:
            first = answer.readline()
            if first.startswith(b"$"):
                return answer.read(int(first[1:])).decode()
            return first.decode()
