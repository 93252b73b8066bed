"""Bodies of long-polling for pages that can load scripts and send forms only (``j=``).

Source: socketio/socket.io, ``docs/engine.io-protocol/v3.md`` ("JSONP").
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from kschat.wire.errors import ProtocolError

_FIELD: Final = re.compile(rb"(?:^|&)d=([^&]*)")

#: Bytes of one form that are written as ``%41``. Each takes some time of Python's, and nobody is served meanwhile.
MAX_ESCAPES: Final = 50_000

#: Stands for an escaped line end meanwhile; UTF-8 has no such byte.
_ESCAPED_END: Final = b"\xff"


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

    Raises:
        ProtocolError: more than ``MAX_ESCAPES`` bytes are escaped.
    """
    field = _FIELD.search(body)
    if field is None:
        return b""
    text = field[1].replace(b"+", b" ")
    if text.count(b"%") > MAX_ESCAPES:
        raise ProtocolError("too many escapes in a form")
    text = unquote_to_bytes(text)
    if _ESCAPED_END in text:
        text = text.decode("utf-8", "replace").encode()  # it is no UTF-8
    return text.replace(b"\\\\n", _ESCAPED_END).replace(b"\\n", b"\n").replace(_ESCAPED_END, b"\\n")
