"""An earlier version out of the version control, and a daemon that runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from unittest import mock

from twisted.internet.threads import deferToThread
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from chaos.daemon import Daemon, DaemonFailed
from chaos.options import PREVIOUS, parse
from chaos.versions import Version, VersionMissing, latest
from kschat import __version__
from tests.support.launch import REPOSITORY, free_port
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor


class VersionTests(unittest.TestCase):
    timeout = 120

    async def test_a_daemon_runs_the_source_that_it_was_given_and_then_this_one(self) -> None:
        version = await deferToThread(Version, "HEAD")
        self.addCleanup(version.forget)
        # Something that this tree does not say of itself.
        await deferToThread(self.rename, version.root / "kschat" / "__init__.py")
        daemon = Daemon(real_reactor(), free_port(), SECRET, {})
        self.addCleanup(daemon.abandon)
        daemon.root = version.root
        await daemon.start()
        self.assertEqual(await self.said(daemon), "0.0.9")
        self.assertEqual(await daemon.stop(), 0)
        daemon.root = REPOSITORY
        await daemon.start()
        self.assertEqual(await self.said(daemon), __version__)

    def rename(self, path: Path) -> None:
        text = path.read_text("utf-8")
        path.write_text(text.replace(f'__version__ = "{__version__}"', '__version__ = "0.0.9"'), "utf-8")

    async def said(self, daemon: Daemon) -> str:
        """The version that it shows."""
        response = await Agent(real_reactor()).request(b"GET", f"http://127.0.0.1:{daemon.port}/metrics".encode())
        text = (await readBody(response)).decode()
        return text.partition('kschat_build_info{version="')[2].partition('"')[0]

    def test_the_source_is_that_of_the_commit(self) -> None:
        version = Version("HEAD")
        shown = ["git", "-C", str(REPOSITORY), "show", "HEAD:kschat/daemon.py"]
        text = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
        self.assertEqual((version.root / "kschat" / "daemon.py").read_text("utf-8"), text)
        self.assertTrue((version.root / "twisted" / "plugins" / "kschat_plugin.py").exists())
        self.assertRegex(version.text, r"^\d+\.\d+\.\d+\S* \([0-9a-f]{12}\)$")
        version.forget()
        self.assertFalse(version.root.exists())

    def test_a_directory_with_the_source_is_a_version_and_stays(self) -> None:
        directory = Path(self.mktemp())
        (directory / "kschat").mkdir(parents=True)
        (directory / "kschat" / "__init__.py").write_text('__version__ = "0.0.8"\n')
        version = Version(str(directory))
        self.assertEqual((version.root, version.text), (directory.absolute(), f"0.0.8 ({directory})"))
        version.forget()
        self.assertTrue(directory.exists())

    def test_a_copy_without_history_and_a_shallow_clone_say_what_helps(self) -> None:
        copy, clone = Path(self.mktemp()), Path(self.mktemp())
        copy.mkdir()
        clone.mkdir()
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", str(clone)]
        for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
            subprocess.run([*git, *arguments], check=True)
        with mock.patch.dict(os.environ, {"GIT_CEILING_DIRECTORIES": str(copy.absolute().parent)}):
            for place, why in ((copy, "has no history"), (clone, "no release in its history, nor 20 merges")):
                said = str(self.assertRaises(VersionMissing, latest, place))
                self.assertIn(why, said)
                self.assertIn("git fetch --unshallow", said)
                self.assertIn("--from PATH", said)

    def test_what_is_no_version_is_said(self) -> None:
        for name in ("nowhere", "--all", "HEAD:Makefile"):
            self.assertIn("git rev-parse", str(self.assertRaises(VersionMissing, Version, name)))

    async def test_one_that_cannot_start_says_why(self) -> None:
        daemon = Daemon(real_reactor(), free_port(), SECRET, {"max_batch": "many"})
        failed = None
        try:
            await daemon.start()
        except DaemonFailed as error:
            failed = str(error)
        # Its end may be told of only now.
        await daemon.abandon()
        self.assertIn("max_batch: 'many' from the command line", failed or "")

    def test_the_command_line(self) -> None:
        self.assertEqual([parse(["--rolling", *more]).before for more in ([], ["--from"])], ["", PREVIOUS])
        self.assertEqual(parse(["--rolling", "--from", "main~3"]).before, "main~3")
        self.assertRegex(latest(), r"^(v\S+|[0-9a-f]{40})$")
