"""``python -m simulate``: many seeds, or one; what fails is shrunk and shown. With ``--mutants``: the planted bugs."""

from __future__ import annotations

import gc
import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from time import monotonic, process_time
from typing import Final

import msgspec

from simulate.mutants import MUTANTS, planted
from simulate.plans import Plan, make_plan
from simulate.shrinking import shrunk
from simulate.world import Result, play

#: Seeds after which a planted bug counts as not found.
MAX_SEEDS: Final = 10_000

#: Seconds between two lines of progress.
SAY_EVERY: Final = 30.0


def parse(arguments: list[str]) -> Namespace:
    """The command line."""
    parser = ArgumentParser(prog="python -m simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--one", action="store_true", help="play that seed alone, and print all that happens")
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="play what is in this file, and print all that happens"
    )
    parser.add_argument("--history", type=Path, metavar="FILE", help="with --one or --plan: write what happened there")
    parser.add_argument("--mutants", nargs="*", metavar="MUTANT", help=f"of {', '.join(MUTANTS)}; all without any")
    found = parser.parse_args(arguments)
    for mutant in found.mutants or ():
        if mutant not in MUTANTS:
            parser.error(f"there is no mutant {mutant}")
    return found


def settle_heap() -> None:
    """What was imported is no garbage: to look through it after each world took longer than most worlds."""
    gc.collect()
    gc.freeze()


def show(plan: Plan, result: Result) -> None:
    """Print a world that failed, and the shortest part of it that fails in the same way."""
    print(f"seed {plan.seed}: {result.violation}", flush=True)
    small = shrunk(plan, lambda candidate: play(candidate).kind == result.kind)
    again = play(small, keep_history=True)
    print(f"{small}\n-- what happened last:")
    print("\n".join(again.history[-40:]))
    print(
        f"-- {again.violation}\n-- as a file for tests/simulate/kept:\n{msgspec.json.encode(small).decode()}",
        flush=True,
    )


def many(first: int, count: int) -> bool:
    """Play many seeds; whether all was right."""
    began = said = monotonic()
    counts: Counter[str] = Counter()
    steps, seconds, failed = 0, 0.0, []
    for seed in range(first, first + count):
        plan = make_plan(seed)
        result = play(plan)
        counts.update(result.counts)
        steps += result.steps
        seconds += result.seconds
        if result.violation is not None:
            failed.append(seed)
            show(plan, result)
        if monotonic() - said > SAY_EVERY:
            said = monotonic()
            print(f"{seed - first + 1} seeds, {len(failed)} failed", flush=True)
    took = process_time()
    print(f"{count} seeds in {monotonic() - began:.0f} s, of which {took:.0f} s of the processor", end=" ")
    print(f"({1000 * took / count:.0f} s a thousand); {len(failed)} failed {failed[:20]}")
    print(f"{steps} steps, {seconds / 3600:.0f} hours of virtual time")
    print(", ".join(f"{number} {name}" for name, number in sorted(counts.items())))
    return not failed


def one(plan: Plan, history: Path | None) -> bool:
    """Play one plan, and print all that happens; write what clients saw of it to a file."""
    print(plan)
    result = play(plan, keep_history=True)
    print("\n".join(result.history))
    if history is not None:
        history.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in result.operations))
    print(f"{result.violation or 'all is right'}\ndigest {result.digest}")
    return result.violation is None


def mutants(names: list[str], first: int) -> bool:
    """Look for each planted bug; whether each was found."""
    found = True
    for name in names:
        began = monotonic()
        with planted(name):
            for seed in range(first, first + MAX_SEEDS):
                result = play(make_plan(seed))
                if result.violation is not None:
                    line = result.violation.partition("\n")[0]
                    print(f"{name}: {seed - first + 1} seeds, {monotonic() - began:.0f} s: {line}", flush=True)
                    break
            else:
                found = False
                print(f"{name}: not found by {MAX_SEEDS} seeds", flush=True)
    return found


def main(wanted: Namespace) -> int:
    """Do what is wanted; the exit status."""
    settle_heap()
    if wanted.mutants is not None:
        return not mutants(wanted.mutants or list(MUTANTS), wanted.seed)
    if wanted.plan is not None:
        return not one(msgspec.json.decode(wanted.plan.read_bytes(), type=Plan), wanted.history)
    if wanted.one:
        return not one(make_plan(wanted.seed), wanted.history)
    return not many(wanted.seed, wanted.seeds)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Nothing should depend on the order of a set; where something does, the same seed does the same all the same.
        os.execve(
            sys.executable, [sys.executable, "-m", "simulate", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    raise SystemExit(main(parse(sys.argv[1:])))
