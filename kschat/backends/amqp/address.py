"""The endpoint that a URL means. pika's adapter leaves it, and TLS, to its user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika import URLParameters
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from kschat.backends.amqp.settings import Settings
from kschat.backends.tls import AddressError, Verifying

#: Seconds that a TCP connection may take.
CONNECT_TIMEOUT = 5.0


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


def endpoint(reactor: Any, settings: Settings, found: URLParameters) -> tuple[IStreamClientEndpoint, Callable[[], str]]:
    """Where to connect to; with ``amqps`` the certificate, and that it is of this name, are verified.

    Returns:
        It, and what says why the certificate of the newest connection was not trusted ("" where it was).

    Raises:
        AddressError: a file for TLS can't be used.
    """
    plain = HostnameEndpoint(reactor, found.host, found.port, timeout=CONNECT_TIMEOUT)
    if not settings.url.startswith("amqps:"):
        return plain, str
    verifying = Verifying(found.host, settings.ca, settings.cert, settings.key, "amqp")
    return verifying.wrap(plain), lambda: verifying.distrust
