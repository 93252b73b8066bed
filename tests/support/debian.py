"""A root directory with Debian's base system and some packages, made by debootstrap from the machine's own mirror.

What it needs: root, leave to mount, debootstrap, and a mirror of Debian that apt knows. Where the machine lacks any of
it, the test is skipped with a sentence.

The base system is kept in build/, since to make it takes a minute or two. Programs in a root see the machine's network,
and a /proc, which is in a namespace of each program, so that no mount stays behind.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import which
from typing import Final

from tests.support.needs import REPOSITORY, allowed_skip, require_program

#: What the base system has besides: what the package depends on, so that to install it fetches nothing.
PACKAGES: Final = ("python3", "libstdc++6", "ca-certificates")

#: Seconds that debootstrap or a program in the root may take.
PATIENCE: Final = 600

#: Where apt says that the packages of this system come from.
TARGETS: Final = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")

#: Executes a program in a root. Arguments: the root, options of chroot, the root, the program.
ENTER: Final = 'mount -t proc proc "$0/proc" && exec chroot "$@"'

#: What dpkg and passwd write by the day, or keep as the state before the last change.
WRITTEN: Final = re.compile(
    r"/(var/lib/dpkg/(status|available)(-old)?|var/lib/dpkg/triggers/.*|var/log/(dpkg|alternatives)\.log|etc/(passwd|group|shadow|gshadow)-"
    r"|var/cache/ldconfig/aux-cache)"
)


class DebianRoot:
    """A root.

    Args:
        path: for it; it is not there yet.

    Raises:
        SkipTest: the machine lacks something that it takes.
    """

    def __init__(self, path: Path) -> None:
        archive = base_system()
        self.path = path.absolute()
        self.path.mkdir(parents=True)
        _run("tar", "--extract", "--numeric-owner", f"--directory={self.path}", f"--file={archive}")
        try:
            self.run("true")
        except AssertionError as error:
            allowed_skip(f"a root cannot be entered: {error}")

    def command(self, *command: str, user: str = "root") -> list[str]:
        """The command line of a program in the root: its process is the program's own."""
        enter = ["unshare", "--mount", "sh", "-c", ENTER, str(self.path), f"--userspec={user}", str(self.path)]
        return [*enter, *command]

    def run(self, *command: str) -> str:
        """What a program prints. AssertionError where it fails."""
        ended = subprocess.run(
            self.command(*command),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ended.returncode:
            raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout

    def environment(self, **more: str) -> Mapping[str, str]:
        """Nothing of whoever runs the tests."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **more}

    def listing(self) -> Mapping[str, str]:
        """Each file and directory -> kind, mode, owner, and content; not what is written by the day."""
        found: dict[str, str] = {}
        for place, directories, files in os.walk(self.path):
            directories[:] = [name for name in directories if f"{place}/{name}" != f"{self.path}/proc"]
            for name in (*directories, *files):
                path = Path(place, name)
                relative = f"/{path.relative_to(self.path)}"
                if not WRITTEN.fullmatch(relative):
                    found[relative] = _described(path)
        return found


def base_system() -> Path:
    """A tar archive of the base system with ``PACKAGES``; made if there is none. SkipTest if it cannot be made."""
    allowed_skip("" if os.geteuid() == 0 else "only root makes a root by debootstrap")
    allowed_skip("" if which("apt-get") else "debootstrap needs Debian, or a system like it")
    debootstrap = require_program("debootstrap")
    mirror, release = _mirror()
    archive = REPOSITORY / "build" / f"debian-{release}.tar"
    if not archive.is_file():
        archive.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kschat-debian-") as place:
            options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
            try:
                _run(debootstrap, *options, release, f"{place}/root", mirror)
            except AssertionError as error:
                allowed_skip(f"debootstrap failed: {str(error)[-300:]}")
            unfinished = archive.with_suffix(".new")
            _run("tar", "--create", "--numeric-owner", f"--directory={place}/root", f"--file={unfinished}", ".")
            unfinished.rename(archive)
    return archive


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a program prints. AssertionError where it fails."""
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout


def _described(path: Path) -> str:
    found = path.lstat()
    said = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
    if stat.S_ISLNK(found.st_mode):
        return f"{said} -> {os.readlink(path)}"
    return f"{said} {hashlib.sha256(path.read_bytes()).hexdigest()}" if stat.S_ISREG(found.st_mode) else said


def _mirror() -> tuple[str, str]:
    """The address of a mirror and the name of the machine's release."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    targets = subprocess.run(TARGETS, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    for line in targets.splitlines():
        address, name, component = line.split(" ")[:3]
        if (name, component) == (release, "main"):
            return address, release
    allowed_skip("apt knows no mirror of Debian's")
    raise AssertionError
