"""The rooms of a namespace and their members. A room exists while it has a member."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from kschat.server.errors import TooMany

Member = TypeVar("Member")


class Rooms(Generic[Member]):
    """The rooms of one namespace.

    Args:
        most: rooms that one socket may be in.
    """

    __slots__ = ("_members", "_most", "_rooms")

    def __init__(self, most: int) -> None:
        # Dicts in the place of sets: their order is that in which sockets came, and so is that of what is written.
        self._members: dict[str, dict[Member, None]] = {}
        self._rooms: dict[Member, dict[str, None]] = {}
        self._most = most

    def __iter__(self) -> Iterator[str]:
        """The names of the rooms there are."""
        return iter(self._members)

    def of(self, socket: Member) -> frozenset[str]:
        """The rooms that ``socket`` is in."""
        return frozenset(self._rooms.get(socket, ()))

    def join(self, socket: Member, room: str) -> None:
        """``socket`` is in ``room``. Raises TooMany."""
        rooms = self._rooms.setdefault(socket, {})
        if room not in rooms:
            if len(rooms) >= self._most:
                raise TooMany("a socket may be in no more rooms")
            rooms[room] = None
            self._members.setdefault(room, {})[socket] = None

    def leave(self, socket: Member, room: str) -> None:
        """``socket`` is in ``room`` no more."""
        if self._rooms.get(socket, {}).pop(room, room) is None:
            self._drop(socket, room)

    def leave_all(self, socket: Member) -> None:
        """``socket`` is in no room any more."""
        for room in self._rooms.pop(socket, ()):
            self._drop(socket, room)

    def select(self, rooms: Iterable[str], without: Iterable[str]) -> list[Member]:
        """The sockets in any of ``rooms`` and in none of ``without``, each once."""
        chosen: dict[Member, None] = {}
        for room in rooms:
            chosen.update(self._members.get(room, {}))
        for room in without:
            for socket in self._members.get(room, ()):
                chosen.pop(socket, None)
        return list(chosen)

    def _drop(self, socket: Member, room: str) -> None:
        members = self._members[room]
        del members[socket]
        if not members:
            del self._members[room]
