"""The inputs that are kept: a file for each target, each line the base64 of one input."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).with_name("corpus")

#: Bytes of one kept input, unless it showed a fault; and of a file.
MAX_INPUT: Final = 512
MAX_FILE: Final = 40_000


def read(target: str) -> list[bytes]:
    """The inputs of one target."""
    path = CORPUS / f"{target}.txt"
    return [b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, the shortest first, as many as the file may hold."""
    lines, size = [], 0
    for one in sorted(set(inputs), key=lambda one: (len(one), one)):
        line = b64encode(one).decode()
        size += len(line) + 1
        if size > MAX_FILE:
            break
        lines.append(line)
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
