"""A root directory that has the files of some Debian packages and of those they depend on, and nothing else.

What it makes: a root in memory, some 500 MB, with a clean clone in the home directory, and a shell in it. The files of
the packages are copied from this machine, as their lists name them, so nothing is fetched and no base system is
unpacked. What is on the machine beside them is not there: other packages, ``/usr/local``, homes, caches, environments.
Mounts and processes are in namespaces of the shell: the kernel ends both with it, however the test ends.

What it needs: Debian, its packages of ``PACKAGES``, Node.js and npm from a package, leave to make namespaces and to
mount in them, and registries of pip and npm. Where the machine lacks any of it, the test is skipped with a sentence.
The network is the machine's. pip and npm reach their registries as the machine's own do: their configuration, and the
files that it names, are shown in the root, and can only be read there.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import which
from typing import Final
from urllib.parse import unquote

from tests.support.needs import allowed_skip
from tests.support.pages import PATIENCE, Command, Place, Shell

#: Beside the essential packages, which every Debian has: what README.md says that kschat needs, and certificates.
PACKAGES: Final = ("python3", "python3-venv", "make", "ca-certificates")

#: Documentation, which nothing here reads.
UNREAD: Final = re.compile(r"/usr/share/(doc|man|info|locale|lintian)/")

#: What the packages' scripts made after their files were unpacked, and how the machine finds the names of others.
MADE: Final = ("etc/ssl/certs", "etc/alternatives", "etc/resolv.conf", "etc/hosts", "etc/nsswitch.conf")

#: Files that configure pip and npm.
CONFIGURATION: Final = (
    *("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf"),
    *("/etc/npmrc", "/usr/etc/npmrc", "~/.npmrc"),
)

#: Variables that configure pip, npm and what they use to reach others.
VARIABLES: Final = re.compile(r"(?i)(pip|npm_config)_.*|(https?|all|no)_proxy|.*_ca_.*|ssl_cert_.*|.*_ca_bundle")

#: Makes the root and executes a command in it. Arguments: the root, which is empty; a list of the files to copy; the
#: clone; how many files and directories to show, these; the command.
ENTER: Final = """
set -e
root=$1 files=$2 clone=$3 shown=$4
shift 4
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir -p "$root$HOME"
cd "$root"
mkdir -p dev etc home opt proc run srv sys usr/local/bin
mkdir -p -m 1777 tmp var/tmp
for name in bin sbin lib lib32 lib64 libx32; do
    test ! -L "/$name" || { mkdir -p "usr/$name" && ln -s "usr/$name" "$name"; }
done
tar --create --directory=/ --null --files-from="$files" --file=- | tar --extract --no-same-owner
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
cp -R "$clone" "$root$HOME/kschat"
while test "$shown" -gt 0; do
    if test -d "$1"; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}"; test -e "$root$1" || : > "$root$1"; fi
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
    shown=$((shown - 1))
    shift
done
mount --rbind /dev dev
mount -t proc proc proc
exec chroot "$root" env --chdir="$HOME/kschat" "$@"
"""

#: Asks the registries for one package each that README.md needs, with the root's own pip and npm.
ASK: Final = """\
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' && python3 -m venv /tmp/asked &&
/tmp/asked/bin/pip --retries 1 --timeout 20 download --quiet --no-deps --dest /tmp/asked autobahn &&
npm view --fetch-retries=1 --fetch-timeout=20000 socket.io-client version"""


class BareRoot(Place):
    """A bare root, which is there as long as a shell in it.

    Args:
        directory: where the files are that the root is made of.

    Raises:
        SkipTest: the machine lacks something that it takes.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory).absolute()
        programs = {name: which(name) for name in ("apt-cache", "dpkg-query", "unshare", "tar", "node", "npm")}
        lacking = [name for name, path in programs.items() if path is None]
        allowed_skip(f"programs are not installed: {', '.join(lacking)}" if lacking else "")
        self.clone = self._directory / "kschat"
        self._root = self._directory / "root"
        self._root.mkdir(parents=True)
        self._files = self._directory / "files"
        self._files.write_text("\0".join(_files(str(programs["node"]), str(programs["npm"]))))
        self._clone()

    def shell(self) -> Shell:
        """A shell in the clone, whose end is the root's. SkipTest where the root cannot be made."""
        shell = Shell(self)
        try:
            shell.run(Command("true"))
        except AssertionError as error:
            shell.end()
            allowed_skip(f"a root cannot be made: {_told(str(error))}")
        return shell

    def require_registries(self) -> None:
        """SkipTest where pip or npm in such a root does not reach its registry, or Python there is too old."""
        shell = self.shell()
        try:
            shell.run(Command(ASK))
        except AssertionError as error:
            allowed_skip(f"pip or npm does not reach its registry: {_told(str(error))}")
        finally:
            shell.end()

    @property
    def command(self) -> list[str]:
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        shown = _shown(self.environment)
        return [
            *("unshare", *as_root, "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"),
            *(str(self._root), str(self._files), str(self.clone), str(len(shown)), *shown),
            *super().command,
        ]

    @property
    def environment(self) -> Mapping[str, str]:
        handed = {name: value for name, value in os.environ.items() if VARIABLES.fullmatch(name)}
        return handed | {
            "HOME": os.path.expanduser("~"),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    def adapted(self, text: str) -> str:
        """A command, with ports that are free here: the machine's network is not hidden."""
        return self._with_ports(text)


def _files(*programs: str) -> Iterable[str]:
    """The names, without the first slash, of the files of all packages that there are to be.

    Args:
        programs: paths of programs whose packages are wanted too.
    """
    owners = []
    for path in programs:
        found = _lines("dpkg-query", "--search", path) or _lines("dpkg-query", "--search", os.path.realpath(path))
        allowed_skip("" if found else f"{path} is of no Debian package")
        owners.append(found[0].partition(":")[0])
    known = _lines("dpkg-query", "--show", "--showformat=${Essential} ${Package}\\n")
    wanted = [*PACKAGES, *owners, *(line[4:] for line in known if line.startswith("yes "))]
    no = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    tree = _lines("apt-cache", "depends", "--recurse", "--installed", *no, *wanted)
    packages = [line for line in tree if re.match(r"\w", line)]
    lacking = set(wanted).difference(packages)
    allowed_skip(f"Debian's packages are not installed: {', '.join(sorted(lacking))}" if lacking else "")
    # Of the names that the tree has for what others provide, such as awk, there is no list.
    listed = [name for name in _lines("dpkg-query", "--listfiles", *packages) if not UNREAD.match(name)]
    yield from (name[1:] for name in listed if os.path.islink(name) or os.path.isfile(name))
    yield from (name for name in MADE if os.path.lexists(f"/{name}"))
    # npm can have renewed itself: then its directory has other files than its package lists.
    yield os.path.realpath(programs[-1]).removesuffix("/bin/npm-cli.js")[1:]


def _shown(environment: Mapping[str, str]) -> list[str]:
    """The files that configure pip and npm, those that they and variables name, and pip's directories of packages."""
    files = [path for path in map(os.path.expanduser, CONFIGURATION) if os.path.isfile(path)]
    said = [(path, Path(path).read_text("utf-8")) for path in files]
    said += [(name.lower(), value) for name, value in environment.items() if VARIABLES.fullmatch(name)]
    shown = dict.fromkeys(files)
    for where, text in said:
        for word in re.split(r'[\s="]+', text):
            # An index in a directory names files beside it.
            path = os.path.dirname(unquote(word[7:])) if word.startswith("file:///") else word
            if path.startswith("/") and (os.path.isfile(path) or ("pip" in where and os.path.isdir(path))):
                shown[path] = None
    return list(shown)


def _told(text: str) -> str:
    """The end of what a command printed, in one line."""
    return " ".join(text.split())[-300:] or "no reason was given"


def _lines(*command: str) -> list[str]:
    """What a command prints. One that fails prints what it has."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout.splitlines()
