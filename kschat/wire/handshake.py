"""The facts of the HTTP request that began a session: ``Handshake``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

#: Shared by all handshakes without.
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of the HTTP request that began a session.

    Attributes:
        query: the URL's query, the first value of each name.
        authorization: the header of that name, or "".
        peer: the client's address, for the log: ``192.0.2.7:54321``, ``::1:54321``; without the port where a proxy
            named the client; ``unix``.
        address: the client's IP address; "" if it has none.
        client: whose it counts as where limits are counted by address: an IPv4 address, or the /64 network of an IPv6
            address; "" if the address is unknown: such limits do not apply then.
        time: when it arrived, in seconds since the epoch; 0 if unknown.
        secure: whether it came by TLS to this server (a proxy may have ended TLS before).
        headers: by their names in lower case, those of one name joined by ``, ``; empty if they are not kept.
        url: path and query; "" if it is not kept.
    """

    query: Mapping[str, str] = {}
    authorization: str = ""
    peer: str = ""
    address: str = ""
    client: str = ""
    time: float = 0.0
    secure: bool = False
    headers: Mapping[str, str] = _NO_HEADERS
    url: str = ""
