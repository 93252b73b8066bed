"""The rows of ``make attack`` in a short profile: what attackers are answered, and no times."""

import re
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from attack.rows import ROWS
from attack.run import Result, play
from attack.scenario import LATE
from attack.verdict import faults_of, line, percentile
from bench.services import Services
from tests.support.launch import REPOSITORY

#: One of each kind, none of which needs a service.
SHORT = ("bad-sends", "anon-depth", "query", "tokens", "ops-paths", "log-escapes")


class Verdicts(SynchronousTestCase):
    row = ROWS["eio4-pongs"]

    def result(self, *, during: float = 2.0, turn: float = 3.0, after: int = 80_000_000, joined: int = 1) -> Result:
        return Result(
            baseline=[1.0] * 100,
            during=[during] * 100,
            turns=[turn],
            rss=(75_000_000, 90_000_000, after),
            joined=joined,
            answers={"rounds": 1},
        )

    def test_a_row_that_holds(self) -> None:
        self.assertEqual(faults_of(self.row, self.result()), [])

    def test_each_bound(self) -> None:
        for result in (
            self.result(during=25.1),
            self.result(turn=25.1),
            self.result(after=96_000_000),
            self.result(joined=0),
        ):
            self.assertEqual(len(faults_of(self.row, result)), 1)

    def test_a_slow_baseline_allows_three_times_as_much(self) -> None:
        result = self.result(during=59.0)
        result.baseline = [20.0] * 100
        self.assertEqual(faults_of(self.row, result), [])

    def test_an_answer_that_did_not_come(self) -> None:
        row = replace(self.row, answers=("closed 1008",))
        self.assertEqual(len(faults_of(row, self.result())), 1)
        result = self.result()
        result.answers = {"closed 1008 joins": 1}
        self.assertEqual(faults_of(row, result), [])

    def test_an_attacker_that_did_not_end(self) -> None:
        result = self.result()
        result.answers = {"rounds": 1, LATE: 1}
        self.assertEqual(faults_of(self.row, result), [LATE])

    def test_an_answer_that_must_not_come(self) -> None:
        row = replace(self.row, never=("forged",))
        result = self.result()
        result.answers = {"rounds": 1, "forged, and delivered": 1}
        self.assertEqual(len(faults_of(row, result)), 1)

    def test_an_attacker_that_did_not_reach_the_daemon(self) -> None:
        for answers in ({}, {"ECONNREFUSED": 7, "TimeoutError": 1}):
            result = self.result()
            result.answers = answers
            for row in (self.row, replace(self.row, probe=True)):
                self.assertEqual(len(faults_of(row, result)), 1)

    def test_percentiles(self) -> None:
        self.assertEqual(percentile([3.0, 1.0, 2.0], 0.5), 2.0)
        self.assertEqual(percentile([], 0.99), 0.0)


class Page(SynchronousTestCase):
    """docs/security.md names each row once: with its figures, or among those without."""

    def test_each_row_is_on_the_page(self) -> None:
        text = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
        measured = re.findall(r"(?m)^\| `(\S+)` \| (.*?) \|", text)
        others = re.findall(r"`(\S+)`", text.partition("were not run on the quiet machine:")[2].partition(". ")[0])
        self.assertEqual(sorted([name for name, _ in measured] + others), sorted(ROWS))
        for name, what in measured:
            self.assertEqual(what, ROWS[name].what, name)


class ShortProfile(SynchronousTestCase):
    def test_attackers_are_answered_as_they_must_be(self) -> None:
        with Services() as services:
            for name in SHORT:
                row = replace(ROWS[name], probe=True)
                result = play(row, 0.7, services)
                self.assertEqual(faults_of(row, result), [], line(row, result))
