"""The keys of the HTTP API: a TOML file with a table for each.

::

    [shop]
    key = "32 characters or more"      # or: sha256 = "64 hex digits of the key's SHA-256"
    scopes = ["send", "presence"]      # or: ["*"]
    sender = "system"                  # who messages are from that name no sender
    max_room = 5000                    # members that this key may add to a room
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from kschat.chat.tokens import as_user

#: The scopes that there are: what a key may do.
SCOPES: Final = ("send", "emit", "presence", "disconnect", "rooms", "read", "counts", "erase", "admin")

#: Scopes that come with another one: ``admin`` has all that the admin page uses.
INCLUDED: Final[Mapping[str, tuple[str, ...]]] = {"admin": ("presence", "disconnect", "counts")}

#: Characters of a key, at least.
MIN_KEY: Final = 32

#: Keys of one file. All are compared for each request.
MAX_API_KEYS: Final = 100

#: Characters of a key that is looked at.
MAX_KEY: Final = 512


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key.

    Attributes:
        name: for the log.
        digest: SHA-256 of the key.
        scopes: what it may do, with those that are included; ``*`` for all.
        sender: the user that messages are from which name no sender.
        max_room: members of a room, where it may be more than the setting of that name; 0 for the setting.
    """

    name: str
    digest: bytes
    scopes: frozenset[str]
    sender: str = "system"
    max_room: int = 0

    def may(self, scope: str) -> bool:
        """Whether it has this scope; each has the scope ""."""
        return not scope or scope in self.scopes or "*" in self.scopes


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    scopes: tuple[str, ...]
    key: str = ""
    sha256: str = ""
    sender: str | int = "system"
    max_room: int = 0


class ApiKeys:
    """The keys that count now.

    Args:
        keys: each name once.
    """

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def read(cls, path: str) -> ApiKeys:
        """The keys in a file. Raises OSError, or ValueError with one sentence that shows no key."""
        return cls(tuple(key for key, _ in _read(path)))

    def use(self, others: ApiKeys) -> None:
        """Those of ``others`` count from now on."""
        self._keys = others._keys

    def find(self, authorization: bytes | None) -> ApiKey | None:
        """The key in an ``Authorization`` header; None if there is none. All keys are compared, in constant time."""
        scheme, _, text = (authorization or b"").partition(b" ")
        text = text.strip()
        if scheme.lower() != b"bearer" or not text or len(text) > MAX_KEY:
            return None
        digest = hashlib.sha256(text).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def key_in(path: str, scope: str) -> str | None:
    """The first key with a scope that a file holds in clear; None if there is none. Raises as ``ApiKeys.read``."""
    return next((text for key, text in _read(path) if text and key.may(scope)), None)


def _read(path: str) -> list[tuple[ApiKey, str]]:
    """Each key of a file, and its text; "" where the file has the digest alone."""
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # The error's own text may show a piece of the file.
        found = re.search(r"at line \d+", str(error))
        raise ValueError(f"it is not TOML{f' ({found[0]})' if found else ''}") from None
    if not 0 < len(tables) <= MAX_API_KEYS:
        raise ValueError(f"it has {len(tables)} keys, and may have 1 to {MAX_API_KEYS}")
    return [_key(name, table) for name, table in tables.items()]


def _key(name: str, table: object) -> tuple[ApiKey, str]:
    try:
        entry = msgspec.convert(table, _Entry)
    except msgspec.ValidationError as error:
        raise ValueError(f"[{name}]: {error}") from None
    if bool(entry.key) == bool(entry.sha256):
        raise ValueError(f"[{name}] has to have a key, or its sha256")
    if entry.key and not (MIN_KEY <= len(entry.key) <= MAX_KEY and re.fullmatch(r"[!-~]+", entry.key)):
        raise ValueError(f"[{name}]: the key is not {MIN_KEY} to {MAX_KEY} characters of ASCII without spaces")
    if entry.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", entry.sha256):
        raise ValueError(f"[{name}]: sha256 is not 64 hex digits")
    strange = [scope for scope in entry.scopes if scope != "*" and scope not in SCOPES]
    if strange:
        raise ValueError(f"[{name}]: there is no scope {strange[0]!r}: write {', '.join(SCOPES)}, or *")
    sender = as_user(entry.sender)
    if sender is None:
        raise ValueError(f"[{name}]: sender is no user's id")
    if not 0 <= entry.max_room <= 100_000:
        raise ValueError(f"[{name}]: max_room is not 0 to 100000")
    digest = bytes.fromhex(entry.sha256) if entry.sha256 else hashlib.sha256(entry.key.encode()).digest()
    scopes = frozenset(entry.scopes).union(*(INCLUDED.get(scope, ()) for scope in entry.scopes))
    key = ApiKey(name=name, digest=digest, scopes=scopes, sender=sender, max_room=entry.max_room)
    return key, entry.key
