"""``TlsEndpoint``: listens by TLS, with a chain of certificates, and reads its files again when it is told to.

The certificate file may hold the whole chain, as authorities deliver it: Twisted's endpoint serves only the first
certificate, and clients without the intermediate one cannot verify it (OpenSSL's error 21).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from twisted.internet import ssl
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, DiffieHellmanParameters, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.filepath import FilePath
from zope.interface import implementer

from kschat.front.certificates import certificate_text
from kschat.front.compat_twisted import AcyclicTLSTransport

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

#: Those of them that name files, and the file that Twisted takes where none is named.
_FILES: Final[Mapping[str, str]] = {
    "privateKey": "server.pem",
    "certKey": "",
    "extraCertChain": "",
    "dhParameters": "",
}


#: Bytes that are read from one connection at once: they can hold hundreds of records, and each has a cost of its own.
READ_BYTES: Final = 8_192


class _Gathered:
    """Takes the place of a connection's protocol, and keeps what it would have received."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """One record's content."""
        self.parts.append(data)


class GatheringTLSTransport(AcyclicTLSTransport):
    """A TLS connection that passes all records of one read to its protocol in one call.

    Twisted's own makes a call for each record. Hundreds of small ones can arrive together, and the bound for what a
    protocol reads in one turn (``turns``) held for each of them, not for all.
    """

    def makeConnection(self, transport: Any) -> None:
        """A connection was accepted."""
        transport.bufferSize = READ_BYTES
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Records arrived."""
        protocol, gathered = self.wrappedProtocol, _Gathered()
        self.wrappedProtocol = gathered  # type: ignore[assignment]
        try:
            super().dataReceived(data)
        finally:
            self.wrappedProtocol = protocol
        if gathered.parts:
            protocol.dataReceived(gathered.parts[0] if len(gathered.parts) == 1 else b"".join(gathered.parts))


class _Listening(msgspec.Struct, frozen=True):
    """What the endpoint would ask of the reactor."""

    port: int
    options: Any
    backlog: int
    interface: str


class _Recorder:
    """Stands where an endpoint expects the reactor, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[_Listening] = []

    def listenSSL(self, port: int, factory: object, contextFactory: Any, backlog: int, interface: str) -> None:
        """As ``IReactorSSL`` has it."""
        self.asked.append(_Listening(port, contextFactory, backlog, interface))


@implementer(IStreamServerEndpoint, IOpenSSLServerConnectionCreator)
class TlsEndpoint:
    """An endpoint of the kind ``ssl:``.

    Args:
        reactor: Twisted's.
        description: as for ``twisted.internet.endpoints.serverFromString``. Files are those that it names from the
            directory in which the process is now, wherever it is when they are read again.

    Raises:
        Exception: whatever Twisted and OpenSSL raise of files that can't be used.
    """

    def __init__(self, reactor: Any, description: str) -> None:
        self._reactor = reactor
        self._description = _absolute(description)
        self._listening = self._read()

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen; each connection begins with the certificate that was read last."""
        there = self._listening
        factory = TLSMemoryBIOFactory(self, False, protocolFactory, self._reactor)
        factory.protocol = GatheringTLSTransport
        return execute(self._reactor.listenTCP, there.port, factory, backlog=there.backlog, interface=there.interface)

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        """A connection begins."""
        return self._listening.options.serverConnectionForTLS(protocol)

    def reload(self, now: datetime.datetime) -> str:
        """Read the files again. Connections that are there go on as they began.

        Returns:
            What the certificate says of itself.

        Raises:
            Exception: the files can't be used, or the certificate is not valid ``now``. What was read before stays.
        """
        listening = self._read()
        text = certificate_text(listening.options.certificate.to_cryptography(), now)
        self._listening = listening
        return text

    def _read(self) -> _Listening:
        recorder: Any = _Recorder()
        rest = self._description.partition(":")[2]
        endpoint = _with_chain(recorder, rest) or serverFromString(recorder, self._description)
        endpoint.listen(Factory())
        (listening,) = recorder.asked
        listening.options.getContext()  # which finds a key that is not the certificate's
        found: _Listening = listening
        return found


def key_file(description: str) -> Path | None:
    """The file of the private key that an endpoint names; None where it names none."""
    kind, _, rest = description.partition(":")
    while kind == "haproxy":
        kind, _, rest = rest.partition(":")
    return Path(_arguments(rest).get("privateKey", _FILES["privateKey"])) if kind == "ssl" else None


def _absolute(description: str) -> str:
    """``description`` with its files' paths made absolute; as it was where all are."""
    kind, _, rest = description.partition(":")
    given = _arguments(rest)
    named = {name: given.get(name, default) for name, default in _FILES.items() if given.get(name, default)}
    if all(Path(path).is_absolute() for path in named.values()):
        return description
    given |= {name: str(Path(path).absolute()) for name, path in named.items()}
    # The port stands alone in front, whether it was named or not.
    parts = [_escaped(given.pop("port", ""))]
    parts += [f"{name}={_escaped(value)}" for name, value in given.items() if value]
    return f"{kind}:{':'.join(parts)}"


def _escaped(value: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", value)


def _with_chain(reactor: Any, rest: str) -> IStreamServerEndpoint | None:
    """The endpoint of ``ssl:rest`` where its certificate's file holds a chain; None: let Twisted say what it is."""
    given = _arguments(rest)
    files = [Path(given.get("certKey", given.get("privateKey", "server.pem")))]
    files.append(Path(given.get("privateKey", "server.pem")))
    if "extraCertChain" in given or set(given) - set(_SSL_ARGUMENTS):
        return None
    try:
        certificates = x509.load_pem_x509_certificates(files[0].read_bytes())
        # It is the operator's own key. To examine its primes takes a second for RSA's 4096 bits, in which nobody is
        # served when it is read again; whether it is the certificate's is looked at below.
        key = load_pem_private_key(files[1].read_bytes(), None, unsafe_skip_rsa_key_validation=True)
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
