"""Server endpoints from their descriptions, with fixes for some of Twisted's.

- ``ssl:``      the certificate file may hold the whole chain, as authorities deliver it: Twisted's endpoint serves only
  the first certificate, and clients without the intermediate one cannot verify it (OpenSSL's error 21).
- ``haproxy:``  a connection without the PROXY protocol's header is closed, with a line in the log.
- both          a factory may refuse a connection (its ``buildProtocol`` returns None), which Twisted's wrappers do not
  expect.
- any           as many connections may wait to be accepted as the system allows (see ``backlog``).

All other descriptions are Twisted's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, CertificateOptions, DiffieHellmanParameters, PrivateCertificate
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.filepath import FilePath
from zope.interface import implementer

from kschat.front.backlog import system_backlog, with_backlog
from kschat.front.compat_twisted import HAProxyProtocolWrapper, HAProxyWrappingFactory, has_proxy_header

#: Seconds between two lines about connections without the PROXY protocol's header; those in between are counted.
QUIET: Final = 60.0

#: Positional arguments of ``ssl:`` (Twisted's documentation of ``serverFromString``).
_SSL_ARGUMENTS: Final = (
    "port",
    "privateKey",
    "certKey",
    "sslmethod",
    "interface",
    "backlog",
    "extraCertChain",
    "dhParameters",
)


def server_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """The endpoint that ``description`` means.

    Args:
        reactor: Twisted's.
        description: as for ``twisted.internet.endpoints.serverFromString``.

    Raises:
        Exception: whatever the kind of endpoint raises, where it is none or its files can't be used.
    """
    description = with_backlog(description, system_backlog())
    kind, colon, rest = description.partition(":")
    if kind == "haproxy" and colon:
        return _ProxiedEndpoint(server_endpoint(reactor, rest), rest, reactor.seconds)
    if kind == "ssl" and colon:
        return _GuardedEndpoint(_with_chain(reactor, rest) or serverFromString(reactor, description))
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


def _with_chain(reactor: Any, rest: str) -> IStreamServerEndpoint | None:
    """The endpoint of ``ssl:rest`` where its certificate's file holds a chain; None: let Twisted say what it is."""
    given = _arguments(rest)
    files = [Path(given.get("certKey", given.get("privateKey", "server.pem")))]
    files.append(Path(given.get("privateKey", "server.pem")))
    if "extraCertChain" in given or set(given) - set(_SSL_ARGUMENTS):
        return None
    try:
        certificates = x509.load_pem_x509_certificates(files[0].read_bytes())
        key = load_pem_private_key(files[1].read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    leaves = [one for one in certificates if _public(one) == public]
    if len(certificates) < 2 or not leaves:
        return None
    own = PrivateCertificate.loadPEM(_pem(leaves[0]) + b"\n" + files[1].read_bytes())
    extra: dict[str, Any] = {}
    if "sslmethod" in given:
        extra["method"] = getattr(ssl.SSL, given["sslmethod"])  # type: ignore[attr-defined]
    if "dhParameters" in given:
        extra["dhParameters"] = DiffieHellmanParameters.fromFile(FilePath(given["dhParameters"]))
    options = CertificateOptions(
        privateKey=own.privateKey.original,
        certificate=own.original,
        extraCertChain=[Certificate.loadPEM(_pem(one)).original for one in chain_of(leaves[0], certificates)],
        **extra,
    )
    backlog = int(given.get("backlog", 50))
    return SSL4ServerEndpoint(reactor, int(given["port"]), options, backlog, given.get("interface", ""))


def chain_of(leaf: x509.Certificate, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """The certificates that lead from ``leaf`` upwards, each after the one that it signed, whatever their order was."""
    chain: list[x509.Certificate] = []
    below = leaf
    while True:
        above = [one for one in certificates if one.subject == below.issuer and one not in (leaf, *chain)]
        if not above:
            return chain
        chain.append(above[0])
        below = above[0]


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _arguments(text: str) -> dict[str, str]:
    """The arguments of ``ssl:text`` by their names. (A backslash takes the meaning of ``:`` and ``=`` away.)"""
    given: dict[str, str] = {}
    position = 0
    for part in re.findall(r"((?:[^\\:]|\\.)*)(?::|$)", text):
        name, equals, value = _split(part)
        if equals:
            given[name] = value
        elif position < len(_SSL_ARGUMENTS):
            if name or position == 0:
                given[_SSL_ARGUMENTS[position]] = name
            position += 1
    return given


def _split(part: str) -> tuple[str, str, str]:
    found = re.match(r"((?:[^\\=]|\\.)*)(=?)(.*)", part, re.DOTALL)
    assert found is not None
    return _plain(found[1]), found[2], _plain(found[3])


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


class _TurnedAway(Protocol):
    """Ends its connection unanswered."""

    transport: Any

    def connectionMade(self) -> None:
        """There are too many."""
        self.transport.abortConnection()


class _Guard(WrappingFactory):
    """A factory below a wrapper that needs a protocol for each connection.

    ``knows_client``: whether a connection's address is the client's.
    """

    def __init__(self, wrapped: IProtocolFactory, knows_client: bool = True) -> None:
        super().__init__(wrapped)
        self._knows_client = knows_client

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """The factory's protocol, or one that ends the connection."""
        protocol: IProtocol | None = self.wrappedFactory.buildProtocol(addr if self._knows_client else None)
        return _TurnedAway() if protocol is None else protocol


@implementer(IStreamServerEndpoint)
class _GuardedEndpoint:
    """An endpoint whose wrapper is Twisted's (TLS)."""

    def __init__(self, inner: IStreamServerEndpoint) -> None:
        self._inner = inner

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._inner.listen(_Guard(protocolFactory))


class _ProxiedConnection(HAProxyProtocolWrapper):
    """One connection that has to begin with the PROXY protocol's header."""

    factory: _ProxiedFactory
    _reading = False

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived."""
        self._reading = True
        try:
            super().dataReceived(data)
        finally:
            self._reading = False

    def loseConnection(self) -> None:
        """Either side ends it: here, while the header is read, because it is none."""
        if self._reading and not has_proxy_header(self):
            self.factory.refused(self.getPeer())
        super().loseConnection()


class _ProxiedFactory(HAProxyWrappingFactory):
    """Makes them, and says in the log which were refused: once in ``QUIET`` seconds, with how many there were.

    Args:
        wrapped: speaks behind the header.
        description: of the endpoint, for the log.
        seconds: the clock.
    """

    log = Logger()
    protocol: type[HAProxyProtocolWrapper] = _ProxiedConnection

    def __init__(self, wrapped: IProtocolFactory, description: str, seconds: Callable[[], float]) -> None:
        # Before the header arrives, the address is the proxy's.
        super().__init__(_Guard(wrapped, knows_client=False))
        self._description = description
        self._seconds = seconds
        self._said: float | None = None
        self._unsaid = 0

    def refused(self, peer: IAddress) -> None:
        """A connection did not begin as it has to."""
        now = self._seconds()
        if self._said is not None and now - self._said < QUIET:
            self._unsaid += 1
            return
        self._said, unsaid, self._unsaid = now, self._unsaid, 0
        self.log.warn(
            "a connection from {peer} to haproxy:{description} was closed: it has no PROXY protocol header{more}",
            peer=getattr(peer, "host", "unix"),
            description=self._description,
            more=f" ({unsaid} more since the last such line)" if unsaid else "",
        )


@implementer(IStreamServerEndpoint)
class _ProxiedEndpoint:
    """An endpoint whose connections begin with the PROXY protocol's header, which has the client's address."""

    def __init__(self, inner: IStreamServerEndpoint, description: str, seconds: Callable[[], float]) -> None:
        self._inner = inner
        self._description = description
        self._seconds = seconds

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._inner.listen(_ProxiedFactory(protocolFactory, self._description, self._seconds))
