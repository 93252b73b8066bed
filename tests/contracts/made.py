"""Messages for tests."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from msgspec import Raw

from kschat.chat.interfaces import Stored
from kschat.chat.message import Message

_numbers = count(1)


def message(sender: str = "ann", recipient: str = "ben", **changes: Any) -> Message:
    """A valid message unlike all others."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "mid": mid(number),
        "sender": sender,
        "recipient": recipient,
        "uId": sender,
        "pId": recipient,
        "msg": Raw(b'"message %d"' % number),
        "time": 1_700_000_000_000 + number,
    }
    return Message(**{**fields, **changes})


def to(*recipients: str, sender: str = "ann") -> list[Message]:
    """One message to each of ``recipients``."""
    return [message(sender, recipient) for recipient in recipients]


def stored(*recipients: str, sender: str = "ann") -> list[Stored]:
    """What a fresh store says of one message to each of ``recipients``."""
    offsets: dict[str, Iterator[int]] = {recipient: count(1) for recipient in recipients}
    return [Stored(one, ((one.recipient, next(offsets[one.recipient])),)) for one in to(*recipients, sender=sender)]


def mid(number: int) -> str:
    """The mid that is ordered by ``number``."""
    return f"{number:016x}0a0b0c0d"


def awkward_messages() -> dict[str, Message]:
    """Messages that come back otherwise than they went where a backend is careless, by what is odd in them."""
    return {
        "ids as numbers": message("7", "8", uId=7, pId=8),
        "ids as strings of digits": message("7", "8", uId="7", pId="8"),
        "a negative id": message("-7", "8", uId=-7, pId="8"),
        "an id of 128 digits": message("9" * 128, "8", uId=10**128 - 1),
        "ids of 128 characters": message("é" * 128, "😀" * 128),
        "ids with what others use for keys": message("a:b{c}/d.e*", "%s'\";--\n\t "),
        "a NUL in an id": message("a\0b", "c\0d"),
        "ids in another normal form": message("e\N{COMBINING ACUTE ACCENT}", "é"),
        "msg null": message(msg=Raw(b"null")),
        "msg a number beyond 64 bits": message(msg=Raw(b"123456789012345678901234567890")),
        "msg a fraction that no float holds": message(msg=Raw(b"0.1000000000000000055511151231257827")),
        "msg with white space": message(msg=Raw(b'{ "a" : [ 1 ,2 ] }')),
        "msg with a key twice": message(msg=Raw(b'{"a":1,"a":2}')),
        "msg with half a surrogate pair": message(msg=Raw(rb'"\ud83d"')),
        "msg with escapes": message(msg=Raw(rb'"\u0000\"\\\/\n"')),
        "msg beyond ASCII": message(msg=Raw('"héllo 😀 \u2028"'.encode())),
        "a large msg": message(msg=Raw(b'"%b"' % (b"x" * 1_000_000))),
        "an attachment": message(msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(bytes(range(256)),)),
        "empty attachments": message(msg=Raw(b"[]"), attachments=(b"", b"")),
        "many attachments": message(attachments=tuple(bytes((n,)) * n for n in range(16))),
        "an attachment of broken UTF-8": message(attachments=(b"\xff\xfe\xc3",)),
        "a cid": message(cid="é" * 64),
        "a time beyond 32 bits": message(time=2**53),
        "ids that are not the names": message("7", "8", uId="seven", pId=88),
        "a sender's name": message(name="Ann \N{GREEK SMALL LETTER OMEGA} 😀"),
        "a name, and ids as numbers": message("7", "8", uId=7, pId=8, name="x" * 64),
        "a name, and ids that are not the names": message("7", "8", uId="seven", pId=88, name='"],[1,2'),
        "a name, and a large msg with an attachment": message(
            msg=Raw(b'["%b",{"_placeholder":true,"num":0}]' % (b"x" * 9000)),
            attachments=(b"\0" * 9000,),
            cid="n",
            name="Ann",
        ),
    }
