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

#: Seconds of CPU that an input may take: for itself, and for each byte.
SECONDS: Final = 0.5
BYTE_SECONDS: Final = 0.001


class Slow(Exception):
    """An input took too much CPU for its size."""


def main() -> None:
    """Fuzz for the given seconds of CPU; libFuzzer ends this process."""
    name, seconds = sys.argv.pop(1), float(sys.argv.pop(1))
    target = TARGETS[name]

    def one(data: bytes) -> None:
        began = process_time()
        target(data)
        ended = process_time()
        if ended - began > SECONDS + BYTE_SECONDS * len(data):
            raise Slow(f"{len(data)} bytes took {ended - began:.2f} s")
        if ended > seconds:
            os.kill(os.getpid(), signal.SIGUSR1)  # on which libFuzzer exits in order

    atheris.Setup([f"{sys.argv[0]} {name}", *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
