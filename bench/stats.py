"""Percentiles of many samples, and medians of a few rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least ``share`` (0 to 1) of all samples do not exceed (nearest rank).

    ``ordered`` is sorted. Raises ValueError when it is empty.
    """
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Spread(NamedTuple):
    """One figure over several rounds: the median and the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int = 1) -> str:
        """Return ``12.3 (11.9..12.8)``, with thousands separated."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}..{self.high:,.{digits}f})"
