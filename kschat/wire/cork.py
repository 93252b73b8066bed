"""Holds small writes back, so that each transport writes once per batch.

While the cork is held, a transport collects its writes and enters itself in ``dirty`` once; ``release`` lets each of
them write its collection in one piece.
"""

from __future__ import annotations

from typing import Protocol


class Corked(Protocol):
    """A transport that can hold its writes back."""

    def flush(self) -> None:
        """Write in one piece what was held back. Must not raise."""


class Cork:
    """There is one in a daemon. It is not reentrant: only the pipeline holds it, for one batch."""

    __slots__ = ("dirty", "held")

    def __init__(self) -> None:
        self.held = False
        self.dirty: list[Corked] = []

    def hold(self) -> None:
        """Transports collect their writes from now on, until ``release``."""
        self.held = True

    def release(self) -> None:
        """Let each transport write what it has collected."""
        try:
            # Held until the last has written: what is sent from within a flush follows what waits there.
            while self.dirty:
                dirty, self.dirty = self.dirty, []
                for transport in dirty:
                    transport.flush()
        finally:
            self.held = False
