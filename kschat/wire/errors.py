"""The reasons for closing a connection.

``close_code`` is the code of a WebSocket's close frame (RFC 6455, section 7.4.1); other transports do not use it.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A named reason for the end of a session or of a socket.

    The text of those that Engine.IO names is Engine.IO's own (``docs/engine.io-protocol`` and
    the reference server's ``close`` event), so that logs can be compared.
    """

    TRANSPORT_CLOSE = ("transport close", 1000)
    TRANSPORT_ERROR = ("transport error", 1011)
    PARSE_ERROR = ("parse error", 1002)
    TOO_LARGE = ("too large", 1009)
    PING_TIMEOUT = ("ping timeout", 1008)
    FORCED_CLOSE = ("forced close", 1000)
    CONNECT_TIMEOUT = ("connect timeout", 1008)
    SLOW_READER = ("slow reader", 1008)
    RATE = ("rate", 1008)
    REPLACED = ("replaced", 1000)
    TOKEN_EXPIRED = ("token expired", 1008)
    SHUTTING_DOWN = ("server shutting down", 1001)
    SERVER_ERROR = ("server error", 1011)
    CLIENT_DISCONNECT = ("client namespace disconnect", 1000)
    SERVER_DISCONNECT = ("server namespace disconnect", 1000)

    def __init__(self, text: str, close_code: int) -> None:
        self.text = text
        self.close_code = close_code


class ProtocolError(Exception):
    """The peer sent bytes that are not a packet, or a packet that is out of place.

    Only its connection is closed, with ``reason``. ``detail`` is for the log and never contains data of the peer. Any
    other exception from ``wire`` is a bug of ours.
    """

    def __init__(self, detail: str, reason: Reason = Reason.PARSE_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
