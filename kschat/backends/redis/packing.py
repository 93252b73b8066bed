"""Many values as one argument of a script. Each argument of its own would cost as much as a publish."""

from __future__ import annotations

from collections.abc import Sequence


def array(items: Sequence[bytes]) -> bytes:
    """An array in msgpack, of what is msgpack already."""
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)


def text(data: bytes) -> bytes:
    """A value in msgpack: as a str, whatever it holds, since Redis's ``cmsgpack`` knows no bin."""
    return b"\xdb" + len(data).to_bytes(4, "big") + data


def texts(items: Sequence[bytes]) -> bytes:
    """An array of such values."""
    return array([text(item) for item in items])
