"""``python -m kschat.worker``: the main program of the daemons of ``kschat run``."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.test_tap import PATIENCE, ROOT, environment

#: As where the directory of twistd's plugins cannot be written, and its list of them is old or missing.
WITHOUT_PLUGINS = """
import sys, twisted.plugin
def search(*arguments):
    raise AssertionError("plugins were searched for")
twisted.plugin.getPlugins = twisted.plugin.getCache = search
from kschat.worker import main
main(["0", *sys.argv[1:]])
"""


class TestPlugins(SynchronousTestCase):
    def test_it_knows_its_service_without_a_search_for_plugins(self) -> None:
        """In a container with a read-only root, a search would log a warning and its traceback at each start."""
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_PLUGINS, "-n", "--pidfile=", "kschat", "--help"],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        self.assertIn("--secret-file", ended.stdout)
