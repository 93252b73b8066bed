"""Makes the WebSocket protocols, with Autobahn's options set for clients on the internet."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerFactory

from kschat.front import deflate
from kschat.front.context import TransportContext
from kschat.front.websocket import EngineProtocol
from kschat.wire.connection import Handshake
from kschat.wire.engineio import Revision
from kschat.wire.session import EngineSession


class EngineFactory(WebSocketServerFactory):
    """Makes the protocols, with Autobahn's options as they must be on the internet.

    Args:
        context: what all transports share.
        compress: whether clients that offer permessage-deflate may have it.
    """

    def __init__(self, context: TransportContext, compress: bool = False) -> None:
        super().__init__(server="", reactor=context.clock)
        self._context = context
        self.setProtocolOptions(
            # A protocol raises them once its client has joined.
            maxFramePayloadSize=context.max_payload_unjoined,
            maxMessagePayloadSize=context.max_payload_unjoined,
            # A handshake is whole when a protocol is made for it, and ends have our own alarm clock;
            # Autobahn's timers would run on whatever reactor is installed.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            failByDrop=False,
            webStatus=False,
            # Origins are checked before the request comes here, for all transports alike.
            allowedOrigins=["*"],
            allowNullOrigin=True,
            autoPingInterval=0,
            utf8validateIncoming=True,
            trustXForwardedFor=0,
            perMessageCompressionAccept=deflate.accept if compress else None,
        )

    def for_request(
        self, *, revision: Revision, handshake: Handshake, base64: bool = False, host: EngineSession | None = None
    ) -> EngineProtocol:
        """A protocol for a request that was found good. ``host`` is the session that may change to it."""
        protocol = EngineProtocol(self._context, revision=revision, handshake=handshake, base64=base64, host=host)
        protocol.factory = self
        protocol.is_server = True
        return protocol
