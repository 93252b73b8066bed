"""``Bounds``: what a client, or an application for it, may take."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a client, or an application for it, may take.

    Attributes:
        max_rooms: rooms that one socket is in.
        max_asked: acks that are awaited of one socket.
        max_running: handlers of one socket's events that have not ended; beyond it the connection is closed.
        max_dynamic: namespaces at once that a rule has made.
    """

    max_rooms: int = 1000
    max_asked: int = 1000
    max_running: int = 1000
    max_dynamic: int = 1000
