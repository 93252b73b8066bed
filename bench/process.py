"""What a process used, as Linux tells it under /proc."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of all that it has started, in seconds, good to 1/100 s.

    (PostgreSQL is a process for each connection.)

    Raises FileNotFoundError or ProcessLookupError when it has ended.
    """
    seconds = _own_seconds(pid)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended in this moment
                seconds += cpu_seconds(int(child))
    return seconds


def _own_seconds(pid: int) -> float:
    """Of all threads of a process, and of its processes that have ended."""
    # The command's name (field 2) may hold spaces and brackets: count the fields behind the last bracket.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK


def machine_seconds() -> float:
    """Return the time that all processors together have worked since the machine started, in seconds."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting_for_disk = fields[3:5]
    return (sum(fields) - idle - waiting_for_disk) / _TICK


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes. Raises FileNotFoundError when it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory of its own: it has ended")


def cpu_model() -> str:
    """Return the CPU's name, or the architecture where /proc/cpuinfo has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def version(distribution: str) -> str:
    """Return an installed distribution's name and version, or its name and a dash."""
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return f"{distribution} -"


def machine() -> str:
    """Return one line about the machine and the software that figures depend on."""
    packages = ", ".join(version(name) for name in ("Twisted", "autobahn", "msgspec"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, {python}, {packages}"
