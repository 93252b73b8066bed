"""Builds the Debian package, for the release of Debian that runs this: dist/kschat_VERSION_ARCHITECTURE.deb.

    python tools/make_deb.py [--output DIRECTORY] [--compression gzip]       (or `make deb`)

In /usr/lib/kschat is a virtual environment of Debian's own Python, with the packages of requirements.lock, by their
hashes; beside it the units, man pages and so on of deploy/, at the paths of a package. To install it needs no index.

The package is the same whenever it is built: files have the time SOURCE_DATE_EPOCH, or that of the last commit. Needs
dpkg-deb, Debian's python3, and an index of packages.
"""

import argparse
import base64
import csv
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from email.utils import formatdate
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DEBIAN = DEPLOY / "debian"
LOCK = DEPLOY / "container" / "requirements.lock"

#: Where the virtual environment is.
HOME: Final = "usr/lib/kschat"

#: Of the programs that come with the packages, those that are the daemon's.
PROGRAMS: Final = ("kschat", "twistd")

#: File of deploy/ -> its path in the package. Documents and examples are listed in ``_documents``.
PLACES: Final[Mapping[str, str]] = {
    "debian/kschat.toml": "etc/kschat/kschat.toml",
    "logrotate.conf": "etc/logrotate.d/kschat",
    "kschat.sysusers": "usr/lib/sysusers.d/kschat.conf",
    "kschat.tmpfiles": "usr/lib/tmpfiles.d/kschat.conf",
    "kschat.socket": "usr/lib/systemd/system/kschat.socket",
    "kschat@.socket": "usr/lib/systemd/system/kschat@.socket",
    "completion/kschat.bash": "usr/share/bash-completion/completions/kschat",
    "completion/_kschat": "usr/share/zsh/vendor-completions/_kschat",
    "completion/kschat.fish": "usr/share/fish/vendor_completions.d/kschat.fish",
    "debian/README.Debian": "usr/share/doc/kschat/README.Debian",
    "debian/lintian-overrides": "usr/share/lintian/overrides/kschat",
}

#: Files of deploy/ that an administrator copies.
EXAMPLES: Final = (
    *("nginx.conf", "nginx-path.conf", "haproxy.cfg", "haproxy-path.cfg", "apache.conf", "apache-path.conf"),
    *("prometheus-rules.yml", "grafana-dashboard.json", "litestream.yml", "kschat@.service.d/socket.conf"),
)

#: What administrators may change: dpkg keeps their version.
CONFFILES: Final = ("etc/kschat/kschat.toml", "etc/logrotate.d/kschat")

SCRIPTS: Final = ("postinst", "prerm", "postrm")

#: What differs in a unit of the package: settings and secret come from one file, which an administrator edits.
UNIT_CHANGES: Final = (
    (r"\A(?:#.*\n)+", "# Settings: /etc/kschat/kschat.toml, see /usr/share/doc/kschat/README.Debian.\n"),
    (r"Documentation=.*", "Documentation=man:kschat(1) file:///usr/share/doc/kschat/configuration.md"),
    (r"WorkingDirectory=/opt/kschat\n", "WorkingDirectory=/var/lib/kschat\n"),
    (r"ExecStart=/opt/kschat/\.venv/bin/", f"ExecStart=/{HOME}/bin/"),
    (r"LoadCredential=.*\nEnvironment=KSCHAT_SECRET_FILE=.*\n", "Environment=KSCHAT_CONFIG=/etc/kschat/kschat.toml\n"),
    (r" \(A LoadCredential is [^)]*\)\n", "\n"),
)

#: What differs in one of them besides.
MORE_CHANGES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "kschat.service": ((r"Environment=KSCHAT_STORE=.*\n", ""),),
    "kschat@.service": ((r"(?m)^(EnvironmentFile=)/", r"\1-/"),),
}


class Unbuildable(Exception):
    """The package cannot be built on this machine: the reason, as a sentence."""


class BuildFailed(Exception):
    """A program failed: what it printed."""


#: What a tree has that is not its source.
LITTER: Final = (
    *(".git", ".venv*", "node_modules", "build", "dist", "*.egg-info", "_trial_temp*", "__pycache__", "dropin.cache"),
    *(".mypy_cache", ".ruff_cache", ".hypothesis", "*.db", "*.db-*"),
)


def packaged_unit(name: str) -> str:
    """A unit of deploy/ as it is in the package."""
    text = (DEPLOY / name).read_text("utf-8")
    for pattern, new in (*UNIT_CHANGES, *MORE_CHANGES[name]):
        text, count = re.subn(pattern, new, text)
        if count != 1:
            raise AssertionError(f"{name} has {count} times {pattern}")
    return text


def release(system: Mapping[str, str], version: str) -> str:
    """The version of the package: that of kschat, and the release for which it is, since its Python is that one's."""
    distribution = system["ID"].replace("debian", "deb")
    return f"{version}+{distribution}{system.get('VERSION_ID', '')}"


def system() -> dict[str, str]:
    """What /etc/os-release says. Raises ``Unbuildable`` elsewhere than on Debian and its kin."""
    try:
        text = Path("/etc/os-release").read_text("utf-8")
    except OSError:
        text = ""
    said = dict(re.findall(r'(?m)^(\w+)="?(.*?)"?$', text))
    if "debian" not in (said.get("ID", ""), *said.get("ID_LIKE", "").split()):
        raise Unbuildable("a Debian package is built on Debian or a system like it")
    return said


def epoch() -> int:
    """The time of all files: SOURCE_DATE_EPOCH, else of the last commit, else of the list of changes."""
    if said := os.environ.get("SOURCE_DATE_EPOCH", ""):
        return int(said)
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    ended = subprocess.run(git, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if ended is not None and ended.returncode == 0 and ended.stdout.strip():
        return int(ended.stdout)
    return int((ROOT / "CHANGELOG.md").stat().st_mtime)


def libc_of(tags: Iterator[str]) -> str:
    """The least version of glibc that wheels with these tags need."""
    found = [(2, 17)]
    for tag in tags:
        found += [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", tag)]
    return ".".join(map(str, max(found)))


class Package:
    """The tree of a package below ``root``, which has the files as they will be installed.

    Args:
        root: an empty directory.
        python: Debian's Python.
        time: of each file, in seconds since 1970.
    """

    def __init__(self, root: Path, python: str, time: int) -> None:
        self.root = root
        self._time = time
        ask = "import sys; print(*sys.version_info[:3])"
        try:
            major, minor, micro = _run([python, "-I", "-c", ask]).split()
        except FileNotFoundError:
            raise Unbuildable(f"{python} is not there: install python3") from None
        if (int(major), int(minor)) < (3, 11):
            raise Unbuildable(f"kschat needs Python 3.11 or newer, and {python} is {major}.{minor}")
        self.python = f"python{major}.{minor}"
        self._version = f"{major}.{minor}.{micro}"
        self.packages = root / HOME / "lib" / self.python / "site-packages"

    def build(self, version: str, wheel: Path) -> None:
        """Puts in everything but DEBIAN/."""
        self._environment()
        self._install("--require-hashes", "--only-binary=:all:", "--requirement", str(LOCK))
        self._install("--no-index", str(wheel))
        self._run_pip("check")
        self._keep_programs()
        self._forget_places()
        link = self.root / "usr/bin/kschat"
        link.parent.mkdir(parents=True)
        link.symlink_to(f"../lib/{Path(HOME).name}/bin/kschat")
        for source, target in PLACES.items():
            self.write(target, (DEPLOY / source).read_bytes())
        for name in MORE_CHANGES:
            self.write(f"usr/lib/systemd/system/{name}", packaged_unit(name).encode())
        for page in sorted((DEPLOY / "man").iterdir()):
            self.write(f"usr/share/man/man1/{page.name}.gz", _gzipped(page.read_bytes()))
        self._documents(version)

    def control(self, version: str, architecture: str) -> None:
        """Puts in DEBIAN/: what dpkg reads."""
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file() and not path.is_symlink()]
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(self.root)}\n" for path in files]
        fields = {
            "version": version,
            "architecture": architecture,
            # In units of 1024 bytes, each file's size rounded up: Debian Policy, 5.6.20.
            "size": sum(-(-path.stat().st_size // 1024) for path in files),
            "python": self.python,
            "libc": libc_of(path.read_text("utf-8") for path in sorted(self.packages.glob("*.dist-info/WHEEL"))),
        }
        self.write("DEBIAN/control", (DEBIAN / "control").read_text("utf-8").format(**fields).encode())
        self.write("DEBIAN/conffiles", "".join(f"/{name}\n" for name in CONFFILES).encode())
        self.write("DEBIAN/md5sums", "".join(sums).encode())
        for name in SCRIPTS:
            self.write(f"DEBIAN/{name}", (DEBIAN / name).read_bytes())
            (self.root / "DEBIAN" / name).chmod(0o755)
        for path in (self.root, *self.root.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
            os.utime(path, (self._time, self._time), follow_symlinks=False)

    def write(self, name: str, content: bytes) -> None:
        """A file that everybody may read."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)

    def _environment(self) -> None:
        """What ``python -m venv`` makes, without the paths of this machine."""
        programs = self.root / HOME / "bin"
        programs.mkdir(parents=True)
        self.packages.mkdir(parents=True)
        (programs / "python3").symlink_to(f"/usr/bin/{self.python}")
        (programs / "python").symlink_to("python3")
        settings = ("home = /usr/bin", "include-system-site-packages = false", f"version = {self._version}")
        self.write(f"{HOME}/pyvenv.cfg", "".join(f"{line}\n" for line in settings).encode())

    def _install(self, *what: str) -> None:
        self._run_pip("install", "--quiet", "--no-deps", "--no-compile", *what)

    def _run_pip(self, *arguments: str) -> None:
        python = str(self.root / HOME / "bin" / "python3")
        # What PYTHONPATH names would count as installed, and so be missing in the package.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        _run([sys.executable, "-m", "pip", "--python", python, *arguments], environ)

    def _keep_programs(self) -> None:
        """Only the daemon's programs, which run by the Python of the installed package."""
        for path in (self.root / HOME / "bin").iterdir():
            if path.is_symlink():
                continue
            if path.name not in PROGRAMS:
                path.unlink()
                continue
            _, _, rest = path.read_bytes().partition(b"\n")
            path.write_bytes(f"#!/{HOME}/bin/python3\n".encode() + rest)
            path.chmod(0o755)

    def _forget_places(self) -> None:
        """No path of this machine, and no file that is not one of the package."""
        # Where the tree was built, nothing was at the other end of a relative link.
        python = self.root / HOME / "bin" / "python3"
        python.unlink()
        python.symlink_to(f"../../../bin/{self.python}")
        for path in [*self.root.rglob("__pycache__"), *self.root.rglob("dropin.cache")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)
        for record in self.packages.glob("*.dist-info/RECORD"):
            # The address of a wheel that was a file.
            (record.parent / "direct_url.json").unlink(missing_ok=True)
            with record.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if (self.packages / row[0]).is_file()]
            with record.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(self._recorded(row) for row in rows)

    def _recorded(self, row: list[str]) -> list[str]:
        """A line of RECORD, by what the file is now."""
        if not row[1]:
            return row
        content = (self.packages / row[0]).read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        return [row[0], f"sha256={digest}", str(len(content))]

    def _documents(self, version: str) -> None:
        place = "usr/share/doc/kschat"
        for page in sorted((ROOT / "docs").glob("*.md")):
            self.write(f"{place}/{page.name}", page.read_bytes())
        self.write(f"{place}/CHANGES.md.gz", _gzipped((ROOT / "CHANGELOG.md").read_bytes()))
        date = formatdate(self._time)
        entry = f"kschat ({version}) stable; urgency=medium\n\n  * See CHANGES.md.\n\n -- {{}}  {date}\n"
        maintainer = re.findall(r"(?m)^Maintainer: (.*)$", (DEBIAN / "control").read_text("utf-8"))[0]
        self.write(f"{place}/changelog.gz", _gzipped(entry.format(maintainer).encode()))
        self.write(f"{place}/copyright", self._copyright().encode())
        for name in EXAMPLES:
            self.write(f"{place}/examples/{name}", (DEPLOY / name).read_bytes())

    def _copyright(self) -> str:
        """kschat's licence, and the name of the licence of each package that comes with it."""
        head = (DEBIAN / "copyright").read_text("utf-8").rstrip("\n")
        lines = []
        for path in sorted(self.packages.glob("*.dist-info/METADATA")):
            about = HeaderParser().parsestr(path.read_text("utf-8"))
            if about["Name"] != "kschat":
                kinds = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if "License" in one]
                said = about["License-Expression"] or ", ".join(kinds) or (about["License"] or "").partition("\n")[0]
                lines.append(f" {about['Name']} {about['Version']}: {said or 'see its files'}\n")
        licence = [f" {line or '.'}\n" for line in (ROOT / "LICENSE").read_text("utf-8").splitlines()]
        return head.format(packages="".join(lines), licence="".join(licence))


def make(output: Path, python: str, compression: str) -> Path:
    """Builds the package. Returns its path.

    Args:
        output: the directory for it.
        python: Debian's Python.
        compression: for ``dpkg-deb -Z``: ``xz``, ``gzip``.

    Raises:
        Unbuildable: this machine lacks something.
        BuildFailed: a program failed.
    """
    if shutil.which("dpkg-deb") is None:
        raise Unbuildable("dpkg-deb is not there: it is in Debian's package dpkg")
    time = epoch()
    with tempfile.TemporaryDirectory(prefix="kschat-deb-") as name:
        place = Path(name)
        package = Package(place / "root", python, time)
        environ = os.environ | {"SOURCE_DATE_EPOCH": str(time)}
        # A copy, since a build writes into the tree: nothing else that builds it, or reads it, is disturbed.
        source = shutil.copytree(ROOT, place / "source", ignore=shutil.ignore_patterns(*LITTER))
        _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", name, str(source)], environ)
        (wheel,) = place.glob("*.whl")
        version = release(system(), wheel.name.split("-")[1])
        package.build(version, wheel)
        architecture = _run(["dpkg", "--print-architecture"]).strip()
        package.control(version, architecture)
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"kschat_{version}_{architecture}.deb"
        build = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build"]
        _run([*build, str(package.root), str(path)], environ)
    return path


def _run(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BuildFailed(f"{' '.join(command[:4])} failed: {(ended.stderr or ended.stdout).strip()[-2000:]}")
    return ended.stdout


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the Debian package.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--compression", default="xz", choices=("gzip", "xz", "zstd"))
    wanted = parser.parse_args()
    try:
        print(make(wanted.output, wanted.python, wanted.compression))
    except (Unbuildable, BuildFailed) as error:
        sys.exit(f"make_deb: {error}")
