"""The inputs that are kept: a file for each target, each line the base64 of one input."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: The inputs that cover the most code. Each run with --keep chooses them again.
CORPUS: Final = Path(__file__).with_name("corpus")

#: What once showed a fault; it stays.
FAULTS: Final = Path(__file__).with_name("faults")

#: Bytes of one input of the corpus, and of a file of it.
MAX_INPUT: Final = 512
MAX_FILE: Final = 20_000


def read(target: str) -> list[bytes]:
    """The inputs of one target."""
    return [*_read(FAULTS, target), *_read(CORPUS, target)]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs as the corpus, the shortest first, as many as the file may hold."""
    lines, size = [], 0
    for one in sorted(set(inputs), key=lambda one: (len(one), one)):
        line = b64encode(one).decode()
        size += len(line) + 1
        if len(one) > MAX_INPUT or size > MAX_FILE:
            break
        lines.append(line)
    _write(CORPUS, target, lines)


def add_faults(target: str, inputs: Iterable[bytes]) -> None:
    """Keep what has shown a fault."""
    found = dict.fromkeys([*_read(FAULTS, target), *inputs])
    if found:
        _write(FAULTS, target, [b64encode(one).decode() for one in found])


def _read(directory: Path, target: str) -> list[bytes]:
    path = directory / f"{target}.txt"
    return [b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write(directory: Path, target: str, lines: Iterable[str]) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
