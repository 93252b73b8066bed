"""What is required of every row, and its line in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attack.run import Result, most_memory
from attack.scenario import LATE, Row

#: The p99 of the healthy pair: times its baseline, or ms.
TIMES_BASELINE: Final = 3
P99_MS: Final = 25.0
#: CPU ms of one turn of the reactor.
TURN_MS: Final = 25.0

#: Characters of an answer that are shown.
MAX_ANSWER: Final = 50

#: Answers of an attacker whose connections all failed.
_UNREACHED: Final = {"ECONNREFUSED", "TimeoutError"}

#: Columns of the table.
HEAD: Final = (
    "| row | the attacker | p50, p99 before (ms) | during | longest turn (ms) | RSS before > highest > after (MB) "
    "| answered |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def percentile(times: Sequence[float], part: float) -> float:
    """The time that ``part`` of them do not exceed; 0.0 of none."""
    return sorted(times)[min(int(len(times) * part), len(times) - 1)] if times else 0.0


def _same_as(wanted: str) -> tuple[str, ...]:
    """Beginnings of answers that are as good: who goes on sending may see the end of TCP before the close frame."""
    return (wanted, "EPIPE", "ECONNRESET") if wanted.startswith("closed") else (wanted,)


def faults_of(row: Row, result: Result) -> list[str]:
    """Why a row has failed; nothing if it has not."""
    found = list(result.faults)
    found += [
        f"nothing was answered with {wanted!r}"
        for wanted in row.answers
        if not any(answer.startswith(_same_as(wanted)) for answer in result.answers)
    ]
    found += [
        f"the attacker was answered with {answer!r}"
        for answer in result.answers
        if row.never and answer.startswith(row.never)
    ]
    if not set(result.answers) - _UNREACHED:
        found.append("the attacker did not reach the daemon")
    if LATE in result.answers:
        found.append(LATE)
    if row.probe:
        return found
    before, during = percentile(result.baseline, 0.99), percentile(result.during, 0.99)
    if not result.during:
        found.append("the pair was not served")
    elif during > max(before * TIMES_BASELINE, P99_MS):
        found.append(f"p99 {during:.1f} ms")
    if max(result.turns) > TURN_MS:
        found.append(f"a turn of {max(result.turns):.1f} ms (collections up to {result.collection:.1f})")
    if result.rss[2] > most_memory(result.rss[0]):
        found.append(f"memory {result.rss[0] / 1e6:.0f} to {result.rss[2] / 1e6:.0f} MB")
    if not result.joined:
        found.append("no newcomer was let in")
    return found


def line(row: Row, result: Result) -> str:
    """A row of the table."""
    common = sorted(result.answers.items(), key=lambda pair: -pair[1])[:4]
    answers = ", ".join(f"{count} {text[:MAX_ANSWER]}" for text, count in common if text != "rounds")
    if row.probe:
        return f"| `{row.name}` | {row.what} | | | | | {answers} |"
    before, during = result.baseline, result.during
    return (
        f"| `{row.name}` | {row.what} | {percentile(before, 0.5):.1f}, {percentile(before, 0.99):.1f} "
        f"| {percentile(during, 0.5):.1f}, {percentile(during, 0.99):.1f} | {max(result.turns):.1f} "
        f"| {' > '.join(f'{size / 1e6:.0f}' for size in result.rss)} | {answers} |"
    )
