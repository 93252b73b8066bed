"""A wall clock that can be set while a process runs, by libfaketime. The monotonic clock stays the machine's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.needs import require_faketime


class WallClock:
    """The wall clock of the processes that are started with its ``environment``. It begins at the machine's time."""

    def __init__(self) -> None:
        self._library = require_faketime()
        self._directory = Path(tempfile.mkdtemp(prefix="kschat-clock-"))
        self._file = self._directory / "offset"
        self.offset = 0
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for the environment of a process."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: int) -> None:
        """From now on it says so many seconds more than the machine's, or less."""
        self.offset = offset
        fresh = self._directory / "fresh"
        fresh.write_text(f"{offset:+d}\n")
        fresh.replace(self._file)

    def remove(self) -> None:
        """Remove the file. The processes must have ended."""
        shutil.rmtree(self._directory, ignore_errors=True)
