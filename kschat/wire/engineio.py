"""Engine.IO packets of revision 3 and revision 4, one WebSocket frame each.

Source: socketio/socket.io, ``docs/engine.io-protocol/v3.md`` and ``v4-current.md``.

Text is UTF-8 in bytes throughout, as it arrives and as it is sent. The transport has checked that it is UTF-8.

::

    text frame      type digit, then data           4hello    2probe
    binary frame    revision 4: the data alone      01 02 03
                    revision 3: type byte, data     04 01 02 03
    binary as text  revision 3: b, type digit, base64    b4AQID
                    revision 4: b, base64                bAQID
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from kschat.wire.errors import ProtocolError

Revision = Literal[3, 4]

OPEN: Final = 0
CLOSE: Final = 1
PING: Final = 2
PONG: Final = 3
MESSAGE: Final = 4
UPGRADE: Final = 5
NOOP: Final = 6

#: The first byte of a text frame that is a message: the one packet type on the hot path.
MESSAGE_DIGIT: Final = 0x34

_DIGITS: Final = b"0123456"
_B: Final = 0x62


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One Engine.IO packet.

    Attributes:
        type: ``OPEN`` to ``NOOP``.
        data: UTF-8 text, or any bytes where ``binary``.
        binary: whether ``data`` is binary; only messages are.
    """

    type: int
    data: bytes = b""
    binary: bool = False


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message of a transport: ``payload`` as text or as binary."""

    payload: bytes
    binary: bool = False


def encode(packet: Packet, revision: Revision, base64: bool = False) -> Frame:
    """Encode ``packet`` as one frame.

    Args:
        packet: what to send.
        revision: the session's.
        base64: put binary into text, for a transport that carries text alone (``b64=1``).
    """
    if not packet.binary:
        return Frame(b"%d%b" % (packet.type, packet.data))
    if base64:
        return Frame(base64_prefix(revision) + binascii.b2a_base64(packet.data, newline=False))
    if revision == 3:
        return Frame(bytes((packet.type,)) + packet.data, True)
    return Frame(packet.data, True)


def base64_prefix(revision: Revision) -> bytes:
    """The prefix of a binary message that is sent as base64 in text."""
    return b"b4" if revision == 3 else b"b"


def decode_text(payload: bytes, revision: Revision) -> Packet:
    """Decode one text frame.

    Raises:
        ProtocolError: it is empty, its type is unknown, or its base64 is invalid.
    """
    if not payload:
        raise ProtocolError("an empty text frame")
    first = payload[0]
    if first in _DIGITS:
        return Packet(first - 0x30, payload[1:])
    if first != _B:
        raise ProtocolError("an unknown packet type")
    start = 1
    if revision == 3:
        if payload[1:2] != b"4":
            raise ProtocolError("base64 in a packet that is no message")
        start = 2
    try:
        return Packet(MESSAGE, binascii.a2b_base64(payload[start:], strict_mode=True), True)
    except binascii.Error:
        raise ProtocolError("invalid base64") from None


def decode_binary(payload: bytes, revision: Revision) -> Packet:
    """Decode one binary frame.

    Raises:
        ProtocolError: in revision 3, the frame does not start with the byte of a message.
    """
    if revision == 4:
        return Packet(MESSAGE, payload, True)
    if not payload or payload[0] != MESSAGE:
        raise ProtocolError("a binary frame that is no message")
    return Packet(MESSAGE, payload[1:], True)


def open_data(
    sid: str,
    *,
    upgrades: Sequence[str],
    ping_interval: float,
    ping_timeout: float,
    max_payload: int,
) -> bytes:
    """The JSON of the open packet (Engine.IO 4, "Handshake").

    Args:
        sid: the session's id.
        upgrades: transports the client may change to.
        ping_interval, ping_timeout: seconds; announced as whole milliseconds.
        max_payload: bytes of one packet. Clients of revision 3 ignore it.
    """
    return msgspec.json.encode(
        {
            "sid": sid,
            "upgrades": list(upgrades),
            "pingInterval": round(ping_interval * 1000),
            "pingTimeout": round(ping_timeout * 1000),
            "maxPayload": max_payload,
        }
    )
