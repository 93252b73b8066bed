"""python-socketio's client of either generation, driven as npm's are (``tests/python/client.py``).

``make test`` installs each with its own engineio into a directory of its own: they can't share one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from tests.support.needs import REPOSITORY, require
from tests.support.npm import NodeClient

#: Where a generation is, below the environment's ``peers``; the files of that name in tests/python say what is there.
DIRECTORIES: Mapping[int, str] = {4: "socketio4", 5: "socketio5"}


def directory(version: int) -> Path:
    """Where the packages of generation 4 or 5 are."""
    return Path(sys.prefix) / "peers" / DIRECTORIES[version]


def installed(version: int) -> str:
    """The exact version of python-socketio there; else SkipTest or AssertionError."""
    found: list[Distribution] = list(distributions(name="python-socketio", path=[str(directory(version))]))
    require("" if found else f"python-socketio {version} is not installed: run make peers")
    return found[0].version


class PythonClient(NodeClient):
    """A process with one generation of the client, 4 or 5, and any number of its sockets."""

    def _command(self) -> tuple[list[str], dict[str, str]]:
        installed(self.version)
        script = REPOSITORY / "tests" / "python" / "client.py"
        return [sys.executable, str(script)], {"PYTHONPATH": str(directory(self.version))}

    @property
    def title(self) -> str:
        """What it is."""
        return f"python-socketio {installed(self.version)}"

    @property
    def revision(self) -> int:
        """The Engine.IO revision that this client speaks."""
        return 3 if self.version < 5 else 4
