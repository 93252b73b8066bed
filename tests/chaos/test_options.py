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

    def test_a_cluster_has_fewer_faults_and_each_run_its_own_options(self) -> None:
        self.assertEqual(("cluster", 36), (parse(["--cluster"]).mode, parse(["--cluster"]).faults))
        self.assertEqual(("alone", "daemon"), (parse(["--alone"]).mode, parse([]).mode))
        self.assertEqual(("failover", 20), (parse(["--failover"]).mode, parse(["--failover"]).faults))
        self.assertEqual((1, 0), (parse(["--failover"]).wait, parse(["--failover", "--wait", "0"]).wait))
        self.assertEqual(("postgresql", 20), (parse(["--postgresql"]).mode, parse(["--postgresql"]).faults))
        self.assertEqual(0, parse(["--postgresql", "--wait", "0"]).wait)
        self.assertEqual("brokers", parse(["--brokers"]).mode)
        for wrong in (
            ["--cluster", "--memory"],
            ["--cluster", "--alone"],
            ["--alone", "--faults", "3"],
            ["--failover", "--alone"],
            ["--brokers", "--faults", "3"],
            ["--brokers", "--wait", "0"],
            ["--postgresql", "--failover"],
            ["--cluster", "--from"],
        ):
            with self.assertRaises(SystemExit):
                parse(wrong)
