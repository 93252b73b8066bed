"""Whose request is it: the client's address of a connection and of a request, for limits, logs and handshakes.

The address is the connection's, unless that is a trusted proxy's: then it is what the proxy says in X-Forwarded-For.
Anybody may send that header, so each hop is believed only if the hop behind it is trusted: the client is the rightmost
address that is not a trusted proxy's. (An endpoint ``haproxy:`` gives the address by itself, from the PROXY protocol.)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: In ``trusted_proxies``: whatever connects to a UNIX socket.
UNIX: Final = "unix"

#: Replaces a text that is not an address. All such connections count as one client.
UNKNOWN: Final = "unknown"

#: Of an IPv6 address these bits count as one client: a network of that size is what one customer is given, who may use
#: any address in it (RFC 6177; RFC 4291, section 2.5.4).
PREFIX: Final = 64

#: Hops of X-Forwarded-For that are read, from the right. A chain of trusted proxies is short.
MAX_HOPS: Final = 32

#: This machine, and private networks (RFC 1918, RFC 4193, RFC 3927): where proxies are.
_NEAR: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)

#: An address with a port, as some proxies write it.
_WITH_PORT: Final = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?", re.ASCII)


class ProxyError(ValueError):
    """An entry of ``trusted_proxies`` that cannot be used; the text ends a sentence that begins with it."""


class ClientAddress(msgspec.Struct, frozen=True):
    """Whose request it is.

    Attributes:
        host: the IP address; ``unix`` for a UNIX socket.
        port: the client's; 0 if it is unknown, as behind a proxy.
        key: whose it counts as where limits are counted by address: an IPv4 address, or the /64 network of an IPv6
            address. "" for a UNIX socket, which has no address: limits by address do not apply to it.
    """

    host: str
    port: int
    key: str

    def to_header(self) -> bytes:
        """For another daemon; see ``from_header``."""
        return b"%b %d" % (self.host.encode(), self.port)

    @classmethod
    def from_header(cls, text: bytes) -> ClientAddress:
        """What ``to_header`` wrote. The text must be proved to come from a daemon. Raises ValueError."""
        host, _, port = text.decode().rpartition(" ")
        return NOBODY if host == UNIX else cls(host, int(port), address_key(host))

    def __str__(self) -> str:
        """For the log: ``192.0.2.7:54321``, ``192.0.2.7``, ``unix``."""
        return f"{self.host}:{self.port}" if self.port else self.host


#: Of a UNIX socket.
NOBODY: Final = ClientAddress(UNIX, 0, "")


class ClientAddresses:
    """The one place that says whose a connection or a request is.

    Args:
        trusted: addresses and networks of proxies whose X-Forwarded-For is believed; ``unix`` for those on a UNIX
            socket.

    Raises:
        ProxyError: an entry is something else.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._unix = False
        self._networks: list[_Network] = []
        for entry in trusted:
            if entry == UNIX:
                self._unix = True
            else:
                self._networks.append(_network(entry))

    def of_connection(self, peer: Any) -> ClientAddress:
        """The address that a connection comes from. ``peer``: what Twisted says (``IAddress``)."""
        host = getattr(peer, "host", None)
        if host is None:
            return NOBODY
        if _parsed(host) is None or not host.isprintable():
            # Twisted accepts any word as an address in the text form of the PROXY protocol.
            host = UNKNOWN
        return ClientAddress(host, peer.port, address_key(host))

    def is_proxy(self, hop: ClientAddress) -> bool:
        """Whether a connection comes from a trusted proxy, so that its requests may be of many clients."""
        if hop.host == UNIX:
            return self._unix
        return bool(self._networks) and self._trusts(_parsed(hop.host))

    def may_be_proxy(self, hop: ClientAddress) -> bool:
        """Whether a connection that is not trusted comes from where proxies are: this machine, or a private network."""
        if self.is_proxy(hop):
            return False
        address = _parsed(hop.host)
        return hop.host == UNIX or (address is not None and any(address in network for network in _NEAR))

    def of_request(self, hop: ClientAddress, forwarded: Iterable[bytes]) -> ClientAddress:
        """Whose request it is.

        Args:
            hop: what ``of_connection`` said of its connection.
            forwarded: the values of X-Forwarded-For, in the order of the headers.

        Returns:
            The rightmost hop that is not a trusted proxy; the leftmost hop if all are. A hop that is not an IP address
            ends the search: what stands left of it is not believed, and the client counts as the proxy that wrote it.
        """
        if not self.is_proxy(hop):
            return hop
        hops = b",".join(forwarded).rsplit(b",", MAX_HOPS)[-MAX_HOPS:]
        for text in reversed(hops):
            address = _address(text)
            if address is None:
                break
            host = str(address)
            hop = ClientAddress(host, 0, address_key(host))
            if not self._trusts(address):
                break
        return hop

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def address_key(host: str) -> str:
    """Whose ``host`` counts as: see ``ClientAddress.key``."""
    if ":" not in host:
        return host
    address = _parsed(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> (128 - PREFIX) << (128 - PREFIX), PREFIX)))
    return host if address is None else str(address)


def _parsed(host: str) -> _Address | None:
    """An address. One of IPv4 that is written as IPv6 (RFC 4291, section 2.5.5.2) is one of IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _address(text: bytes) -> _Address | None:
    """One hop of X-Forwarded-For; None if it is not an address (``unknown``, a name)."""
    hop = text.strip().decode("latin-1")
    found = _WITH_PORT.fullmatch(hop)
    return _parsed(hop if found is None else found["six"] or found["four"] or "")


def _network(entry: str) -> _Network:
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        try:
            meant = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ProxyError("is neither an address, nor a network such as 10.0.0.0/8, nor unix") from None
        raise ProxyError(f"is a network with an address inside it: write {meant}") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network
