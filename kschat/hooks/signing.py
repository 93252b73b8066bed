"""Secrets and signatures of webhooks: Standard Webhooks, https://www.standardwebhooks.com, "Signature scheme"."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: What a secret begins with.
PREFIX: Final = "whsec_"

#: Bytes of a secret, without the prefix, decoded: "between 24 bytes and 64 bytes".
MIN_SECRET: Final = 24
MAX_SECRET: Final = 64

#: Secrets that a file may hold: the new one, and the one before until all receivers know the new one.
MAX_SECRETS: Final = 2

#: Bytes of such a file.
_MAX_FILE: Final = 10_000


def read_secrets(path: str) -> tuple[bytes, ...]:
    """The secrets in a file, one a line, the newest first. Empty lines, and those that begin with ``#``, do not count.

    Raises:
        OSError: the file can't be read.
        ValueError: it has no secret, too many, or something else; the text ends a sentence, and shows nothing of it.
    """
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError(f"is larger than {_MAX_FILE} bytes")
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    secrets = tuple(_secret(line) for line in lines if line and not line.startswith("#"))
    if not 0 < len(secrets) <= MAX_SECRETS:
        raise ValueError(f"holds {len(secrets)} secrets: give one, or two while receivers learn the new one")
    return secrets


def _secret(text: str) -> bytes:
    if not text.startswith(PREFIX):
        hint = f'make a secret by: echo "{PREFIX}$(openssl rand -base64 32)"'
        raise ValueError(f"holds a line that does not begin with {PREFIX}: {hint}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"holds a secret that is not base64 after {PREFIX}") from None
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise ValueError(f"holds a secret of {len(secret)} bytes: give one of {MIN_SECRET} to {MAX_SECRET}")
    return secret


def signature(secrets: Sequence[bytes], id_: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature a secret.

    Args:
        secrets: the keys.
        id_: the header ``webhook-id``.
        timestamp: the header ``webhook-timestamp``, in seconds since 1970.
        body: of the request.
    """
    signed = b"%b.%d.%b" % (id_.encode(), timestamp, body)
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return " ".join(f"v1,{one}" for one in signatures)
