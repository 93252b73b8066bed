"""A proxy before a server, at an address of its own, that holds the bytes between the two sides of a partition.

Held bytes are not lost, and neither end notices: as when a cable is pulled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaos.proxy import Link, Proxy

#: Servers have their addresses from here on: 127.0.0.11.
_FIRST: Final = 11


def address(number: int) -> str:
    """The address of the loopback by which others reach the server of this number, from 0."""
    return f"127.0.0.{_FIRST + number}"


def number_of(host: str) -> int | None:
    """The number of the server with this address; None for any other client."""
    found = int(host.rpartition(".")[2]) - _FIRST
    return found if found >= 0 else None


class Gate(Proxy):
    """The proxy of one server.

    Args:
        reactor: the real one.
        number: the server's.
        target: the port of 127.0.0.1 where it listens; the gate has the same, at ``address``.
        whose: the number of the connecting server, by its first bytes or its address; None for any other client.
        severed: whether two servers are on different sides now.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        target: int,
        *,
        whose: Callable[[bytes, Link], int | None],
        severed: Callable[[int, int], bool],
    ) -> None:
        super().__init__(reactor, target, address(number))
        self.port = target
        self._number = number
        self._find = whose
        self._severed = severed
        self._whose: dict[Link, int | None] = {}
        self._held: list[Link] = []

    def begin(self, link: Link) -> None:
        """Wait for the first bytes, which identify the client."""
        link.heard.addCallback(self._heard, link)

    def _heard(self, said: bytes, link: Link) -> None:
        self._whose[link] = self._find(said, link)
        link.gone.addCallback(lambda _: self._whose.pop(link, None))
        if self._is_severed(link):
            self._held.append(link)
        else:
            self.connect(link, self._target)

    def hold(self) -> None:
        """Hold the connections between severed servers, and carry all others."""
        for link in list(self.links):
            if self._is_severed(link):
                link.stall()
            else:
                link.resume()
        held, self._held = self._held, []
        for link in held:
            if self._is_severed(link):
                self._held.append(link)
            elif link.client.alive:
                self.connect(link, self._target)

    def _is_severed(self, link: Link) -> bool:
        other = self._whose.get(link)
        return other is not None and self._severed(other, self._number)
