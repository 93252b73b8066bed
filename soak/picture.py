"""Draws series as one SVG: a small chart for each, one below the other, over the minutes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from soak.verdict import Finding, Point

_WIDTH: Final = 930
_CHART: Final = (200, 640, 84)
"""A chart's left edge, width and height."""
_STEP: Final = 116
_TOP: Final = 46


def draw(title: str, seconds: float, series: Sequence[tuple[Finding, Sequence[Point]]]) -> str:
    """The picture.

    Args:
        title: above it.
        seconds: the run's length.
        series: what came of each, and its points.
    """
    left, width, _ = _CHART
    total = _TOP + _STEP * len(series) + 24
    size = f'viewBox="0 0 {_WIDTH} {total}" width="{_WIDTH}" height="{total}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{total}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="16" fill="#1f2328">{escape(title)}</text>',
    ]
    for number, (finding, points) in enumerate(series):
        parts += _chart(finding, points, seconds, _TOP + number * _STEP)
    bottom = _TOP + _STEP * len(series) + 8
    minutes = seconds / 60
    marks = range(0, round(minutes) + 1, max(1, round(minutes / 10)))
    for minute in marks:
        at = left + width * minute / minutes
        parts.append(f'<text x="{at:.1f}" y="{bottom}" text-anchor="middle" fill="#59636e">{minute}</text>')
    parts.append(f'<text x="{left - 12}" y="{bottom}" text-anchor="end" fill="#59636e">minutes</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _chart(finding: Finding, points: Sequence[Point], seconds: float, top: int) -> list[str]:
    left, width, height = _CHART
    kind = finding.kind
    # From 0, so that a change of some percent looks like what it is.
    highest = max((value for _, value in points), default=0)
    most = highest * 1.1 or 1
    line = " ".join(
        f"{left + width * min(at / seconds, 1):.1f},{top + height * (1 - value / most):.1f}" for at, value in points
    )
    colour = "#cf222e" if finding.grows else "#0969da"
    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#f6f8fa" stroke="#d1d9e0"/>']
    for quarter in (1, 2, 3):
        at = left + width * quarter / 4
        parts.append(f'<path d="M{at:.1f} {top}v{height}" stroke="#d1d9e0"/>')
    parts += [
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<text x="12" y="{top + 20}" fill="#1f2328">{escape(kind.title)}</text>',
        f'<text x="12" y="{top + 42}" fill="#59636e">2nd quarter {kind.show(finding.second)}</text>',
        f'<text x="12" y="{top + 60}" fill="#59636e">last quarter {kind.show(finding.last)}</text>',
        f'<text x="{left + width + 6}" y="{top + 20}" fill="#59636e">most {kind.show(highest)}</text>',
        f'<text x="{left + width + 6}" y="{top + height}" fill="#59636e">0</text>',
    ]
    return parts
