"""What the HTTP request that began a session said: ``Handshake``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

#: Shared by all handshakes without.
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What the HTTP request that began a session said.

    Attributes:
        query: the URL's query, the first value of each name.
        authorization: the header of that name, or "".
        peer: the address it came from, for the log: ``192.0.2.7:54321``, ``::1:54321``, ``unix``.
        time: when that was, in seconds since the epoch; 0 where nobody looked at a clock.
        secure: whether it came by TLS (to this server; what a proxy has taken off is not known).
        headers: by their names in lower case, those of one name joined by ``, ``; empty where they are not kept.
        url: path and query; "" where it is not kept.
    """

    query: Mapping[str, str] = {}
    authorization: str = ""
    peer: str = ""
    time: float = 0.0
    secure: bool = False
    headers: Mapping[str, str] = _NO_HEADERS
    url: str = ""

    @property
    def address(self) -> str:
        """The peer's IP address alone; "" where it has none."""
        return self.peer.rpartition(":")[0]
