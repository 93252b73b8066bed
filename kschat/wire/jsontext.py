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

#: Values of one packet, of which an array or an object counts as ``CONTAINER`` more: what takes Python's time.
MAX_VALUES: Final = 100_000

#: The same for a packet with attachments, whose values are looked at one by one for placeholders.
MAX_BINARY_VALUES: Final = 20_000

#: How many values an array or an object counts as, beside itself.
CONTAINER: Final = 3

#: Escaped halves of surrogate pairs in one text, where one of them is alone.
MAX_HALVES: Final = 40_000

# Halves of surrogate pairs that are alone. A replacement without groups is C's work alone, so that a megabyte of them
# takes some milliseconds.
_HALVES: Final = re.compile(
    rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
#: Stands for an escaped backslash meanwhile. JSON holds no such bytes.
_BACKSLASH: Final = b"\0\0"
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: A signed byte for each bracket: one level deeper, or one back.
_LEVELS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


#: Bytes of JSON that cannot hold ``MAX_VALUES``.
_FEW_VALUES: Final = 2 * MAX_VALUES // (1 + CONTAINER)


def check_values(text: bytes, most: int = MAX_VALUES) -> None:
    """Refuse JSON of more than ``most`` values, an array or an object counting as ``1 + CONTAINER``.

    Raises:
        ProtocolError: there are more. (Text that is not JSON may pass; its decoder refuses it.)
    """
    if len(text) * (1 + CONTAINER) <= 2 * most or _weight(text) <= most:
        return
    # Each string is a value or a name. Without those, what remains is counted again.
    if text.count(b'"') - text.count(b'\\"') > 2 * most or _weight(_STRINGS.sub(b"", text)) > most:
        raise ProtocolError("too many values")


def _weight(text: bytes) -> int:
    containers = text.count(b"[") + text.count(b"{")
    return text.count(b",") + containers * (1 + CONTAINER)


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
    """``text`` with each escaped half of a surrogate pair replaced by an escaped U+FFFD.

    Raises:
        ProtocolError: there are more than ``MAX_HALVES``, those in whole pairs included.
    """
    count = text.count(b"\\ud") + text.count(b"\\uD")
    if not count or b"\0" in text:
        return text
    if count > MAX_HALVES:
        raise ProtocolError("too many halves of surrogate pairs")
    return _HALVES.sub(rb"\\ufffd", text.replace(b"\\\\", _BACKSLASH)).replace(_BACKSLASH, b"\\\\")


def mend_utf8(text: bytes) -> bytes:
    """``text`` with U+FFFD for bytes that are no UTF-8, as JavaScript reads it.

    msgspec does not look at the bytes of what it leaves as it is (``msgspec.Raw``).
    """
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text


def split_array(text: bytes, max_depth: int) -> list[msgspec.Raw]:
    """The elements of a JSON array, each still text.

    Raises:
        ProtocolError: not a JSON array, nested deeper than ``max_depth``, or of too many values.
    """
    # What both checks begin with, without their calls: nearly all packets are small.
    if len(text) > _FEW_VALUES:
        check_values(text)
    if text.count(b"[") + text.count(b"{") > max_depth:
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
