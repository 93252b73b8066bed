"""Signs in a daemon's log of an error that nothing may bring about, for the chaos and for the tests."""

from __future__ import annotations

from typing import Final

#: As ``twistd`` writes them: the levels of ``twisted.logger`` stand in lower case behind a ``#``.
FAULTS: Final = ("Traceback", "Unhandled", "#critical")


def is_fault(line: str) -> bool:
    """Whether a line of a log has such a sign."""
    return any(sign in line for sign in FAULTS)
