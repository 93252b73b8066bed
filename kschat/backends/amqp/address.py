"""The endpoint that a URL means. pika's adapter leaves it, and TLS, to its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pika import URLParameters
from twisted.internet import ssl
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from kschat.backends.amqp.settings import Settings

#: Seconds that a TCP connection may take.
CONNECT_TIMEOUT = 5.0


class AddressError(ValueError):
    """A URL, or a file for TLS, can't be used; one sentence, which holds no password."""


def parameters(settings: Settings, name: str) -> URLParameters:
    """What pika is told.

    Args:
        settings: with the URL.
        name: shown in the broker's list of connections.

    Raises:
        AddressError: the URL can't be read.
    """
    try:
        found = URLParameters(settings.url)
        if not found.host:
            raise ValueError("there is no host in it")
    except Exception as error:  # noqa: BLE001 - pika raises what it likes
        raise AddressError(f"the URL of RabbitMQ can't be read: {error}") from None
    found.client_properties = {"connection_name": name, "product": "kschat"}
    return found


def endpoint(reactor: Any, settings: Settings, found: URLParameters) -> IStreamClientEndpoint:
    """Where to connect to; with ``amqps`` the certificate, and that it is of this name, are verified.

    Raises:
        AddressError: a file for TLS can't be used.
    """
    plain = HostnameEndpoint(reactor, found.host, found.port, timeout=CONNECT_TIMEOUT)
    if not settings.url.startswith("amqps:"):
        return plain
    return wrapClientTLS(ssl.optionsForClientTLS(found.host, _roots(settings), _own(settings)), plain)


def _roots(settings: Settings) -> Any:
    if not settings.ca:
        return ssl.platformTrust()
    try:
        pem = Path(settings.ca).read_bytes()
        end = b"-----END CERTIFICATE-----"
        parts = [part + end for part in pem.split(end)[:-1]]
        if not parts:
            raise ValueError("there is no certificate in it")
        return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(part) for part in parts])
    except Exception as error:  # noqa: BLE001 - OSError, OpenSSL's own, ...
        raise AddressError(f"amqp_ca {settings.ca!r} can't be used: {error}") from None


def _own(settings: Settings) -> Any:
    if not settings.cert:
        return None
    try:
        pem = Path(settings.cert).read_bytes()
        if settings.key:
            pem += b"\n" + Path(settings.key).read_bytes()
        return ssl.PrivateCertificate.loadPEM(pem)
    except Exception as error:  # noqa: BLE001 - as above
        raise AddressError(f"amqp_cert {settings.cert!r} can't be used: {error}") from None
