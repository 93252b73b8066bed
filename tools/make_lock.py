"""Writes deploy/container/requirements.lock and build.lock: versions and hashes of the packages of image and .deb.

pip resolves them for each Python and each kind of machine that these are made for. (It evaluates ``python_version`` for
the Python that runs it; image and .deb end with ``pip check``, which finds what is missing.) No address is recorded.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "deploy" / "container"

#: Of Debian bookworm, Ubuntu noble, Debian trixie.
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")

#: From the newest on: an older one runs on a newer system.
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "linux")

#: What builds the package itself.
BUILD = ("setuptools>=77",)

#: The extras whose packages are locked too: each store can be used.
EXTRAS = ("postgresql",)

HEADER = "# Made by `make lock` for Python {pythons}, on {machines}.\n"


def resolved(requirements: Sequence[str], python: str, machine: str) -> list[dict[str, Any]]:
    """What pip would install: its report."""
    with tempfile.TemporaryDirectory() as nowhere:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            "-",
        ]
        command += ["--only-binary=:all:", f"--python-version={python}", f"--target={nowhere}"]
        command += [f"--platform={platform}_{machine}" for platform in PLATFORMS]
        ended = subprocess.run([*command, *requirements], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(ended.stdout)["install"]
    return found


def lock(requirements: Sequence[str]) -> str:
    """The text of a lock file."""
    digests: dict[tuple[str, str], set[str]] = {}
    pythons: dict[tuple[str, str], set[str]] = {}
    for python in PYTHONS:
        for machine in MACHINES:
            for package in resolved(requirements, python, machine):
                metadata = package["metadata"]
                key = metadata["name"].lower().replace("_", "-").replace(".", "-"), metadata["version"]
                digests.setdefault(key, set()).add(package["download_info"]["archive_info"]["hashes"]["sha256"])
                pythons.setdefault(key, set()).add(python)
    return text(digests, pythons)


def text(digests: dict[tuple[str, str], set[str]], pythons: dict[tuple[str, str], set[str]]) -> str:
    """A lock file.

    Args:
        digests: name and version -> SHA-256 of the wheels that may be installed.
        pythons: name and version -> the Pythons that it is for, of ``PYTHONS``.
    """
    header = HEADER.format(pythons=", ".join(PYTHONS), machines=" and ".join(MACHINES))
    return header + "".join(line for key in sorted(digests) for line in _entry(key, sorted(digests[key]), pythons[key]))


def _entry(key: tuple[str, str], digests: Sequence[str], pythons: Iterable[str]) -> Iterable[str]:
    yield "==".join(key)
    if set(pythons) != set(PYTHONS):
        yield " ; " + " or ".join(f'python_version == "{python}"' for python in sorted(pythons))
    yield from (f" \\\n    --hash=sha256:{one}" for one in digests)
    yield "\n"


def wanted() -> dict[str, list[str]]:
    """The lock files, and what each is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [one for name in EXTRAS for one in project["optional-dependencies"][name]]
    return {"requirements.lock": [*project["dependencies"], *extras], "build.lock": list(BUILD)}


if __name__ == "__main__":
    for file, packages in wanted().items():
        (PLACE / file).write_text(lock(packages), "utf-8")
    sys.exit(0)
