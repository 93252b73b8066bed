"""Signs requests to push services with the server's own key (VAPID, RFC 8292).

Browsers subscribe with the public key, and their push service accepts pushes of nobody who lacks the private one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from kschat.chat.clocks import WallClock
from kschat.chat.push import text_of

#: Seconds for which a signature is good, and for which it is used: a day is the most that push services accept.
LIFETIME: Final = 12 * 3600
USED_FOR: Final = LIFETIME - 3600

#: Push services whose signatures are kept. Beyond it all are made again.
MAX_KEPT: Final = 100

_CONTACT: Final = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+", re.ASCII)


class VapidError(ValueError):
    """A key or a contact cannot be used; the text ends a sentence, and shows nothing of the key."""


def new_key() -> bytes:
    """A new private key, as PEM (PKCS 8)."""
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def check_contact(contact: str) -> None:
    """That ``contact`` is ``mailto:…`` or ``https:…``. Raises VapidError."""
    if not _CONTACT.fullmatch(contact):
        raise VapidError("is not like mailto:you@example.org or https://example.org/contact")


class VapidKey:
    """The server's key.

    Args:
        pem: a private key on P-256, without a password.

    Attributes:
        public_key: as browsers are given it.

    Raises:
        VapidError: it is none.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise VapidError("is not a private key in PEM without a password: kschat push-key makes one") from None
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise VapidError("is not a key on the curve P-256: kschat push-key makes one")
        self._key = key
        self.public_key = text_of(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    @classmethod
    def read(cls, path: str) -> VapidKey:
        """The key in a file. Raises OSError, VapidError."""
        return cls(Path(path).read_bytes())

    def sign(self, origin: str, *, contact: str, expires: int) -> str:
        """The value of the header ``Authorization``, for one push service until a time (seconds since 1970)."""
        claims = {"aud": origin, "exp": expires, "sub": contact}
        return f"vapid t={jwt.encode(claims, self._key, algorithm='ES256')},k={self.public_key}"


class Vapid:
    """Signatures for push services, each used again for hours.

    Args:
        key: of the server.
        contact: whom the operators of a push service can ask: ``mailto:…`` or ``https:…``.
        wall: the time of day, in seconds since 1970.
    """

    def __init__(self, key: VapidKey, contact: str, wall: WallClock) -> None:
        self._key = key
        self._contact = contact
        self._wall = wall
        # By origin: when it was made, and the header.
        self._kept: dict[str, tuple[float, str]] = {}

    @property
    def public_key(self) -> str:
        """See ``VapidKey``."""
        return self._key.public_key

    def authorization(self, origin: str) -> str:
        """The header ``Authorization`` for a push service, by its origin (``https://push.example.org``)."""
        now = self._wall()
        kept = self._kept.get(origin)
        # The clock may have been set back.
        if kept is None or not 0 <= now - kept[0] < USED_FOR:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            header = self._key.sign(origin, contact=self._contact, expires=int(now) + LIFETIME)
            kept = self._kept[origin] = now, header
        return kept[1]
