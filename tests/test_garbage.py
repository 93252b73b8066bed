"""When Python looks through all objects for garbage in cycles."""

import gc

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat import garbage
from kschat.garbage import COLLECT_AFTER, MAX_PERIOD, PERIOD, QUICK, SECONDS_A_CONNECTION, Garbage


class GarbageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connections = 0
        self.looks: list[float] = []
        self.takes = 0.001
        self.young = 0
        self.patch(garbage, "_young_collections", lambda: self.young)
        self.service = Garbage(self.clock, lambda: self.connections, self.look)
        self.service.startService()

    def look(self) -> None:
        self.looks.append(self.clock.seconds())
        self.clock.rightNow += self.takes

    def wait(self, seconds: float) -> int:
        """So many seconds of a daemon that has something to do. Returns how often it looked."""
        before = len(self.looks)
        for _ in range(int(seconds / PERIOD)):
            self.young += 1
            self.clock.advance(PERIOD)
        return len(self.looks) - before

    def test_while_it_is_quick_it_looks_all_the_time(self) -> None:
        self.assertGreater(self.wait(20 * PERIOD), 15)

    def test_an_idle_daemon_is_left_alone(self) -> None:
        self.clock.pump([PERIOD] * 20)
        self.assertEqual(self.looks, [])

    def test_with_many_connections_it_waits_until_they_are_gone(self) -> None:
        self.connections = int(1.1 * QUICK / SECONDS_A_CONNECTION)
        self.assertEqual(self.wait(MAX_PERIOD / 2), 0)
        self.connections = 0
        self.assertGreater(self.wait(3 * PERIOD), 0)

    def test_it_does_not_wait_for_ever(self) -> None:
        self.connections = 100_000
        self.takes = 0.9
        self.assertEqual(self.wait(MAX_PERIOD * 2.5), 2)

    def test_what_was_slow_for_other_reasons_is_seldom_done(self) -> None:
        self.takes = QUICK * 2
        self.assertEqual(self.wait(MAX_PERIOD / 2), 1)
        self.takes = QUICK / 2
        self.wait(MAX_PERIOD)
        self.assertGreater(self.wait(MAX_PERIOD / 2), 10)

    def test_it_ends(self) -> None:
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Thresholds(SynchronousTestCase):
    def test_python_looks_through_all_objects_only_when_it_is_told_to(self) -> None:
        before = gc.get_threshold()
        self.addCleanup(gc.set_threshold, *before)
        gc.set_threshold(*COLLECT_AFTER)
        looks = gc.get_stats()[2]["collections"]
        kept: list[list[list[object]]] = [[[]] for _ in range(20 * COLLECT_AFTER[0])]
        self.assertEqual(gc.get_stats()[2]["collections"], looks)
        self.assertTrue(kept)
