"""Socket.IO packets as npm's ``socket.io-msgpack-parser`` writes them: each is one binary message, a map in msgpack.

Source: github.com/socketio/socket.io-msgpack-parser, ``index.js``; github.com/msgpack/msgpack, ``spec.md``; and
``notepack.io``, on which that parser is built, for the values of JavaScript that msgpack lacks.

::

    {"type": 2, "nsp": "/kschat", "id": 7, "data": ["Send", {"msg": "hi"}]}    EVENT that asks for ack 7

The layers above know only JSON with attachments, so packets are converted from and to that here.

::

    bin, ext of type 0          an attachment: a Buffer, an ArrayBuffer
    fixext 1 of type 0          undefined: no member of an object, null in an array
    fixext 8 of type 0          a Date: its text, as JSON.stringify writes it
    an ext of any other type    an array of its type and an attachment
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.jsonnumbers import MAX_REWRITTEN, MAX_SAFE, as_javascript, stringified
from kschat.wire.limits import Limits
from kschat.wire.socketio import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Connect,
    ConnectError,
    Decoder,
    Disconnect,
    Guard,
    Packet,
    ask,
)

_json: Final = msgspec.json.Encoder().encode
_pack_64: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode

#: The integers that msgpack has room for.
_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SIGNED_BYTE: Final = struct.Struct(">b")
_INTEGERS: Final = {
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: _SIGNED_BYTE,
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
_FLOATS: Final = {0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d")}
#: The forms of lengths: of text, binary, arrays, maps, extensions.
_LENGTHS: Final = {
    0xC4: struct.Struct(">B"),
    0xC5: struct.Struct(">H"),
    0xC6: struct.Struct(">I"),
    0xC7: struct.Struct(">B"),
    0xC8: struct.Struct(">H"),
    0xC9: struct.Struct(">I"),
    0xD9: struct.Struct(">B"),
    0xDA: struct.Struct(">H"),
    0xDB: struct.Struct(">I"),
    0xDC: struct.Struct(">H"),
    0xDD: struct.Struct(">I"),
    0xDE: struct.Struct(">H"),
    0xDF: struct.Struct(">I"),
}
_FIXED_EXTENSIONS: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_CONSTANTS: Final = {0xC0: b"null", 0xC2: b"false", 0xC3: b"true"}

#: Stands for JavaScript's undefined, which JSON lacks: null in an array; members of an object are left out.
_UNDEFINED: Final = b"null "


#: Bytes with which binary and extensions begin. (Text may contain them, too.)
_SPECIAL: Final = re.compile(rb"[\xc4-\xc9\xd4-\xd8]")

#: Values of one packet that has such bytes: each is read in Python, a microsecond each, and nobody is served meanwhile.
MAX_VALUES: Final = 4_000

#: Bytes that begin no array and no map. (Text may contain the others, too.)
_NO_CONTAINERS: Final = bytes(set(range(256)) - set(range(0x80, 0xA0)) - set(range(0xDC, 0xE0)))

#: Bytes by which a name in an object begins: text, or an integer.
_NAMES: Final = frozenset((*range(0x80), *range(0xA0, 0xC0), *_INTEGERS, 0xD9, 0xDA, 0xDB, *range(0xE0, 0x100)))

#: Half of a surrogate pair in what should be UTF-8, as programs in JavaScript write it.
_HALVES: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


class MsgpackDecoder:
    """Decodes the packets of one connection, in place of ``socketio.Decoder``.

    Args:
        limits: bounds of packets; the depth is that of a packet's data.
    """

    __slots__ = ("_json", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._json = Decoder(limits)

    def text(self, text: bytes, guard: Guard | None = None) -> Packet:
        """Raises ProtocolError: no packet of this parser is text."""
        raise ProtocolError("text from a client of the msgpack parser")

    def binary(self, data: bytes, guard: Guard | None = None) -> Packet:
        """Decode one packet.

        Args:
            data: it.
            guard: is asked about its namespace before its content is looked at, as far as that can be.

        Raises:
            ProtocolError: it is not a packet, breaks a limit, or has no place.
        """
        attachments: tuple[bytes, ...] = ()
        fields = self._simple(data, guard)
        if fields is None:
            reader = _Reader(data, self._limits)
            try:
                fields = reader.packet()
            except (IndexError, struct.error):
                raise ProtocolError("truncated msgpack") from None
            if reader.position != len(data):
                raise ProtocolError("msgpack with more behind it")
            attachments = tuple(reader.attachments)
        kind, namespace, number = fields.get("type"), fields.get("nsp"), fields.get("id")
        if type(kind) is not int:
            raise ProtocolError("an unknown packet type")
        if not isinstance(namespace, str):
            raise ProtocolError("a packet without a namespace")
        if len(namespace.encode("utf-8", "replace")) > self._limits.max_namespace:
            raise ProtocolError("a namespace that is too long")
        if number is not None and (type(number) is not int or not 0 <= number <= MAX_SAFE):
            raise ProtocolError("an ack id that is no number")
        text = fields.get("data", b"")
        if len(text) > self._limits.max_payload:
            raise ProtocolError("a packet that is too large as JSON", Reason.TOO_LARGE)
        if kind == EVENT:
            return msgspec.structs.replace(self._json.event(namespace, number, text), attachments=attachments)
        if kind == ACK:
            return msgspec.structs.replace(self._json.ack(namespace, number, text), attachments=attachments)
        if attachments or text.startswith(b"["):
            raise ProtocolError("a payload that is no object")
        if kind == CONNECT:
            if text and not text.startswith(b"{"):
                raise ProtocolError("a CONNECT whose payload is no object")
            return Connect(namespace, text)
        if kind == DISCONNECT:
            if text:
                raise ProtocolError("a DISCONNECT with a payload")
            return Disconnect(namespace)
        if kind == CONNECT_ERROR:
            return ConnectError(namespace, text)
        raise ProtocolError("an unknown packet type")

    def _simple(self, data: bytes, guard: Guard | None) -> dict[str, Any] | None:
        """What ``_Reader.packet`` returns, at the speed of C; None for a packet that it must read.

        Those are packets with binary, extensions or unusual text, what is no packet, and what may hold more arrays and
        maps than can be made in a turn: the reader counts them.
        """
        if _SPECIAL.search(data):
            return None
        if len(data) > MAX_VALUES and len(data.translate(None, _NO_CONTAINERS)) > MAX_VALUES:
            return None
        try:
            fields = _unpack(data)
            if not isinstance(fields, dict) or not all(type(name) in (str, int) for name in fields):
                return None
            for name in ("type", "id"):
                if type(fields.get(name)) is float:
                    return None
            kind, namespace = fields.get("type"), fields.get("nsp")
            if guard is not None and type(kind) is int and isinstance(namespace, str):
                ask(guard, kind, namespace)
            if "data" in fields:
                text = _json(fields["data"])
                if len(text) > self._limits.max_payload:
                    raise ProtocolError("a packet that is too large as JSON", Reason.TOO_LARGE)
                jsontext.check_values(text)
                fields["data"] = as_javascript(text, MAX_REWRITTEN)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
            return None
        jsontext.check_depth(fields.get("data", b""), self._limits.max_depth)
        return fields


class _Reader:
    """Converts the msgpack of one packet to JSON. Its placeholders refer to ``attachments``."""

    __slots__ = ("_data", "_limits", "_room", "attachments", "position")

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self._limits = limits
        self._room = MAX_VALUES
        self.position = 0
        self.attachments: list[bytes] = []

    def packet(self) -> dict[str, Any]:
        """The packet's members that are defined: ``type``, ``id`` and ``nsp`` as values, ``data`` as JSON."""
        fields: dict[str, Any] = {}
        for _ in range(self._size(self._byte(), 0x80, 0xDE, 0xDF)):
            key, text = self._key(), self._value(0)
            if text is _UNDEFINED:
                continue
            if key in ("type", "nsp", "id"):
                fields[key] = msgspec.json.decode(text)
            elif key == "data":
                fields[key] = text
        return fields

    def _byte(self) -> int:
        byte = self._data[self.position]
        self.position += 1
        return byte

    def _bytes(self, count: int) -> bytes:
        data = self._data[self.position : self.position + count]
        if len(data) < count:
            raise IndexError
        self.position += count
        return data

    def _number(self, form: struct.Struct) -> Any:
        (number,) = form.unpack_from(self._data, self.position)
        self.position += form.size
        return number

    def _size(self, first: int, short: int, *longer: int) -> int:
        """The number of elements of an array or a map that begins with ``first``."""
        size = first & 0x0F if first & 0xF0 == short else -1
        if first in longer:
            size = self._number(_LENGTHS[first])
        if size < 0:
            raise ProtocolError("msgpack of another type than belongs here")
        if size > len(self._data) - self.position:
            raise IndexError
        return size

    def _key(self) -> str:
        # Looked at before it is read: in an object as a name another one may be nested, and so on, at any depth.
        if self._data[self.position] not in _NAMES:
            raise ProtocolError("a name in an object that is no text")
        return str(msgspec.json.decode(self._value(0)))

    def _value(self, depth: int) -> bytes:
        """The JSON of the next value, which is nested in ``depth`` arrays and objects."""
        self._room -= 1
        if self._room < 0:
            raise ProtocolError("a packet with too many values")
        first = self._byte()
        if first < 0x80:
            return b"%d" % first
        if first >= 0xE0:
            return b"%d" % (first - 0x100)
        if first & 0xE0 == 0xA0:
            return self._text(first & 0x1F)
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _FLOATS:
            return stringified(self._number(_FLOATS[first])).encode()
        if first in _INTEGERS:
            return b"%d" % self._number(_INTEGERS[first])
        if first in (0xD9, 0xDA, 0xDB):
            return self._text(self._number(_LENGTHS[first]))
        if first in (0xC4, 0xC5, 0xC6):
            return self._attached(self._bytes(self._number(_LENGTHS[first])))
        if first in _FIXED_EXTENSIONS:
            return self._fixed_extension(_FIXED_EXTENSIONS[first])
        if first in (0xC7, 0xC8, 0xC9):
            return self._extension(self._number(_LENGTHS[first]))
        if depth >= self._limits.max_depth:
            raise ProtocolError("msgpack nested too deep")
        if first & 0xF0 == 0x90 or first in (0xDC, 0xDD):
            count = self._size(first, 0x90, 0xDC, 0xDD)
            return b"[%b]" % b",".join([self._value(depth + 1).rstrip() for _ in range(count)])
        return self._map(self._size(first, 0x80, 0xDE, 0xDF), depth + 1)

    def _map(self, count: int, depth: int) -> bytes:
        pieces = []
        for _ in range(count):
            key = self._key()
            value = self._value(depth)
            if value is not _UNDEFINED:
                pieces.append(b"%b:%b" % (_json(key), value))
        return b"{%b}" % b",".join(pieces)

    def _text(self, size: int) -> bytes:
        data = self._bytes(size)
        try:
            return _json(data.decode())
        except UnicodeDecodeError:
            return _json(_HALVES.sub(b"\xef\xbf\xbd", data).decode("utf-8", "replace"))

    def _attached(self, data: bytes) -> bytes:
        if len(self.attachments) >= self._limits.max_attachments:
            raise ProtocolError("too many attachments")
        self.attachments.append(data)
        return b'{"_placeholder":true,"num":%d}' % (len(self.attachments) - 1)

    def _fixed_extension(self, size: int) -> bytes:
        if self._data[self.position] == 0 and size in (1, 8):
            data = self._bytes(1 + size)[1:]
            return _UNDEFINED if size == 1 else _date(int.from_bytes(data, "big", signed=True))
        return self._extension(size)

    def _extension(self, size: int) -> bytes:
        kind = self._number(_SIGNED_BYTE)
        attached = self._attached(self._bytes(size))
        return attached if kind == 0 else b"[%d,%b]" % (kind, attached)


def _pack(fields: dict[str, Any]) -> bytes:
    """``fields`` in msgpack. Integers of more than 64 bits become doubles, as in JavaScript."""
    try:
        return _pack_64(fields)
    except OverflowError:
        return _pack_64(_fitting(fields))


def _fitting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fitting(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fitting(inner) for inner in value]
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        try:
            return float(value)
        except OverflowError:
            return None  # beyond all doubles: as JSON.stringify writes infinity
    return value


def _date(milliseconds: int) -> bytes:
    """A Date as ``JSON.stringify`` writes it."""
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return b"null"
    return _json(moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


def encode(packet: Connect | Disconnect | ConnectError) -> bytes:
    """``packet``, which has no attachments, as one binary message."""
    kinds = {Connect: CONNECT, Disconnect: DISCONNECT, ConnectError: CONNECT_ERROR}
    fields: dict[str, Any] = {"type": kinds[type(packet)], "nsp": packet.namespace}
    if not isinstance(packet, Disconnect) and packet.data:
        fields["data"] = msgspec.json.decode(packet.data)
    return _pack(fields)


def encode_array(
    kind: int, body: bytes, attachments: Sequence[bytes], *, namespace: str, number: int | None, max_depth: int
) -> bytes:
    """An EVENT or ACK as one binary message.

    Args:
        kind: ``EVENT`` or ``ACK``.
        body: the JSON array of its name and arguments.
        attachments: those that its placeholders refer to.
        namespace, number: its namespace, and the ack that it asks for or gives.
        max_depth: of ``body``.
    """
    data = jsontext.decode(body, max_depth)
    fields = {"type": kind, "nsp": namespace, "data": _attach(data, attachments) if attachments else data}
    if number is not None:
        fields["id"] = number
    return _pack(fields)


def _attach(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: _attach(inner, attachments) for key, inner in value.items()}
    if isinstance(value, list):
        return [_attach(inner, attachments) for inner in value]
    return value
