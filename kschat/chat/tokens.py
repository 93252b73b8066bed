"""JWT -> Identity: who a socket is, proved by a signature.

Verifier checks tokens against Keys, Issuer makes them (for the demo's page and for `kschat token`). Knows nothing of
sockets, files or settings: it is handed keys and a clock.

The segments of a token are taken apart here and the cryptography is PyJWT's. Its own `decode` reads the JSON
with recursion, turns an `exp` of infinity into an OverflowError and asks the machine's clock; a token comes from
strangers, so here every way to fail is one TokenError with a named reason.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import jwt
import msgspec

from kschat.chat.clocks import WallClock
from kschat.chat.conversations import is_room
from kschat.chat.keys import Key, Keys, KeysError, one_family
from kschat.chat.names import name_of
from kschat.chat.recipients import Recipients, recipients_of
from kschat.wire.jsonnumbers import whole_number

__all__ = [
    "MAX_TOKEN",
    "MAX_USER",
    "ClaimRules",
    "Identity",
    "Issuer",
    "Keys",
    "KeysError",
    "TokenError",
    "Verifier",
    "as_user",
]

MAX_TOKEN: Final = 8192
"""Characters of a token; a longer one is refused before anything of it is read."""

MAX_USER: Final = 128
"""Characters of a user's id: it becomes part of a routing key."""

MAX_TRIED: Final = 8
"""Keys tried for one token (without `kid`, every key of its algorithm): bounds what a bad token may cost."""

Reason: TypeAlias = Literal[
    "missing",
    "too_long",
    "malformed",
    "algorithm",
    "no_keys",
    "unknown_key",
    "signature",
    "bad_expiry",
    "expired",
    "no_expiry",
    "audience",
    "issuer",
    "no_user",
    "bad_user",
    "bad_to",
    "other_user",
    "revoked",
]
Rooms: TypeAlias = tuple[str, ...] | Literal["*"]

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


class TokenError(Exception):
    """A token was refused. `reason` is for the log and the metrics; clients are told `Authentication error` alone."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Identity(msgspec.Struct, frozen=True):
    """Whom a token proves, and for how long.

    Attributes:
        user: the claim ``data.id``.
        expires: ``exp`` and the leeway, in seconds since the epoch; None: it never expires.
        rooms: that may be joined; "*": all.
        issued: ``iat``, in seconds since the epoch; None where the token does not say it, or not as a number.
        token_id: ``jti``; None where the token has none, or one that is neither text nor a whole number.
        to: the users that may be written to (``data.to``); None for all.
        name: shown to whom the user writes (``data.name``); None: the token gives none.
        moderates: rooms in which the user may delete everybody's messages (``data.moderates``); "*": all.
    """

    user: str
    expires: float | None
    rooms: Rooms = ()
    issued: float | None = None
    token_id: str | None = None
    to: Recipients | None = None
    name: str | None = None
    moderates: Rooms = ()


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must claim, beside its user.

    Attributes:
        audience: `aud` (RFC 7519, section 4.1.3), a text or a list of texts, must name one of these; none: whatever it
            says.
        issuer: `iss` must be one of these; none: whatever it says.
        require_exp: whether a token without `exp` is refused.
    """

    audience: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()
    require_exp: bool = False


class Verifier:
    """Checks tokens against keys. Nothing that was verified is remembered.

    Raises KeysError when an algorithm is not known, has no key, or a key is too short.

    Args:
        keys: None: there are none yet, and every token is refused (`no_keys`) until `use` is called.
        algorithms: all HMAC or all asymmetric: mixed, a public key could be passed off as a shared secret.
        wall: the clock that `exp` is compared with.
        leeway: seconds that a token is accepted after its `exp`.
        rules: what a token must claim.
    """

    def __init__(
        self,
        keys: Keys | None,
        algorithms: Iterable[str],
        wall: WallClock,
        *,
        leeway: float = 0.0,
        rules: ClaimRules = ClaimRules(),  # noqa: B008 - it is frozen
    ) -> None:
        self._wall = wall
        self._leeway = leeway
        self._rules = rules
        self._algorithms = one_family(algorithms)
        self._by_algorithm: Mapping[str, tuple[Key, ...]] = {}
        if keys is not None:
            self.use(keys)

    def use(self, keys: Keys, *, strict: bool = True) -> None:
        """Check tokens against these keys from now on. Raises KeysError, and keeps the ones before.

        Args:
            keys: all that there are.
            strict: see `Keys.by_algorithm`.
        """
        self._by_algorithm = keys.by_algorithm(self._algorithms, strict=strict)

    def verify(self, token: object) -> Identity:
        """Whom `token` proves. Whatever it is, the only exception is TokenError."""
        if token is None or token == "":
            raise TokenError("missing")
        if not isinstance(token, str):
            raise TokenError("malformed")
        if len(token) > MAX_TOKEN:
            raise TokenError("too_long")
        match = _COMPACT.fullmatch(token)
        if match is None:
            raise TokenError("malformed")
        header, payload, signature = match.groups()
        algorithm, keys = self._keys_for(_json_object(header))
        signed = f"{header}.{payload}".encode("ascii")
        if not _signed_by_any(keys, algorithm, signed=signed, signature=_unbase64(signature)):
            raise TokenError("signature")
        return self._identity(_json_object(payload))

    def _keys_for(self, header: dict[str, Any]) -> tuple[str, tuple[Key, ...]]:
        """The algorithm and the keys to try, as the header asks and the configuration allows."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenError("algorithm")
        # "crit" lists extensions that must be understood (RFC 7515, 4.1.11); none is known here.
        if "crit" in header or not (kid is None or isinstance(kid, str)):
            raise TokenError("malformed")
        if not self._by_algorithm:
            raise TokenError("no_keys")
        keys = self._by_algorithm[algorithm]
        if kid is None and keys:
            return algorithm, keys[:MAX_TRIED]
        # A secret or a PEM file has no kid, while its issuer may well name one.
        chosen = tuple(key for key in keys if key.kid == kid) or tuple(key for key in keys if key.kid is None)
        if not chosen:
            raise TokenError("unknown_key")
        return algorithm, chosen[:MAX_TRIED]

    def _identity(self, claims: dict[str, Any]) -> Identity:
        """The claims that are looked at. The tutorial's tokens carry no rule on any but `exp` and `data`."""
        expires = None
        if "exp" in claims:
            expires = _seconds(claims["exp"]) + self._leeway
            if self._wall() >= expires:
                raise TokenError("expired")
        elif self._rules.require_exp:
            raise TokenError("no_expiry")
        if self._rules.audience and not _names_any(claims.get("aud"), self._rules.audience):
            raise TokenError("audience")
        if self._rules.issuer and claims.get("iss") not in self._rules.issuer:
            raise TokenError("issuer")
        data = claims.get("data")
        if not isinstance(data, dict) or data.get("id") is None:
            raise TokenError("no_user")
        user = as_user(data["id"])
        if user is None:
            raise TokenError("bad_user")
        return Identity(
            user,
            expires,
            _rooms(data.get("rooms")),
            issued=_issued(claims.get("iat")),
            token_id=_token_id(claims),
            to=_to(data),
            name=name_of(data.get("name")),
            moderates=_rooms(data.get("moderates")),
        )


class Issuer:
    """Makes HS256 tokens that a Verifier with the same secret and rules accepts. Raises KeysError for a weak secret."""

    def __init__(self, secret: bytes, wall: WallClock, rules: ClaimRules = ClaimRules()) -> None:  # noqa: B008 - as above
        (key,) = Keys.from_secret(secret).usable_with("HS256")
        self._secret: bytes = key.material
        self._wall = wall
        self._rules = rules

    def issue(
        self,
        user: str,
        ttl_seconds: float,
        rooms: Rooms = (),
        *,
        to: tuple[str, ...] | None = None,
        name: str | None = None,
        moderates: Rooms = (),
    ) -> str:
        """A token for `user` that lasts `ttl_seconds`, rounded up to a whole second of the epoch.

        `to` are ids and patterns of users that may be written to; None for all. `name` is shown to whom the user
        writes. `moderates` are rooms in which the user may delete everybody's messages. Raises ValueError when no token
        can name that user (see as_user), or those of `to` (see recipients_of).
        """
        if as_user(user) is None:
            raise ValueError(f"a user is 1 to {MAX_USER} characters and does not start with '#'")
        now = self._wall()
        data: dict[str, Any] = {"id": user}
        if rooms:
            data["rooms"] = rooms if rooms == "*" else list(rooms)
        if to is not None:
            recipients_of(list(to))
            data["to"] = list(to)
        if name is not None:
            data["name"] = name
        if moderates:
            data["moderates"] = moderates if moderates == "*" else list(moderates)
        claims = {"data": data, "iat": int(now), "exp": math.ceil(now + ttl_seconds)}
        if self._rules.audience:
            claims["aud"] = self._rules.audience[0]
        if self._rules.issuer:
            claims["iss"] = self._rules.issuer[0]
        return jwt.encode(claims, self._secret, algorithm="HS256")


def as_user(value: object) -> str | None:
    """A user's id as text: a number and its string are the same user. None when it is no id.

    1 to 128 characters, not starting with "#" (those are rooms); neither a boolean nor a fraction: 42.0 is 42, as
    JavaScript reads it. Half a surrogate pair is refused: it could not be written to anything that is UTF-8.
    """
    if isinstance(value, float):
        value = whole_number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > 4 * MAX_USER:  # str() of thousands of digits is slow, then a ValueError
            return None
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_USER or is_room(value):
        return None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return value


def _rooms(value: object) -> Rooms:
    """The claim `data.rooms` or `data.moderates`.

    Anything but "*" and a list of names gives none (a stranger's claim of that name).
    """
    if value == "*":
        return "*"
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    return ()


def _to(data: dict[str, Any]) -> Recipients | None:
    """The claim `data.to`. A limit that cannot be read must not be none: such a token is refused."""
    try:
        return recipients_of(data["to"]) if "to" in data else None
    except ValueError:
        raise TokenError("bad_to") from None


def _names_any(claim: object, names: tuple[str, ...]) -> bool:
    """Whether `aud` names one of `names`. A list that holds anything but texts is no `aud`."""
    if isinstance(claim, list):
        return all(isinstance(one, str) for one in claim) and any(one in names for one in claim)
    return claim in names


def _issued(value: object) -> float | None:
    """The claim `iat`, which only a revocation looks at. Nobody is refused for a strange one."""
    try:
        return None if value is None else _seconds(value)
    except TokenError:
        return None


def _token_id(claims: dict[str, Any]) -> str | None:
    """The claim `jti` (RFC 7519, section 4.1.7), as text: some libraries write a number."""
    value = claims.get("jti")
    if isinstance(value, str):
        return value
    is_number = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 4 * MAX_USER
    return str(value) if is_number else None


def _seconds(value: object) -> float:
    """A NumericDate (RFC 7519, section 2). As npm's jsonwebtoken, text and the like are not taken for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError("bad_expiry")
    try:
        seconds = float(value)
    except OverflowError:
        raise TokenError("bad_expiry") from None
    if not math.isfinite(seconds):
        raise TokenError("bad_expiry")
    return seconds


def _unbase64(segment: str) -> bytes:
    """One segment's bytes (RFC 7515, section 2: no padding)."""
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise TokenError("malformed") from None


def _json_object(segment: str) -> dict[str, Any]:
    """The object that a segment holds. msgspec knows no NaN and no infinity, and stops at deep nesting."""
    try:
        value = msgspec.json.decode(_unbase64(segment))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise TokenError("malformed") from None
    if not isinstance(value, dict):
        raise TokenError("malformed")
    return value


def _signed_by_any(keys: Iterable[Key], algorithm: str, *, signed: bytes, signature: bytes) -> bool:
    try:
        checker = jwt.get_algorithm_by_name(algorithm)
        return any(checker.verify(signed, key.material, signature) for key in keys)
    except (jwt.PyJWTError, ValueError):
        return False
