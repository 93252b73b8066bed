"""Each reason is logged once, until all is well again."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.outage_log import MAX_REASONS, OutageLog
from kschat.repeated_log import LINES, RepeatedLog


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

    def test_one_line_says_that_it_is_back(self) -> None:
        log = OutageLog(Logger(), name="the test")
        with capturedLogs() as events:
            log.back("{name} is back")
            log.down("{reason}", "away")
            log.back("{name} is back at {place}", place="home")
            log.back("{name} is back")
        self.assertEqual([formatEvent(one) for one in events], ["away", "the test is back at home"])
        self.assertEqual([one["log_level"] for one in events], [LogLevel.error, LogLevel.info])

    def test_lines_of_what_comes_and_goes_all_the_time_are_gathered(self) -> None:
        repeated = RepeatedLog(Clock())
        log = OutageLog(Logger(), repeated=repeated)
        with capturedLogs() as events:
            for _ in range(LINES + 5):
                log.down("down: {reason}", "away")
                log.back("up")
            repeated.flush()
        lines = [formatEvent(one) for one in events]
        self.assertEqual(lines[: 2 * LINES], ["down: away", "up"] * LINES)
        self.assertEqual(
            lines[2 * LINES :],
            ["5 more like this in the last 10 s: down: {reason}", "5 more like this in the last 10 s: up"],
        )

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
