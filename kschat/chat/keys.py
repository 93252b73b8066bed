"""The keys that tokens are signed with: a shared secret, a PEM public key, or a JWK Set, each parsed once.

Several keys at once, distinguished by their `kid`, allow rotation. An unusable key is a one-line error at startup
(KeysError), so that verifying a token later cannot fail because of a key. Knows no token, file or setting.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

HMAC: Final = ("HS256", "HS384", "HS512")
RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
EDDSA: Final = ("EdDSA",)
ASYMMETRIC: Final = (*RSA, *CURVES.values(), *EDDSA)

MAX_KEYS: Final = 50
"""Keys of one JWK Set: they are parsed in one turn of the reactor, up to 0.3 ms each."""

_JWK_KINDS: Final = {
    ("oct", None): "HS256",
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
    ("OKP", "Ed448"): "EdDSA",
}
"""Key type and curve (RFC 7518, section 6; RFC 8037) -> an algorithm that can read such a key."""


_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""Members of a JWK that only its owner has (RFC 7518, sections 6.2.2 and 6.3.2; RFC 8037, section 2)."""


class KeysError(ValueError):
    """Keys or algorithms that no token can be checked with; the text is one sentence for whoever configured them."""


class Key(msgspec.Struct, frozen=True):
    """One key: its `kid` where it has one, the parsed material, and the algorithms it may be used with."""

    kid: str | None
    material: Any
    algorithms: tuple[str, ...]

    def __repr__(self) -> str:  # the material is a secret
        return f"<Key kid={self.kid!r} for {', '.join(self.algorithms)}>"


class Keys(msgspec.Struct, frozen=True):
    """The keys that a token may be signed with."""

    keys: tuple[Key, ...]

    def __str__(self) -> str:
        """How many there are, and their names: ``2 keys (2026-03, 2026-04)``."""
        kids = ", ".join(repr(key.kid)[1:-1] for key in self.keys if key.kid is not None)
        count = "a key" if len(self.keys) == 1 else f"{len(self.keys)} keys"
        return f"{count} ({kids})" if kids else count

    @classmethod
    def from_secret(cls, secret: bytes) -> "Keys":
        """A shared secret for HS256 and its kin, at least 32 bytes (64 for HS512). Raises KeysError."""
        try:
            material = jwt.get_algorithm_by_name("HS256").prepare_key(secret)
        except jwt.PyJWTError:
            raise KeysError("the secret is empty, or is a public key, which anyone may know") from None
        return cls((Key(None, material, HMAC),))

    @classmethod
    def from_pem(cls, pem: bytes) -> "Keys":
        """One PEM public key: RSA, EC (P-256, P-384, P-521), Ed25519 or Ed448. Raises KeysError."""
        if b"PRIVATE KEY" in pem:
            raise KeysError("the PEM is a private key: give its public half, the daemon only checks signatures")
        try:
            material = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise KeysError("the PEM is no public key that can be read") from None
        algorithms = _algorithms_of(material)
        if not algorithms:
            raise KeysError("the PEM's public key is of a kind that no supported algorithm uses")
        return cls((Key(None, material, algorithms),))

    @classmethod
    def from_jwks(cls, document: bytes, *, strict: bool = True) -> "Keys":
        """A JWK Set (RFC 7517, section 5): `oct`, `RSA`, `EC` and `OKP` keys at once. Raises KeysError.

        Keys for other uses than signatures and of unknown kinds are passed over, as the RFC asks.

        Args:
            document: the JSON text.
            strict: whether a broken key of a known kind raises KeysError, since a typing error in a file should be
                heard of at start. A set that others publish may hold keys that are not for us: those are passed over.
        """
        try:
            parsed = msgspec.json.decode(document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise KeysError("the JWK Set is not JSON") from None
        entries = parsed.get("keys") if isinstance(parsed, dict) else None
        if not isinstance(entries, list):
            raise KeysError('the JWK Set is not of the form {"keys": [...]}')
        if len(entries) > MAX_KEYS:
            raise KeysError(f"the JWK Set holds more than {MAX_KEYS} keys")
        keys = []
        for place, entry in enumerate(entries, 1):
            try:
                key = _from_jwk(place, entry)
            except KeysError:
                if strict:
                    raise
                continue
            if key is not None:
                keys.append(key)
        if not keys:
            raise KeysError("the JWK Set holds no key that signatures can be checked with")
        return cls(tuple(keys))

    def by_algorithm(self, algorithms: Iterable[str], *, strict: bool = True) -> Mapping[str, tuple[Key, ...]]:
        """The keys for each of `algorithms`. Raises KeysError.

        Args:
            algorithms: of one family (see `one_family`).
            strict: whether each algorithm needs a key, and no key may be too short. Otherwise such keys are passed
                over, and one algorithm with a key is enough.
        """
        if strict:
            return {name: self.usable_with(name) for name in algorithms}
        names = tuple(algorithms)
        found = {name: tuple(key for key in self.keys if _is_fit(key, name)) for name in names}
        if not any(found.values()):
            raise KeysError(f"there is no key for the algorithms {', '.join(names)}")
        return found

    def usable_with(self, algorithm: str) -> tuple[Key, ...]:
        """The keys for `algorithm`, at least one. Raises KeysError when there is none or one is too short."""
        keys = tuple(key for key in self.keys if algorithm in key.algorithms)
        if not keys:
            raise KeysError(f"there is no key for the algorithm {algorithm}")
        for key in keys:
            if not _is_fit(key, algorithm):
                raise KeysError(_too_short(key, algorithm))
        return keys


def one_family(algorithms: Iterable[str]) -> tuple[str, ...]:
    """The algorithms, when they are known and may stand together. Raises KeysError otherwise.

    HMAC and asymmetric ones are never mixed: whoever knows the public key could sign with it as a shared secret.
    """
    names = tuple(algorithms)
    for name in names:
        if name not in HMAC and name not in ASYMMETRIC:
            raise KeysError(f"{name!r} is not one of the algorithms {', '.join((*HMAC, *ASYMMETRIC))}")
    if not names:
        raise KeysError("no algorithm is given, so that every token would be refused")
    if len({name in HMAC for name in names}) > 1:
        raise KeysError("HMAC and asymmetric algorithms are never mixed: a public key would pass for a secret")
    return names


def _is_fit(key: Key, algorithm: str) -> bool:
    """Whether a key may be used with an algorithm, and is long enough for it."""
    long_enough = lambda: jwt.get_algorithm_by_name(algorithm).check_key_length(key.material) is None  # noqa: E731
    return algorithm in key.algorithms and long_enough()


def _too_short(key: Key, algorithm: str) -> str:
    if algorithm in HMAC:
        return f"a secret for {algorithm} has at least {int(algorithm[2:]) // 8} bytes and this has {len(key.material)}"
    return f"an RSA key for {algorithm} has at least 2048 bits and this has {key.material.key_size}"


def _algorithms_of(material: object) -> tuple[str, ...]:
    """What a parsed key can be used with; empty when nothing."""
    if isinstance(material, bytes):
        return HMAC
    if isinstance(material, rsa.RSAPublicKey):
        return RSA
    if isinstance(material, ec.EllipticCurvePublicKey):
        name = CURVES.get(material.curve.name)
        return () if name is None else (name,)
    if isinstance(material, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return EDDSA
    return ()


def _from_jwk(place: int, entry: object) -> Key | None:
    """One key of a JWK Set, `place` counted from 1; None when it is not for signatures or of an unknown kind."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kind = next((known for known in _JWK_KINDS if known == (entry.get("kty"), known[1] and entry.get("crv"))), None)
    if kind is None:
        return None
    kid, named = entry.get("kid"), entry.get("alg")
    broken = KeysError(f"key {place} of the JWK Set (kid {kid!r}) is broken")
    if not (kid is None or isinstance(kid, str)):
        raise broken
    # Of a private key its public half is enough; to examine the primes of RSA's takes up to a second.
    public = {name: value for name, value in entry.items() if name not in _PRIVATE_MEMBERS}
    try:
        material = jwt.PyJWK(public, _JWK_KINDS[kind]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        raise broken from None
    algorithms = tuple(name for name in _algorithms_of(material) if named is None or name == named)
    return Key(kid, material, algorithms) if algorithms else None
