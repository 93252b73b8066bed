"""Reads the packets that npm's parsers made (tests/wire/vectors, where README.md says what the fields mean).

It knows nothing of kschat: what a test makes of a vector is the test's own affair.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

DIRECTORY = Path(__file__).parent / "wire" / "vectors"


def load(name: str) -> list[dict[str, Any]]:
    """The vectors of one file, ``engineio``, ``socketio`` or ``refused``, with binary data and frames as bytes."""
    text = (DIRECTORY / f"{name}.json").read_text("ascii")
    return cast("list[dict[str, Any]]", json.loads(text, object_hook=_as_bytes))


def _as_bytes(value: dict[str, Any]) -> dict[str, Any] | bytes:
    """Bytes for ``{"$bin": …}`` in data and ``{"hex": …}`` among frames; any other object as it is."""
    for key in ("$bin", "hex"):
        if value.keys() == {key}:
            return bytes.fromhex(value[key])
    return value
