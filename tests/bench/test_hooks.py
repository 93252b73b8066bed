"""The bench of hooks, on real daemons and in short windows: what it counts, not how long it takes."""

from __future__ import annotations

import argparse
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench import hooks
from bench.hooks import Window, measure


class HooksTests(SynchronousTestCase):
    """In the main thread, as it is run."""

    def test_each_message_is_an_event_and_each_window_has_its_messages(self) -> None:
        given = argparse.Namespace(store="memory", rate=100.0, turns=1, window=0.5, bound=1000.0, seed=1)
        self.patch(hooks, "_SETTLE", 0.1)
        with mock.patch.dict("os.environ"), mock.patch("builtins.print") as printed:
            self.assertTrue(measure("quick", given))
        said = [str(call.args[0]) for call in printed.call_args_list]
        self.assertEqual(len(said), 4, said)
        sent, events, _ = [int(word) for word in said[-1].replace(",", "").split() if word.isdigit()]
        self.assertGreater(sent, 20)
        self.assertGreaterEqual(events, sent)

    def test_the_ratio_is_of_neighbours(self) -> None:
        def window(milliseconds: float) -> Window:
            return Window([milliseconds / 1000] * 100, 0.1)

        found = [[window(1), window(10), window(100)], [window(2), window(10), window(110)]]
        with mock.patch("builtins.print"):
            self.assertAlmostEqual(hooks._report("quick", found), 1.1)
