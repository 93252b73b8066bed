"""``Quotas``: how much a user may have in the store. They may change while the daemon runs."""

from __future__ import annotations

import msgspec


class Quotas(msgspec.Struct, kw_only=True):
    """Read again for each request.

    Attributes:
        max_room: members of a room.
        max_rooms: rooms of a user.
        max_blocked: users whom one user may block.
        edit_within: seconds for which a sender may edit and delete a message.
    """

    max_room: int
    max_rooms: int
    max_blocked: int
    edit_within: float
