"""How long the disk takes, beside which the stores' figures are read."""

from __future__ import annotations

import os
import time
from pathlib import Path


def synced(directory: Path, size: int) -> list[float]:
    """Latencies of writing ``size`` bytes and waiting for the disk."""
    latencies = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(300):
            file.write(b"x" * size)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            latencies.append(time.perf_counter() - begun)
    return latencies
