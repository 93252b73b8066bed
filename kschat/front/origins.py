"""Decides which pages may connect: compares origins in the spelling that browsers send.

Source: RFC 6454 ("The Web Origin Concept", sections 4 and 6.2), RFC 9110 (section 7.2, Host); host names as browsers
write them, by UTS 46 (IDNA).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import idna

from kschat.domains import domains_above

#: Any page may connect.
ANY: Final = "*"

#: What a browser sends for a page without an origin of its own (RFC 6454, section 7.3): one in a sandbox, a file.
OPAQUE: Final = "null"

#: Ports that browsers leave out (Fetch and URL standards).
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_EXAMPLE: Final = "https://chat.example.org"
_LIKE_IT: Final = f"it like {_EXAMPLE}"
_STARS: Final = "* alone for all origins, or https://*.example.org for all below a domain"
_ORIGIN: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]@]*\]|[^:\[\]@]*)(?::(?P<port>[^:]*))?")
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII)

#: Characters of an origin that is looked at: the longest host name, its scheme and port.
_LONGEST: Final = 300


class OriginError(ValueError):
    """An origin that no page can have. Its text ends a sentence: "has a path: write …".

    Attributes:
        reason: what is wrong, without the rest.
        instead: what to write: an origin that can be used, or words.
    """

    def __init__(self, reason: str, instead: str = _LIKE_IT) -> None:
        super().__init__(f"{reason}: write {instead}")
        self.reason = reason
        self.instead = instead


class Origin(NamedTuple):
    """An origin as it is compared.

    Attributes:
        scheme, host: in lower case, the host as browsers write it.
        port: None for the scheme's own.
    """

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, text: str) -> Origin:
        """Read ``scheme://host[:port]``. Raises OriginError."""
        found = _ORIGIN.fullmatch(text)
        if found is None or len(text) > _LONGEST:
            raise OriginError(f"is not like {_EXAMPLE}", "scheme://host or scheme://host:port")
        scheme, authority = found["scheme"].lower(), found["authority"]
        if found["rest"]:
            raise OriginError("has more than scheme, host and port", str(cls.of(f"{scheme}://{authority}")))
        if scheme in ("ws", "wss"):
            page = cls.of(f"{'https' if scheme == 'wss' else 'http'}://{authority}")
            raise OriginError("is the address of a WebSocket, which no page has", str(page))
        if scheme == "file" and not authority:
            return cls(scheme, "", None)  # what Chromium's WebSocket says of a page that is a file
        return cls(scheme, *_host_and_port(authority, DEFAULT_PORTS.get(scheme)))

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


class Origins:
    """The origins that may connect.

    Args:
        named: each ``scheme://host[:port]``, where the host may begin with ``*.`` for all its subdomains (and not
            itself); ``null`` for pages without an origin of their own; ``*`` for all.

    Raises:
        OriginError: one of them can match no page.
    """

    __slots__ = ("_domains", "_exact", "_opaque", "any")

    def __init__(self, named: Iterable[str]) -> None:
        self.any = False
        self._opaque = False
        self._exact: set[Origin] = set()
        # Of ``*.``: the origin of the domain whose subdomains are meant.
        self._domains: set[Origin] = set()
        for text in named:
            if text == ANY:
                self.any = True
            elif text.lower() == OPAQUE:
                self._opaque = True
            else:
                self._name(text)

    def _name(self, text: str) -> None:
        scheme, mark, host = text.partition("://*.")
        if not mark:
            if "*" in text:
                raise OriginError("has a * in the wrong place", _STARS)
            self._exact.add(Origin.of(text))
            return
        below = re.sub(r"^(\*\.)+", "", host)
        if "*" in below:
            raise OriginError("has a * in the wrong place", _STARS)
        try:
            domain = Origin.of(f"{scheme}://{below}")
        except OriginError as error:
            raise OriginError(error.reason, error.instead.replace("://", "://*.")) from None
        if domain.host.startswith("[") or _is_address(domain.host):
            raise OriginError("has a * before an address, below which there is nothing", str(domain))
        if below != host:
            raise OriginError("has more than one *, where one is for all levels", str(domain).replace("://", "://*."))
        self._domains.add(domain)

    def allow(self, origin: bytes | None, host: bytes | None, secure: bool | None = None) -> bool:
        """Whether a page of ``origin`` may connect: none is named, it is named, or it is the daemon's own.

        Args:
            origin: the header of that name.
            host: the header of that name, or the authority that took its place: a page from there is the daemon's own.
            secure: whether the client speaks TLS; None where that is not known. Only then may the daemon's own page
                have either scheme: a page that was sent without TLS can be anybody's.
        """
        if self.any or origin is None:
            return True
        try:
            text = origin.decode("utf-8")
            if text == OPAQUE:
                return self._opaque  # nobody's own, whatever Host says
            said = Origin.of(text)
        except ValueError:
            return False
        return said in self._exact or self._is_below(said) or self._is_own(said, host, secure)

    def _is_below(self, said: Origin) -> bool:
        """Whether it is a subdomain of one whose subdomains are named: label by label, never by the end of the text."""
        if not self._domains or _is_address(said.host):
            return False
        return any(said._replace(host=domain) in self._domains for domain in domains_above(said.host))

    def _is_own(self, said: Origin, host: bytes | None, secure: bool | None) -> bool:
        if said.scheme not in DEFAULT_PORTS or (secure is not None and secure is not (said.scheme == "https")):
            return False
        try:
            here = _host_and_port((host or b"").decode("utf-8"), DEFAULT_PORTS.get(said.scheme))
        except ValueError:
            return False
        return bool(said.host) and here == (said.host, said.port)


def _host_and_port(authority: str, default: int | None) -> tuple[str, int | None]:
    """Both of ``host[:port]``, the port None where it is ``default``. Raises OriginError."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or not found["host"]:
        raise OriginError("has no host, or more than a host and a port")
    port = None
    if found["port"] is not None:
        number = found["port"]
        if not (number.isascii() and number.isdigit() and len(number) <= 8 and 0 < int(number) < 65536):
            raise OriginError("has a port that is not a number from 1 to 65535", f"{_EXAMPLE}:8443, or no port")
        port = None if int(number) == default else int(number)
    return _host(found["host"]), port


def _host(text: str) -> str:
    """A host as browsers write it. Raises OriginError."""
    if text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        except ValueError:
            raise OriginError("has an invalid IPv6 address") from None
    name = text.lower()
    if not name.isascii():
        try:
            name = idna.encode(text, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise OriginError("has a host that cannot be read", "it as browsers send it, xn--…") from None
    if not _NAME.fullmatch(name) or len(name) > 254:
        raise OriginError("has a host that no page can have")
    return name


def _is_address(host: str) -> bool:
    """Whether it is an IPv4 address, which has no subdomains."""
    return host.replace(".", "").isdigit()
