"""The screen of ``kschat status``. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Final

from kschat.api.types import Counts, DaemonCounts, Histogram

#: What the counts are called, and in which order they are shown.
_RATES: Final = (("sent", "acknowledged"), ("delivered", "written"), ("confirmed", "delivered"))


def screen(before: Counts, now: Counts, seconds: float, wall: float) -> list[str]:
    """The lines of the screen, from two looks.

    Args:
        before, now: the looks.
        seconds: between them.
        wall: the time of day.
    """
    earlier = {one.name: one for one in before.daemons}
    rows = [("daemon", "version", "up", "connections", "sockets", "users", "sent/s", "p50", "p99", "lag", "services")]
    for one in now.daemons:
        then = earlier.get(one.name)
        p50, p99 = (_quantile(one, then, part) for part in (0.5, 0.99))
        down = [name for name, is_up in one.services.items() if not is_up]
        rows.append(
            (
                one.name,
                one.version,
                _age(wall - one.since),
                f"{one.connections:,}",
                f"{one.sockets:,}",
                f"{one.users:,}",
                f"{_rate(one, then, 'sent', seconds):,.1f}",
                p50,
                p99,
                _lag(one),
                f"{', '.join(down)} down" if down else "ok",
            )
        )
    lines = list(_table(rows))
    sockets = sum(one.sockets for one in now.daemons)
    total = [f"{sockets:,} {'socket' if sockets == 1 else 'sockets'}"]
    for name, what in _RATES:
        rate = sum(_rate(one, earlier.get(one.name), name, seconds) for one in now.daemons)
        total.append(f"{rate:,.1f} messages/s {what}")
    lines += ["", ", ".join(total)]
    refused: dict[str, int] = {}
    for one in now.daemons:
        for reason, count in one.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    if refused:
        lines.append("refused since the start: " + ", ".join(f"{name} {count:,}" for name, count in refused.items()))
    if not now.complete:
        lines.append("A daemon did not answer, or it is not known which daemons there are.")
    return lines


def _rate(now: DaemonCounts, then: DaemonCounts | None, name: str, seconds: float) -> float:
    if then is None or then.since != now.since:
        return 0.0
    return max(now.counts.get(name, 0) - then.counts.get(name, 0), 0) / seconds


def _quantile(now: DaemonCounts, then: DaemonCounts | None, part: float) -> str:
    """A quantile of the time until messages were acknowledged; without that, of the pipeline's steps, added."""
    names = ["acknowledged"] if "acknowledged" in now.latency else ["store", "route"]
    found = [
        quantile(now.latency[name], then.latency.get(name) if then else None, part)
        for name in names
        if name in now.latency
    ]
    known = [one for one in found if one is not None]
    return f"{sum(known) * 1000:.1f} ms" if known else "-"


def _lag(now: DaemonCounts) -> str:
    """The service that is furthest behind, and by how much."""
    if not now.lags:
        return "-"
    seconds, name = max((seconds, name) for name, seconds in now.lags.items())
    return f"{name} {seconds * 1000:,.1f} ms"


def quantile(now: Histogram, then: Histogram | None, part: float) -> float | None:
    """The bound in seconds that this part was below: of what came since ``then``, or of all if nothing did."""
    counts = now.counts
    if then is not None and len(then.counts) == len(counts):
        fresh = [after - before for after, before in zip(counts, then.counts, strict=True)]
        counts = fresh if sum(fresh) > 0 else counts
    wanted, seen = part * sum(counts), 0
    if not wanted:
        return None
    for count, bound in zip(counts, [*now.bounds, now.bounds[-1]], strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return now.bounds[-1]


def _age(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(max(seconds, 0))))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(
            cell.ljust(width) if column in (0, 1, len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
