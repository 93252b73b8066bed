"""Writes deploy/container/requirements.lock and build.lock: versions and hashes of all packages of the image.

pip resolves them for each machine that the image is made for, with the Python of the image. No address is recorded.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "deploy" / "container"

#: Of Debian trixie.
PYTHON = "3.13"
MACHINES = ("x86_64", "aarch64")

#: From the newest on: an older one runs on a newer system.
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "linux")

#: What builds the package itself.
BUILD = ("setuptools>=77",)

HEADER = "# Made by `make lock` for Python {python}, {machines}.\n"


def resolved(requirements: Sequence[str], machine: str) -> list[dict[str, Any]]:
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
        command += ["--only-binary=:all:", f"--python-version={PYTHON}", f"--target={nowhere}"]
        command += [f"--platform={platform}_{machine}" for platform in PLATFORMS]
        ended = subprocess.run([*command, *requirements], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(ended.stdout)["install"]
    return found


def lock(requirements: Sequence[str]) -> str:
    """The text of a lock file."""
    found: dict[str, set[str]] = {}
    for machine in MACHINES:
        for package in resolved(requirements, machine):
            name = package["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
            digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
            found.setdefault(f"{name}=={package['metadata']['version']}", set()).add(digest)
    lines = []
    for name, digests in sorted(found.items()):
        lines += [f"{name} \\", *(f"    --hash=sha256:{one} \\" for one in sorted(digests))]
        lines[-1] = lines[-1].removesuffix(" \\")
    header = HEADER.format(python=PYTHON, machines=" and ".join(MACHINES))
    return header + "\n".join(lines) + "\n"


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for file, wanted in (("requirements.lock", project["project"]["dependencies"]), ("build.lock", BUILD)):
        (PLACE / file).write_text(lock(wanted), "utf-8")
    sys.exit(0)
