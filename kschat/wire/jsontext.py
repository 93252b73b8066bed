"""JSON that is checked and split here, and decoded by code that knows its type.

msgspec reads all of it, so only JSON passes (RFC 8259), with two deliberate exceptions. Depth is bounded. Halves of
surrogate pairs, which strings of JavaScript may contain and ``JSON.stringify`` escapes, are replaced by U+FFFD, as
browsers do in text frames; strict decoders would refuse them.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, Final

import msgspec

from kschat.wire import jsonnumbers
from kschat.wire.errors import ProtocolError

_array: Final = msgspec.json.Decoder(list[msgspec.Raw])
_any: Final = msgspec.json.Decoder()

# Other escapes, so that "\\ud800" (an escaped backslash, then text) is skipped; then whole pairs; then halves, which
# alone are captured.
_ESCAPES: Final = re.compile(
    rb"\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: A signed byte for each bracket: one level deeper, or one back.
_LEVELS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def check_depth(text: bytes, limit: int) -> None:
    """Refuse JSON nested deeper than ``limit`` arrays and objects, in time linear to its size.

    Raises:
        ProtocolError: it is too deep. (Text that is not JSON may pass; its decoder refuses it.)
    """
    if text.count(b"[") + text.count(b"{") <= limit:
        return
    # Brackets outside of strings, summed up. (Taking the innermost pairs away, round by round, cost a
    # second for 1 MB of brackets.)
    levels = _STRINGS.sub(b"", text).translate(_LEVELS, _NOT_BRACKETS)
    if max(accumulate(memoryview(levels).cast("b")), default=0) > limit:
        raise ProtocolError("JSON nested too deep")


def mend_surrogates(text: bytes) -> bytes:
    """``text`` with each escaped half of a surrogate pair replaced by an escaped U+FFFD."""
    if b"\\u" not in text:
        return text
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)


def split_array(text: bytes, max_depth: int) -> list[msgspec.Raw]:
    """The elements of a JSON array, each still text.

    Raises:
        ProtocolError: not a JSON array, or nested deeper than ``max_depth``.
    """
    check_depth(text, max_depth)
    try:
        return _array.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return _array.decode(mend_surrogates(text))
    except (msgspec.DecodeError, RecursionError):
        raise ProtocolError("a payload that is no JSON array") from None


def decode(text: bytes | msgspec.Raw, max_depth: int, most: int | None = None) -> Any:
    """The value of ``text``, with its numbers as JavaScript reads them (``jsonnumbers``, with ``most``).

    Raises:
        ProtocolError: not JSON, nested deeper than ``max_depth``, or with too many numbers to rewrite.
    """
    raw = jsonnumbers.as_javascript(bytes(text), most)
    check_depth(raw, max_depth)
    try:
        return _any.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        pass
    try:
        return _any.decode(mend_surrogates(raw))
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise ProtocolError("a payload that is no JSON") from None


def structure(text: bytes | msgspec.Raw, max_depth: int) -> Any:
    """The value of ``text``, to look at its structure: its numbers may be read otherwise than JavaScript reads them.

    Raises:
        ProtocolError: as ``decode``, with ``MAX_REWRITTEN``.
    """
    raw = bytes(text)
    check_depth(raw, max_depth)
    try:
        return _any.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return decode(raw, max_depth, jsonnumbers.MAX_REWRITTEN)
