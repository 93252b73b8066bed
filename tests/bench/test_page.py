"""The table of the page's figures."""

from __future__ import annotations

import contextlib
import io
import re

from twisted.trial.unittest import SynchronousTestCase

from bench.page import BOUNDS, report
from tests.support.launch import REPOSITORY


class Report(SynchronousTestCase):
    def printed(self, figures: dict[str, dict[str, object]]) -> tuple[bool, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            good = report(figures)
        return good, out.getvalue()

    def at_bounds(self) -> dict[str, dict[str, object]]:
        figures: dict[str, dict[str, object]] = {}
        for bound in BOUNDS:
            figures.setdefault(bound.part, {})[bound.name] = bound.most
        return figures

    def test_figures_at_their_bounds_are_good(self) -> None:
        good, text = self.printed(self.at_bounds())
        self.assertTrue(good)
        self.assertIn("| 100,000 | 100,000 | bytes until it is connected |", text)

    def test_one_beyond_its_bound_or_not_measured_is_not(self) -> None:
        for bound in BOUNDS:
            figures = self.at_bounds()
            figures[bound.part][bound.name] = bound.most + 1
            self.assertFalse(self.printed(figures)[0], bound)
            del figures[bound.part][bound.name]
            good, text = self.printed(figures)
            self.assertFalse(good, bound)
            self.assertIn("not measured", text)

    def test_the_functions_that_took_the_time_are_named(self) -> None:
        _, text = self.printed({"burst": {"top": ["34 ms toEnd kschat.js:144"], "seconds": 1.25}})
        self.assertIn("burst: seconds 1.2\n    34 ms toEnd kschat.js:144\n", text)

    def test_the_bounds_in_the_documentation_are_those_of_the_code(self) -> None:
        page = (REPOSITORY / "docs" / "page.md").read_text("utf-8")
        rows = re.findall(r"^\|[^|]+\|([^|]+)\|", page.partition("`make bench-page`")[2], re.MULTILINE)
        said = {float(number) for row in rows for number in re.findall(r"[\d.]+", row)}
        self.assertEqual(said, {bound.most / 1000 if bound.name == "bytes" else bound.most for bound in BOUNDS})
