"""Encodes outgoing WebSocket frames (RFC 6455, section 5.2)."""

from __future__ import annotations

from typing import Final

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
