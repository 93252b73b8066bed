"""WebSocket frames as a client writes and reads them (RFC 6455, section 5.2), to the letter and beside it."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

MASK: Final = b"\x37\xfa\x21\x3d"


class Seen(NamedTuple):
    """A frame that the server sent."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        assert self.opcode == CLOSE
        return self.payload[2:].decode()


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """``payload`` under ``mask``."""
    return bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))


def client_frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    claimed: int | None = None,
) -> bytes:
    """One frame from a client.

    Args:
        mask: None for none, which no client may.
        length_bytes: 0, 2 or 8 bytes for the length whatever it is; None for as few as do.
        claimed: the length that the header says.
    """
    size = len(payload) if claimed is None else claimed
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 0x10000 else 8
    head = bytes((fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | {0: size, 2: 126, 8: 127}[length_bytes]))
    head += size.to_bytes(length_bytes, "big") if length_bytes else b""
    return head + (payload if mask is None else mask + masked(payload, mask))


def close_frame(code: int | None = 1000, reason: str = "") -> bytes:
    """A client's close frame."""
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return client_frame(payload, CLOSE)


def deflated(payload: bytes) -> bytes:
    """``payload`` as that of a compressed message (RFC 7692, section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(payload: bytes, window_bits: int = zlib.MAX_WBITS) -> bytes:
    """The other way round, of a message that refers to none before it."""
    return zlib.decompressobj(-window_bits).decompress(payload + b"\x00\x00\xff\xff")


def read_frames(data: bytes, inflate: int = 0) -> tuple[list[Seen], bytes]:
    """The frames that a server wrote, and the bytes of one that is not whole.

    Args:
        inflate: the bits of the window that compressed messages need at the most; 0 where none may be.

    Raises:
        AssertionError: what no server may write: a mask, a reserved bit, a fragment, a length in more bytes
            than it needs, a control frame that is too long.
    """
    frames = []
    position = 0
    while len(data) - position >= 2:
        first, second = data[position], data[position + 1]
        assert first & 0x80, "a fragment"
        assert not first & (0x30 if inflate else 0x70), "a reserved bit"
        assert not second & 0x80, "a mask"
        opcode, size, start = first & 0x0F, second, position + 2
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), opcode
        if size == 126:
            size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            assert start > len(data) or size > 125, "two bytes of length for one"
        elif size == 127:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            assert start > len(data) or size > 0xFFFF, "eight bytes of length for less"
        assert opcode < CLOSE or size < 126, "a long control frame"
        if start + size > len(data):
            break
        payload = data[start : start + size]
        if first & 0x40:
            assert opcode < CLOSE, "a compressed control frame"
            payload = inflated(payload, inflate)
        if opcode == TEXT:
            payload.decode()
        frames.append(Seen(opcode, payload))
        position = start + size
    return frames, data[position:]
