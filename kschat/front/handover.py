"""Hands the connection of an HTTP request to another protocol."""

from __future__ import annotations

from typing import Any, Final

from twisted.protocols.policies import ProtocolWrapper
from twisted.web.server import Request

from kschat.front.channel import Channel, Heir
from kschat.front.websocket import EngineProtocol

#: The headers of a WebSocket handshake. Autobahn gets these and never the URL, which may contain a token: Autobahn logs
#: what it gets. Nor does it get the Origin, which was checked before: it refuses origins that it cannot parse.
_HANDSHAKE_HEADERS: Final = (
    b"Host",
    b"Upgrade",
    b"Connection",
    b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version",
    b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Extensions",
)


def hand_over(request: Request, protocol: EngineProtocol) -> None:
    """Let ``protocol`` answer a WebSocket handshake and take the connection over."""
    head = [b"GET / HTTP/1.1"]
    for name in _HANDSHAKE_HEADERS:
        values = request.requestHeaders.getRawHeaders(name)
        if values:
            head.append(name + b": " + b",".join(values))
    channel = request.channel
    assert isinstance(channel, Channel)
    take_over(channel, protocol)
    protocol.dataReceived(b"\r\n".join(head) + b"\r\n\r\n")
    if channel.early:
        protocol.dataReceived(channel.early)


def take_over(channel: Channel, protocol: Heir) -> None:
    """Put ``protocol`` in the place of ``channel``, which releases everything it holds."""
    heir: Any = protocol
    transport = channel.let_go(protocol)
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = heir
    elif isinstance(transport.protocol, ProtocolWrapper):
        transport.protocol.wrappedProtocol = heir
    else:
        transport.protocol = heir
    heir.makeConnection(transport)
    transport.resumeProducing()
