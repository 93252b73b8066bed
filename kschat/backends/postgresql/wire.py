"""PostgreSQL's binary form of parameters. It is made here, a whole array at once: one call a value would cost more than
all else of a batch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

#: The types' numbers, which are the same in every PostgreSQL.
BOOL: Final = 16
BYTEA: Final = 17
BIGINT: Final = 20
TEXT: Final = 25
BYTEA_ARRAY: Final = 1001
TEXT_ARRAY: Final = 1009
BIGINT_ARRAY: Final = 1016
TIMESTAMP: Final = 1184

#: Seconds from 1970 to 2000, where PostgreSQL's times begin.
EPOCH_2000: Final = 946_684_800

_HEAD: Final = struct.Struct("!iiiii")
_LENGTH: Final = struct.Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_BIGINT: Final = struct.Struct("!q")


class Call(msgspec.Struct, frozen=True):
    """A statement with its parameters.

    Attributes:
        sql: with ``$1``, ``$2``, ….
        parameters: in PostgreSQL's binary form; None for NULL.
        types: of the parameters.
    """

    sql: bytes
    parameters: Sequence[bytes | None] = ()
    types: Sequence[int] = ()

    def after(self, turn: int) -> Call:
        """The same, which is refused if the last batch before it is not of this turn (``in_turn``)."""
        sql = self.sql.replace(b" FROM ", b" FROM in_turn($%d) AS in_turn, " % (len(self.parameters) + 1), 1)
        return Call(sql, [*self.parameters, _BIGINT.pack(turn)], [*self.types, BIGINT])


class Parameters:
    """Collects the parameters of one call."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.types: list[int] = []

    def call(self, function: str) -> Call:
        """A call of a function with these."""
        marks = ", ".join(f"${at}" for at in range(1, len(self.values) + 1))
        return Call(f"SELECT answer.* FROM {function}({marks}) AS answer".encode(), self.values, self.types)

    def names(self, *values: str | bytes | None) -> Parameters:
        """Names or bytes, each a parameter."""
        for value in values:
            self._add(value.encode() if isinstance(value, str) else value, BYTEA)
        return self

    def numbers(self, *values: int) -> Parameters:
        """Whole numbers, each a parameter."""
        for value in values:
            self._add(_BIGINT.pack(value), BIGINT)
        return self

    def flag(self, value: bool) -> Parameters:
        """A boolean."""
        self._add(b"\x01" if value else b"\x00", BOOL)
        return self

    def text(self, value: str | None) -> Parameters:
        """A text without NUL."""
        self._add(None if value is None else value.encode(), TEXT)
        return self

    def time(self, value: float) -> Parameters:
        """A time in seconds since 1970."""
        self._add(_BIGINT.pack(int((value - EPOCH_2000) * 1_000_000)), TIMESTAMP)
        return self

    def bigints(self, values: Sequence[int]) -> Parameters:
        """An array of whole numbers."""
        pairs = [part for value in values for part in (8, value)]
        self._add(_head(BIGINT, len(values)) + struct.pack("!" + "iq" * len(values), *pairs), BIGINT_ARRAY)
        return self

    def byte_strings(self, values: Iterable[bytes | None]) -> Parameters:
        """An array of byte strings; None for NULL."""
        self._add(_varied(BYTEA, list(values)), BYTEA_ARRAY)
        return self

    def texts(self, values: Iterable[str | None]) -> Parameters:
        """An array of texts without NUL."""
        self._add(_varied(TEXT, [None if value is None else value.encode() for value in values]), TEXT_ARRAY)
        return self

    def _add(self, value: bytes | None, kind: int) -> None:
        self.values.append(value)
        self.types.append(kind)


def _head(kind: int, count: int) -> bytes:
    # Dimensions, whether there may be NULLs, the type; the length and the first subscript of the one dimension.
    return _HEAD.pack(1, 1, kind, count, 1) if count else _HEAD.pack(0, 0, kind, 0, 0)[:12]


def _varied(kind: int, values: Sequence[bytes | None]) -> bytes:
    pack = _LENGTH.pack
    parts = [_head(kind, len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(pack(len(value)))
            parts.append(value)
    return b"".join(parts)
