"""What a call costs, counted rather than timed: calls made, and memory at its peak."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(function: Callable[..., object], *arguments: Any) -> int:
    """How many functions, ours and built-in, are called and generators resumed while ``function`` runs.

    It does not see what a built-in does inside; those that are used here (``re`` with possessive repeats,
    ``translate``, ``accumulate``, msgspec) go over their input once.
    """
    count = 0

    def step(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return count


def peak(function: Callable[..., object], *arguments: Any) -> int:
    """How many bytes more than before are held at the worst moment while ``function`` runs."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
