"""Secrets and signatures of webhooks, by the Standard Webhooks specification, version 1.0.0.

Each request has three headers: ``webhook-id``, ``webhook-timestamp`` (seconds since 1970) and ``webhook-signature``:
HMAC-SHA256 over ``ID.TIMESTAMP.BODY`` in Base64 after ``v1,``; several with a space between them while a secret is
being replaced, one for each secret. Pure.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

#: What a secret begins with as text.
PREFIX: Final = "whsec_"

#: Bytes of a secret.
MIN_SECRET: Final = 24
MAX_SECRET: Final = 64

#: Secrets of one file.
MAX_SECRETS: Final = 10


class SecretError(ValueError):
    """A secret can't be used. The text ends a sentence, and shows nothing of it."""


def secret_of(text: str) -> bytes:
    """A secret as it is written: ``whsec_`` and Base64, or Base64 alone.

    Raises:
        SecretError: it is not so, or not of 24 to 64 bytes.
    """
    digits = text.removeprefix(PREFIX).rstrip("=")
    try:
        secret = b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(f"a secret is not {PREFIX} and Base64") from None
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise SecretError(f"a secret has {len(secret)} bytes, and must have {MIN_SECRET} to {MAX_SECRET}")
    return secret


def read_secrets(path: str) -> tuple[bytes, ...]:
    """The secrets in a file, one a line; empty lines and those that begin with ``#`` are passed over.

    Raises:
        OSError: the file can't be read.
        ValueError: a secret can't be used (SecretError), or it has none, or too many, or is no text.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise SecretError("it is not UTF-8") from None
    secrets = [secret_of(line) for line in lines if line and not line.startswith("#")]
    if not 0 < len(secrets) <= MAX_SECRETS:
        raise SecretError(f"it has {len(secrets)} secrets, and may have 1 to {MAX_SECRETS}")
    return tuple(secrets)


class Signer:
    """Signs requests.

    Args:
        secrets: each signs; receivers take a request if one of the signatures is right.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets: Sequence[bytes] = tuple(secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def use(self, secrets: Iterable[bytes]) -> None:
        """Other secrets sign from now on."""
        self._secrets = tuple(secrets)

    def headers(self, id: str, timestamp: int, body: bytes) -> dict[bytes, bytes]:  # noqa: A002 - the specification's
        """The headers of a request.

        Args:
            id: of what is told; the same each time that it is sent again. ASCII without spaces and full stops.
            timestamp: now, in seconds since 1970.
            body: of the request.
        """
        signed = b"%s.%d.%s" % (id.encode("ascii"), timestamp, body)
        signatures = [b"v1," + b64encode(hmac.digest(secret, signed, "sha256")) for secret in self._secrets]
        return {
            b"webhook-id": id.encode("ascii"),
            b"webhook-timestamp": b"%d" % timestamp,
            b"webhook-signature": b" ".join(signatures),
        }
