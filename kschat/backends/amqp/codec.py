"""The wire formats: msgpack batches between kschat daemons, and the tutorial's single JSON message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.backends.ids import ids_of, written
from kschat.chat.incoming import Id, safe_id
from kschat.chat.interfaces import Stored
from kschat.chat.message import MAX_ID, Message
from kschat.chat.mids import parse_number
from kschat.chat.names import name_of
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_SAFE, as_javascript, whole
from kschat.wire.jsontext import check_values, mend_surrogates, mend_utf8, structure
from kschat.wire.limits import ANY_DEPTH
from kschat.wire.socketio import placeholders

#: What says that a body is a batch. Its number changes with its form.
BATCH: Final = "application/x-kschat-1"

#: What the tutorial's server publishes says nothing of its type; this daemon says it.
TUTORIAL: Final = "application/json"


class CodecError(ValueError):
    """A body that is neither; the text is for the log and shows nothing of it."""


class _One(msgspec.Struct, frozen=True, array_like=True, gc=False):
    mid: str
    sender: str
    recipient: str
    ids: int | str
    msg: bytes
    time: int
    cid: str | None
    attachments: tuple[bytes, ...]
    places: tuple[tuple[str, int], ...]


class _Tutorial(msgspec.Struct, frozen=True, gc=False):
    uId: Id
    pId: Id
    msg: Raw = Raw(b"null")
    msgTime: int | float = 0
    name: Any = None


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[_One]).decode
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Tutorial).decode
#: Checks JSON, and keeps it as it is.
_json: Final = msgspec.json.Decoder(Raw).decode

#: Beyond it no store takes a time.
_MAX_TIME: Final = 2**63

#: Characters of a mid.
MAX_MID: Final = 64


def packed(batch: Sequence[Stored]) -> bytes:
    """A batch as bytes."""
    ones = []
    for stored in batch:
        message = stored.message
        one = _One(
            message.mid,
            message.sender,
            message.recipient,
            ids_of(message),
            bytes(message.msg),
            message.time,
            message.cid,
            message.attachments,
            stored.places,
        )
        ones.append(one)
    return _pack(ones)


def unpacked(body: bytes) -> list[Stored]:
    """The batch that ``packed`` made. Raises CodecError."""
    try:
        return [Stored(_message(one), one.places) for one in _unpack(body)]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"a batch that can't be read: {error}") from None
    except ProtocolError as error:
        raise CodecError(f"a batch that can't be read: {error.detail}") from None


def _message(one: _One) -> Message:
    """The message, once it is certain that stores and clients can read it. Raises MsgspecError, ValueError."""
    if parse_number(one.mid) is None or len(one.mid) > MAX_MID:
        raise ValueError("its mid is not valid")
    if not 0 < len(one.sender) <= MAX_ID or not 0 < len(one.recipient) <= MAX_ID:
        raise ValueError("an id is out of bounds")
    if not -_MAX_TIME <= one.time < _MAX_TIME:
        raise ValueError("its time is out of bounds")
    if not one.msg.isascii():
        one.msg.decode()
    try:
        _json(one.msg)
    except msgspec.DecodeError:
        # Halves of surrogate pairs travel as they are: some decoders pass over them.
        _json(mend_surrogates(one.msg))
    if one.attachments:
        # Where there are none, what looks like a placeholder is a value like any other.
        check_values(one.msg)
        for number in placeholders(structure(one.msg, ANY_DEPTH)):
            if not 0 <= number < len(one.attachments):
                raise ValueError("a placeholder for an attachment that is not there")
    uid, pid, name = written(one.ids, one.sender, one.recipient) if one.ids else (one.sender, one.recipient, None)
    return Message(
        one.mid,
        one.sender,
        one.recipient,
        uid,
        pid,
        Raw(one.msg),
        one.time,
        one.cid,
        one.attachments,
        name_of(name),
    )


def as_tutorial(message: Message) -> bytes:
    """A message as the tutorial's server publishes it: binary as Node writes a Buffer in JSON."""
    msg: object = message.msg
    if message.attachments:
        msg = _with_buffers(msgspec.json.decode(message.msg), message.attachments)
    body = {"uId": message.uId, "pId": message.pId, "msg": msg, "rStatus": 1, "msgTime": message.time}
    if message.name is not None:
        # Its server hands on what it does not know, and its page does not look at it.
        body["name"] = message.name
    return _encode(body)


def _with_buffers(value: Any, attachments: Sequence[bytes]) -> Any:
    # As deep as messages may be nested, which was looked at when they were let in.
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return {"type": "Buffer", "data": list(attachments[value["num"]])}
        return {name: _with_buffers(inner, attachments) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_buffers(inner, attachments) for inner in value]
    return value


#: The header by which kschat daemons tell each other, in the tutorial's form, which place a message has. Its
#: server heeds no headers.
PLACE: Final = "ks-place"

_Place = tuple[str, str, int, bool]
_unpack_place: Final = msgspec.msgpack.Decoder(_Place).decode


def place_header(message: Message, user: str, offset: int) -> dict[str, bytes]:
    """The header for one of a message's places. Without a place in an inbox its binary is as the tutorial has it."""
    place: _Place = (message.mid, user, offset, bool(message.attachments and offset))
    return {PLACE: msgspec.msgpack.encode(place)}


def read(
    content_type: str | None, headers: Mapping[str, Any] | None, body: bytes, make_mid: Callable[[], str]
) -> tuple[list[Stored], bool]:
    """What arrived, and whether it lacks its binary, of which the tutorial's JSON has another form.

    Args:
        content_type, headers, body: as they travelled.
        make_mid: makes an id for what has none.

    Raises:
        CodecError: it can't be read.
    """
    if content_type == BATCH:
        return [_named(one) for one in unpacked(body)], False
    found = from_tutorial(body, make_mid)
    header = (headers or {}).get(PLACE)
    if header is None:
        return [found], False
    try:
        mid, user, offset, lacks = _unpack_place(header)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise CodecError(f"a place that can't be read: {error}") from None
    if parse_number(mid) is None or len(mid) > MAX_MID:
        raise CodecError("a place whose mid is not valid")
    if not 0 < len(user) <= MAX_ID or offset < 0:
        raise CodecError("a place that is out of bounds")
    return [_named(Stored(msgspec.structs.replace(found.message, mid=mid), ((user, offset),)))], lacks


def _named(stored: Stored) -> Stored:
    """A message without a place in an inbox, with a ``cid``: so that several daemons that store it know it for one.

    Of what says no id of its own (the tutorial's server) all that it says must do; see ``chat.ingest``.
    """
    message = stored.message
    if message.cid is not None or not stored.places or stored.places[0][1]:
        return stored
    return msgspec.structs.replace(stored, message=msgspec.structs.replace(message, cid=message.mid))


def from_tutorial(body: bytes, make_mid: Callable[[], str]) -> Stored:
    """A message of the tutorial's server. It has no place in an inbox. Raises CodecError."""
    try:
        said = _said(mend_utf8(body))
        sender, recipient = str(said.uId), str(said.pId)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"a message that can't be read: {error}") from None
    if max(len(sender), len(recipient)) > MAX_ID:
        raise CodecError("a message whose ids are too long")
    uid, pid = safe_id(said.uId), safe_id(said.pId)
    # Stores and encoders take 64 bits, and JavaScript's dates are far within.
    time = max(-MAX_SAFE, min(int(said.msgTime), MAX_SAFE))
    message = Message(
        make_mid(), sender, recipient, uid, pid, Raw(as_javascript(bytes(said.msg))), time, name=name_of(said.name)
    )
    return Stored(message, ((recipient, 0),))


def _said(body: bytes) -> _Tutorial:
    try:
        return _decode(body)
    except msgspec.ValidationError:
        try:
            return _decode(whole(body))  # ids as 42.0, which JavaScript reads as 42
        except ProtocolError as error:
            raise CodecError(f"a message that can't be read: {error.detail}") from None
