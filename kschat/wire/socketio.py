"""Socket.IO packets, as text with binary attachments, and the decoder that puts them together.

Source: socketio/socket.io, ``docs/socket.io-protocol/v4.md`` (spoken by clients 1.x and 2.x)
and ``v5-current.md`` (3.x and 4.x). The two differ in what CONNECT and the error packet carry,
not in how a packet is written.

::

    <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]

    0/kschat,{"token":"…"}           CONNECT with a payload (v5)
    0/kschat?token=…                 CONNECT with a query (v4)
    2/kschat,7["Send",{"msg":"hi"}]  EVENT that asks for ack 7
    3/kschat,7["done"]               ACK 7
    51-["Send",{"msg":{"_placeholder":true,"num":0}}]   BINARY_EVENT, one attachment follows

The arguments of events and acks stay raw JSON (``msgspec.Raw``) until code that knows their types decodes them.
Attachments are kept beside them: ``placeholders`` finds those that an argument refers to, ``renumber`` moves a part of
one packet into another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec

from kschat.wire import jsonnumbers, jsontext
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

#: Names that client libraries use themselves; events of these names are refused (v5, "EVENT").
RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)

#: Packets that need not be for a namespace that was joined.
_WITHOUT_PLACE: Final = frozenset({CONNECT, DISCONNECT, CONNECT_ERROR})

#: Ids have no more digits than 2**53 - 1, up to which JavaScript counts exactly.
_HEAD: Final = re.compile(rb"([0-6])(?:([0-9]{1,6})-)?(?:(/[^,]*),?)?([0-9]{1,16})?")
_name: Final = msgspec.json.Decoder(str | int)


class Connect(msgspec.Struct, frozen=True, gc=False):
    """A request to join ``namespace``, or the confirmation.

    Attributes:
        namespace: with its leading slash.
        data: the payload's JSON (v5), or nothing.
        query: the text after the namespace's ``?`` (v4), undecoded, or nothing.
    """

    namespace: str = "/"
    data: bytes = b""
    query: str = ""


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """The end of a socket in ``namespace``."""

    namespace: str = "/"


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event, with binary attachments or without.

    Attributes:
        name: the first element of the packet's array.
        args: the other elements, each raw JSON.
        id: of the ack that is asked for; None for none (0 is an id).
        attachments: those that the placeholders in ``args`` refer to, by number.
    """

    name: str
    args: tuple[msgspec.Raw, ...] = ()
    namespace: str = "/"
    id: int | None = None
    attachments: tuple[bytes, ...] = ()


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The answer to an event that asked for one. Attributes as in ``Event``."""

    id: int
    args: tuple[msgspec.Raw, ...] = ()
    namespace: str = "/"
    attachments: tuple[bytes, ...] = ()


class ConnectError(msgspec.Struct, frozen=True, gc=False):
    """A refusal to join. ``data`` is JSON: an object in v5, a string in v4."""

    namespace: str = "/"
    data: bytes = b""


Packet = Connect | Disconnect | Event | Ack | ConnectError


def encode(packet: Packet) -> tuple[bytes, tuple[bytes, ...]]:
    """The text of ``packet``, and the binary attachments that must follow it."""
    match packet:
        case Event():
            return _encode_array(packet, EVENT, (msgspec.json.encode(packet.name), *packet.args))
        case Ack():
            return _encode_array(packet, ACK, packet.args)
        case Connect():
            namespace = f"{packet.namespace}?{packet.query}" if packet.query else packet.namespace
            return _head(CONNECT, namespace) + packet.data, ()
        case Disconnect():
            return _head(DISCONNECT, packet.namespace), ()
        case ConnectError():
            return _head(CONNECT_ERROR, packet.namespace) + packet.data, ()


def _encode_array(
    packet: Event | Ack, kind: int, elements: Sequence[bytes | msgspec.Raw]
) -> tuple[bytes, tuple[bytes, ...]]:
    attachments = packet.attachments
    return (
        b"%b%b[%b]"
        % (
            _head(kind, packet.namespace, len(attachments)),
            b"" if packet.id is None else b"%d" % packet.id,
            b",".join(bytes(element) for element in elements),
        ),
        attachments,
    )


def _head(kind: int, namespace: str, attachments: int = 0) -> bytes:
    count = b""
    if attachments:
        kind += BINARY_EVENT - EVENT
        count = b"%d-" % attachments
    return b"%d%b%b" % (kind, count, b"" if namespace == "/" else namespace.encode() + b",")


# The key "num" and its number, as a client writes it that has no whole numbers. (A string that ends like the key, as in
# "a\\"num", has a backslash before that quotation mark; a colon follows keys alone.)
_NUM: Final = re.compile(
    rb'(?<!\\)("num"\s*+:\s*+)(-?+[0-9]{1,20}+(?:\.[0-9]{1,20}+)?+(?:[eE][+-]?+[0-9]{1,3}+)?+)(?![0-9.eE])'
)


class Guard(Protocol):
    """Is asked before the content of an event or an ack is looked at, which may take long."""

    def admits(self, namespace: str) -> bool:
        """Whether a packet for ``namespace`` has a place."""


#: Bytes of a namespace that a decoder remembers.
_MAX_REMEMBERED: Final = 128


class Decoder:
    """Decodes the packets of one connection. It holds a binary packet until its attachments have arrived.

    Args:
        limits: bounds of packets.
    """

    __slots__ = ("_limits", "_missing", "_name", "_parts", "_pending", "_room", "_space", "_space_name", "_written")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # A client uses few namespaces and events: the last ones, as they were written and as they were read.
        self._space = self._written = b""
        self._name = self._space_name = ""
        self._pending: Event | Ack | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._room = 0

    def text(self, text: bytes, guard: Guard | None = None) -> Packet | None:
        """Decode the text of a packet.

        Args:
            text: it.
            guard: is asked about its namespace first; None if the caller asks afterwards.

        Returns:
            The packet; None if attachments must follow first.

        Raises:
            ProtocolError: it is not a packet, breaks a limit, has no place, or arrived in place of an attachment.
        """
        if self._pending is not None:
            raise ProtocolError("text instead of a binary attachment")
        head = _HEAD.match(text)
        if head is None:
            raise ProtocolError("an unknown packet type")
        digit, count, space, digits = head.groups()
        kind = digit[0] - 0x30
        if (count is not None) != (kind >= BINARY_EVENT):
            raise ProtocolError("a number of attachments where none belongs, or none where one does")
        if space is None:
            namespace, query = "/", ""
        elif space == self._space:
            namespace, query = self._space_name, ""
        else:
            namespace, query = self._namespace(space)
        if guard is not None:
            ask(guard, kind, namespace)
        rest = text[head.end() :]
        if kind == EVENT:
            return self.event(namespace, None if digits is None else int(digits), rest)
        if kind == ACK:
            return self.ack(namespace, None if digits is None else int(digits), rest)
        if kind >= BINARY_EVENT:
            jsontext.check_values(rest, jsontext.MAX_BINARY_VALUES)
            number = None if digits is None else int(digits)
            packet = (self.event if kind == BINARY_EVENT else self.ack)(namespace, number, rest)
            self._await_attachments(packet, int(count))
            return None
        if digits is not None:
            # These packets have no ack id; the digits begin the payload.
            rest = digits + rest
        if kind == DISCONNECT:
            if rest:
                raise ProtocolError("a DISCONNECT with a payload")
            return Disconnect(namespace)
        data = self._json(rest)
        if kind == CONNECT:
            if data and not data.startswith(b"{"):
                raise ProtocolError("a CONNECT whose payload is no object")
            return Connect(namespace, data, query)
        if data.startswith(b"["):
            raise ProtocolError("an error packet with an array")
        return ConnectError(namespace, data)

    def binary(self, data: bytes, guard: Guard | None = None) -> Packet | None:
        """Take the next attachment. ``guard`` was asked about the packet's text.

        Returns:
            The packet; None if more must follow.

        Raises:
            ProtocolError: no attachment was awaited, or the attachments together are too large.
        """
        pending = self._pending
        if pending is None:
            raise ProtocolError("a binary attachment that no packet awaits")
        self._room -= len(data)
        if self._room < 0:
            raise ProtocolError("attachments that are too large together", Reason.TOO_LARGE)
        self._parts.append(data)
        if len(self._parts) < self._missing:
            return None
        self._pending, parts, self._parts = None, tuple(self._parts), []
        return msgspec.structs.replace(pending, attachments=parts)

    def event(self, namespace: str, number: int | None, rest: bytes) -> Event:
        """The event of the JSON array ``rest``; ``number`` is the id of its ack. Raises ProtocolError."""
        elements = jsontext.split_array(rest, self._limits.max_depth)
        if not elements:
            raise ProtocolError("an event without a name")
        if len(elements) > self._limits.max_arguments + 1:
            raise ProtocolError("too many arguments")
        written = bytes(elements[0])
        name = self._name if written == self._written else self._event_name(written)
        return Event(name, tuple(elements[1:]), namespace, number)

    def _event_name(self, written: bytes) -> str:
        if len(written) > self._limits.max_event_name:
            raise ProtocolError("an event's name that is too long")
        try:
            name = str(_name.decode(written))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ProtocolError("an event's name that is no string") from None
        if name in RESERVED_EVENTS:
            raise ProtocolError("an event of a reserved name")
        self._written, self._name = written, name
        return name

    def ack(self, namespace: str, number: int | None, rest: bytes) -> Ack:
        """The ack of the JSON array ``rest``; ``number`` is its id. Raises ProtocolError."""
        if number is None:
            raise ProtocolError("an ack without an id")
        elements = jsontext.split_array(rest, self._limits.max_depth)
        if len(elements) > self._limits.max_arguments:
            raise ProtocolError("too many arguments")
        return Ack(number, tuple(elements), namespace)

    def _await_attachments(self, packet: Event | Ack, count: int) -> None:
        if not count:
            raise ProtocolError("a binary packet without attachments")
        if count > self._limits.max_attachments:
            raise ProtocolError("too many attachments")
        try:
            self._check_placeholders(packet, count)
        except _InvalidPlaceholder:
            # JavaScript reads 0.0 and 0e0 as 0.
            packet = msgspec.structs.replace(packet, args=tuple(map(_with_whole_numbers, packet.args)))
            self._check_placeholders(packet, count)
        self._pending, self._missing, self._room = packet, count, self._limits.max_payload

    def _check_placeholders(self, packet: Event | Ack, count: int) -> None:
        for argument in packet.args:
            for number in placeholders(jsontext.structure(argument, self._limits.max_depth)):
                if not 0 <= number < count:
                    raise ProtocolError("a placeholder for an attachment that is not announced")

    def _namespace(self, space: bytes) -> tuple[str, str]:
        if len(space) > self._limits.max_namespace:
            raise ProtocolError("a namespace that is too long")
        namespace, _, query = space.decode("utf-8", "replace").partition("?")
        if not query and len(space) <= _MAX_REMEMBERED:
            self._space, self._space_name = space, namespace
        return namespace, query

    def _json(self, text: bytes) -> bytes:
        """``text``, after a check that it is empty or one JSON value."""
        if not text:
            return b""
        elements = jsontext.split_array(b"[%b]" % text, self._limits.max_depth + 1)
        if len(elements) != 1:
            raise ProtocolError("a payload that is not one JSON value")
        return bytes(elements[0])


class _InvalidPlaceholder(ProtocolError):
    """A placeholder whose number is not written as a whole number."""


def _with_whole_numbers(text: msgspec.Raw) -> msgspec.Raw:
    """JSON in which each ``"num"`` that is a whole number is written as one."""
    return msgspec.Raw(_NUM.sub(_whole, bytes(text)))


def _whole(found: re.Match[bytes]) -> bytes:
    number = float(found[2])
    return b"%b%d" % (found[1], number) if number.is_integer() and abs(number) < 2**53 else found[0]


def ask(guard: Guard, kind: int, namespace: str) -> None:
    """Raise ProtocolError for a packet of type ``kind`` that has no place in ``namespace``."""
    if kind not in _WITHOUT_PLACE and not guard.admits(namespace):
        raise ProtocolError("an event or an ack for a namespace that was not joined")


def placeholders(value: Any) -> Iterator[int]:
    """The numbers of the attachments that ``value``, decoded JSON, refers to, in its order.

    Raises:
        ProtocolError: the number of a placeholder is invalid.
    """
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            number = value.get("num")
            if type(number) is not int:
                raise _InvalidPlaceholder("an invalid placeholder")
            yield number
            return
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from placeholders(element)


def renumber(
    text: bytes | msgspec.Raw,
    attachments: Sequence[bytes],
    max_depth: int,
    *,
    first: int = 0,
    most: int | None = None,
) -> tuple[bytes, tuple[bytes, ...]]:
    """Cut one value out of a packet with attachments.

    Args:
        text: the value's JSON.
        attachments: the packet's.
        max_depth: of the JSON.
        first: the new number of the first attachment of the value.
        most: how many numbers may be rewritten (``jsonnumbers``); None for any.

    Returns:
        The JSON with placeholders that count from ``first`` and numbers as JavaScript writes them, and the attachments.
        Both are the given ones if nothing had to change.

    Raises:
        ProtocolError: the number of a placeholder is invalid, or that of no attachment; too many numbers to rewrite.
    """
    text = jsonnumbers.as_javascript(bytes(text), most)
    value = jsontext.decode(text, max_depth)
    used = list(dict.fromkeys(placeholders(value)))
    if any(not 0 <= number < len(attachments) for number in used):
        raise ProtocolError("a placeholder for an attachment that is not there")
    if used == list(range(first, first + len(attachments))):
        return text, tuple(attachments)
    moved = {old: first + new for new, old in enumerate(used)}
    moved_text = jsonnumbers.as_javascript(msgspec.json.encode(_moved(value, moved)))
    return moved_text, tuple(attachments[number] for number in used)


def _moved(value: Any, numbers: dict[int, int]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return {"_placeholder": True, "num": numbers[value["num"]]}
        return {key: _moved(element, numbers) for key, element in value.items()}
    if isinstance(value, list):
        return [_moved(element, numbers) for element in value]
    return value


def without_binary(value: Any) -> Any:
    """``value``, decoded JSON, with null in place of attachments."""
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return None
        return {key: without_binary(element) for key, element in value.items()}
    if isinstance(value, list):
        return [without_binary(element) for element in value]
    return value
