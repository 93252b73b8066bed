"""Runs trial on the tests (or on what the command line names) and closes with one plain line: ``12 passed, 0 failed``.

The status is trial's; with KSCHAT_TESTS_REQUIRE set, a test that was skipped counts as a failure of the whole, except
one that needs what a machine may not allow, such as mounts: its reason begins with ``ALLOWED_SKIP``.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Final

#: How the reason of a skip begins that is never a failure.
ALLOWED_SKIP: Final = "This machine does not allow it:"

SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((?P<counts>[a-zA-Z0-9=, ]+)\))?\s*$")


def counts_of(line: str) -> dict[str, int] | None:
    """The counts in trial's closing line, such as ``FAILED (failures=1, successes=7)``; None for any other line."""
    match = SUMMARY.match(line)
    if match is None:
        return None
    pairs = (part.split("=") for part in (match["counts"] or "").split(", ") if part)
    return {name: int(count) for name, count in pairs}


def closing_line(counts: Mapping[str, int]) -> str:
    """``12 passed, 0 failed``, and the skipped where there are any."""
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    skipped = counts.get("skips", 0)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def allowed_skips(lines: Iterable[str]) -> int:
    """How many tests were skipped for a reason that is never a failure. Trial prints the reason, then the tests."""
    count = 0
    before = ""
    counting = False
    for line in map(str.strip, lines):
        if before == "[SKIPPED]":
            counting = line.startswith(ALLOWED_SKIP)
        elif line.startswith(("===", "---")):
            counting = False
        elif counting and line:
            count += 1
        before = line
    return count


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Runs trial, shows what it prints as it comes, and returns the status to exit with."""
    command = [sys.executable, "-u", "-m", "twisted.trial", "--jobs=2", *(arguments or ["tests"])]
    counts: dict[str, int] | None = None
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
            found = counts_of(line)
            counts = counts if found is None else found
    status = trial.returncode
    if counts is None:
        print("trial ended without a summary", file=sys.stderr)
        counts, status = {"errors": 1}, status or 1
    if counts.get("skips", 0) > allowed_skips(lines) and environ.get("KSCHAT_TESTS_REQUIRE"):
        print("tests were skipped, and KSCHAT_TESTS_REQUIRE allows none", file=sys.stderr)
        status = status or 1
    sys.stderr.flush()
    print(closing_line(counts), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
