"""The source of an earlier version, from Git or a directory, for daemons that run it beside those of this one."""

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

#: What helps where there is no earlier version.
_HELP: Final = (
    "fetch the whole history (git fetch --unshallow), or name a directory with an earlier source: --from PATH"
)


class VersionMissing(Exception):
    """There is no such version."""


class Version:
    """One version of the daemon.

    Args:
        name: a tag, a commit, an expression for one (``main~20``), or the path of a directory with the source.

    Attributes:
        root: where its source is, until ``forget``.
        text: its version number and its commit.
    """

    def __init__(self, name: str) -> None:
        self._made = not is_source(Path(name))
        if not self._made:
            self.root = Path(name).absolute()
            self.text = f"{_number(self.root)} ({name})"
            return
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
        self.root = Path(tempfile.mkdtemp(prefix="kschat-version-"))
        parts = ("kschat", "twisted", "templates", "static", "admin")
        # An older version may lack some, for which ``git archive`` would fail.
        there = _git("ls-tree", "--name-only", "-z", commit, "--", *parts).decode().strip("\0").split("\0")
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "--", *there))) as archive:
            archive.extractall(self.root, filter="data")
        self.text = f"{_number(self.root)} ({commit[:12]})"

    def forget(self) -> None:
        """Delete the source, unless it is somebody's directory."""
        if self._made:
            shutil.rmtree(self.root, ignore_errors=True)


def is_source(path: Path) -> bool:
    """Whether this is a directory with the source of a version."""
    return (path / "kschat" / "__init__.py").is_file()


def _number(root: Path) -> str:
    found = re.search(r'__version__ = "([^"]+)"', (root / "kschat" / "__init__.py").read_text("utf-8"))
    return found[1] if found else "unknown"


def latest(repository: Path = REPOSITORY) -> str:
    """The release before this version: the newest tag, or, while nothing is released, the tree of some merges ago.

    Raises VersionMissing where the clone has neither: it is shallow, or no clone but a copy of the files.
    """
    try:
        tags = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-creatordate", repository=repository).split()
        merges = ("rev-list", "--merges", f"--skip={BACK}", "--max-count=1", "HEAD")
        found = tags[0] if tags else _git(*merges, repository=repository)
    except VersionMissing as error:
        raise VersionMissing(f"{repository} has no history ({error}): {_HELP}") from None
    if not found:
        raise VersionMissing(f"{repository} has no release in its history, nor {BACK} merges: {_HELP}")
    return found.decode().strip()


def _git(*arguments: str, repository: Path = REPOSITORY) -> bytes:
    try:
        ended = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise VersionMissing("git is not installed") from None
    if ended.returncode:
        raise VersionMissing(f"git {' '.join(arguments)}: {ended.stderr.decode(errors='replace').strip() or 'nothing'}")
    return ended.stdout
