"""The source of an earlier version, from Git, for daemons that run it beside those of this one."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.support.launch import REPOSITORY

#: While no version is released, the tree of this number of merges ago is used. It must know the settings of the run.
BACK: Final = 20


class VersionMissing(Exception):
    """There is no such version."""


class Version:
    """One version of the daemon.

    Args:
        name: a tag, a commit, or an expression for one (``main~20``).

    Attributes:
        root: where its source is, until ``forget``.
        text: its version number and its commit.
    """

    def __init__(self, name: str) -> None:
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
        self.root = Path(tempfile.mkdtemp(prefix="kschat-version-"))
        parts = ("kschat", "twisted", "templates", "static", "admin")
        # An older version may lack some, for which ``git archive`` would fail.
        there = _git("ls-tree", "--name-only", "-z", commit, "--", *parts).decode().strip("\0").split("\0")
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "--", *there))) as archive:
            archive.extractall(self.root, filter="data")
        found = re.search(r'__version__ = "([^"]+)"', (self.root / "kschat" / "__init__.py").read_text("utf-8"))
        self.text = f"{found[1] if found else 'unknown'} ({commit[:12]})"

    def forget(self) -> None:
        """Delete the source."""
        shutil.rmtree(self.root, ignore_errors=True)


def latest() -> str:
    """The release before this version: the newest tag, or, while nothing is released, the tree of some merges ago."""
    tags = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-creatordate").decode().split()
    return tags[0] if tags else _git("rev-list", "--merges", f"--skip={BACK}", "--max-count=1", "HEAD").decode().strip()


def _git(*arguments: str) -> bytes:
    ended = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, check=False)
    if ended.returncode:
        raise VersionMissing(f"git {' '.join(arguments)}: {ended.stderr.decode(errors='replace').strip() or 'nothing'}")
    return ended.stdout
