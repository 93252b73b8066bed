"""``kschat token inspect``: what a token says, and whether the daemon would accept it."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kschat.chat.clocks import WallClock
from kschat.chat.keys import KeysError
from kschat.chat.tokens import TokenError, Verifier
from kschat.settings import SETTINGS, ConfigError, claim_rules, load, read_keys
from kschat.settings.keyfiles import KEYS
from kschat.settings.loading import gather

#: Why a token is refused, by ``TokenError.reason``.
_REASONS: Final = {
    "too_long": "it is too long",
    "malformed": "it is not a JWT",
    "algorithm": "its algorithm is not one of the setting algorithms",
    "no_keys": "there are no keys",
    "unknown_key": "no key has its kid",
    "signature": "its signature is not by one of the keys",
    "expired": "it has expired",
    "bad_expiry": "its exp or iat is no number",
    "no_expiry": "it has no exp, and the setting require_exp asks for one",
    "audience": "its aud is not one of the setting audience",
    "issuer": "its iss is not one of the setting issuer",
    "no_user": "it has no data.id",
    "bad_user": "its data.id is no user's id",
    "bad_to": "its data.to is not a list of ids and patterns",
}


class Inspection(msgspec.Struct):
    """What was found.

    Attributes:
        header, claims: what it says; None where it cannot be read.
        accepted: whether the daemon would accept it; None if no key is known here.
        reason: why not.
        user: whom it is for.
    """

    header: Any
    claims: Any
    accepted: bool | None
    reason: str | None
    user: str | None


def inspect(token: str, given: Mapping[str, str], environ: Mapping[str, str], wall: WallClock) -> Inspection:
    """Look at a token. Raises ConfigError.

    Args:
        token: as it was given; `Bearer ` before it is left out.
        given: settings of the command line.
        environ: of the process.
        wall: the time of day.
    """
    token = re.sub(r"^bearer\s+", "", token.strip(), flags=re.IGNORECASE)
    parts = token.split(".")
    header, claims = (_object(parts[at]) if at < len(parts) else None for at in (0, 1))
    verifier = _verifier(given, environ, wall)
    if isinstance(verifier, str):
        return Inspection(header, claims, None, verifier, None)
    try:
        identity = verifier.verify(token)
    except TokenError as error:
        return Inspection(header, claims, False, _REASONS.get(error.reason, error.reason), None)
    return Inspection(header, claims, True, None, identity.user)


def _verifier(given: Mapping[str, str], environ: Mapping[str, str], wall: WallClock) -> Verifier | str:
    """Checks as the daemon does; why that is not possible here."""
    found = {name: one.value for name, one in gather(SETTINGS, given, environ).items()}
    if found["demo"]:
        return "a demo makes a new secret at each start"
    if found["jwks_url"]:
        return "the keys are at jwks_url, which is not asked here"
    if not any(found[name] for name in KEYS):
        return "no key is named: give --secret-file, or the daemon's --config"
    config = load(given, environ)
    try:
        return Verifier(
            read_keys(config), config.algorithms, wall, leeway=config.token_leeway, rules=claim_rules(config)
        )
    except KeysError as error:
        raise ConfigError(str(error)) from None


def _object(segment: str) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (msgspec.MsgspecError, binascii.Error, UnicodeError, ValueError, RecursionError):
        return None


def text_of(found: Inspection, wall: float) -> str:
    """For people."""
    lines = []
    for name, value in (("header", found.header), ("claims", found.claims)):
        shown = msgspec.json.format(msgspec.json.encode(value)).decode() if value is not None else "cannot be read"
        lines.append(f"{name}: {shown}")
    for name in ("iat", "exp"):
        value = found.claims.get(name) if isinstance(found.claims, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**40:
            time = datetime.datetime.fromtimestamp(value, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            ago = datetime.timedelta(seconds=int(abs(value - wall)))
            lines.append(f"{name}: {time} ({f'{ago} ago' if value <= wall else f'in {ago}'})")
    if found.accepted:
        lines.append(f"accepted: for the user {found.user}")
    elif found.accepted is None:
        lines.append(f"accepted: not known: {found.reason}")
    else:
        lines.append(f"accepted: no: {found.reason}")
    return "\n".join(lines)
