"""The line of a message in a list of conversations: the whole ``msg`` if it is short, otherwise a part of it.

A store makes the line once, when it stores the message. A list is then made without reading a large message, and
without decoding any.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from kschat.chat.message import Message
from kschat.wire import jsontext, socketio
from kschat.wire.errors import ProtocolError
from kschat.wire.limits import ANY_DEPTH

#: Bytes of a line. A longer ``msg`` is cut.
MAX_LINE: Final = 2000

#: The line of a ``msg`` of which no part can be shown.
NO_LINE: Final = Raw(b"null")

#: A string without its end, up to the last whole character or escape.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+')


def line_of(message: Message) -> Raw | None:
    """The line of a message, if it is not the whole ``msg``.

    The time that this takes is bounded by ``MAX_LINE``, not by the size of the message.

    Returns:
        JSON. Of a string its first characters; of another value beyond ``MAX_LINE`` bytes null; of a value with binary
        the value with null in place of the binary. None if the line is the ``msg``.
    """
    msg = message.msg
    if message.attachments:
        return _without_binary(msg) if len(msg) <= MAX_LINE else NO_LINE
    if len(msg) <= MAX_LINE:
        return None
    begin = bytes(memoryview(msg)[: MAX_LINE - 1])
    found = _STRING.match(begin)
    if found is None:
        return NO_LINE
    # What is left of a character that was cut, and half of a pair of escapes.
    text = found[0].decode("utf-8", "ignore").encode()
    return Raw(jsontext.mend_surrogates(text) + b'"')


def _without_binary(msg: Raw) -> Raw:
    try:
        value = socketio.without_binary(jsontext.decode(msg, ANY_DEPTH))
    except ProtocolError:
        return NO_LINE
    return Raw(msgspec.json.encode(value))
