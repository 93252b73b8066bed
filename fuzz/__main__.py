"""``make fuzz``: each target for some seconds, or those that are named; ``--keep`` keeps what covers more."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from hashlib import sha256
from pathlib import Path
from typing import Final

from fuzz import corpus
from fuzz.seeds import seeds
from fuzz.targets import TARGETS

NAMES: Final = list(TARGETS)


def main() -> int:
    """Fuzz; the status is 1 if anything was found."""
    parser = ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all without any")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write what covers more into the kept corpus")
    wanted = parser.parse_args()
    found = 0
    for name in wanted.targets or NAMES:
        with tempfile.TemporaryDirectory(prefix="kschat-fuzz-") as directory:
            found += fuzz(name, Path(directory), seconds=wanted.seconds, seed=wanted.seed, keep=wanted.keep)
    return int(found > 0)


def fuzz(name: str, directory: Path, *, seconds: int, seed: int, keep: bool) -> bool:
    """Fuzz one target; whether something was found, whose input is printed."""
    inputs, faults = directory / "inputs", directory / "faults"
    inputs.mkdir()
    faults.mkdir()
    for data in (*corpus.read(name), *seeds(name)):
        (inputs / sha256(data).hexdigest()).write_bytes(data)
    said = run(
        name, f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", f"-artifact_prefix={faults}/", str(inputs)
    )
    done = re.findall(r"number_of_executed_units: (\d+)", said)
    print(f"{name}: {done[-1] if done else '?'} executions, {len(list(inputs.iterdir()))} inputs", flush=True)
    found = sorted(faults.iterdir())
    for path in found:
        print(f"{name}: {path.name}: {path.read_bytes()!r}\n{said[-1500:]}", flush=True)
    if keep:
        # libFuzzer has added those alone that cover more than the ones before.
        kept = [data for path in inputs.iterdir() if len(data := path.read_bytes()) <= corpus.MAX_INPUT]
        corpus.write(name, [*kept, *(path.read_bytes() for path in found)])
    return bool(found)


def run(name: str, *arguments: str) -> str:
    """One run of libFuzzer; what it said."""
    command = [sys.executable, "-m", "fuzz.one", name, "-print_final_stats=1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr


if __name__ == "__main__":
    raise SystemExit(main())
