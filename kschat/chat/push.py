"""Web Push subscriptions: what a browser gives, what of it is kept, and what the chat asks of whoever sends pushes.

A subscription (W3C Push API, ``PushSubscription``) is a URL at a push service, and the keys that a push to it is
encrypted with (RFC 8291). The keys are secrets between the browser and this server.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

#: Subscriptions that are kept of one user: browsers and devices. A further one replaces the oldest.
MAX_SUBSCRIPTIONS: Final = 20

#: Longest URL of a subscription, in characters, which are ASCII. Those of browsers have 150 to 400.
MAX_ENDPOINT: Final = 1000

#: Bytes of a public key on P-256 (uncompressed), and of the secret that goes with it (RFC 8291, section 3.2).
PUBLIC_KEY_BYTES: Final = 65
AUTH_BYTES: Final = 16


class PushRefused(ValueError):
    """A subscription that cannot be used; the text is one sentence."""


class PushSubscription(msgspec.Struct, frozen=True, gc=False):
    """A browser's subscription.

    Attributes:
        endpoint: the URL that pushes are sent to.
        p256dh: the browser's public key, as URL-safe base64 without padding.
        auth: its secret, in the same form.
    """

    endpoint: str
    p256dh: str
    auth: str

    @classmethod
    def of(cls, endpoint: str, p256dh: str, auth: str) -> PushSubscription:
        """A subscription as a browser gives it, with its keys in their one form.

        Raises:
            PushRefused: the URL is too long or not plain ASCII, or a key is not valid.
        """
        if len(endpoint) > MAX_ENDPOINT:
            raise PushRefused(f"endpoint is longer than {MAX_ENDPOINT} characters.")
        if not endpoint.isascii() or any(character <= " " or character == "\x7f" for character in endpoint):
            raise PushRefused("endpoint is not a URL in ASCII.")
        key, secret = bytes_of(p256dh), bytes_of(auth)
        if not _is_public_key(key):
            raise PushRefused("keys.p256dh is no public key on P-256.")
        if len(secret) != AUTH_BYTES:
            raise PushRefused(f"keys.auth is not {AUTH_BYTES} bytes as URL-safe base64.")
        return cls(endpoint, text_of(key), text_of(secret))


class PushService(Protocol):
    """The sender of pushes, as the chat sees it.

    Attributes:
        public_key: the key that browsers subscribe with (``applicationServerKey``), as URL-safe base64.
    """

    @property
    def public_key(self) -> str: ...

    def check(self, endpoint: str) -> None:
        """That pushes may be sent to this URL. Raises PushRefused."""


def text_of(data: bytes) -> str:
    """URL-safe base64 without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """The bytes of such a text, with padding or without; b"" if it is not valid."""
    if len(text) > 2 * PUBLIC_KEY_BYTES or not text.isascii():
        return b""
    bare = text.rstrip("=")
    try:
        data = urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except ValueError:
        return b""
    # Python ignores characters outside the alphabet.
    return data if text_of(data) == bare else b""


def _is_public_key(key: bytes) -> bool:
    if len(key) != PUBLIC_KEY_BYTES:
        return False
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), key)
    except ValueError:
        return False
    return True
