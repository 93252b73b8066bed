"""The typed payloads of every event, what makes each valid, and ``Message`` itself.

Payloads come from clients as raw JSON and are decoded here, once. ``msg`` is never
decoded: it goes to the recipient as the bytes that came (``msgspec.Raw``). The spelling is the
tutorial's (PROTOCOL.md).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError

#: Longest id of a user or a room, in characters; it becomes part of a routing key.
MAX_ID = 128

#: As clients write ids: a number and its string mean the same user.
Id = int | Annotated[str, Meta(min_length=1, max_length=MAX_ID)]

_NULL: Final = Raw(b"null")


class Error(IntEnum):
    """The ER codes."""

    DONE = 0
    INVALID = 1
    NO_BROKER = 2
    NO_STORE = 3
    TOO_MANY = 4
    TOO_LARGE = 5
    NOT_ALLOWED = 6
    GOING_DOWN = 7
    BUSY = 8


class Refused(Exception):
    """A command is refused. ``why`` is one plain sentence for the client."""

    def __init__(self, error: Error, why: str) -> None:
        super().__init__(why)
        self.error = error
        self.why = why


class Send(msgspec.Struct, frozen=True, gc=False):
    """What ``Send`` carries.

    Attributes:
        uId: the sender, who must be the token's user.
        pId: the recipient.
        msg: any JSON value; binary in it stands as placeholders.
        rno: the client's own number of this message, which RESPSEND returns.
        cid: the client's own id of this message; with it a repeat is harmless.
    """

    uId: Id
    pId: Id
    msg: Raw
    rno: Raw = _NULL
    cid: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, from the moment it was found valid.

    Attributes:
        mid: its id, the same for ever; sorts by time.
        sender, recipient: user ids as strings.
        uId, pId: the same as the sender wrote them.
        msg: JSON; ``{"_placeholder": true, "num": n}`` in it means ``attachments[n]``.
        time: milliseconds since 1970.
        cid: the sender's own id of it.
        attachments: binary parts, in the order of their first placeholders.
    """

    mid: str
    sender: str
    recipient: str
    uId: int | str
    pId: int | str
    msg: Raw
    time: int
    cid: str | None = None
    attachments: tuple[bytes, ...] = ()


class _Received(msgspec.Struct, frozen=True, gc=False):
    uId: int | str
    pId: int | str
    msg: Raw
    rStatus: int
    msgTime: int
    mid: str
    offset: int


class _Sent(msgspec.Struct, frozen=True, gc=False):
    RC: int
    ER: int
    SID: int | str
    RID: int | str
    MSG: Raw
    RANDOMNO: Raw
    MSGTIME: int
    STATUS: int
    mid: str


class _Failed(msgspec.Struct, frozen=True, gc=False):
    RC: int
    ER: int
    RANDOMNO: Raw
    WHY: str


class _AckSent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    RESPONSE: str
    uId: int | str
    mid: str
    msgTime: int
    repeat: bool = False


class _AckFailed(msgspec.Struct, frozen=True, gc=False):
    RESPONSE: str
    uId: int | str | None
    ER: int
    WHY: str


class _Loose(msgspec.Struct, frozen=True, gc=False):
    """What can be said of a ``Send`` that is not valid."""

    uId: Raw = _NULL
    rno: Raw = _NULL


_SEND: Final = msgspec.json.Decoder(Send)
_LOOSE: Final = msgspec.json.Decoder(_Loose)
_ID: Final = msgspec.json.Decoder(Id)
_encode: Final = msgspec.json.Encoder().encode

#: Longest ``rno`` that is returned, in bytes of JSON. It is "a random number".
MAX_RNO: Final = 256


def decode_send(args: tuple[Raw, ...]) -> Send:
    """The payload of ``Send``.

    Raises:
        Refused: INVALID, with a sentence that names the field.
    """
    if len(args) != 1:
        raise Refused(Error.INVALID, "Send takes one object.")
    try:
        send = _SEND.decode(args[0])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        send = _second_try(args[0], error)
    if len(bytes(send.rno)) > MAX_RNO:
        raise Refused(Error.INVALID, f"rno is longer than {MAX_RNO} bytes.")
    if type(send.uId) is int or type(send.pId) is int:
        for number in (send.uId, send.pId):
            if type(number) is int and abs(number) >= 10**MAX_ID:
                raise Refused(Error.INVALID, f"An id has more than {MAX_ID} digits.")
    return send


def _second_try(raw: Raw, error: Exception) -> Send:
    mended = jsontext.mend_surrogates(bytes(raw))
    try:
        return _SEND.decode(mended)
    except (msgspec.ValidationError, msgspec.DecodeError) as mended_error:
        raise Refused(Error.INVALID, f"The payload of Send is not valid: {mended_error}.") from None
    except (RecursionError, ValueError):
        raise Refused(Error.INVALID, f"The payload of Send is not valid: {error}.") from None


def loose_fields(args: tuple[Raw, ...]) -> tuple[int | str | None, Raw]:
    """``uId`` and ``rno`` of a ``Send`` that was refused, as far as they can be told."""
    uid: int | str | None = None
    rno = _NULL
    if args:
        try:
            loose = _LOOSE.decode(args[0])
            rno = loose.rno if len(bytes(loose.rno)) <= MAX_RNO else _NULL
            uid = _ID.decode(loose.uId)
        except (msgspec.MsgspecError, RecursionError, ValueError, ProtocolError):
            return None, rno
    return uid, rno


def received(message: Message, offset: int) -> bytes:
    """The body of RESPRECEIVER for one message."""
    one = _Received(message.uId, message.pId, message.msg, 1, message.time, message.mid, offset)
    return b'["RESPRECEIVER",{"RC":1,"ER":0,"MSG":[' + _encode(one) + b"]}]"


def sent(message: Message, rno: Raw) -> bytes:
    """The body of RESPSEND for a message that was acknowledged."""
    one = _Sent(1, 0, message.uId, message.pId, message.msg, rno, message.time, 1, message.mid)
    return b'["RESPSEND",' + _encode(one) + b"]"


def failed(error: Error, why: str, rno: Raw) -> bytes:
    """The body of RESPSEND for a ``Send`` that was refused."""
    return b'["RESPSEND",' + _encode(_Failed(1, error, rno, why)) + b"]"


def ack_sent(message: Message, repeat: bool) -> bytes:
    """The ack of a ``Send``."""
    return b"[" + _encode(_AckSent("Send Emit is success.", message.uId, message.mid, message.time, repeat)) + b"]"


def ack_failed(uid: int | str | None, error: Error, why: str) -> bytes:
    """The ack of a ``Send`` that was refused."""
    return b"[" + _encode(_AckFailed("Send Emit is failed.", uid, error, why)) + b"]"


#: RESPLOGOUT, the answer to Logout.
LOGGED_OUT: Final = b'["RESPLOGOUT",{"RC":1,"ERR":0}]'


class Mids:
    """Makes message ids that sort by time and never repeat.

    A mid is 12 hex digits of milliseconds since 1970, 4 of a count within the millisecond,
    and 8 that tell this daemon from others.

    Args:
        daemon: 8 hex digits, random for each start of a daemon.
    """

    __slots__ = ("_count", "_daemon", "_last")

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon
        self._last = 0
        self._count = 0

    def make(self, time: int) -> str:
        """A new mid. ``time`` is milliseconds; where it went back, the last one counts on."""
        if time > self._last:
            self._last = time
            self._count = 0
        else:
            self._count += 1
            if self._count > 0xFFFF:
                self._last += 1
                self._count = 0
        return f"{self._last:012x}{self._count:04x}{self._daemon}"
