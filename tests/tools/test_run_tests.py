"""The closing line of a run, and its status."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.run_tests import ALLOWED_SKIP, closing_line, counts_of

ROOT = Path(__file__).parent.parent.parent

SOME_TESTS = """
from twisted.trial.unittest import SynchronousTestCase

class Some(SynchronousTestCase):
    def test_passes(self):
        pass
    def test_fails(self):
        self.assertEqual({answer}, 2)
    def test_is_skipped(self):
        pass
    if {skip}:
        test_is_skipped.skip = "{reason}"
"""


class TestClosingLine(SynchronousTestCase):
    """What trial says, in one plain line."""

    def test_the_closing_lines_of_trial_are_read(self):
        for line, plain in [
            ("PASSED (successes=7)\n", "7 passed, 0 failed"),
            ("PASSED (skips=1, successes=7)\n", "7 passed, 0 failed, 1 skipped"),
            ("FAILED (failures=1, errors=2, successes=3)\n", "3 passed, 3 failed"),
            ("FAILED (unexpectedSuccesses=1, expectedFailures=2)\n", "2 passed, 1 failed"),
            ("PASSED\n", "0 passed, 0 failed"),
        ]:
            counts = counts_of(line)
            self.assertIsNotNone(counts)
            self.assertEqual(closing_line(counts or {}), plain)

    def test_other_lines_are_not_counts(self):
        for line in ["", "PASSED by\n", "  PASSED (successes=7)\n", "Ran 7 tests in 0.1s\n"]:
            self.assertIsNone(counts_of(line))


class TestRun(SynchronousTestCase):
    """The program, on tests of its own."""

    def run_some(self, text: str, **environ: str) -> tuple[int, str]:
        """Status and last line for a file of tests."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / "test_some.py").write_text(text)
        ended = subprocess.run(
            [sys.executable, str(ROOT / "tools" / "run_tests.py"), str(path / "test_some.py")],
            cwd=path,
            env={"PATH": "/usr/bin:/bin", **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ended.returncode, ended.stdout.splitlines()[-1]

    def test_the_status_is_trial_s(self):
        self.assertEqual(self.run_some(SOME_TESTS.format(answer=2, skip=False, reason="")), (0, "3 passed, 0 failed"))
        self.assertEqual(self.run_some(SOME_TESTS.format(answer=3, skip=False, reason="")), (1, "2 passed, 1 failed"))
        self.assertEqual(self.run_some("syntax error"), (1, "0 passed, 1 failed"))

    def test_a_skipped_test_fails_the_run_where_all_are_required(self):
        skipping = SOME_TESTS.format(answer=2, skip=True, reason="for a reason")
        self.assertEqual(self.run_some(skipping), (0, "2 passed, 0 failed, 1 skipped"))
        self.assertEqual(self.run_some(skipping, KSCHAT_TESTS_REQUIRE="1"), (1, "2 passed, 0 failed, 1 skipped"))

    def test_what_a_machine_does_not_allow_never_fails_the_run(self):
        allowed = SOME_TESTS.format(answer=2, skip=True, reason=f"{ALLOWED_SKIP} mounts")
        self.assertEqual(self.run_some(allowed, KSCHAT_TESTS_REQUIRE="1"), (0, "2 passed, 0 failed, 1 skipped"))
        other = 'class Other(SynchronousTestCase):\n    def test_it(self): pass\n    test_it.skip = "for a reason"\n'
        self.assertEqual(self.run_some(allowed + other, KSCHAT_TESTS_REQUIRE="1"), (1, "2 passed, 0 failed, 2 skipped"))
