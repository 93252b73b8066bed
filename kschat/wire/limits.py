"""All bounds on what a peer may send."""

from __future__ import annotations

from typing import Final

import msgspec

#: Depth of the JSON of any message that was let in: no setting allows more than 512 levels, and a packet adds some.
ANY_DEPTH: Final = 600


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the wire. A peer that exceeds one loses its connection, by a ``ProtocolError``.

    Attributes:
        max_payload: bytes of one packet, and of all attachments of one packet together.
        max_payload_unjoined: bytes of one packet from a peer that has joined no namespace that serves something; from
            1,024 on.
        max_joins: joins that a peer may ask for at once; one more each second.
        max_attachments: attachments of one packet.
        max_depth: nested arrays and objects in a packet's JSON.
        max_namespaces: namespaces joined at once on one connection.
        max_refused: refused joins of one connection. Each costs the verification of a token, and a line in the log.
        max_arguments: arguments of one event or ack; each becomes an object.
        max_event_name: bytes of an event's name, as JSON.
        max_namespace: bytes of a namespace with its query, which may contain a token.
    """

    max_payload: int = 1_000_000
    max_payload_unjoined: int = 16_384
    max_joins: int = 32
    max_attachments: int = 10
    max_depth: int = 64
    max_namespaces: int = 8
    max_refused: int = 100
    max_arguments: int = 64
    max_event_name: int = 128
    max_namespace: int = 8_400
