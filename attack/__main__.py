"""``python -m attack [ROW…]``: plays rows, prints their table; status 1 where one failed."""

from __future__ import annotations

import argparse
import sys

from attack.rows import ROWS
from attack.run import Result, play
from attack.verdict import HEAD, faults_of, line
from bench.process import machine
from bench.services import Services


def main() -> int:
    """Play the rows of the command line."""
    parser = argparse.ArgumentParser(prog="python -m attack", description="Attack a daemon beside a healthy pair.")
    parser.add_argument("rows", nargs="*", help="names, or beginnings of names; all without any")
    parser.add_argument("--seconds", type=float, default=2.5, help="of each attack (default 2.5)")
    parser.add_argument("--without-cluster", action="store_true", help="no rows that need Redis and RabbitMQ")
    options = parser.parse_args()
    rows = [row for name, row in ROWS.items() if not options.rows or name.startswith(tuple(options.rows))]
    if not rows:
        parser.error("no row has such a name")
    failed = []
    print(machine())
    print(HEAD, flush=True)
    with Services() as services:
        for row in rows:
            if options.without_cluster and row.backend == "redis":
                continue
            try:
                result = play(row, options.seconds, services)
            except RuntimeError as error:
                result = Result(faults=[f"the daemon did not start: {str(error)[-300:]}"])
            faults = faults_of(row, result)
            print(line(row, result), flush=True)
            if faults:
                failed.append(row.name)
                print(f"  FAILED {row.name}: {'; '.join(faults)}", file=sys.stderr, flush=True)
    print(f"{len(rows)} rows, {len(failed)} failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
