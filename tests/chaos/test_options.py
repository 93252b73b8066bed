"""The command line of the chaos."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chaos.options import parse


class OptionsTests(SynchronousTestCase):
    """What is refused."""

    def test_the_memory_store_is_not_killed(self) -> None:
        self.assertEqual((20, 0), (parse([]).kills, parse(["--memory"]).kills))
        with self.assertRaises(SystemExit):
            parse(["--memory", "--kills", "1"])
