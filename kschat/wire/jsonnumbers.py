"""Numbers in JSON that is not decoded: JavaScript reads them as doubles (ECMA-262, 25.5).

JSON does not bound numbers, but readers do: some read ``1e400`` as infinity, some refuse it, some refuse integers of
more than 64 bits. So that all readers see the same value, a number that no double holds, or that has an exponent, is
rewritten as ``JSON.stringify(JSON.parse(text))`` would. All other JSON stays as it is.

::

    9007199254740993    9007199254740992    16 digits or more before the point: the nearest double
    1e400, 10**400      null                beyond all doubles
    1E5, 1e21, 10**120  100000, 1e+21, 1e+120
    -0, -0.0            0
    42, 0.1, 1.0        stay; so does each fraction of up to 23 digits, which all read as the nearest double
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from kschat.wire.errors import ProtocolError

#: The largest integer that doubles distinguish from its neighbours, 2**53 - 1 (``Number.MAX_SAFE_INTEGER``).
MAX_SAFE: Final = 2**53 - 1

#: A text that is a number of JSON.
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)


# A class for each byte: 0 for digits, e for an exponent's letter, - for a sign, "," for bytes that may precede a
# number, a space for all others.
def _class_of(byte: int) -> int:
    if byte in b"0123456789":
        return ord("0")
    if byte in b"eE":
        return ord("e")
    return ord(",") if byte in b"[,: \t\r\n" else ord("-") if byte in b"-" else ord(" ")


_CLASSES: Final = bytes(map(_class_of, range(256)))

#: Doubles hold all integers of that many digits, and not all of one digit more.
SAFE_DIGITS: Final = 15
#: JavaScript writes no fraction with more digits.
_FRACTION_DIGITS: Final = 23

_NEGATIVE_ZERO: Final = b",-0"
_LONG: Final = b"0" * (SAFE_DIGITS + 1)
_LONG_NUMBERS: Final = (b"," + _LONG, b",-" + _LONG, b"0" * (_FRACTION_DIGITS + 1))

#: How a number begins.
_STARTS: Final = frozenset(b"-0123456789"[i : i + 1] for i in range(11))

# A pattern per rule: what stays (strings, punctuation, names, plain numbers), then one number to rewrite. What stays is
# skipped by the regular expression alone, without backtracking, since a client may send a megabyte of it.
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_NUMBER: Final = rb"(-?[0-9][-+.0-9eE]*+)"
_PLAIN: Final = rb"(?!-0)-?[0-9]{1,%d}+(?:\.[0-9]{0,%d}+)?(?![-+.0-9eE])" % (SAFE_DIGITS, _FRACTION_DIGITS)
_INTEGER: Final = rb"-?[0-9]++(?![-+.0-9eE])"
_STRANGE: Final = re.compile(rb"(?:" + _STRING + rb'|[^-"0-9]++|' + _PLAIN + rb")*+" + _NUMBER, re.DOTALL)
_NO_INTEGER: Final = re.compile(rb"(?:" + _STRING + rb'|[^-"0-9]++|' + _INTEGER + rb")*+" + _NUMBER, re.DOTALL)

#: Numbers that are rewritten in one text of a client. Each takes some microseconds, and nobody is served meanwhile.
MAX_REWRITTEN: Final = 1000


def as_javascript(text: bytes, most: int | None = None) -> bytes:
    """Rewrite the numbers that no double holds in ``text``, which is JSON. If it has none, return ``text`` itself.

    Args:
        text: JSON.
        most: how many numbers may have to be rewritten, as ``MAX_REWRITTEN`` where a client chose them; None for any.

    Raises:
        ProtocolError: there are more.
    """
    first = text[:1]
    if first == b'"' or first == b"n":
        return text
    if first in _STARTS and len(text) <= SAFE_DIGITS and text.isdigit():
        return text
    # Nearly all messages have no such number: this finds out without decoding them.
    classes = text.translate(_CLASSES)
    if (
        first in _STARTS
        or b"0e" in classes
        or (_LONG in classes and any(one in classes for one in _LONG_NUMBERS))
        or (b"-0" in text and _NEGATIVE_ZERO in classes)
    ):
        return _rewritten(text, _STRANGE, written=_stringified, most=most)
    return text


def whole(text: bytes) -> bytes:
    """Rewrite the whole numbers in ``text``, which is JSON, as integers: ``42.0`` and ``4.2e1`` as 42.

    Numbers beyond ``MAX_SAFE`` stay: rounding may have turned one id into another.

    Raises:
        ProtocolError: more than ``MAX_REWRITTEN`` numbers have a fraction or an exponent.
    """
    return _rewritten(text, _NO_INTEGER, written=_as_whole, most=MAX_REWRITTEN)


def whole_number(value: float) -> int | None:
    """``value`` as an integer; None if it has a fraction or is beyond ``MAX_SAFE``."""
    return int(value) if abs(value) <= MAX_SAFE and value.is_integer() else None


def stringified(value: float) -> str:
    """``value`` as JavaScript's ``JSON.stringify`` writes it (ECMA-262, 6.1.6.1.20)."""
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    before, _, after = mantissa.partition(".")
    digits = (before + after).lstrip("0")
    # The position of the decimal point, counted from the first digit that is not 0.
    point = len(before) + int(exponent or 0) - (len(before + after) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"


def _rewritten(
    text: bytes, pattern: re.Pattern[bytes], *, written: Callable[[bytes], bytes], most: int | None
) -> bytes:
    pieces: list[bytes] = []
    position = count = 0
    while (match := pattern.match(text, position)) is not None:
        count += 1
        if most is not None and count > most:
            raise ProtocolError(f"more than {most} numbers that JavaScript would write otherwise")
        pieces += (text[position : match.start(1)], written(match[1]))
        position = match.end()
    return b"".join((*pieces, text[position:])) if pieces else text


def _stringified(token: bytes) -> bytes:
    try:
        return stringified(float(token)).encode()
    except ValueError:
        return token  # not JSON; its decoder will refuse it


def _as_whole(token: bytes) -> bytes:
    try:
        number = whole_number(float(token))
    except ValueError:
        return token
    return token if number is None else b"%d" % number
