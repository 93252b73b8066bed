"""The Debian package without a Debian root: what is in it, and whether dpkg, systemd and Debian's Python accept it.

``make deb-test`` installs it, uses it and purges it (``tests.installation.debian_package``).
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kschat import __version__
from kschat.settings import load
from tests.support.needs import allowed_skip, require, require_program
from tests.support.sandbox import directives
from tests.test_deploy import EXPOSURE, require_systemd
from tools import make_deb

PYTHON = "/usr/bin/python3"
PATIENCE = 300

#: What shows that the packages and kschat run by Debian's own Python, and that each store can be used.
IMPORTS = """
import site, sys
site.addsitedir(sys.argv[1])
import cryptography.hazmat.bindings._rust, hiredis, kschat.tap, msgspec, psycopg, twisted.plugin
from twisted.application.service import IServiceMaker
found = twisted.plugin.getPlugins(IServiceMaker)
print([one.tapname for one in found if "kschat" in one.module], kschat.__file__)
"""


@functools.cache
def package() -> Path:
    """The package, built once, until trial ends. SkipTest where it cannot be built."""
    # By trial's process, in whose directory it stays until the next run.
    place = Path(tempfile.mkdtemp(prefix="deb-", dir=".")).absolute()
    try:
        return make_deb.make(place, PYTHON, "gzip")
    except make_deb.Unbuildable as error:
        allowed_skip(str(error))
    except make_deb.BuildFailed as error:
        # Elsewhere than in CI there may be no network.
        require(str(error) if "No matching distribution" in str(error) else "")
        raise
    raise AssertionError


class TestPackage(SynchronousTestCase):
    """Members, and what each is for."""

    def setUp(self) -> None:
        self.package = package()
        self.root = Path(self.mktemp()).absolute()

    def run_program(self, *command: str) -> str:
        """What is printed. AssertionError where a program fails."""
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout

    def unpack(self) -> None:
        """The files, as dpkg would put them below ``root``, and DEBIAN/."""
        self.run_program("dpkg-deb", "--raw-extract", str(self.package), str(self.root))

    def test_dpkg_reads_what_it_is(self) -> None:
        said = self.run_program("dpkg-deb", "--field", str(self.package))
        fields = dict(re.findall(r"(?m)^([\w-]+): (.*)$", said))
        self.assertEqual((fields["Package"], fields["Version"].partition("+")[0]), ("kschat", __version__))
        self.assertRegex(
            fields["Depends"], r"^python3, python3\.\d+, libc6 \(>= 2\.\d+\), libgcc-s1, libstdc\+\+6, passwd$"
        )
        listed = self.run_program("dpkg-deb", "--contents", str(self.package)).splitlines()
        self.assertEqual({line.split()[1] for line in listed}, {"root/root"})
        for line in listed:
            self.assertRegex(line, r"^(d|-|l)rw[xr-]r-[xr-]r-|^lrwxrwxrwx", line)

    def test_each_member_is_whole(self) -> None:
        self.unpack()
        lines = (self.root / "DEBIAN/md5sums").read_text().splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name, digest in sums.items():
            self.assertEqual(hashlib.md5((self.root / name).read_bytes()).hexdigest(), digest, name)
        for name in (self.root / "DEBIAN/conffiles").read_text().split():
            self.assertIn(name.lstrip("/"), sums)
        for name in make_deb.SCRIPTS:
            self.run_program("sh", "-n", str(self.root / "DEBIAN" / name))
        for page in (make_deb.DEPLOY / "man").iterdir():
            packed = self.root / f"usr/share/man/man1/{page.name}.gz"
            self.assertEqual(gzip.decompress(packed.read_bytes()), page.read_bytes())
        self.assertEqual(os.readlink(self.root / "usr/bin/kschat"), "../lib/kschat/bin/kschat")

    def test_it_names_no_place_of_the_machine_that_built_it(self) -> None:
        self.unpack()
        places = [str(make_deb.ROOT).encode(), tempfile.gettempdir().encode() + b"/kschat-deb-"]
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                self.assertFalse([one for one in places if one in content], path)
        programs = [path.name for path in (self.root / make_deb.HOME / "bin").iterdir()]
        self.assertEqual(sorted(programs), ["kschat", "python", "python3", "twistd"])
        for name in make_deb.PROGRAMS:
            first, _, _ = (self.root / make_deb.HOME / "bin" / name).read_text().partition("\n")
            self.assertEqual(first, f"#!/{make_deb.HOME}/bin/python3")

    def test_dpkg_unpacks_it(self) -> None:
        allowed_skip("" if os.geteuid() == 0 else "only root unpacks by dpkg")
        admin = self.root / "var/lib/dpkg"
        for name in ("info", "updates", "triggers"):
            (admin / name).mkdir(parents=True)
        (admin / "status").touch()
        options = ["--force-depends", "--force-script-chrootless", f"--root={self.root}", "--log=/dev/null"]
        self.run_program("dpkg", *options, "--unpack", str(self.package))
        self.assertIn("kschat", self.run_program("dpkg-query", f"--root={self.root}", "--listfiles", "kschat"))
        # What differs from the package's own sums is listed. Only when it is configured, settings are put in place.
        ended = subprocess.run(
            ["dpkg", f"--root={self.root}", "--verify", "kschat"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        settings = {f"missing   c /{name}" for name in make_deb.CONFFILES}
        self.assertEqual((set(ended.stdout.splitlines()), ended.stderr), (settings, ""))

    def test_debian_s_python_runs_what_is_in_it(self) -> None:
        self.unpack()
        (packages,) = (self.root / make_deb.HOME / "lib").glob("python*/site-packages")
        said = self.run_program(PYTHON, "-I", "-S", "-B", "-c", IMPORTS, str(packages))
        self.assertEqual(said.split(" ", 1), ["['kschat']", f"{packages}/kschat/__init__.py\n"])

    def test_systemd_understands_its_units(self) -> None:
        analyze = require_systemd("systemd-analyze")
        self.unpack()
        units = self.root / "usr/lib/systemd/system"
        for kind in ("target", "slice"):
            for path in Path("/usr/lib/systemd/system").glob(f"*.{kind}"):
                shutil.copy(path, units)
        for name in ("usr/bin/kill", f"usr/bin/{next((self.root / make_deb.HOME / 'lib').iterdir()).name}"):
            (self.root / name).touch(0o755)
        for name in ("kschat.service", "kschat.socket", "kschat@3001.service", "kschat@3001.socket"):
            self.run_program(analyze, "verify", f"--root={self.root}", "--man=no", name)
        for name in make_deb.MORE_CHANGES:
            text = (units / name).read_text()
            self.assertNotIn("/opt/", text)
            self.assertNotIn("Credential", text)
            self.assertEqual(directives(units / name, "ExecStart"), ["/usr/lib/kschat/bin/twistd -n --pidfile= kschat"])
            threshold = f"--threshold={EXPOSURE}"
            self.run_program(analyze, "security", "--offline=true", threshold, "--no-pager", str(units / name))


class TestSettings(SynchronousTestCase):
    """deploy/debian/kschat.toml."""

    def test_the_daemon_reads_them(self) -> None:
        secret = Path(self.mktemp()).absolute()
        secret.write_text("Zk3-vJ9qXw_7LmTd0RbYc5NfHs2GpUeA")
        copy = secret.with_suffix(".toml")
        text = (make_deb.DEBIAN / "kschat.toml").read_text("utf-8")
        copy.write_text(text.replace("/etc/kschat/secret", str(secret)))
        config = load({}, {"KSCHAT_CONFIG": str(copy)})
        self.assertEqual(config.store, "sqlite:/var/lib/kschat/kschat.db")
        self.assertIn("127.0.0.1", config.listen)
        # Those that are shown as comments are settings too.
        copy.write_text(re.sub(r"(?m)^#(\w+ = )", r"\1", text).replace("/etc/kschat/secret", str(secret)))
        config = load({}, {"KSCHAT_CONFIG": str(copy)})
        self.assertTrue(config.origins and config.trusted_proxies)


class TestLibc(SynchronousTestCase):
    def test_the_newest_that_a_wheel_needs(self) -> None:
        tags = ["Tag: cp311-cp311-manylinux_2_17_x86_64", "Tag: cp311-abi3-manylinux_2_34_x86_64", "Tag: py3-none-any"]
        self.assertEqual(make_deb.libc_of(iter(tags)), "2.34")

    def test_a_release_sorts_before_its_successor(self) -> None:
        require_program("dpkg")
        old, new = (make_deb.release({"ID": "debian", "VERSION_ID": one}, "0.1.0") for one in ("12", "13"))
        ended = subprocess.run(["dpkg", "--compare-versions", old, "lt", new], check=False, timeout=PATIENCE)
        self.assertEqual((old, ended.returncode), ("0.1.0+deb12", 0))
