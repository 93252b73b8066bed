"""The key of a conversation: its two users, in either direction, or its room."""

from __future__ import annotations

from typing import Final, TypeAlias

#: What a room's name begins with, and no user's does.
ROOM_MARK: Final = "#"

#: The key of a conversation: its two users in order, or its room.
ConversationKey: TypeAlias = tuple[str, str] | str


def is_room(name: str) -> bool:
    """Whether ``name`` is a room's, and no user's."""
    return name[:1] == ROOM_MARK


def room_name(name: str) -> str:
    """The name of a room that may be written without its mark."""
    return name if is_room(name) else ROOM_MARK + name


def pair_key(one: str, other: str) -> tuple[str, str]:
    """The key of the conversation of two users."""
    return (one, other) if one < other else (other, one)


def conversation_key(user: str, peer: str) -> ConversationKey:
    """The key of the conversation that ``user`` has with ``peer``, a user or a room."""
    return peer if is_room(peer) else pair_key(user, peer)
