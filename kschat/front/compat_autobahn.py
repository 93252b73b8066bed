"""All uses of Autobahn's private names, each with the symptom that made it necessary.

``tests/front/test_compat.py`` lists them, and fails with one sentence if a name is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol


class AutobahnProtocol(WebSocketServerProtocol):
    """Autobahn's server protocol with names for what it keeps to itself."""

    # Autobahn's own, without types or with others than it uses.
    transport: Any
    state: int
    inside_message: bool = False  # which Autobahn sets when the handshake has succeeded
    failedByMe: bool
    maxFramePayloadSize: int
    maxMessagePayloadSize: int
    http_headers: Any
    http_request_params: Any
    http_request_data: Any
    http_response_data: Any

    def received_by_autobahn(self, data: bytes) -> None:
        """Let Autobahn read bytes that arrived.

        Its ``dataReceived`` is ours: whole text frames are read there at a fraction of the cost.
        """
        self._dataReceived(data)

    def agreed_compression(self, bounded: Callable[[Any], Any]) -> Any:
        """What was agreed on with the peer (RFC 7692), with ``server_max_window_bits``; None for none.

        ``bounded`` makes of Autobahn's processor another, which takes its place: Autobahn's own inflates a kilobyte to
        a megabyte.
        """
        agreed: Any = self._perMessageCompress
        if agreed is not None:
            agreed = self._perMessageCompress = bounded(agreed)
        return agreed

    def forget_inflater(self) -> None:
        """Hold nothing of the message that was inflated: no context is taken over from it, and a window is large."""
        compression: Any = self._perMessageCompress
        compression._decompressor = None

    def forget_received(self) -> None:
        """Hold nothing of a message that will not arrive whole any more, and be in no cycle.

        A protocol that has ended stood in a cycle until Python looked for such: 150 of them held 150 MB.
        """
        self.is_open = self.is_closed = None  # Deferreds whose result is this protocol
        self.data = b""
        self.message_data: list[bytes] = []
        self.frame_data: list[bytes] = []

    def too_large(self, reason: str) -> bool:
        """A message is larger than may be. Returns whether the connection's end is seen to; else Autobahn does it."""
        return False

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        # Autobahn's own ends with code 1009 and no word to the session, whose sockets were not told why.
        if not self.too_large(reason):
            super()._max_message_size_exceeded(msg_size, max_msg_size, reason)
