"""WebSocket frames as a client sends them (RFC 6455, section 5), cheap enough to load a server with.

A client must mask what it sends. The key here is one byte four times, so that a masked byte does not depend on its
place and a frame can be put together from parts that were masked beforehand.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

FIRST: Final = 1_000_000
"""The first number of a message. All have seven digits, so a template's length never changes."""
DIGITS: Final = 7
MARK: Final = b"~~"
"""Stands before the number in a message's text, and nowhere else in a frame."""


def masking(key: int) -> bytes:
    """Return the table for ``bytes.translate`` that masks with ``key`` (0 to 255) four times."""
    return bytes(byte ^ key for byte in range(256))


def head(opcode: int, size: int, key: int) -> bytes:
    """Return the head of a masked, final client frame of ``size`` payload bytes, the masking key included."""
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((0x80 | opcode,)) + length + bytes((key,)) * 4


def client_frame(opcode: int, payload: bytes, key: int) -> bytes:
    """Return one whole, masked client frame."""
    return head(opcode, len(payload), key) + payload.translate(masking(key))


class Template:
    """A frame that is sent many times with another number in it.

    ``payload`` holds the number's places as ``%``; a ``%`` that is to stay cannot be said. ``fill(number)`` returns the
    whole frame.
    """

    __slots__ = ("_mask", "_parts")

    def __init__(self, payload: bytes, key: int) -> None:
        parts = payload.split(b"%")
        self._mask = masking(key)
        size = sum(map(len, parts)) + DIGITS * (len(parts) - 1)
        masked = [part.translate(self._mask) for part in parts]
        masked[0] = head(TEXT, size, key) + masked[0]
        self._parts = tuple(masked)

    def fill(self, number: int) -> bytes:
        """Return the frame that carries ``number`` (seven digits) in each of its places."""
        return (b"%d" % number).translate(self._mask).join(self._parts)
