"""A short soak: clients of all kinds on a real daemon, its figures, and its end. ``make soak`` runs the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from soak.crowd import ACTS, MANNERS
from soak.verdict import KINDS
from tests.support.launch import REPOSITORY

#: Some seconds, in which clients do more than others do in minutes.
RUN = "--minutes 0.15 --clients 120 --life 3 --act 0.2 --every 0.5"


class SoakTests(unittest.TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    async def test_clients_of_all_kinds_come_and_go_and_nothing_fails(self) -> None:
        argv = [sys.executable, "-m", "soak", *RUN.split(), "--keep", str(self.directory)]
        done = await deferToThread(
            subprocess.run, argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        said = f"{done.stdout}{done.stderr}"
        # So short a run is not steady; but no process may have ended, and no log may tell of a fault.
        found: Any = json.loads((self.directory / "figures.json").read_text("utf-8"))
        self.assertEqual(found["wrong"], [], said)
        told = found["told"]
        often = {act for weight, act in ACTS if weight >= 4}
        self.assertEqual(often - told["acts"].keys(), set(), said)
        self.assertGreater(told["connects"], 2 * len(MANNERS))
        # None of the requests is one that the daemon cannot read.
        self.assertNotIn("parse error", (next(self.directory.glob("daemon-*.log"))).read_text("utf-8"))
        kinds = {kind.name for kind in KINDS} - {"keys", "redis"}
        self.assertEqual(kinds - found["series"].keys(), set())
        self.assertTrue(all(value > 0 for _, value in found["series"]["delayed"][1:]), said)
        self.assertIn("resident memory, MB", done.stdout)
