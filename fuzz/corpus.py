"""The inputs that are kept: a file for each target, with the base64 of one input on each line."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: Inputs that cover more code than others. ``make fuzz FUZZ=--keep`` replaces them.
CORPUS: Final = Path(__file__).with_name("corpus")

#: Inputs that once showed a fault. They are never removed.
FAULTS: Final = Path(__file__).with_name("faults")

#: Bytes of one input of the corpus, and of a file of it.
MAX_INPUT: Final = 512
MAX_FILE: Final = 20_000


def read(target: str) -> list[bytes]:
    """The inputs of one target."""
    return [*_read(FAULTS, target), *_read(CORPUS, target)]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the corpus by these inputs, the shortest first, up to ``MAX_FILE`` bytes."""
    lines, size = [], 0
    for one in sorted(set(inputs), key=lambda one: (len(one), one)):
        line = b64encode(one).decode()
        size += len(line) + 1
        if len(one) > MAX_INPUT or size > MAX_FILE:
            break
        lines.append(line)
    _write(CORPUS, target, lines)


def add_faults(target: str, inputs: Iterable[bytes]) -> None:
    """Keep inputs that showed a fault."""
    found = dict.fromkeys([*_read(FAULTS, target), *inputs])
    if found:
        _write(FAULTS, target, [b64encode(one).decode() for one in found])


def _read(directory: Path, target: str) -> list[bytes]:
    path = directory / f"{target}.txt"
    return [b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write(directory: Path, target: str, lines: Iterable[str]) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
