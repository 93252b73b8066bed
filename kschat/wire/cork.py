"""Holds small writes back, so that each socket is written to once a batch.

A transport that finds the cork held appends to a list of its own and enters itself in
``dirty`` once; ``release`` lets each of them write what it has as one piece.
"""

from __future__ import annotations

from typing import Protocol


class Corked(Protocol):
    """A transport that can hold its writes back."""

    def flush(self) -> None:
        """Write what was held back, as one piece. Must not raise."""


class Cork:
    """One a daemon. Not reentrant: the pipeline alone holds it, from one batch to its end."""

    __slots__ = ("dirty", "held")

    def __init__(self) -> None:
        self.held = False
        self.dirty: list[Corked] = []

    def hold(self) -> None:
        """From here to ``release``, transports keep what they are given."""
        self.held = True

    def release(self) -> None:
        """Let each transport write what it was given meanwhile."""
        try:
            # Held until the last has written: what is sent from within a flush follows what waits there.
            while self.dirty:
                dirty, self.dirty = self.dirty, []
                for transport in dirty:
                    transport.flush()
        finally:
            self.held = False
