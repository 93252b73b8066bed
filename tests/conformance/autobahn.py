"""Runs all cases of the Autobahn test suite against ``/echo``, and writes docs/conformance.md: `make conformance`.

The conformance application is started twice, plain and with ``--deflate``. (The package ``kosoku`` drives the suite's
own case files; the suite's own program needs Python 2.)
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from kosoku import FailureError, run_fuzzingclient

from tests.support.launch import SERVING, free_port
from tests.support.needs import REPOSITORY

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

PAGE = REPOSITORY / "docs" / "conformance.md"
BEGIN = "<!-- autobahn: made by `make conformance` -->\n"
END = "<!-- end of autobahn -->\n"

#: What the first number of a case's id means.
CATEGORIES = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "auto-fragmentation",
    12: "compression",
    13: "compression, with parameters",
}

#: Verdicts that are as they should be. INFORMATIONAL: the standard leaves it open.
GOOD = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


class Run(msgspec.Struct, frozen=True):
    """One start of the application, and what is asked of it."""

    title: str
    options: tuple[str, ...]
    cases: tuple[str, ...]


#: Without compression the server offers none, and the cases that are about it have nothing to look at.
RUNS = (
    Run("plain", (), ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")),
    Run("with `--deflate`", ("--deflate",), tuple(f"{number}.*" for number in CATEGORIES)),
)


class Application:
    """The conformance application as a process; a context manager. ``port`` is where it serves."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", "tests.conformance", "--port", str(self.port), *options]

    def __enter__(self) -> Application:
        self._process = subprocess.Popen(self._command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if SERVING.decode() in line:
                return self
        raise SystemExit("the conformance application does not serve")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)


def run(one: Run, cases: Sequence[str]) -> list[CaseResult]:
    """The results of one run, in the cases' order."""
    with Application(*one.options) as application:

        async def results() -> list[CaseResult]:
            url = f"ws://127.0.0.1:{application.port}/echo"
            return await run_fuzzingclient(url, list(cases), None, concurrency=2)

        try:
            return asyncio.run(results())
        except FailureError as failure:
            return list(failure.results)


def category(result: CaseResult) -> int:
    """The first number of a case's id."""
    return int(result.case_id.partition(".")[0])


def is_good(result: CaseResult) -> bool:
    """Whether a case did not fail, nor the end of its connection."""
    return result.behavior.value in GOOD and result.behavior_close.value in GOOD


def table(title: str, results: Sequence[CaseResult], seconds: float) -> str:
    """What became of the cases, a row each category."""
    lines = [
        f"### {title[0].upper()}{title[1:]}",
        "",
        f"{len(results)} cases in {seconds:.0f} s.",
        "",
        "| cases | | OK | non-strict | informational | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, name in CATEGORIES.items():
        of = [result for result in results if category(result) == number]
        if of:
            counts = Counter(result.behavior.value if is_good(result) else "FAILED" for result in of)
            shown = (counts[verdict] or "" for verdict in ("OK", "NON-STRICT", "INFORMATIONAL"))
            lines.append(f"| {number}.* | {name} | {' | '.join(map(str, shown))} | {counts['FAILED']} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run all, or what the command line names; 0 when no case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.autobahn", description=__doc__)
    parser.add_argument("cases", nargs="*", help="such as 1.* or 12.1.1: only these, and the page stays as it is")
    options = parser.parse_args(arguments)
    tables, failed = [], 0
    for one in RUNS:
        begun = time.monotonic()
        results = run(one, options.cases or one.cases)
        text = table(one.title, results, time.monotonic() - begun)
        print(text, flush=True)
        tables.append(text)
        for result in results:
            if not is_good(result):
                failed += 1
                print(f"{result.case_id}: {result.behavior.value}, {result.behavior_close.value}: {result.result}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("autobahn", "twisted", "kosoku"))
    if not options.cases and not failed:
        write(PAGE, f"CPython {platform.python_version()}, {packages}.\n\n" + "\n".join(tables))
    print(f"{failed} cases failed")
    return 1 if failed else 0


def write(page: Path, text: str) -> None:
    """Put ``text`` between the page's markers."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{page} has no place for it"
    assert end, f"{page} has no place for it"
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
