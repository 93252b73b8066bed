"""``make fuzz``: fuzzes all targets, or the named ones; ``--keep`` keeps inputs that cover more code."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from subprocess import PIPE, STDOUT
from typing import Final

from fuzz import corpus
from fuzz.seeds import seeds
from fuzz.targets import TARGETS

NAMES: Final = list(TARGETS)

#: Seconds on the wall after which libFuzzer reports that an input never ends. ``one`` reports too much CPU long before;
#: this bound is so high that a process may be stopped meanwhile.
ENDLESS: Final = 3600


def main() -> int:
    """Fuzz; the exit status is 1 if a fault was found."""
    parser = ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="CPU seconds for each target (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write inputs that cover more code into fuzz/corpus/")
    wanted = parser.parse_args()
    for name in wanted.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name}")
    found = 0
    for name in wanted.targets or NAMES:
        with tempfile.TemporaryDirectory(prefix="kschat-fuzz-") as directory:
            found += fuzz(name, Path(directory), seconds=wanted.seconds, seed=wanted.seed, keep=wanted.keep)
    print(f"{_cpu():.0f} s of CPU in all, {found} targets with a fault")
    return int(found > 0)


def fuzz(name: str, directory: Path, *, seconds: int, seed: int, keep: bool) -> bool:
    """Fuzz one target, and print the inputs of faults; True if there was one."""
    inputs, faults = directory / "inputs", directory / "faults"
    inputs.mkdir()
    faults.mkdir()
    for data in (*corpus.read(name), *seeds(name)):
        (inputs / sha256(data).hexdigest()).write_bytes(data)
    before = _cpu()
    flags = (f"-seed={seed}", f"-timeout={ENDLESS}", f"-report_slow_units={ENDLESS}", "-max_len=4096")
    said = run(name, str(seconds), *flags, f"-artifact_prefix={faults}/", str(inputs))
    done = re.findall(r"number_of_executed_units: (\d+)", said)
    print(
        f"{name}: {done[-1] if done else '?'} executions in {_cpu() - before:.0f} s of CPU, "
        f"{len(list(inputs.iterdir()))} inputs",
        flush=True,
    )
    found = sorted(faults.iterdir())
    if not found and not done:
        raise SystemExit(f"{name}: libFuzzer ended by itself\n{said[-3000:]}")
    raised = said[max(said.find("Uncaught Python exception"), len(said) - 5000) :]
    for path in found:
        print(f"{name}: {path.name}: {path.read_bytes()!r}\n{raised}", flush=True)
    if keep:
        # libFuzzer has added only inputs that cover more code than the ones before.
        corpus.write(name, [path.read_bytes() for path in inputs.iterdir()])
        corpus.add_faults(name, [path.read_bytes() for path in found])
    return bool(found)


def run(name: str, seconds: str, *flags: str) -> str:
    """One run of libFuzzer; its output."""
    command = [sys.executable, "-m", "fuzz.one", name, seconds, "-print_final_stats=1", *flags]
    done = subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, errors="replace", check=False)
    return done.stdout


def _cpu() -> float:
    """Seconds of CPU of all runs so far."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
