"""The payloads that clients send: the type of each event's payload, and its validation.

Payloads come from clients as raw JSON and are decoded here, once. ``msg`` is never
decoded: it goes to the recipient as the bytes that arrived (``msgspec.Raw``), except for numbers that do not fit a
double, which are written as in JavaScript. The spelling is the tutorial's (PROTOCOL.md).

A whole number may be written as ``42.0`` or ``4.2e1`` wherever one is accepted. Ids are exact: an id of 2**53 or
more, which readers would round to another, is sent as a string.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw

from kschat.chat.changes import MAX_EMOJI
from kschat.chat.message import MAX_ID, Error, Refused
from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_REWRITTEN, MAX_SAFE, SAFE_DIGITS, as_javascript, whole

#: As clients write ids: a number and its string mean the same user.
Id = int | Annotated[str, Meta(min_length=1, max_length=MAX_ID)]

#: A message's id.
Mid = Annotated[str, Meta(pattern=r"^[0-9a-f]{24}\Z")]

#: A client's own id of what it sends.
Cid = Annotated[str, Meta(min_length=1, max_length=64)]

#: Users whose presence one socket may watch.
MAX_WATCHED: Final = 500

#: Messages of one page of History or Sync.
MAX_PAGE: Final = 100

_NULL: Final = Raw(b"null")


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
    cid: Cid | None = None


class PeerOnly(msgspec.Struct, frozen=True, gc=False):
    """What ``Typing`` carries."""

    pId: Id


class Block(msgspec.Struct, frozen=True, gc=False):
    """What ``Block`` and ``Unblock`` carry."""

    pId: Id


class Read(msgspec.Struct, frozen=True, gc=False):
    """What ``Read`` carries: all of the conversation with ``pId`` up to ``mid`` is read."""

    pId: Id
    mid: Mid


class Edit(msgspec.Struct, frozen=True, gc=False):
    """What ``Edit`` carries.

    Attributes:
        mid: of the message.
        msg: what is to be its text from now on: as of ``Send``.
        pId: the conversation that it is in; without it the server looks through all of the user's.
        cid: the client's own id of this change; with it a repeat is harmless.
    """

    mid: Mid
    msg: Raw
    pId: Id | None = None
    cid: Cid | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """What ``Delete`` carries; see ``Edit``."""

    mid: Mid
    pId: Id | None = None
    cid: Cid | None = None


class React(msgspec.Struct, frozen=True, gc=False):
    """What ``React`` carries; see ``Edit``. ``emoji``: the user's reaction; "" takes it back."""

    mid: Mid
    emoji: Annotated[str, Meta(max_length=MAX_EMOJI)]
    pId: Id | None = None
    cid: Cid | None = None


class Readers(msgspec.Struct, frozen=True, gc=False):
    """What ``Readers`` carries: a room, with its ``#``, and one of its messages."""

    pId: Id
    mid: Mid


class Watch(msgspec.Struct, frozen=True, gc=False):
    """What ``Presence`` carries: whose presence is asked for; none ends it."""

    ids: Annotated[list[Id], Meta(max_length=MAX_WATCHED)]


class History(msgspec.Struct, frozen=True, gc=False):
    """What ``History`` carries."""

    pId: Id
    before: Mid | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


class Sync(msgspec.Struct, frozen=True, gc=False):
    """What ``Sync`` carries: the offset up to which the client has its inbox."""

    offset: Annotated[int, Meta(ge=0, lt=2**62)]


class Room(msgspec.Struct, frozen=True, gc=False):
    """What ``Join`` and ``Leave`` carry. The room's name, with its ``#`` or without."""

    room: Id


class Token(msgspec.Struct, frozen=True, gc=False):
    """What ``Token`` carries: the token that holds from now on."""

    token: str


class PushKeys(msgspec.Struct, frozen=True, gc=False):
    """The keys of a ``PushSubscription``, as URL-safe base64."""

    p256dh: str
    auth: str


class PushSubscribe(msgspec.Struct, frozen=True, gc=False):
    """What ``PushSubscribe`` carries: a browser's ``PushSubscription``, as its ``toJSON`` has it."""

    endpoint: str
    keys: PushKeys


class PushUnsubscribe(msgspec.Struct, frozen=True, gc=False):
    """What ``PushUnsubscribe`` carries: the ``endpoint`` of a subscription."""

    endpoint: str


class Logout(msgspec.Struct, frozen=True, gc=False):
    """What ``Logout`` carries. Whatever else stands there means nothing, as in the tutorial."""

    all: Any = False

    @property
    def everywhere(self) -> bool:
        """Whether all sockets of the user are meant."""
        return self.all is True


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """What an event carries of which nothing is looked at."""


class _RawSend(msgspec.Struct, frozen=True, gc=False):
    """The fields of a ``Send``, undecoded; those that are missing stay missing."""

    uId: Raw | msgspec.UnsetType = msgspec.UNSET
    pId: Raw | msgspec.UnsetType = msgspec.UNSET
    msg: Raw | msgspec.UnsetType = msgspec.UNSET
    rno: Raw | msgspec.UnsetType = msgspec.UNSET
    cid: Raw | msgspec.UnsetType = msgspec.UNSET


class _RawEdit(msgspec.Struct, frozen=True, gc=False):
    """The fields of an ``Edit``, undecoded; those that are missing stay missing."""

    mid: Raw | msgspec.UnsetType = msgspec.UNSET
    msg: Raw | msgspec.UnsetType = msgspec.UNSET
    pId: Raw | msgspec.UnsetType = msgspec.UNSET
    cid: Raw | msgspec.UnsetType = msgspec.UNSET


class _Loose(msgspec.Struct, frozen=True, gc=False):
    """What can be said of a ``Send`` that is not valid."""

    uId: Raw = _NULL
    rno: Raw = _NULL


_SEND: Final = msgspec.json.Decoder(Send)
_LOGOUT: Final = msgspec.json.Decoder(Logout)
_LOOSE: Final = msgspec.json.Decoder(_Loose)
_RAW_SEND: Final = msgspec.json.Decoder(_RawSend)
_EDIT: Final = msgspec.json.Decoder(Edit)
_RAW_EDIT: Final = msgspec.json.Decoder(_RawEdit)
T = TypeVar("T")


class _Parts(NamedTuple, Generic[T]):
    """How a payload with a ``msg`` is decoded field by field.

    Attributes:
        name: of the event.
        raw: finds its fields.
        whole: decodes all of it.
        ids: the fields that are ids.
    """

    name: str
    raw: msgspec.json.Decoder[Any]
    whole: msgspec.json.Decoder[T]
    ids: tuple[str, ...]


_SEND_PARTS: Final = _Parts("Send", _RAW_SEND, _SEND, ("uId", "pId"))
_EDIT_PARTS: Final = _Parts("Edit", _RAW_EDIT, _EDIT, ("pId",))

_ID: Final = msgspec.json.Decoder(Id)

#: Longest ``rno`` that is returned, in bytes of JSON. It is "a random number".
MAX_RNO: Final = 256


def decode_send(args: tuple[Raw, ...]) -> Send:
    """The payload of ``Send``, whose ids and ``rno`` any client can read.

    Raises:
        Refused: INVALID, with a sentence that names the field.
    """
    if len(args) != 1:
        raise Refused(Error.INVALID, "Send accepts one object.")
    try:
        send = _SEND.decode(args[0])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        send = _second_try(_SEND_PARTS, args[0], error)
    rno = bytes(send.rno)
    if len(rno) > SAFE_DIGITS or not rno.isdigit():
        if len(rno) > MAX_RNO:
            raise Refused(Error.INVALID, f"rno is longer than {MAX_RNO} bytes.")
        if (written := as_javascript(rno)) is not rno:
            send = msgspec.structs.replace(send, rno=Raw(written))
    if type(send.uId) is int or type(send.pId) is int:
        numbers = [number for number in (send.uId, send.pId) if type(number) is int]
        for number in numbers:
            if not -MAX_SAFE <= number <= MAX_SAFE:
                return _with_long_ids(send, numbers)
    return send


def _with_long_ids(send: Send, numbers: list[int]) -> Send:
    if any(abs(number) >= 10**MAX_ID for number in numbers):
        raise Refused(Error.INVALID, f"An id has more than {MAX_ID} digits.")
    return msgspec.structs.replace(send, uId=safe_id(send.uId), pId=safe_id(send.pId))


def safe_id(value: int | str) -> int | str:
    """An id as it may be written to any client: a number that a double would round, as its string."""
    return value if isinstance(value, str) or -MAX_SAFE <= value <= MAX_SAFE else str(value)


def readable(raw: Raw) -> Raw:
    """``raw`` with its numbers as JavaScript would write them; a copy, which does not keep the frame it came in.

    Raises:
        ProtocolError: more than ``MAX_REWRITTEN`` numbers would have to be written otherwise.
    """
    return Raw(as_javascript(bytes(raw), MAX_REWRITTEN))


def _second_try(kind: _Parts[T], raw: Raw, error: Exception) -> T:
    """Decode it with U+FFFD for lone surrogates, and ids that are whole numbers however they are written.

    A ``msg`` may be large, and is not looked into. ``error``: of the first try.
    """
    try:
        fields = kind.raw.decode(jsontext.mend_surrogates(bytes(raw)))
        msg = fields.msg
        if isinstance(msg, msgspec.UnsetType):
            return kind.whole.decode(msgspec.json.encode(fields))  # which says that it is missing
        ids = {name: _whole(getattr(fields, name)) for name in kind.ids}
        small = msgspec.structs.replace(fields, msg=_NULL, **ids)
        found: Any = kind.whole.decode(msgspec.json.encode(small))
        mended: T = msgspec.structs.replace(found, msg=msg)
        return mended
    except msgspec.MsgspecError as mended_error:
        raise Refused(Error.INVALID, f"The payload of {kind.name} is not valid: {mended_error}.") from None
    except (RecursionError, ValueError, ProtocolError):
        raise Refused(Error.INVALID, f"The payload of {kind.name} is not valid: {error}.") from None


def decode_edit(args: tuple[Raw, ...]) -> Edit:
    """The payload of ``Edit``, whose ``msg`` is not looked into. Raises Refused, INVALID, naming the field."""
    if len(args) != 1:
        raise Refused(Error.INVALID, "Edit accepts one object.")
    try:
        return _EDIT.decode(args[0])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return _second_try(_EDIT_PARTS, args[0], error)


def _whole(field: Raw | msgspec.UnsetType) -> Raw | msgspec.UnsetType:
    return field if isinstance(field, msgspec.UnsetType) else Raw(whole(bytes(field)))


def loose_fields(args: tuple[Raw, ...]) -> tuple[int | str | None, Raw]:
    """``uId`` and ``rno`` of a ``Send`` that was refused, as far as they can be told."""
    uid: int | str | None = None
    rno = _NULL
    if args:
        try:
            loose = _LOOSE.decode(args[0])
            rno = readable(loose.rno) if len(bytes(loose.rno)) <= MAX_RNO else _NULL
            uid = safe_id(_ID.decode(whole(bytes(loose.uId))))
        except (msgspec.MsgspecError, RecursionError, ValueError, ProtocolError):
            return None, rno
    return uid, rno


def decoder_of(payload: type[T], name: str) -> Callable[[tuple[Raw, ...]], T]:
    """What makes the payload of an event ``name`` of its arguments; it raises Refused, INVALID, naming the field."""
    special: Callable[[tuple[Raw, ...]], Any] | None = _SPECIAL.get(payload)
    if special is not None:
        return special
    decoder = msgspec.json.Decoder(payload)

    def decode(args: tuple[Raw, ...]) -> T:
        if len(args) != 1:
            raise Refused(Error.INVALID, f"{name} accepts one object.")
        try:
            return decoder.decode(args[0])
        except (msgspec.MsgspecError, RecursionError, ValueError):
            pass
        try:
            return decoder.decode(whole(bytes(args[0])))
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"The payload of {name} is not valid: {error.detail}.") from None
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise Refused(Error.INVALID, f"The payload of {name} is not valid: {error}.") from None

    return decode


def decode_logout(args: tuple[Raw, ...]) -> Logout:
    """The payload of ``Logout``; what can't be read says nothing."""
    if args:
        try:
            return _LOGOUT.decode(args[0])
        except (msgspec.MsgspecError, RecursionError, ValueError):
            pass
    return Logout()


def _decode_nothing(args: tuple[Raw, ...]) -> Nothing:
    return Nothing()


#: The events whose payloads are not simply one object.
_SPECIAL: Final[dict[type, Callable[[tuple[Raw, ...]], Any]]] = {
    Send: decode_send,
    Edit: decode_edit,
    Logout: decode_logout,
    Nothing: _decode_nothing,
}
