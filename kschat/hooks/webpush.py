"""Encrypts pushes for browsers (RFC 8291, on the coding ``aes128gcm`` of RFC 8188). Pure: no I/O, no clock.

The push service that carries a push sees its size and who it is for. All else is for the browser alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kschat.chat.push import PushSubscription, bytes_of

#: Bytes of a record: each push is one, and push services accept no more than this (RFC 8030, section 7.2).
RECORD_BYTES: Final = 4096

#: Texts are padded to a multiple of this, so that the size does not tell how long the names in them are.
PADDED_TO: Final = 256

#: Bytes of the salt; of the key and the nonce of AES-GCM, and of its tag.
_SALT: Final = 16
_KEY: Final = 16
_NONCE: Final = 12
_TAG: Final = 16

#: Bytes of the head: salt, record size, and the public key with its length.
_HEAD: Final = _SALT + 4 + 1 + 65

#: The most that a push can carry, with the byte that ends it.
MAX_TEXT: Final = RECORD_BYTES - _HEAD - _TAG - 1

#: Ends the text of the last record; zeros may follow.
_END: Final = b"\x02"


def encrypt(
    subscription: PushSubscription,
    text: bytes,
    *,
    new_key: Callable[[], EllipticCurvePrivateKey] = lambda: generate_private_key(SECP256R1()),
    random: Callable[[int], bytes] = os.urandom,
    padded_to: int = PADDED_TO,
) -> bytes:
    """The body of the request that pushes ``text``, for the content coding ``aes128gcm``.

    Args:
        subscription: whose keys to use.
        text: at most ``MAX_TEXT`` bytes.
        new_key: makes the key of this push alone.
        random: gives random bytes.
        padded_to: what the length of text and padding is a multiple of, as far as a record allows.

    Raises:
        ValueError: the text is too long, or the keys of the subscription are none.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a push carries {MAX_TEXT} bytes at the most")
    theirs, secret = bytes_of(subscription.p256dh), bytes_of(subscription.auth)
    key, salt = new_key(), random(_SALT)
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = key.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), theirs))
    combined = _derived(secret, shared, b"WebPush: info\0" + theirs + ours, 32)
    content_key = _derived(salt, combined, b"Content-Encoding: aes128gcm\0", _KEY)
    nonce = _derived(salt, combined, b"Content-Encoding: nonce\0", _NONCE)
    padding = min(-(len(text) + 1) % padded_to, MAX_TEXT - len(text))
    record = AESGCM(content_key).encrypt(nonce, text + _END + bytes(padding), None)
    return salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(ours)]) + ours + record


def _derived(salt: bytes, key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key)
