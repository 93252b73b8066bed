"""permessage-deflate (RFC 7692) with bounded memory: negotiation and compression.

An idle connection keeps no compression state: no message refers to an earlier one, on either side. Autobahn checks the
size of a message while it inflates it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

#: Of our messages: the window's bits, and how much memory zlib takes beside it. 8 KB while a message is compressed.
WINDOW_BITS: Final = 10
MEM_LEVEL: Final = 3


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
