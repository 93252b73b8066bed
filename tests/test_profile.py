"""A developer's run is short, CI's is whole."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e import test_abuse
from tests.profile import amount, profile
from tests.wire import test_bad_frames

ROOT = Path(__file__).parent.parent


class TestProfile(SynchronousTestCase):
    def under(self, name: str | None) -> tuple[str, int]:
        environ = {} if name is None else {"KSCHAT_TESTS_PROFILE": name}
        with mock.patch.dict(os.environ, environ):
            if name is None:
                os.environ.pop("KSCHAT_TESTS_PROFILE", None)
            return profile(), amount(1000, 10)

    def test_a_run_is_short_unless_it_is_said_to_be_whole(self) -> None:
        self.assertEqual(self.under(None), ("short", 10))
        self.assertEqual(self.under(""), ("short", 10))
        self.assertEqual(self.under("whole"), ("whole", 1000))

    def test_a_profile_that_is_none_is_refused(self) -> None:
        self.assertRaises(ValueError, self.under, "hole")

    def test_ci_runs_the_whole(self) -> None:
        self.assertIn("\nexport KSCHAT_TESTS_PROFILE=whole\n", (ROOT / ".ci" / "run").read_text("utf-8"))

    def test_the_longest_tests_take_their_examples_from_it(self) -> None:
        self.assertEqual(test_bad_frames.FRAMES, amount(100_000, 4_000))
        self.assertEqual(test_abuse.FRAMES, amount(100_000, 4_000))
