"""Python values to JSON with binary attachments, and back.

Source: socketio/socket.io, ``docs/socket.io-protocol/v5-current.md`` ("BINARY_EVENT"): in place of binary
data the JSON has ``{"_placeholder": true, "num": N}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kschat.wire import jsontext
from kschat.wire.jsonnumbers import as_javascript

#: Deeper JSON than the wire's limits let through is never met.
_DEPTH: Final = 1000

_BINARY: Final = (bytes, bytearray, memoryview)


def encode(values: Sequence[Any]) -> tuple[bytes, tuple[bytes, ...]]:
    """``values`` as a JSON array, and the attachments that its placeholders mean.

    Args:
        values: what msgspec writes as JSON (structs, dates and the like too). Binary is taken out of lists, tuples and
            dicts; within other objects it becomes base64. Numbers are written as JavaScript writes them.

    Raises:
        TypeError, ValueError: something has no JSON.
    """
    attachments: list[bytes] = []
    body = as_javascript(msgspec.json.encode([_without_binary(value, attachments) for value in values]))
    return body, tuple(attachments)


def decode(texts: Sequence[msgspec.Raw], attachments: Sequence[bytes] = ()) -> list[Any]:
    """The values that ``texts`` stand for.

    ``bytes`` where a placeholder means an attachment; numbers as JavaScript reads them.
    """
    values = [jsontext.decode(text, _DEPTH) for text in texts]
    # Without attachments an object that looks like a placeholder is the peer's own.
    return [_with_binary(value, attachments) for value in values] if attachments else values


def one(values: Sequence[Any]) -> Any:
    """The answer that an ack's arguments are: None, the one there is, or all of them as a tuple."""
    return None if not values else values[0] if len(values) == 1 else tuple(values)


def many(answer: Any) -> Sequence[Any]:
    """The arguments of the ack that gives ``answer``, the other way round."""
    return () if answer is None else answer if isinstance(answer, tuple) else (answer,)


def _without_binary(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, _BINARY):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, dict):
        return {key: _without_binary(inner, attachments) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_binary(inner, attachments) for inner in value]
    return value


def _with_binary(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]  # the wire has looked at the number
        return {key: _with_binary(inner, attachments) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_binary(inner, attachments) for inner in value]
    return value
