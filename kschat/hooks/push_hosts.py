"""Decides where pushes may be sent: the URL of a subscription is a stranger's, who may mean a service of this network.

Two things have to hold: the host is one that the operator named, and the address that its name has is public.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from kschat.chat.push import PushRefused
from kschat.domains import domains_above

#: The port of https.
HTTPS: Final = 443

#: What stands for any host with a public address.
ANY: Final = "*"

# Strict, so that no other reader of the URL can find another host in it: no user, no backslash, no escape in the host.
_URL: Final = re.compile(
    r"https://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*",
    re.ASCII,
)
_PATTERN: Final = re.compile(
    r"(?P<below>\*\.)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII
)

#: Addresses of IPv6 in the last 32 bits of which an IPv4 address stands (RFC 6052).
_NAT64: Final = IPv6Network("64:ff9b::/96")

#: All addresses of IPv6 that the internet has given so far (RFC 4291, section 2.4).
_UNICAST: Final = IPv6Network("2000::/3")


class Target(NamedTuple):
    """Where an endpoint is.

    Attributes:
        host: a name or an address, without brackets.
        port: 443 unless the URL says otherwise.
    """

    host: str
    port: int


class PushHosts:
    """The hosts that pushes may be sent to.

    Args:
        named: ``push.example.org``, ``*.example.org`` (all below example.org, and not itself), each also with a port;
            an address; ``*`` for all.

    Raises:
        ValueError: one of them can name no host; the text ends a sentence that begins with it.
    """

    def __init__(self, named: Iterable[str]) -> None:
        self.any = False
        self._exact: set[Target] = set()
        self._below: set[Target] = set()
        for text in named:
            if text == ANY:
                self.any = True
                continue
            found = _PATTERN.fullmatch(text.lower())
            if found is None or _port(found["port"]) > 65535:
                raise ValueError("is not like push.example.org, *.example.org or push.example.org:8443")
            target = Target(found["host"].strip("[]"), _port(found["port"]))
            if found["below"] and _address(target.host) is not None:
                raise ValueError("has a * before an address, below which there is nothing")
            (self._below if found["below"] else self._exact).add(target)

    def target(self, endpoint: str) -> Target:
        """Where an endpoint is, if pushes may be sent there. Raises PushRefused."""
        found = _URL.fullmatch(endpoint)
        if found is None:
            raise PushRefused("endpoint is not an https URL of a push service.")
        target = Target(found["host"].strip("[]"), _port(found["port"]))
        if not (target in self._exact or self._is_below(target) or (self.any and target.port == HTTPS)):
            raise PushRefused("endpoint is at a host that this server sends no pushes to.")
        return target

    def _is_below(self, target: Target) -> bool:
        if not self._below or _address(target.host) is not None:
            return False
        return any(target._replace(host=domain) in self._below for domain in domains_above(target.host))


def is_public(text: str) -> bool:
    """Whether an address is one of the internet's: not of this machine, of a local network, or of a group."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        # Each may lead to the IPv4 address in it.
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address.is_global and address in _UNICAST
        address = inner
    return address is not None and address.is_global and not address.is_multicast


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _port(text: str | None) -> int:
    return HTTPS if text is None else int(text)
