"""A bounded number of places, in all and by address, in which newcomers give way to newcomers.

If a full pool only refused, whoever filled it first would keep everybody out. So the place that is taken back is one
whose holder has proved nothing yet, the oldest of them: a client that means it proves within a moment what it is, by a
second request or by joining, and cannot be driven out by any number of newcomers after that. (To take back the youngest
would drive out each client before it has had that moment.)

::

    NEWCOMER --another request--> RETURNED          proved (has joined): never taken back
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

#: Ranks: holders of the first give way before those of the second.
NEWCOMER: Final = 0
RETURNED: Final = 1

#: Of a place that was left, and of one that is never taken back.
_LEFT: Final = -1
_KEPT: Final = 2


class Holder(Protocol):
    """Has a place."""

    @property
    def proved(self) -> bool:
        """Whether its client has joined, so that the place is not taken back."""

    def give_way(self) -> None:
        """The place was taken back: end at once. It is left already."""


class _Nobody:
    """The holder of places that were left, so that a place and its former holder are in no cycle."""

    proved = False

    def give_way(self) -> None:
        """Do nothing."""


_NOBODY: Final = _Nobody()


class Place:
    """One place in a pool.

    Attributes:
        holder: who has it; whoever takes over from it puts itself here.
        address: whose it counts as; "" for nobody's.
    """

    __slots__ = ("address", "holder", "rank")

    def __init__(self, holder: Holder, address: str) -> None:
        self.holder = holder
        self.address = address
        self.rank = NEWCOMER


class Pool:
    """Places of one kind.

    Args:
        name: for the counters: ``connections``.
        limit: places in all.
        limit_per_address: places of one address.
        full: counts newcomers that were refused, by ``name`` or ``name_per_address``.
        evicted: counts places that were taken back, in the same way.

    Attributes:
        taken: places that are taken.
    """

    __slots__ = (
        "_by_address",
        "_counts",
        "_evicted",
        "_full",
        "_limit",
        "_limit_per_address",
        "_name",
        "_queues",
        "taken",
    )

    def __init__(
        self, name: str, *, limit: int, limit_per_address: int, full: Counter[str], evicted: Counter[str]
    ) -> None:
        self.taken = 0
        self._name = name
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._full = full
        self._evicted = evicted
        self._counts: dict[str, int] = {}
        # Of each rank that gives way: the places, the oldest first; and those of each address.
        self._queues: tuple[dict[Place, None], dict[Place, None]] = ({}, {})
        self._by_address: tuple[dict[str, dict[Place, None]], dict[str, dict[Place, None]]] = ({}, {})

    def use(self, limit: int, limit_per_address: int) -> None:
        """Other limits hold from now on. Places that are taken stay so."""
        self._limit = limit
        self._limit_per_address = limit_per_address

    def has_room(self, address: str) -> bool:
        """Whether a newcomer of ``address`` would be let in. If not, it is counted."""
        bound = self._reached(address)
        if bound is not None and self._first(address if bound else "") is None:
            self._full[self._name + bound] += 1
            return False
        return True

    def enter(self, holder: Holder, address: str) -> Place:
        """Take a place; others give way if there is none. Ask ``has_room`` first."""
        self._make_room(address)
        place = Place(holder, address)
        self.taken += 1
        self._put(place)
        return place

    def move(self, place: Place, address: str) -> bool:
        """The address of a place became known, or is another.

        Returns:
            Whether that address has room for it. If not, the place counts as nobody's, and its holder must end.
        """
        if place.rank == _LEFT or address == place.address:
            return place.rank != _LEFT
        self._take(place)
        place.address = ""
        fits = self._counts.get(address, 0) < self._limit_per_address or self._take_back(address)
        if fits:
            place.address = address
        else:
            self._full[self._name + "_per_address"] += 1
        self._put(place)
        return fits

    def returned(self, place: Place) -> None:
        """The holder's client has sent another request. (Those that were heard of last give way last.)"""
        if place.rank in (NEWCOMER, RETURNED):
            self._unqueue(place)
            place.rank = RETURNED
            self._queue(place)

    def leave(self, place: Place) -> bool:
        """Leave a place. Returns whether it was not left before."""
        if place.rank == _LEFT:
            return False
        self._take(place)
        place.rank = _LEFT
        place.holder = _NOBODY
        self.taken -= 1
        return True

    def of(self, address: str) -> int:
        """Places of an address."""
        return self._counts.get(address, 0)

    def _reached(self, address: str) -> str | None:
        """Which bound is reached, as the end of the name that it is counted by."""
        if address and self._counts.get(address, 0) >= self._limit_per_address:
            return "_per_address"
        return "" if self.taken >= self._limit else None

    def _make_room(self, address: str) -> None:
        bound = self._reached(address)
        if bound is not None:
            self._take_back(address if bound else "")

    def _take_back(self, address: str) -> bool:
        place = self._first(address)
        if place is None:
            return False
        self._evicted[self._name + ("_per_address" if address else "")] += 1
        holder = place.holder
        self.leave(place)
        holder.give_way()
        return True

    def _first(self, address: str) -> Place | None:
        """The place that is taken back next, of an address or, for "", of all."""
        for rank in (NEWCOMER, RETURNED):
            queue = self._by_address[rank].get(address, {}) if address else self._queues[rank]
            while queue:
                place = next(iter(queue))
                if not place.holder.proved:
                    return place
                self._unqueue(place)
                place.rank = _KEPT
        return None

    def _put(self, place: Place) -> None:
        if place.address:
            self._counts[place.address] = self._counts.get(place.address, 0) + 1
        self._queue(place)

    def _take(self, place: Place) -> None:
        if place.address:
            count = self._counts[place.address] - 1
            if count:
                self._counts[place.address] = count
            else:
                del self._counts[place.address]
        self._unqueue(place)

    def _queue(self, place: Place) -> None:
        if place.rank in (NEWCOMER, RETURNED):
            self._queues[place.rank][place] = None
            if place.address:
                self._by_address[place.rank].setdefault(place.address, {})[place] = None

    def _unqueue(self, place: Place) -> None:
        if place.rank in (NEWCOMER, RETURNED):
            self._queues[place.rank].pop(place, None)
            if place.address:
                queue = self._by_address[place.rank].get(place.address)
                if queue is not None:
                    queue.pop(place, None)
                    if not queue:
                        del self._by_address[place.rank][place.address]
