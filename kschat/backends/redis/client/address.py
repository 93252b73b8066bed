"""Parses a Redis URL: the address, the credentials and the database number."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from kschat.tls import AddressError

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is.

    Attributes:
        places: host and port; of Sentinels there may be several.
        tls: whether it is reached by TLS (so are Sentinels).
        service: the name that Sentinels know the master by; "" where the place is Redis itself.
        user, password: for Redis; "" for none.
        sentinel_user, sentinel_password: for Sentinels; "" for none.
        db: the number of the database.
    """

    places: tuple[tuple[str, int], ...]
    tls: bool = False
    service: str = ""
    user: str = ""
    password: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""
    db: int = 0

    def __repr__(self) -> str:
        # The struct's own would show the passwords in a log line or a traceback.
        return f"Address({self.places}, {self.service!r}, {self.db})"


def parse(url: str) -> Address:
    """What a URL means.

    ``redis://user:password@host:6379/0`` (each part but the host may be missing); ``rediss://…`` by TLS; and for a
    master that Sentinels know, ``redis+sentinel://user:password@host:26379,host:26379/service/0`` (or
    ``rediss+sentinel://…``), with ``?sentinel_user=…&sentinel_password=…`` where they want those.

    Raises:
        AddressError: it can't be read.
    """
    try:
        return check_url(url)
    except ValueError as error:
        raise AddressError(f"the URL of Redis can't be read: {error}") from None


def check_url(url: str) -> Address:
    """The same as ``parse``. Raises ValueError, whose text is one sentence and holds no password."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "redis+sentinel", "rediss+sentinel"):
        raise ValueError("it does not begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")
    return _parsed(scheme, rest)


def _parsed(scheme: str, rest: str) -> Address:
    sentinels = scheme.endswith("+sentinel")
    # The last @, since people leave those in passwords as they are.
    who, _, where = rest.rpartition("@")
    if "/" in who:
        raise ValueError("a / in a password is written %2F")
    hosts, slash, path = where.partition("/")
    hosts, question, asked = hosts.partition("?") if not slash else (hosts, "", "")
    split = urlsplit(f"//h/{path}{question}{asked}")
    parts = [unquote(part) for part in split.path.split("/") if part]
    service = ""
    if sentinels:
        if not parts:
            raise ValueError("the master's name is missing: redis+sentinel://host:26379/NAME")
        service = parts.pop(0)
        if service.isdigit() and not parts:
            raise ValueError(f"the master's name is missing before the database: …/NAME/{service}")
    places = tuple(_place(host, SENTINEL_PORT if sentinels else PORT) for host in hosts.split(","))
    if len(places) > 1 and not sentinels:
        raise ValueError("there are several hosts in it, which is for redis+sentinel:// alone")
    if len(parts) > 1 or (parts and not (parts[0].isascii() and parts[0].isdigit())):
        what = "what follows the master's name" if sentinels else "what follows the host"
        raise ValueError(f"{what} is no number of a database, such as /0")
    user, _, password = who.partition(":")
    if user and not password:
        raise ValueError("there is a user in it and no password (a password alone is written :password@)")
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    known = {"sentinel_user", "sentinel_password"} if sentinels else set()
    if strange := sorted(options.keys() - known):
        database = f": a database stands in the path, as in {scheme}://…/{'NAME/' if sentinels else ''}1"
        raise ValueError(
            f"nothing is known of {strange[0]!r} in its query{database if strange[0] in ('db', 'database') else ''}"
        )
    return Address(
        places=places,
        tls=scheme.startswith("rediss"),
        service=service,
        user=unquote(user),
        password=unquote(password),
        db=int(parts[0]) if parts else 0,
        **options,
    )


def _place(text: str, port: int) -> tuple[str, int]:
    if not text:
        raise ValueError("there is no host in it")
    found = _HOST.fullmatch(text)
    if found is None or int(found[3] or port) > 65535:
        raise ValueError("a host in it is not like name, name:port or [address]:port")
    return unquote(found[1] or found[2]), int(found[3] or port)
