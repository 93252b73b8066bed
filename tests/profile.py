"""How much of what could go on for ever a run does: ``KSCHAT_TESTS_PROFILE`` is ``whole`` in CI, else it is ``short``.

A short run takes fewer examples and does nothing else otherwise; ``KSCHAT_TESTS_PROFILE=whole make test`` is CI's.
"""

from __future__ import annotations

import os
from typing import Final

PROFILES: Final = ("short", "whole")


def profile() -> str:
    """The profile of this run. Raises ValueError where the variable names none: a slip must not pass for the whole."""
    named = os.environ.get("KSCHAT_TESTS_PROFILE") or PROFILES[0]
    if named not in PROFILES:
        raise ValueError(f"KSCHAT_TESTS_PROFILE is {named!r}, and no profile: give one of {', '.join(PROFILES)}")
    return named


def amount(whole: int, short: int) -> int:
    """How many examples, frames or faults: ``whole`` in CI, ``short`` on a developer's machine."""
    return whole if profile() == "whole" else short
