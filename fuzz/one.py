"""Fuzzes one target in this process: ``python -m fuzz.one TARGET SECONDS [libFuzzer's flags]``."""

from __future__ import annotations

import os
import signal
import sys
from time import process_time
from typing import Final

import atheris

with atheris.instrument_imports(include=["kschat"]):
    from fuzz.targets import TARGETS

#: Seconds of CPU that an input may take, whatever its size, and for each byte: a hundred times what it takes at most.
SECONDS: Final = 0.5
BYTE_SECONDS: Final = 0.001


class Slow(Exception):
    """An input took more CPU than its bytes explain."""


def main() -> None:
    """Fuzz for so many seconds of CPU; libFuzzer ends this process."""
    name, seconds = sys.argv.pop(1), float(sys.argv.pop(1))
    target = TARGETS[name]

    def one(data: bytes) -> None:
        began = process_time()
        target(data)
        ended = process_time()
        if ended - began > SECONDS + BYTE_SECONDS * len(data):
            raise Slow(f"{len(data)} bytes took {ended - began:.2f} s")
        if ended > seconds:
            os.kill(os.getpid(), signal.SIGUSR1)  # by which libFuzzer ends in order

    atheris.Setup([f"{sys.argv[0]} {name}", *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
