"""Each reason is logged once, until all is well again."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.outage_log import MAX_REASONS, OutageLog


class OutageLogTests(SynchronousTestCase):
    """What is logged."""

    def test_each_reason_once_an_outage(self) -> None:
        with capturedLogs() as events:
            log = OutageLog(Logger(), LogLevel.warn, "the test")
            for _ in range(2):
                for reason in ("away", "full", "away"):
                    log.down("{name} at {place}: {reason}", reason, place="home")
                self.assertTrue(log.is_open)
                self.assertTrue(log.up())
                self.assertFalse(log.is_open)
        self.assertEqual([formatEvent(one) for one in events], ["the test at home: away", "the test at home: full"] * 2)
        self.assertEqual({one["log_level"] for one in events}, {LogLevel.warn})

    def test_it_is_over_when_all_parts_are_up(self) -> None:
        log = OutageLog(Logger())
        log.begin("reads")
        with capturedLogs() as events:
            log.down("{reason}", "away", "writes")
            log.down("{reason}", "away", "reads")
        self.assertEqual(len(events), 1)
        self.assertFalse(log.up("writes"))
        self.assertTrue(log.is_open)
        self.assertTrue(log.up("reads"))

    def test_of_many_reasons_some_are_logged(self) -> None:
        with capturedLogs() as events:
            log = OutageLog(Logger())
            for number in range(2 * MAX_REASONS):
                log.down("{reason}", f"reason {number}")
        self.assertEqual(len(events), MAX_REASONS)
