"""Generations of offsets, of stores that may come back with less than they had confirmed.

Whenever that may be so, offsets continue in a later generation, far beyond those of the one before. So none is given
twice. Scripts and schemas of such stores have the same numbers.
"""

from __future__ import annotations

from typing import Final

#: Offsets of the first generation begin at 1, those of each further one at a multiple of this, and 1.
GENERATION: Final = 1 << 22


def ceiling_of(generation: int) -> int:
    """The greatest offset of a generation."""
    return generation * GENERATION


def generation_of(offset: int) -> int:
    """The generation that an offset, from 1 on, is of."""
    return (offset - 1) // GENERATION + 1
