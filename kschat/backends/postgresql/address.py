"""Reads the URL of PostgreSQL as libpq does: hosts, credentials, TLS and all other parameters."""

from __future__ import annotations

from typing import Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

#: Seconds that one host may take to connect, unless the URL says otherwise.
CONNECT_SECONDS: Final = 3

#: A dead peer is noticed after some ten seconds, also by a connection on which nothing is sent.
_KEEPALIVE: Final = {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}


class Place(msgspec.Struct, frozen=True):
    """One host of a URL.

    Attributes:
        name: the host and the port, for log lines.
        conninfo: how to connect to it, and to no other.
    """

    name: str
    conninfo: str

    def __repr__(self) -> str:
        # The struct's own would show the password.
        return f"Place({self.name})"


def check_url(url: str) -> None:
    """That libpq can read a URL. Raises ValueError, whose text is one sentence and holds no password."""
    places(url)


def places(url: str) -> list[Place]:
    """The hosts of a URL, in its order.

    A session must be one that may write, unless ``target_session_attrs`` says otherwise.

    Raises:
        ValueError: libpq can't read it. The text is one sentence and holds no password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("it does not begin with postgresql://")
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        raise ValueError(_without_values(error)) from None
    hosts = given.pop("host", "").split(",")
    addresses = given.pop("hostaddr", "").split(",")
    ports = given.pop("port", "").split(",")
    count = max(len(hosts), len(addresses))
    if len(ports) not in (1, count) or any(len(one) not in (1, count) for one in (hosts, addresses)):
        raise ValueError(f"it has {count} hosts and {len(ports)} ports")
    if any(port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) for port in ports):
        raise ValueError("a port in it is no number from 1 to 65535")
    common = {
        "target_session_attrs": "read-write",
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": "kschat",
        **_KEEPALIVE,
        **given,
        "client_encoding": "UTF8",
    }
    found = []
    for at in range(count):
        host, address = hosts[at % len(hosts)], addresses[at % len(addresses)]
        port = ports[at % len(ports)] or "5432"
        own = {name: value for name, value in (("host", host), ("hostaddr", address), ("port", port)) if value}
        name = f"{host or address or 'the local socket'}:{port}"
        found.append(Place(name, make_conninfo(**common, **own)))
    return found


def _without_values(error: Exception) -> str:
    """What libpq says of a URL. Its own text may quote the URL from the place on that it can't read."""
    text = " ".join(str(error).split())
    for begin in ("invalid percent-encoded token", "invalid URI query parameter", "forbidden value", "unexpected"):
        if text.startswith(begin):
            return begin
    return "libpq can't read it" if "://" in text else text
