"""What one step of upkeep in Redis may do: Redis does one thing at a time, so a step delays everything else."""

from __future__ import annotations

from typing import Final

#: Entries of streams that one step may touch.
STEP_ENTRIES: Final = 500

#: Bytes of the messages that one step may touch; the last one may go beyond.
STEP_BYTES: Final = 1_000_000

#: Milliseconds that one step may take.
STEP_MILLISECONDS: Final = 2

#: What a script of one step is given, in this order.
STEP_BOUNDS: Final = (STEP_ENTRIES, STEP_BYTES, STEP_MILLISECONDS)
