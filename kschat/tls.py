"""Endpoints of external services reached by TLS: the certificate and its name are verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from twisted.internet import ssl
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from zope.interface import implementer

from kschat.compat_openssl import verify_result

#: What OpenSSL's verification says by numbers (X509_V_ERR_…), of a certificate.
_DISTRUST: Final = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is of an authority that is not known here",
    20: "is of an authority that is not known here",
    21: "is of an authority that is not known here",
}


class AddressError(ValueError):
    """A URL, or a file for TLS, can't be used; one sentence, which holds no password."""


@implementer(IOpenSSLClientConnectionCreator)
class Verifying:
    """Makes TLS connections to one host as Twisted does, and knows why its certificate was not trusted.

    Args:
        host: the name that the certificate must be of.
        ca: file with the certificates that it is trusted by; empty for the system's.
        cert, key: files with this daemon's own certificate and its key; empty for none.
        setting: what the settings of these files begin with.

    Raises:
        AddressError: a file can't be used.
    """

    def __init__(self, host: str, ca: str, cert: str, key: str, setting: str) -> None:
        self._inner = ssl.optionsForClientTLS(host, roots(ca, setting), own(cert, key, setting))
        self._connection: Any = None

    def wrap(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        """The same place, by TLS."""
        return wrapClientTLS(self, endpoint)

    def clientConnectionForTLS(self, protocol: Any) -> Any:
        self._connection = self._inner.clientConnectionForTLS(protocol)
        return self._connection

    @property
    def distrust(self) -> str:
        """Why OpenSSL did not trust the certificate of the newest connection; "" where it did, or is not asked."""
        number = verify_result(self._connection)
        return _DISTRUST.get(number, f"is not trusted (OpenSSL's error {number})") if number else ""


def refusal(error: BaseException, distrust: str = "") -> str:
    """Why TLS failed, where ``error`` says that it did; "" for any other.

    Args:
        error: what ended a connection.
        distrust: see ``Verifying``.
    """
    name = type(error).__name__
    if name == "VerificationError":  # service-identity's
        return "its certificate is of another name"
    if name == "Error" and error.args and isinstance(error.args[0], list):  # OpenSSL's: a list of reasons
        reasons = "; ".join(str(part[-1]) for part in error.args[0])
        known = distrust and "certificate verify failed" in reasons
        return f"its certificate {distrust}" if known else f"TLS failed: {reasons}"
    return ""


def roots(ca: str, setting: str) -> Any:
    """Whom to trust: the certificates in a file, or the system's. Raises AddressError."""
    if not ca:
        return ssl.platformTrust()
    try:
        pem = Path(ca).read_bytes()
        end = b"-----END CERTIFICATE-----"
        parts = [part + end for part in pem.split(end)[:-1]]
        if not parts:
            raise ValueError("there is no certificate in it")
        return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(part) for part in parts])
    except Exception as error:  # noqa: BLE001 - OSError, OpenSSL's own, ...
        raise AddressError(f"{setting}_ca {ca!r} can't be used: {error}") from None


def own(cert: str, key: str, setting: str) -> Any:
    """This daemon's own certificate, its key in the same file or in another; None for none. Raises AddressError."""
    if not cert:
        return None
    try:
        pem = Path(cert).read_bytes()
        if key:
            pem += b"\n" + Path(key).read_bytes()
        return ssl.PrivateCertificate.loadPEM(pem)
    except Exception as error:  # noqa: BLE001 - as above
        raise AddressError(f"{setting}_cert {cert!r} can't be used: {error}") from None
