"""Packs values into one msgpack script argument. A separate argument would cost as much as a publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

_encoder: Final = msgspec.msgpack.Encoder()


def pack(*values: Any) -> bytes:
    """A list of values. Bytes among them are packed as ``text``."""
    return _encoder.encode(values)


def text(data: bytes) -> Raw:
    """Bytes as a value: packed as a str, whatever they are, since Redis's ``cmsgpack`` has no bin."""
    return Raw(_text(data))


def texts(items: Sequence[bytes]) -> bytes:
    """A list of bytes, each packed as ``text``."""
    return array([_text(item) for item in items])


def array(items: Sequence[bytes]) -> bytes:
    """A list of values that are packed already."""
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)


def _text(data: bytes) -> bytes:
    return b"\xdb" + len(data).to_bytes(4, "big") + data
