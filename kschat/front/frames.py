"""Encodes outgoing WebSocket frames, and reads the heads of incoming ones (RFC 6455, section 5.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Head of an unmasked text frame of that many bytes (RFC 6455, section 5.2).
_SHORT_TEXT: Final = tuple(bytes((0x81, size)) for size in range(126))
_SHORT_BINARY: Final = tuple(bytes((0x82, size)) for size in range(126))

#: In a frame's first byte: the message is compressed (RFC 7692, section 6).
RSV1: Final = 0x40


def frame(payload: bytes, binary: bool = False) -> bytes:
    """``payload`` as one unmasked, unfragmented WebSocket frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return (_SHORT_BINARY if binary else _SHORT_TEXT)[size] + payload
    first = b"\x82" if binary else b"\x81"
    if size < 0x10000:
        return first + b"\x7e" + size.to_bytes(2, "big") + payload
    return first + b"\x7f" + size.to_bytes(8, "big") + payload


class Head(NamedTuple):
    """The head of an incoming frame. It may be one that RFC 6455 forbids.

    Attributes:
        first: its first byte.
        start: where the payload begins.
        size: bytes of the payload.
    """

    first: int
    start: int
    size: int

    @property
    def fin(self) -> bool:
        """Whether it is the last frame of a message."""
        return bool(self.first & 0x80)

    @property
    def compressed(self) -> bool:
        """Whether a message that begins here is compressed."""
        return bool(self.first & RSV1)

    @property
    def control(self) -> bool:
        """Whether it is no part of a message."""
        return bool(self.first & 0x08)

    @property
    def begins(self) -> bool:
        """Whether it begins a message."""
        return bool(self.first & 0x0F)


def head_of(data: bytes, position: int) -> Head | None:
    """The head of the frame at ``position``; None while it has not arrived whole."""
    if len(data) - position < 2:
        return None
    size, start = data[position + 1] & 0x7F, position + 2
    extended = 2 if size == 126 else 8 if size == 127 else 0
    if extended:
        size = int.from_bytes(data[start : start + extended], "big")
        start += extended
    if data[position + 1] & 0x80:
        start += 4
    return Head(data[position], start, size) if start <= len(data) else None
