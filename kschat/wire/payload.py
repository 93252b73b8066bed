"""Bodies of HTTP long-polling: several packets in one, of revision 3 and revision 4.

Source: socketio/socket.io, ``docs/engine.io-protocol/v3.md`` ("Payload") and ``v4-current.md``
("Packet encoding", "HTTP long-polling").

::

    revision 4      packets between bytes 1e, binary as base64     4hello 1e bAQID
    revision 3      LENGTH:PACKET, LENGTH in UTF-16 code units     6:4hello2:4€
      with binary   packed: 00 for text or 01, the digits of the
                    length in bytes as bytes 00 to 09, ff, packet  00 06 ff 4hello 01 04 ff 04 01 02 03
      b64=1, JSONP  binary as base64, all of it text               6:4hello6:b4AQID

A body is encoded from frames, as on a WebSocket, and decoded to frames; ``engineio`` decodes a frame.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Final

from kschat.wire import engineio
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError
from kschat.wire.jsontext import mend_utf8

_SEPARATOR: Final = b"\x1e"

#: A noop, which is what an empty packet of revision 3 means: each takes its place in a turn of who reads them.
_NOTHING: Final = Frame(b"6")

#: Digits of a length; a body is never as long as that many can say.
_MAX_DIGITS: Final = 10


def encode(frames: Iterable[Frame], revision: Revision, limit: int, *, text_only: bool = False) -> tuple[Frame, int]:
    """Put as many of ``frames`` into one body as fit, and one at least.

    Args:
        frames: at least one; text is UTF-8.
        revision: the session's.
        limit: bytes of the body.
        text_only: the peer can't read a binary body.

    Returns:
        The body, ``binary`` where it is packed, and of how many frames it is made.
    """
    chosen: list[Frame] = []
    size = 0
    for frame in frames:
        if frame.binary and (text_only or revision == 4):
            frame = _as_text(frame, revision)
        # Of a packed body, which is the longest: bytes are no fewer than code units.
        size += 1 + len(frame.payload) if revision == 4 else 2 + len(str(len(frame.payload))) + len(frame.payload)
        if chosen and size > limit:
            break
        chosen.append(frame)
    if revision == 4:
        body = _SEPARATOR.join([frame.payload for frame in chosen])
    elif any(frame.binary for frame in chosen):
        return Frame(b"".join([_packed(frame) for frame in chosen]), True), len(chosen)
    else:
        body = b"".join([b"%d:%b" % (_units(frame.payload), frame.payload) for frame in chosen])
    return Frame(body), len(chosen)


def decode(body: bytes, revision: Revision) -> Iterator[Frame]:
    """The frames that ``body`` is made of, one at a time: a body of small packets holds a great many.

    Bytes that are no UTF-8 are replaced, as browsers' servers do.

    Raises:
        ProtocolError: where the fault is reached; it is empty, or is no such body. Frames before the fault are
            given, as by npm's server.
    """
    if not body:
        raise ProtocolError("an empty body")
    # Text begins with a digit of a length, so that what the Content-Type says need not be believed.
    if revision == 3 and body[0] <= 1:
        return _unpack(body)
    body = mend_utf8(body)
    return _split(body) if revision == 4 else _cut(body)


def _as_text(frame: Frame, revision: Revision) -> Frame:
    # A binary frame of revision 3 begins with the byte of its type.
    data = frame.payload[1:] if revision == 3 else frame.payload
    return Frame(engineio.base64_prefix(revision) + binascii.b2a_base64(data, newline=False))


def _packed(frame: Frame) -> bytes:
    digits = bytes([int(digit) for digit in str(len(frame.payload))])
    return b"%c%b\xff%b" % (frame.binary, digits, frame.payload)


def _units(text: bytes) -> int:
    """UTF-16 code units of UTF-8."""
    return len(text) if text.isascii() else len(text.decode("utf-8", "replace").encode("utf-16-le")) // 2


def _split(body: bytes) -> Iterator[Frame]:
    position = 0
    while (end := body.find(_SEPARATOR, position)) >= 0:
        yield Frame(body[position:end])
        position = end + 1
    yield Frame(body[position:])


def _cut(body: bytes) -> Iterator[Frame]:
    """Of text in revision 3. Lengths count what JavaScript's strings count: code units of UTF-16."""
    wide = not body.isascii()
    # Two bytes a code unit: positions and lengths are those of JavaScript, and C does the counting.
    units = body.decode().encode("utf-16-le") if wide else body
    size = 2 if wide else 1
    position = 0
    while position < len(units):
        head = units[position : position + size * (_MAX_DIGITS + 1)]
        if wide:
            # Other characters than digits and a colon are no part of a length, whatever becomes of them here.
            head = head.decode("utf-16-le", "replace").encode("ascii", "replace")
        digits, colon, _ = head.partition(b":")
        if not (colon and digits.isdigit()):
            raise ProtocolError("a length that is no number")
        start = position + size * (len(digits) + 1)
        position = start + size * int(digits)
        if position > len(units):
            raise ProtocolError("a truncated body")
        packet = units[start:position]
        if wide:
            packet = packet.decode("utf-16-le", "replace").encode()
        # npm's parser writes a body of no packets as 0: and reads over it.
        yield Frame(packet) if packet else _NOTHING


def _unpack(body: bytes) -> Iterator[Frame]:
    position = 0
    while position < len(body):
        kind = body[position]
        end = body.find(b"\xff", position + 1, position + _MAX_DIGITS + 2)
        digits = body[position + 1 : end] if end > 0 else b""
        if kind > 1 or not digits or max(digits) > 9:
            raise ProtocolError("a packed length that is no number")
        stop = end + 1 + int("".join(map(str, digits)))
        if stop > len(body):
            raise ProtocolError("a truncated packed body")
        payload = body[end + 1 : stop]
        position = stop
        yield Frame(payload, True) if kind else Frame(mend_utf8(payload))
