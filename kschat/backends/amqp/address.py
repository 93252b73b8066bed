"""Converts an AMQP URL to Twisted endpoints. pika's adapter leaves the endpoint and TLS to its user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from pika import URLParameters
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from kschat.backends.amqp.settings import Settings
from kschat.tls import AddressError, Verifying

#: Seconds that a TCP connection may take.
CONNECT_TIMEOUT: Final = 5.0

#: The same where other hosts are left to be tried.
CONNECT_TIMEOUT_OF_SEVERAL: Final = 2.0

#: What pika can be told in the query of a URL.
_OPTIONS: Final = (
    "blocked_connection_timeout",
    "channel_max",
    "client_properties",
    "connection_attempts",
    "frame_max",
    "heartbeat",
    "locale",
    "retry_delay",
    "socket_timeout",
    "stack_timeout",
    "ssl_options",
    "tcp_options",
)


class Broker(msgspec.Struct, frozen=True):
    """One of the hosts that a URL names.

    Attributes:
        place: host and port, for the log.
        parameters: what pika is told.
        endpoint: where to connect to; with ``amqps`` the certificate, and that it is of this name, are verified.
        distrust: says why the certificate of the newest connection was not trusted ("" where it was).
    """

    place: str
    parameters: URLParameters
    endpoint: IStreamClientEndpoint
    distrust: Callable[[], str]


def urls(url: str) -> list[str]:
    """A URL for each host of one that may name several: ``amqp://user:password@host:5672,host/vhost``."""
    start = max(url.find("://") + 3, url.rfind("@") + 1)
    hosts = re.split("[/?#]", url[start:], maxsplit=1)[0]
    end = start + len(hosts)
    return [url[:start] + host + url[end:] for host in hosts.split(",")]


def check_url(url: str) -> None:
    """Whether a URL means what it seems to. pika takes more than it understands: of ``amqp://h/a/b`` the vhost a.

    Raises:
        ValueError: it does not; the text is one sentence, which holds no password.
    """
    if re.search("(@|//),|,,|,([/?#]|$)", url[url.rfind("@") :] if "@" in url else url):
        raise ValueError("a host is missing before or behind a comma: write host:5672,host:5672")
    if re.search(r"[/?].*,amqps?:", url.partition("://")[2]):
        raise ValueError("there are several URLs in it: write one, with several hosts: …@host:5672,host:5672/vhost")
    for one in urls(url):
        _check_one(one)


def _check_one(url: str) -> None:
    """The same of a URL with one host."""
    scheme, _, rest = url.partition("://")
    who, at, _ = rest.rpartition("@")
    if at and (strange := re.search(r"[/?#]", who)):
        raise ValueError(f"a {strange[0]} in a user's name or password is written %{ord(strange[0]):02X}")
    if at and ":" not in who:
        raise ValueError("there is a user in it and no password: write user:password@host")
    try:
        parts = urlsplit(f"http://{rest}")
        port = parts.port
    except ValueError as error:
        raise ValueError("a host in it is not like name, name:port or [address]:port") from error
    if not parts.hostname:
        raise ValueError(f"there is no host in it: write {scheme}://localhost:5672/")
    if port == 0:
        raise ValueError("a port is a number from 1 to 65535")
    if parts.fragment:
        raise ValueError("a # in it is written %23")
    vhost = parts.path[1:]
    if "/" in vhost:
        meant = vhost.strip("/").replace("/", "%2F") or "%2F"
        raise ValueError(f"a / in the name of a vhost is written %2F: end it with /{meant}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, n=1)
            raise ValueError(f"nothing is known of {name!r} in its query" + (f": write {near[0]}" if near else ""))
    try:
        URLParameters(url)
    except Exception as error:  # noqa: BLE001 - pika raises what it likes
        raise ValueError(" ".join(str(error).split()).partition(": ValueError(")[0]) from None


def brokers(reactor: Any, settings: Settings, name: str) -> list[Broker]:
    """Each host of the URL, in its order.

    Args:
        reactor: the real one.
        settings: with the URL.
        name: shown in the broker's list of connections.

    Raises:
        AddressError: the URL can't be read, or a file for TLS can't be used.
    """
    found = [_parameters(url, name) for url in urls(settings.url)]
    timeout = CONNECT_TIMEOUT if len(found) == 1 else CONNECT_TIMEOUT_OF_SEVERAL
    return [_broker(reactor, settings, one, timeout) for one in found]


def _parameters(url: str, name: str) -> URLParameters:
    try:
        found = URLParameters(url)
        if not found.host:
            raise ValueError("there is no host in it")
    except Exception as error:  # noqa: BLE001 - pika raises what it likes
        raise AddressError(f"the URL of RabbitMQ can't be read: {error}") from None
    found.client_properties = {"connection_name": name, "product": "kschat"}
    return found


def _broker(reactor: Any, settings: Settings, found: URLParameters, timeout: float) -> Broker:
    place = f"{found.host}:{found.port}"
    plain = HostnameEndpoint(reactor, found.host, found.port, timeout=timeout)
    if not settings.url.startswith("amqps:"):
        return Broker(place, found, plain, str)
    verifying = Verifying(found.host, settings.ca, settings.cert, settings.key, "amqp")
    return Broker(place, found, verifying.wrap(plain), lambda: verifying.distrust)
