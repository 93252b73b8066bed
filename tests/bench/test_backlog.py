"""The bench of a backlog, on a real daemon and a small backlog: what it counts, not how long it takes."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench.backlog import measure, report
from bench.peers import PEERS


class BacklogTests(SynchronousTestCase):
    """In the main thread, as it is run."""

    def test_each_absent_user_gets_the_whole_backlog_while_the_pair_talks(self) -> None:
        with mock.patch.dict("os.environ"):
            backlog = measure(PEERS["memory"], times=2, messages=300, rate=200, seconds=0.2, seed=1)
        self.assertEqual({"lost": 0, "repeated": 0, "out of order": 0, "refused": 0}, backlog.wrong())
        self.assertEqual([300, 300], [link.client.arrivals.count() for link in backlog.links.all[3::2]])
        pair = backlog.links.all[:2]
        talked = sum(link.client.number - link.client.acks.first for link in pair)
        self.assertEqual(talked, len(backlog.without) + len(backlog.during))
        self.assertEqual(2, len(backlog.durations))

    def test_what_was_lost_or_too_slow_does_not_pass(self) -> None:
        backlog = mock.Mock(without=[0.001] * 10, during=[0.002] * 10, durations=[0.1], messages=5)
        for wrong, during, held in (
            ({"lost": 0}, 0.002, True),
            ({"lost": 1}, 0.002, False),
            ({"lost": 0}, 0.004, False),
        ):
            backlog.wrong.return_value = wrong
            backlog.during = [during] * 10
            with mock.patch("builtins.print"):
                self.assertEqual(held, report("peer", backlog))
