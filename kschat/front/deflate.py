"""permessage-deflate (RFC 7692) with bounded memory: negotiation and compression.

An idle connection keeps no compression state: no message refers to an earlier one, on either side. Autobahn checks the
size of a message while it inflates it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

from autobahn.websocket.compress import PerMessageDeflate, PerMessageDeflateOffer, PerMessageDeflateOfferAccept

#: Of our messages: the window's bits, and how much memory zlib takes beside it. 8 KB while a message is compressed.
WINDOW_BITS: Final = 10
MEM_LEVEL: Final = 3

#: A client's message may be inflated to so many times its size, and to so many bytes whatever its size.
MAX_RATIO: Final = 100
ALWAYS_INFLATED: Final = 65_536


class BoundedDeflate(PerMessageDeflate):
    """Autobahn's processor of the extension; a message that is inflated to more than ``MAX_RATIO`` allows is too large.

    Args:
        agreed: Autobahn's own, whose parameters were agreed on.
    """

    def __init__(self, agreed: Any) -> None:
        super().__init__(
            True,
            agreed.server_no_context_takeover,
            agreed.client_no_context_takeover,
            agreed.server_max_window_bits,
            agreed.client_max_window_bits,
            agreed.mem_level,
            agreed.max_message_size,
        )
        # Of the current message.
        self._arrived = self._inflated = 0

    def start_decompress_message(self) -> None:
        """A compressed message begins."""
        super().start_decompress_message()
        self._arrived = self._inflated = 0

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Inflate a part of it. Raises Autobahn's PayloadExceededError."""
        self._arrived += len(data)
        room = max(ALWAYS_INFLATED, MAX_RATIO * self._arrived) - self._inflated
        inflated: bytes = super().decompress_message_data(
            data, max_output_len=room if max_output_len is None else min(room, max_output_len)
        )
        self._inflated += len(inflated)
        return inflated


def accept(offers: Iterable[Any]) -> PerMessageDeflateOfferAccept | None:
    """Autobahn's ``perMessageCompressionAccept``: the first offer of permessage-deflate, bounded (section 7.1)."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            asked = offer.request_max_window_bits or WINDOW_BITS
            return PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=True,
                request_max_window_bits=WINDOW_BITS if offer.accept_max_window_bits else 0,
                no_context_takeover=True,
                window_bits=min(asked, WINDOW_BITS),
                mem_level=MEM_LEVEL,
            )
    return None


def deflated(payload: bytes, window_bits: int) -> bytes:
    """``payload`` as the payload of a compressed message (section 7.2.1)."""
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits, MEM_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
