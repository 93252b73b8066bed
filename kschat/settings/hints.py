"""Likely corrections of an invalid value, which an error sentence ends with.

Pure functions from a text to a hint such as ``write 25``, or "" if there is none. This module does not
decide whether a value is valid.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Final

TRUE: Final = ("true", "yes", "on", "1")
FALSE: Final = ("false", "no", "off", "0")

#: Other spellings of a switch.
_TRUISH: Final = frozenset({*TRUE, "y", "t", "enable", "enabled", "ja"})
_FALSISH: Final = frozenset({*FALSE, "n", "f", "disable", "disabled", "none", "never", "nein"})

_SECONDS: Final[Mapping[str, float]] = {
    "ms": 0.001,
    "msec": 0.001,
    "millisecond": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
}
_DAYS: Final[Mapping[str, float]] = {
    "h": 1 / 24,
    "hour": 1 / 24,
    "d": 1,
    "day": 1,
    "w": 7,
    "week": 7,
    "month": 30,
    "y": 365,
    "yr": 365,
    "year": 365,
}
_SIZES: Final[Mapping[str, float]] = {
    "": 1,
    "b": 1,
    "byte": 1,
    "k": 1000,
    "kb": 1000,
    "kib": 2**10,
    "m": 10**6,
    "mb": 10**6,
    "mib": 2**20,
    "g": 10**9,
    "gb": 10**9,
    "gib": 2**30,
    "t": 10**12,
    "tb": 10**12,
    "tib": 2**40,
}
_COUNTS: Final[Mapping[str, float]] = {"": 1, "k": 1000, "m": 10**6}

_AMOUNT: Final = re.compile(r"([0-9][0-9_., ]*)\s*([a-z]*)", re.ASCII)

_PLACE: Final = re.compile(
    r"(?:(?P<scheme>[a-zA-Z][a-zA-Z0-9+-]*)://)?"
    r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|\*|[A-Za-z0-9.-]*):)?(?P<port>\d{1,5})/?",
    re.ASCII,
)


def quoted(text: str) -> str:
    """``write tcp:3000 without quotes``, where they are part of the value: env files keep them."""
    inner = text[1:-1]
    return f"write {inner} without the quotes" if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else ""


def number(text: str, unit: str, whole: bool) -> str:
    """``write 25`` for ``25s``, ``write 1000000`` for ``1 MB``, where ``unit`` is the setting's."""
    said = text.strip().lower()
    if not said:
        return "leave it out, or give a number"
    if len(said) > 40:
        return ""
    if quoted(said):
        said = said[1:-1].strip()
    factors = {"seconds": _SECONDS, "days": _DAYS, "bytes": _SIZES}.get(unit, _COUNTS)
    if re.fullmatch(r"\d+(\.\d+)?e\+?\d{1,2}", said):
        said = format(float(said), ".0f")
    total, end = 0.0, 0
    for match in _AMOUNT.finditer(said):
        if said[end : match.start()].strip():
            return ""
        end = match.end()
        amount, word = _plain(match[1]), match[2]
        factor = factors.get(word, factors.get(word.removesuffix("s"), 1 if word in ("", unit[:-1], unit) else None))
        if amount is None or factor is None:
            return ""
        total += amount * factor
    if not (end and math.isfinite(total)) or said[end:].strip() or (whole and total != int(total)):
        return ""
    return f"write {int(total) if total == int(total) else format(total, '.10g')}"


def _plain(text: str) -> float | None:
    """The number that digits with separators of whatever kind mean; None where it could be two."""
    text = re.sub(r"[_ ]", "", text)
    if re.fullmatch(r"\d{1,3}(,\d{3}){2,}|\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(\.\d{3}){2,}", text):
        text = text.replace(".", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def flag(text: str) -> str:
    """``write true`` for ``enabled``."""
    word = text.strip().strip("'\"").strip().lower()
    return "write true" if word in _TRUISH else "write false" if word in _FALSISH else "write true or false"


def choice(text: str, choices: Iterable[str]) -> str:
    """``write RS256`` for ``rs256``; of what is only alike, ``did you mean RS256?``."""
    names = {_bare(name): name for name in choices}
    word = _bare(text)
    known = names.get(word) or names.get(_bare(_ALIASES.get(word, "")))
    if known is not None:
        return f"write {known}"
    near = difflib.get_close_matches(word, names, n=1) if word else []
    return f"did you mean {names[near[0]]}?" if near else ""


_ALIASES: Final = {"ed25519": "EdDSA", "ed448": "EdDSA", "wal": "full", "fsync": "full", "always": "full"}


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def listing(text: str) -> str:
    """``write a,b`` for ``["a", "b"]`` or ``a b``, where a list is one text."""
    said = text.strip()
    if re.match(r"\[(?![0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\])", said) or re.search(r"[^\s,]\s+[^\s,]", said) or quoted(said):
        parts = re.findall(r"[^\s,\[\]'\"]+", said)
        return f"write {','.join(parts)}" if parts and ",".join(parts) != said else ""
    return ""


def endpoint(text: str) -> str:
    """``write tcp:3000`` for ``3000``, ``:3000`` or ``0.0.0.0:3000``: what a Twisted endpoint would be."""
    said = text.strip().strip("'\"")
    if quoted(text.strip()):
        return endpoint(said) or quoted(text.strip())
    if not said:
        return "write tcp:3000"
    if said.startswith(("/", "./", "../", "unix://")):
        path = re.sub("^/+", "/", said.removeprefix("unix://"))
        if re.search("[:=]", path.partition(":mode=")[0]):
            return ""
        return f"write unix:{path if path.strip('/') else '/run/kschat.sock'}"
    kind, colon, rest = said.partition(":")
    if colon and kind != kind.lower() and kind.lower() in ("tcp", "tcp6", "ssl", "unix", "systemd", "haproxy"):
        return endpoint(f"{kind.lower()}:{rest}") or f"write {kind.lower()}:{rest}"
    if kind == "tcp" and colon and not rest:
        return "write tcp:3000"
    if kind == "unix" and colon and not rest:
        return "write unix:/run/kschat.sock"
    if kind == "tcp" and (colons := re.search(r":interface=([0-9A-Fa-f:]*::?[0-9A-Fa-f:]*)$", said)):
        port = rest.partition(":")[0]
        return f"write tcp6:{port}:interface={_escaped(colons[1])}"
    bare = bool(re.match(r"tcp:/*[A-Za-z*.[]", said)) and not re.match(r"tcp:[a-z]+=", said)
    match = _PLACE.fullmatch(said[4:].lstrip("/") if bare else said)
    if match is None or int(match["port"]) > 65535:
        return ""
    # Another word may be a kind of endpoint that a plugin brings.
    if not (bare or match["scheme"] or re.search(r"^$|[*.\[]|^localhost$", match["host"] or "")):
        return ""
    return f"write {_endpoint_at(match['scheme'] or '', (match['host'] or '').strip('[]'), int(match['port']))}"


def tls_endpoint(text: str) -> str:
    """``write ssl:443:privateKey=key.pem:certKey=cert.pem`` for ``ssl:443``, which names no files."""
    kind, _, rest = text.strip().partition(":")
    if kind.lower() not in ("ssl", "https", "wss", "tls") or "privateKey=" in rest:
        return ""
    port = rest.partition(":")[0]
    return f"write ssl:{port if port.isdigit() else 3443}:privateKey=key.pem:certKey=cert.pem"


def _endpoint_at(scheme: str, host: str, port: int) -> str:
    if scheme.lower() in ("https", "wss", "ssl", "tls"):
        return f"ssl:{port}:privateKey=key.pem:certKey=cert.pem"
    if host in ("", "*", "0.0.0.0"):
        return f"tcp:{port}"
    if host.lower() == "localhost":
        return f"tcp:{port}:interface=127.0.0.1"
    try:
        if ipaddress.ip_address(host).version == 6:
            return f"tcp6:{port}:interface={_escaped(host)}"
        return f"tcp:{port}:interface={host}"
    except ValueError:
        return f"tcp:{port}, or tcp:{port}:interface=ADDRESS with an address of this machine"


def _escaped(host: str) -> str:
    return host.replace(":", "\\:")


def store(text: str, examples: Mapping[str, str]) -> str:
    """``use sqlite:kschat.db`` for ``sqlite``, ``use sqlite:/srv/chat.db`` for a path.

    Args:
        examples: a value for each kind of store, by its name.
    """
    said = text.strip()
    if quoted(said):
        said = said[1:-1].strip()
    word = said.lower()
    kind, colon, rest = said.partition(":")
    if not said or word in ("sqlite", "sqlite3", "sqlite:", "sqlite3:", "file", "disk", "db"):
        return "use sqlite:kschat.db"
    if _bare(word) in ("memory", "mem", "inmemory", "ram", "sqlitememory", "sqlite3memory"):
        return "use memory"
    if kind.lower() in ("redis", "rediss", "redis+sentinel", "rediss+sentinel"):
        return "use redis" if not rest else "use redis, and give the URL to the setting redis"
    if kind.lower() in ("postgres", "postgresql", "pgsql", "psql", "pg"):
        return "use postgresql://user:password@host:5432/database"
    if word in ("rabbitmq", "amqp", "relay", "null", "no", "off", "false") or kind in ("amqp", "amqps"):
        return "use none (relay mode), and give the URL of RabbitMQ to the setting amqp"
    if colon and kind.lower() in ("sqlite", "sqlite3", "file"):
        return f"use sqlite:{_database(rest.removeprefix('//'))}"
    if not colon and ("/" in said or re.search(r"\.(db|sqlite3?|sql)$", word)):
        return f"use sqlite:{_database(said)}"
    near = difflib.get_close_matches(kind.lower(), examples, n=1)
    return f"use {examples[near[0]]}" if near else ""


def _database(path: str) -> str:
    """A path as the store takes it: of a file."""
    path = re.sub("^/+", "/", path)
    return f"{path}kschat.db" if path == "" or path.endswith("/") else path


def url(text: str, schemes: tuple[str, ...], example: str) -> str:
    """``write amqp://localhost:5672/`` for ``localhost:5672``: the scheme put right. Shows no user and no password.

    Args:
        schemes: those that are known; the first is for a text without.
        example: where nothing can be guessed.
    """
    said = text.strip().strip("'\"")
    said = re.sub(r"^([a-z+]+):?/+(?=[^/])", r"\1://", said) if re.match(r"[a-z+]+(:/|//)", said) else said
    scheme, slashes, rest = said.partition("://")
    secret = "@" in said
    if not slashes:
        rest = re.sub(rf"^(?:{'|'.join(map(re.escape, schemes))}):/*", "", said)
        if secret or not re.fullmatch(r"[\w.\[\]:,-]+(/[\w.%/-]*)?", rest, re.ASCII):
            return f"begin it with {schemes[0]}://" if re.search(r"\w", said) else f"write {example}"
        return f"write {schemes[0]}://{_with_ports(rest)}" if _has_host(rest) else f"write {example}"
    near = difflib.get_close_matches(scheme.lower(), schemes, n=1, cutoff=0.5)
    if not near or not _has_host(rest):
        return f"write {example}"
    return f"begin it with {near[0]}://" if secret else f"write {near[0]}://{_with_ports(rest)}"


def _has_host(rest: str) -> bool:
    return re.search(r"\w", rest.partition("/")[0]) is not None


def _with_ports(rest: str) -> str:
    """What follows ``://``, without ports that are none."""
    authority, slash, path = rest.partition("/")
    mended = re.sub(r":(\d+)(?=,|$)", lambda found: found[0] if 0 < int(found[1][:6]) < 65536 else "", authority)
    return f"{mended}{slash}{path}"


def origin(text: str) -> str:
    """``write https://chat.example.org`` for a host alone, for an origin with a path, or with a port that is none."""
    said = text.strip().strip("'\"")
    match = re.fullmatch(
        r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([A-Za-z0-9.*-]+|\[[0-9A-Fa-f:]+\])(?::(\d*))?(?:(?:/(?!/)|[?#]).*)?", said
    )
    if match is None:
        return ""
    scheme, host, number = match[1], match[2], match[3]
    port = f":{number}" if number and len(number) <= 5 and 0 < int(number) < 65536 else ""
    if scheme is None:
        local = host == "localhost" or re.fullmatch(r"[\d.]+", host) or host.startswith("[")
        scheme = "http" if local else "https"
    return f"write {scheme.lower()}://{host.lower()}{port}"


def base_path(text: str) -> str:
    """``write /chat`` for ``chat``, ``https://example.org/chat`` and ``/chat/.``."""
    found = re.fullmatch(r"(?:https?://[^/]*)?((?:/*[\w.~-]+)*)/*", text, re.ASCII)
    return f"write {posixpath.normpath(re.sub('/+', '/', f'/{found[1]}'))}" if found else ""


def path(text: str) -> str:
    """A path that a shell would have read otherwise."""
    if text.startswith("~"):
        return "write the whole path: ~ is the shell's, and stays as it is here"
    if text.startswith("file://"):
        return f"write {text.removeprefix('file://')}"
    return quoted(text)


def added(reason: str, hint: str) -> str:
    """A fault and its mend as one sentence's end."""
    return f"{reason}: {hint}" if hint else reason
