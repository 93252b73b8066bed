"""Decides from a run's figures whether anything grows. It knows neither daemons nor time but what it is given."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Final

import msgspec

#: Share by which memory may differ between the second quarter of a run and the last one.
MEMORY: Final = 0.03

#: Parts into which the time after the first quarter is cut, for the slope; each has the mean of its points.
PARTS: Final = 15

#: How surely a series must rise before that counts: standard deviations of the test of Mann and Kendall.
SURE: Final = 2.33

Point = tuple[float, float]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What a series is of.

    Attributes:
        name: as a key.
        title: as readers see it.
        digits: behind the point, where it is shown.
        scale: what a value is divided by before it is shown.
        share: by which it may rise from the end of the first quarter to the end, of its mean.
        least: by which it may rise in any case.
        never: whether any value but 0 is a fault.
    """

    name: str
    title: str
    digits: int = 0
    scale: float = 1.0
    share: float = 0.05
    least: float = 10.0
    never: bool = False

    def show(self, value: float) -> str:
        """A value for readers."""
        return f"{value / self.scale:,.{self.digits}f}"


KINDS: Final = (
    Kind(name="memory", title="resident memory, MB", digits=1, scale=1e6, share=MEMORY, least=1e6),
    Kind(name="blocks", title="memory blocks, thousands", scale=1e3, share=MEMORY, least=5e3),
    Kind(name="descriptors", title="open files", share=0.05, least=50),
    Kind(name="sockets", title="sockets in the chat", share=0.05, least=50),
    Kind(name="sessions", title="sessions", share=0.05, least=50),
    Kind(name="timers", title="timers of connections", share=0.05, least=100),
    Kind(name="delayed", title="delayed calls of the reactor", share=0.1, least=10),
    Kind(name="rows", title="rows in SQLite", share=0.05, least=500),
    Kind(name="file", title="SQLite's files, MB", digits=1, scale=1e6, share=0.05, least=2e6),
    Kind(name="keys", title="keys in Redis", share=0.05, least=500),
    Kind(name="redis", title="Redis's memory, MB", digits=1, scale=1e6, share=0.05, least=2e6),
    Kind(name="failures", title="failures in the log", never=True),
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a series.

    Attributes:
        kind: of the series.
        second, last: its means in the second and in the last quarter.
        rise: by which it rose from the end of the first quarter to the end, by its slope.
        grows: whether that is a fault.
    """

    kind: Kind
    second: float
    last: float
    rise: float
    grows: bool

    @property
    def change(self) -> float:
        """The change from the second quarter to the last, as a share."""
        return self.last / self.second - 1 if self.second else 0.0


def part(points: Sequence[Point], begin: float, end: float) -> list[float]:
    """The values of a time."""
    return [value for at, value in points if begin <= at < end]


def slope(points: Sequence[Point]) -> tuple[float, float]:
    """The median slope of all pairs (Theil and Sen), and how many standard deviations it is from none (Mann, Kendall).

    Raises ValueError with fewer than three points.
    """
    if len(points) < 3:
        raise ValueError("a slope needs three points")
    pairs = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2)]
    up = sum((rise > 0) - (rise < 0) for rise in pairs)
    count = len(points)
    deviation = (count * (count - 1) * (2 * count + 5) / 18) ** 0.5
    return statistics.median(pairs), (up - (up > 0) + (up < 0)) / deviation


def means(points: Sequence[Point], begin: float, end: float, parts: int) -> list[Point]:
    """The means of so many parts of a time; parts without a point are left out."""
    width = (end - begin) / parts
    found = []
    for number in range(parts):
        at = begin + number * width
        if values := part(points, at, at + width):
            found.append((at + width / 2, statistics.fmean(values)))
    return found


def judge(kind: Kind, points: Sequence[Point], seconds: float) -> Finding:
    """What came of a series.

    Args:
        kind: of the series.
        points: all of them, seconds since the run began and the value.
        seconds: the run's length. Raises ValueError where a quarter has no point.
    """
    quarter = seconds / 4
    second, last = part(points, quarter, 2 * quarter), part(points, 3 * quarter, seconds + 1)
    if not second or not last:
        raise ValueError(f"{kind.name}: no figures of a whole quarter")
    middle, end = statistics.fmean(second), statistics.fmean(last)
    if kind.never:
        most = max(value for _, value in points)
        return Finding(kind=kind, second=middle, last=end, rise=most, grows=most > 0)
    steep, sure = slope(means(points, quarter, seconds, PARTS))
    rise = steep * 3 * quarter
    grows = sure > SURE and rise > max(kind.share * middle, kind.least)
    if kind.name == "memory":
        grows = grows or abs(end / middle - 1) > MEMORY
    return Finding(kind=kind, second=middle, last=end, rise=rise, grows=grows)
