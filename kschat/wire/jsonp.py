"""Bodies of long-polling for pages that can load scripts and send forms only (``j=``).

Source: socketio/socket.io, ``docs/engine.io-protocol/v3.md`` ("JSONP").
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

_NEWLINE: Final = re.compile(rb"(\\)?\\n")


def script(number: bytes, body: bytes) -> bytes:
    """The JavaScript that hands ``body``, which is UTF-8, to the page's function of that number.

    Args:
        number: digits, or nothing: whatever stood in ``j``, of which a script may contain nothing else.
        body: a polling body.
    """
    text = msgspec.json.encode(body.decode("utf-8", "replace"))
    # JSON, but no JavaScript before 2019: line ends in a string.
    text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"___eio[%b](%b);" % (number, text)


def form(body: bytes) -> bytes:
    """The polling body in the form that a page sends: the field ``d``, or nothing where there is none.

    Browsers change line ends in forms, so clients send a line end as ``\\n``, and that as ``\\\\n``.
    """
    for field in body.split(b"&"):
        name, _, value = field.partition(b"=")
        if name == b"d":
            text = unquote_to_bytes(value.replace(b"+", b" "))
            text = _NEWLINE.sub(lambda match: match[0] if match[1] else b"\n", text)
            return text.replace(b"\\\\n", b"\\n")
    return b""
