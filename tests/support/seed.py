"""``python seed.py VENV``: gives a new environment the packages of this one, as pip would fetch them; not kschat."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def seed(venv: Path) -> None:
    """Link or copy the packages, and make their programs run by the new environment's Python."""
    mine = Path(sysconfig.get_path("purelib"))
    (theirs,) = (venv / "lib").glob("python*/site-packages")
    for source in mine.iterdir():
        if "kschat" in source.name or (theirs / source.name).exists():
            continue
        if source.is_dir():
            shutil.copytree(source, theirs / source.name, copy_function=_link, ignore=_ignored)
        else:
            _link(source, theirs / source.name)
    for program in Path(sysconfig.get_path("scripts")).iterdir():
        target = venv / "bin" / program.name
        if program.is_file() and not target.exists() and program.name != "kschat":
            first, _, rest = program.read_bytes().partition(b"\n")
            if first.startswith(b"#!") and b"python" in first:
                target.write_bytes(b"#!" + os.fsencode(venv.absolute() / "bin" / "python") + b"\n" + rest)
                target.chmod(0o755)


def _ignored(directory: str, names: list[str]) -> list[str]:
    # Made by each environment for itself.
    return [name for name in names if name in ("__pycache__", "dropin.cache")]


def _link(source: str | Path, target: str | Path) -> str | Path:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


if __name__ == "__main__":
    seed(Path(sys.argv[1]))
