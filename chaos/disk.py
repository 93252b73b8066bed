"""A disk that is slow for a while: a library that is preloaded into a server delays each ``fsync`` (``slow_disk.c``).

It needs no privileges, only a C compiler. Reads and writes are as quick as before: also of a busy disk, what a store
waits for is the sync.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

#: What it is called as a fault.
KIND: Final = "on a slow disk"

#: Milliseconds that a sync takes longer: as on a busy disk, and as on one that hangs for longer than any time-out.
DELAYS: Final = (50, 300, 1000, 8000)

_SOURCE: Final = Path(__file__).with_name("slow_disk.c")


class DiskFailed(Exception):
    """The library can't be made. The text says why."""


class SlowDisk:
    """The disk of one server; it is quick at first.

    Args:
        reactor: the real one.

    Attributes:
        environ: variables of the server's environment.

    Raises:
        DiskFailed: there is no C compiler.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._mending: IDelayedCall | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="kschat-disk-"))
        # The server may be of another user.
        self._directory.chmod(0o755)
        self._control = self._directory / "slow"
        library = self._directory / "slow_disk.so"
        compiler = shutil.which("cc")
        if compiler is None:
            raise DiskFailed("a C compiler (cc) is needed, for a disk that is slow: make system-packages")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise DiskFailed(f"the library of the slow disk can't be made: {done.stderr.decode(errors='replace')}")
        self.environ: Mapping[str, str] = {"LD_PRELOAD": str(library), "SLOW_DISK": str(self._control)}

    def slow(self, milliseconds: int, seconds: float) -> None:
        """Delay each sync by ``milliseconds`` for so many seconds from now on, also if it is slow already."""
        self._cancel()
        written = self._control.with_suffix(".new")
        written.write_text(f"{milliseconds}\n")
        os.replace(written, self._control)
        self._mending = self._reactor.callLater(seconds, self.mend)

    def mend(self) -> None:
        """Be quick again; also a sync that is delayed now ends."""
        self._cancel()
        self._control.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the library. Servers that have it go on."""
        self._cancel()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _cancel(self) -> None:
        if self._mending is not None and self._mending.active():
            self._mending.cancel()
