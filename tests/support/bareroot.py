"""A root directory that has the files of some Debian packages and of those they depend on, and nothing else.

The files are this machine's own, so nothing is fetched and no base system is unpacked: each package lists its files,
and what is on the machine beside them (other packages, ``/usr/local``, homes, caches, environments) is not there.
pip and npm in it are real, and reach their registries as the machine's own do: what their configuration says of
registries, proxies and certificates is read at run time and repeated inside.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tests.support.needs import REPOSITORY, require, require_program
from tests.support.pages import PATIENCE, Place

#: Beside the essential packages, which every Debian has: what README.md says that kschat needs, and npm's client.
PYTHON_PACKAGES: Final = ("python3", "python3-venv", "make", "ca-certificates")

#: Documentation, which nothing here reads.
UNREAD: Final = re.compile(r"/usr/share/(doc|man|info|locale|lintian)/")

#: Made by the packages' scripts after their files were unpacked.
MADE: Final = ("etc/ssl/certs", "etc/ld.so.cache", "etc/alternatives", "usr/bin/awk")

#: How the machine finds the names of others.
NAMES: Final = ("etc/resolv.conf", "etc/hosts", "etc/nsswitch.conf")

#: What of pip's configuration says where packages come from, and how they are reached.
PIP: Final = frozenset(
    ("cert", "client-cert", "proxy", "retries", "timeout", "trusted-host", "constraint")
    + ("index-url", "extra-index-url", "find-links", "no-index")
)

#: Variables that say the same to pip, npm and what they use.
VARIABLES: Final = re.compile(
    r"(?i)(https?|all|no)_proxy|npm_config_(registry|cafile|proxy|https_proxy|noproxy|replace_registry_host)|"
    r"NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
)

#: Makes the root in memory, in namespaces that end with the shell and take everything with them; then the shell, in the
#: clone. FILES is a list of the files to copy, STAGED a directory with those that were made, ROOT is empty.
ENTER: Final = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$ROOT"
tar --create --directory=/ --null --files-from="$FILES" --file=- | tar --extract --no-same-owner --directory="$ROOT"
for name in bin sbin lib lib64; do
    test -e "$ROOT/$name" || ln -s "usr/$name" "$ROOT/$name"
done
cp -a "$STAGED/." "$ROOT"
for path in $SHOWN; do
    mount --bind "$path" "$ROOT$path"
    mount -o remount,bind,ro "$ROOT$path" || true
done
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
exec chroot "$ROOT" /usr/bin/env -i --chdir=/root/kschat "$@"
"""


class BareRoot(Place):
    """A root with a clean clone in ``/root/kschat``, and one shell in it. It is in memory, some 500 MB with packages.

    Args:
        directory: for what the root is made of.

    Raises:
        SkipTest, AssertionError: something is missing that it takes, as ``needs.require`` says.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory).absolute()
        self._staged = self._directory / "staged"
        for name in ("dpkg-query", "unshare", "chroot", "tar"):
            require_program(name)
        programs = [require_program(name) for name in ("node", "npm")]
        self._unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        if os.geteuid():
            self._unshare.insert(1, "--map-root-user")
        tried = subprocess.run([*self._unshare, "true"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        require(f"namespaces cannot be made here ({tried.stderr.strip()})" if tried.returncode else "")
        require_registries(self._directory / "asked")
        self._directory.joinpath("root").mkdir(parents=True)
        for name in (
            "dev",
            "proc",
            "run",
            "sys",
            "tmp",
            "root",
            "home",
            "opt",
            "srv",
            "var/tmp",
            "etc",
            "usr/local/bin",
        ):
            (self._staged / name).mkdir(parents=True)
        for name in ("tmp", "var/tmp"):
            (self._staged / name).chmod(0o1777)
        # A home is private, and the staged directories are copied as they are.
        (self._staged / "root").chmod(0o700)
        for name in ("passwd", "group"):
            shutil.copy(f"/usr/share/base-passwd/{name}.master", self._staged / "etc" / name)
        packages = closure(Packages(), (*PYTHON_PACKAGES, *map(owner, programs)))
        # npm can have renewed itself: then its directory has other files than its package lists.
        npm = Path(programs[1]).resolve().parents[1]
        names = files_of(packages, [str(path) for path in npm.rglob("*")])
        (self._directory / "files").write_text("\0".join(names))
        self._shown: list[str] = []
        self._configure_pip()
        self._configure_npm()
        self.clone = self._staged / "root" / "kschat"
        self._clone()

    def _configure_pip(self) -> None:
        said = {}
        for line in _lines([sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]):
            (key, _, value) = line.partition("=")
            section, _, name = key.rpartition(".")
            if name.removeprefix("default-") in PIP and section in ("global", "install", ":env:"):
                said[name.removeprefix("default-")] = str(ast.literal_eval(value)).split()
        lines = ["[global]", "disable-pip-version-check = true"]
        for name, values in said.items():
            lines += [f"{name} =", *(f"    {value}" for value in values)]
            self._show(values)
        (self._staged / "etc" / "pip.conf").write_text("\n".join(lines) + "\n")

    def _configure_npm(self) -> None:
        for name, place in (("userconfig", "root/.npmrc"), ("globalconfig", None)):
            (there,) = _lines(["npm", "config", "get", name])
            if not os.path.isfile(there):
                continue
            target = self._staged / (place or there.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there, target)
            target.chmod(0o600)
            named = re.findall(r'=\s*"?([^"\s]+)', target.read_text("utf-8"))
            self._show(filter(os.path.isfile, named))  # certificates

    def _show(self, values: Iterable[str]) -> None:
        """Let files and directories that a configuration names be there, and only to be read."""
        for value in values:
            path = value
            if value.startswith("file:"):
                # An index in a directory names files beside it.
                path = os.path.dirname(unquote(urlsplit(value).path).rstrip("/"))
            if not path.startswith("/") or path == "/" or not os.path.exists(path):
                continue
            shown = self._staged / path[1:]
            if os.path.isfile(path) and not shown.exists():
                shown.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, shown)
            elif os.path.isdir(path) and not shown.exists():
                shown.mkdir(parents=True)
                self._shown.append(path)

    def adapted(self, text: str) -> str:
        """A command, with ports that are free here: the machine's network is not hidden."""
        return self._with_ports(text)

    @property
    def command(self) -> list[str]:
        inside = [f"{name}={value}" for name, value in self.inside.items()]
        return [*self._unshare, "sh", "-c", ENTER, "sh", *inside, "bash", "--noprofile", "--norc"]

    @property
    def environment(self) -> Mapping[str, str]:
        """For what makes the root. The shell in it has ``inside``."""
        return {
            "ROOT": str(self._directory / "root"),
            "STAGED": str(self._staged),
            "FILES": str(self._directory / "files"),
            "SHOWN": " ".join(self._shown),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }

    @property
    def inside(self) -> Mapping[str, str]:
        """The variables of the shell."""
        handed = {name: value for name, value in os.environ.items() if VARIABLES.fullmatch(name)}
        return handed | {
            "HOME": "/root",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }


class Packages:
    """The packages that are installed here."""

    def __init__(self) -> None:
        self.essential: set[str] = set()
        self.needs: dict[str, list[list[str]]] = {}
        self._givers: dict[str, list[str]] = {}
        fields = ("Package", "Essential", "db:Status-Abbrev", "Pre-Depends", "Depends", "Provides")
        form = "\t".join(f"${{{field}}}" for field in fields)
        for line in _lines(["dpkg-query", "--show", f"--showformat={form}\n"]):
            name, essential, status, before, needs, gives = line.split("\t")
            if not status.startswith("ii"):
                continue
            if essential == "yes":
                self.essential.add(name)
            self.needs[name] = [list(_names(group, "|")) for group in f"{before},{needs}".split(",") if group.strip()]
            for given in _names(gives, ","):
                self._givers.setdefault(given, []).append(name)

    def giving(self, name: str) -> list[str]:
        """The package of that name, or those that provide it."""
        return [name] if name in self.needs else self._givers.get(name, [])


def closure(packages: Packages, names: Iterable[str]) -> list[str]:
    """The essential packages, those of these names, and all that they depend on."""
    for name in names:
        require("" if packages.giving(name) else f"the package {name} is not installed")
    found: set[str] = set()
    wanted = [*packages.essential, *names]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        for giver in packages.giving(name):
            found.add(giver)
            for alternatives in packages.needs[giver]:
                givers = next(filter(None, map(packages.giving, alternatives)), [])
                wanted += [other for other in givers if other not in found]
    return sorted(found)


def files_of(packages: Iterable[str], more: Iterable[str]) -> list[str]:
    """The names, without the first slash, of the packages' files, of what their scripts made, and of others."""
    listed = [*_lines(["dpkg-query", "--listfiles", *packages]), *more]
    names = [name for name in listed if name.startswith("/") and not UNREAD.match(name) and os.path.lexists(name)]
    kept = {_resolved(name)[1:] for name in names if not os.path.isdir(name) or os.path.islink(name)}
    return sorted(kept | {name for name in (*MADE, *NAMES) if Path("/", name).exists()})


def require_registries(directory: Path) -> None:
    """SkipTest or AssertionError where pip or npm does not reach its registry: each asks for one small package."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"]
    asks = {
        "pip": [*pip, "download", "--no-deps", "--no-cache-dir", f"--dest={directory}", "idna"],
        "npm": ["npm", "view", "--fetch-retries=1", "--fetch-timeout=20000", "socket.io-client", "version"],
    }
    for name, command in asks.items():
        asked = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        told = (asked.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        require(f"{name} does not reach its registry ({told})" if asked.returncode else "")


def owner(program: str) -> str:
    """The package that a program is of. SkipTest or AssertionError where it is of none."""
    for path in dict.fromkeys((program, os.path.realpath(program))):
        with contextlib.suppress(subprocess.CalledProcessError):
            return _lines(["dpkg-query", "--search", path])[0].partition(":")[0]
    require(f"{program} is of no Debian package")
    raise AssertionError


def _names(text: str, separator: str) -> Iterator[str]:
    """The names in a field of dependencies, without versions and architectures."""
    for part in text.split(separator):
        if part.strip():
            yield re.split(r"[ (:\[]", part.strip())[0]


def _resolved(name: str) -> str:
    """Where a file really is: ``/bin`` is a link to ``/usr/bin``."""
    directory, _, last = name.rpartition("/")
    return f"{os.path.realpath(directory or '/').rstrip('/')}/{last}"


def _lines(command: list[str]) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE, cwd=REPOSITORY)
    return done.stdout.splitlines()
