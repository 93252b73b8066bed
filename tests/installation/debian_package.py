"""The Debian package in a root made by debootstrap: installed, it serves; purged, it leaves nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.e2e.deployed import DeployedTestCase
from tests.support import require_node
from tests.support.daemon import Daemon
from tests.support.debian import DebianRoot
from tests.support.needs import require_program
from tests.support.sandbox import directives
from tools import make_deb

PYTHON = "/usr/bin/python3"

#: Debian's own, whose tags for lintian say what a package must not have.
LINTIAN = ("lintian", "--fail-on=error,warning", "--tag-display-limit=0", "--allow-root")


class Installed(Daemon):
    """The daemon as its unit in a root says."""

    def __init__(self, root: DebianRoot, secret: str) -> None:
        super().__init__({}, secret)
        self._root = root
        self._unit = root.path / "usr/lib/systemd/system/kschat.service"

    async def begin(self, test: DeployedTestCase) -> None:
        """Start it; it ends with the test."""
        test.addCleanup(self._end)
        await self._spawn()

    def _command(self) -> list[str]:
        (command,), (user,) = directives(self._unit, "ExecStart"), directives(self._unit, "User")
        return self._root.command(*command.split(), user=f"{user}:{user}")

    def _place(self) -> tuple[dict[str, str], str]:
        (file,) = directives(self._unit, "EnvironmentFile")
        said = directives(self._unit, "Environment")
        said += (self._root.path / file.lstrip("-/")).read_text().splitlines()
        own = dict(line.split("=", 1) for line in said)
        return {**self._root.environment(), "PYTHONUNBUFFERED": "1", **own}, str(self._root.path)


class TestPackage(DeployedTestCase):
    timeout = 900

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="kschat-deb-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)

    async def test_it_serves_and_leaves_nothing(self) -> None:
        require_node()
        root = await deferToThread(DebianRoot, self.place / "root")
        package = await deferToThread(make_deb.make, self.place, PYTHON, "gzip")
        before = await deferToThread(root.listing)
        self.assertEqual([], [path for path in before if "kschat" in path])
        await self.install(root, package)
        secret_file = root.path / "etc/kschat/secret"
        secret = secret_file.read_text().strip()
        self.assertEqual(0o640, secret_file.stat().st_mode & 0o777)
        self.assertEqual(
            "", root.run("sh", "-c", "kschat check-config --config /etc/kschat/kschat.toml 2>&1 >/dev/null")
        )
        await self.assert_serves(root, secret)
        self.assertTrue((root.path / "var/lib/kschat/kschat.db").is_file())
        # An upgrade keeps what the administrator changed, and removal what there is to keep.
        settings = root.path / "etc/kschat/kschat.toml"
        settings.write_text(settings.read_text() + 'log_level = "warn"\n')
        await self.install(root, package)
        self.assertIn('log_level = "warn"', settings.read_text())
        root.run("dpkg", "--remove", "kschat")
        left = sorted(str(path.relative_to(root.path)) for path in root.path.glob("usr/**/*kschat*"))
        self.assertEqual([], left)
        self.assertEqual(secret, secret_file.read_text().strip())
        self.assertTrue((root.path / "var/lib/kschat/kschat.db").is_file())
        await self.install(root, package)
        self.assertEqual(secret, secret_file.read_text().strip())
        root.run("dpkg", "--purge", "kschat")
        after = await deferToThread(root.listing)
        self.assertEqual({}, {path: said for path, said in after.items() if before.get(path) != said})
        self.assertEqual(set(), set(before) - set(after))

    async def install(self, root: DebianRoot, package: Path) -> None:
        """By dpkg, as apt does."""
        copy = root.path / "root" / package.name
        shutil.copy(package, copy)
        said = await deferToThread(root.run, "dpkg", "--install", f"/root/{package.name}")
        self.assertNotRegex(said, "(?i)warning|error")
        copy.unlink()

    async def assert_serves(self, root: DebianRoot, secret: str) -> None:
        """The page and two clients, started as the unit says."""
        daemon = Installed(root, secret)
        settings = root.path / "etc/kschat/environment"
        settings.write_text(f"KSCHAT_LISTEN=tcp:{daemon.port}:interface=127.0.0.1\n")
        await daemon.begin(self)
        await daemon.ready_becomes("ready")
        await self.assert_serves_the_page(daemon.url, secret)
        await self.assert_two_clients_chat(daemon, daemon, secret)
        self.assertEqual(0, await daemon.stop())
        self.assertEqual([], daemon.faults)
        self.assertNotRegex(daemon.log, "(?i)warning|plugin cache|Traceback")

    def test_lintian_finds_nothing(self) -> None:
        require_program("lintian")
        package = make_deb.make(self.place, PYTHON, "gzip")
        ended = subprocess.run([*LINTIAN, str(package)], capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual((0, []), (ended.returncode, re.findall(r"(?m)^[EW]: .*", ended.stdout)))

    def test_it_is_the_same_whenever_it_is_built(self) -> None:
        one, other = [make_deb.make(self.place / name, PYTHON, "gzip") for name in ("one", "other")]
        self.assertEqual(one.name, other.name)
        self.assertTrue(one.read_bytes() == other.read_bytes(), "two builds differ")
