"""The heartbeat interval of daemons, and the silence after which a daemon counts as dead."""

from __future__ import annotations

import msgspec


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds.

    A daemon that dies is taken off ``dead`` + ``beat`` later at the latest, where others live. Where all were silent
    for ``away``, Redis itself was: then none is taken off, and nobody is said to be offline, until all have had
    ``settle`` to come back.

    Attributes:
        beat: between two times that a daemon says that it lives.
        dead: of silence, after which it is dead.
        away: of silence of all.
        settle: until all that live are back.
    """

    beat: float = 3.0
    dead: float = 9.5
    away: float = 4.5
    settle: float = 6.0

    @property
    def milliseconds(self) -> tuple[int, int, int]:
        """``dead``, ``away`` and ``settle`` as a script takes them."""
        return round(1000 * self.dead), round(1000 * self.away), round(1000 * self.settle)
