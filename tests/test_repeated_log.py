"""Lines that repeat are gathered and counted."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.repeated_log import LINES, MAX_KINDS, PERIOD, RepeatedLog


class RepeatedLines(SynchronousTestCase):
    log = Logger()

    def setUp(self) -> None:
        self.clock = Clock()
        self.repeated = RepeatedLog(self.clock)

    def lines(self, count: int, kind: str = "", then: float = 0.0) -> list[str]:
        """What is logged while so many lines come, and so many seconds after."""
        with capturedLogs() as logs:
            for number in range(count):
                self.repeated.info(self.log, "no {number}", kind=kind, number=number)
            self.clock.advance(then)
        return [str(formatEvent(event)) for event in logs]

    def test_few_are_logged_as_they_are(self) -> None:
        self.assertEqual(self.lines(LINES, then=2 * PERIOD), [f"no {number}" for number in range(LINES)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_are_counted_until_the_end_of_the_period(self) -> None:
        self.assertEqual(len(self.lines(LINES + 500)), LINES)
        self.assertEqual(self.lines(0, then=PERIOD), ["500 more like this in the last 10 s: no {number}"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.lines(1), ["no 0"])

    def test_a_line_after_the_period_comes_behind_the_count(self) -> None:
        self.lines(LINES + 5)
        self.clock.rightNow += PERIOD  # the reactor is late
        self.assertEqual(self.lines(1), ["5 more like this in the last 10 s: no {number}", "no 0"])

    def test_a_flood_that_goes_on_costs_a_few_lines_a_period(self) -> None:
        found = [line for _ in range(100) for line in self.lines(1000, then=PERIOD / 10)]
        self.assertLessEqual(len(found), 10 * (LINES + 1))
        counted = sum(int(line.split(" ")[0]) for line in found if "more" in line)
        self.assertEqual(counted + sum("more" not in line for line in found), 100 * 1000)

    def test_kinds_do_not_hide_each_other(self) -> None:
        self.lines(LINES + 5, "one")
        self.assertEqual(self.lines(1, "other"), ["no 0"])
        self.assertEqual(self.lines(0, then=PERIOD), ["5 more like this in the last 10 s: one"])

    def test_kinds_are_bounded(self) -> None:
        found = [line for number in range(3 * MAX_KINDS) for line in self.lines(1, f"kind {number}")]
        self.assertEqual(len(found), MAX_KINDS + LINES)
        self.assertEqual(
            self.lines(0, then=PERIOD), [f"{2 * MAX_KINDS - LINES} more like this in the last 10 s: other lines"]
        )

    def test_what_was_counted_is_logged_at_the_end(self) -> None:
        self.lines(LINES + 5)
        with capturedLogs() as logs:
            self.repeated.flush()
        self.assertEqual(len(logs), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_count_has_the_level_and_the_name_of_its_lines(self) -> None:
        log = Logger(namespace="kschat.of_mine")
        with capturedLogs() as logs:
            for _ in range(LINES + 1):
                self.repeated.emit(log, "a warning", level=LogLevel.warn)
            self.repeated.flush()
        self.assertEqual(
            {(one["log_namespace"], one["log_level"]) for one in logs}, {("kschat.of_mine", LogLevel.warn)}
        )
