"""What grows in a run, and what does not."""

from __future__ import annotations

import random
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from soak.picture import draw
from soak.verdict import KINDS, MEMORY, Kind, Point, judge, slope

SECONDS = 1200.0
MEMORY_KIND = KINDS[0]
FILES = Kind(name="descriptors", title="open files", share=0.05, least=50)


def points(value: float, *, rise: float = 0.0, noise: float = 0.0, wave: float = 0.0) -> list[Point]:
    """Figures of 20 minutes, each 5 seconds; ``rise`` is by the end, ``wave`` goes up and down each four minutes."""
    chance = random.Random(1)
    found = []
    for number in range(1, 241):
        at = 5.0 * number
        up = wave if at // 240 % 2 else 0.0
        found.append((at, value + rise * at / SECONDS + chance.uniform(-noise, noise) + up))
    return found


class VerdictTests(SynchronousTestCase):
    def test_what_stays_is_steady_whatever_its_noise(self) -> None:
        for more in ({}, {"noise": 400.0}, {"wave": 300.0}, {"rise": -900.0}):
            self.assertFalse(judge(FILES, points(5000, **more), SECONDS).grows, more)

    def test_what_rises_slowly_but_surely_grows(self) -> None:
        found = judge(FILES, points(5000, rise=600, noise=200), SECONDS)
        self.assertTrue(found.grows)
        self.assertLess(abs(found.rise - 450), 60)

    def test_a_rise_within_the_bound_is_none(self) -> None:
        self.assertFalse(judge(FILES, points(5000, rise=200), SECONDS).grows)
        # Nor one of a few things.
        self.assertFalse(judge(FILES, points(10, rise=40), SECONDS).grows)

    def test_the_first_quarter_does_not_count(self) -> None:
        some = [(at, value if at > SECONDS / 4 else 0.0) for at, value in points(5000)]
        self.assertFalse(judge(FILES, some, SECONDS).grows)

    def test_memory_may_differ_by_a_few_percent_from_quarter_to_quarter(self) -> None:
        self.assertFalse(judge(MEMORY_KIND, points(2e8, rise=0.8 * MEMORY * 2e8), SECONDS).grows)
        # A step, which no slope shows.
        step = [(at, 2e8 * (1 + 1.2 * MEMORY * (at > 0.75 * SECONDS))) for at, _ in points(0)]
        self.assertTrue(judge(MEMORY_KIND, step, SECONDS).grows)

    def test_one_failure_is_a_fault(self) -> None:
        (kind,) = [one for one in KINDS if one.never]
        self.assertFalse(judge(kind, points(0), SECONDS).grows)
        some = points(0)
        some[3] = (some[3][0], 1.0)
        self.assertTrue(judge(kind, some, SECONDS).grows)

    def test_a_run_without_figures_of_a_quarter_is_not_judged(self) -> None:
        self.assertRaises(ValueError, judge, FILES, points(5000)[:100], SECONDS)
        self.assertRaises(ValueError, slope, [(1.0, 1.0), (2.0, 1.0)])

    def test_the_picture_has_a_line_for_each_series(self) -> None:
        some = points(5000, noise=100)
        finding = judge(FILES, some, SECONDS)
        picture = draw("5,000 clients & more", SECONDS, [(finding, some)] * 3)
        root = ElementTree.fromstring(picture)
        lines = [one for one in root.iter() if one.tag.endswith("polyline")]
        self.assertEqual([len(line.attrib["points"].split()) for line in lines], [len(some)] * 3)
        self.assertIn("5,000 clients & more", [one.text for one in root.iter()])
