"""The JSON bodies of what the server sends: events, and the answers to commands.

Each message is encoded once (``piece``), whatever number of sockets it goes to. The spelling is
the tutorial's (PROTOCOL.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from kschat.chat.interfaces import Conversation
from kschat.chat.lines import NO_LINE
from kschat.chat.message import EDIT, REACT, Changes, Message, Refused, Update
from kschat.wire import socketio
from kschat.wire.jsonnumbers import as_javascript
from kschat.wire.limits import ANY_DEPTH

#: Attachments of one packet that npm's clients take (socket.io-parser 4.2, ``maxAttachments``).
MAX_ATTACHMENTS_SENT: Final = 10

#: Bytes of JSON with placeholders that one page may have, if it has several messages with binary: the reactor decodes
#: them to renumber the placeholders.
MAX_RENUMBERED: Final = 8000

#: The name of a placeholder, with each character as it is or as an escape: at once with the quotes of a JSON string.
_PLACEHOLDER: Final = re.compile(b'"%b"' % b"".join(rb"(?:%c|\\u00(?i:%02x))" % (one, one) for one in b"_placeholder"))

_encode: Final = msgspec.json.Encoder().encode

#: RESPLOGOUT, the answer to Logout.
LOGGED_OUT: Final = b'["RESPLOGOUT",{"RC":1,"ERR":0}]'


#: RESPRECEIVER without a message: the broker took the queue away; there is no broker.
CANCELLED: Final = b'["RESPRECEIVER",{"RC":1,"ER":0}]'
NO_BROKER: Final = b'["RESPRECEIVER",{"RC":1,"ER":2}]'


class Status(IntEnum):
    """What became of a message, for RESPSTATUS."""

    LOST = 0
    STORED = 1
    DELIVERED = 2
    READ = 3


class _Received(msgspec.Struct, frozen=True, gc=False):
    uId: int | str
    pId: int | str
    msg: Raw
    rStatus: int
    msgTime: int
    mid: str
    offset: int | UnsetType = UNSET
    name: str | UnsetType = UNSET


class _Changed(_Received, frozen=True, gc=False):
    edited: int | UnsetType = UNSET
    deleted: int | UnsetType = UNSET
    reactions: dict[str, list[str]] | UnsetType = UNSET


class _Updated(msgspec.Struct, frozen=True, gc=False):
    mid: str
    kind: str
    uId: int | str
    pId: int | str
    at: int
    msg: Raw | UnsetType = UNSET
    emoji: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    name: str | UnsetType = UNSET


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
    retryIn: float | UnsetType = UNSET


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
    retryIn: float | UnsetType = UNSET


class _Error(msgspec.Struct, frozen=True, gc=False):
    ER: int
    WHY: str
    retryIn: float | UnsetType = UNSET


def piece(message: Message, offset: int | None) -> bytes:
    """One message as RESPRECEIVER, Sync and History show it. ``offset``: where it is in an inbox."""
    if message.extra is not None:
        return _piece_of_extra(message, offset)
    one = _Received(
        message.uId,
        message.pId,
        message.msg,
        1,
        message.time,
        message.mid,
        UNSET if offset is None else offset,
        UNSET if message.name is None else message.name,
    )
    return _encode(one)


def _piece_of_extra(message: Message, offset: int | None) -> bytes:
    extra = message.extra
    place = UNSET if offset is None else offset
    name = UNSET if message.name is None else message.name
    if isinstance(extra, Update):
        return _encode(
            _Updated(
                extra.target,
                extra.kind,
                message.uId,
                message.pId,
                message.time,
                message.msg if extra.kind == EDIT else UNSET,
                extra.emoji if extra.kind == REACT else UNSET,
                place,
                name,
            )
        )
    assert isinstance(extra, Changes)
    return _encode(
        _Changed(
            message.uId,
            message.pId,
            message.msg,
            1,
            message.time,
            message.mid,
            place,
            name,
            UNSET if extra.edited is None else extra.edited,
            UNSET if extra.deleted is None else extra.deleted,
            reactions(extra) if extra.reactions else UNSET,
        )
    )


def reactions(changes: Changes) -> dict[str, list[str]]:
    """Who has reacted, by reaction."""
    found: dict[str, list[str]] = {}
    for user, emoji in changes.reactions:
        found.setdefault(emoji, []).append(user)
    return found


def updated(piece: bytes, offset: int | None = None) -> bytes:
    """The body of RESPUPDATE. ``offset``: for a client that notes it to recover."""
    if offset is None:
        return b'["RESPUPDATE",' + piece + b"]"
    return b'["RESPUPDATE",%b,"%d"]' % (piece, offset)


def changed(mid: str, at: int, repeat: bool) -> bytes:
    """The ack of Edit, Delete and React. ``at``: when it was done, in milliseconds since 1970."""
    return _encode([{"ER": 0, "mid": mid, "at": at, **({"repeat": True} if repeat else {})}])


def readers(mid: str, users: Sequence[str]) -> bytes:
    """The ack of Readers."""
    return _encode([{"mid": mid, "ids": users}])


def received(pieces: Sequence[bytes], last: int | None = None) -> bytes:
    """The body of RESPRECEIVER. ``last``: the last offset, for a client that notes it (as a string) to recover."""
    listed = pieces[0] if len(pieces) == 1 else b",".join(pieces)
    if last is None:
        return b'["RESPRECEIVER",{"RC":1,"ER":0,"MSG":[' + listed + b"]}]"
    return b'["RESPRECEIVER",{"RC":1,"ER":0,"MSG":[%b]},"%d"]' % (listed, last)


def sent(message: Message, rno: Raw) -> bytes:
    """The body of RESPSEND for a message that was acknowledged."""
    one = _Sent(1, 0, message.uId, message.pId, message.msg, rno, message.time, 1, message.mid)
    return b'["RESPSEND",' + _encode(one) + b"]"


def failed(refused: Refused, rno: Raw) -> bytes:
    """The body of RESPSEND for a ``Send`` that was refused."""
    return b'["RESPSEND",' + _encode(_Failed(1, refused.error, rno, refused.why, _retry_in(refused))) + b"]"


def ack_sent(message: Message, repeat: bool) -> bytes:
    """The ack of a ``Send``."""
    return b"[" + _encode(_AckSent("Send Emit is success.", message.uId, message.mid, message.time, repeat)) + b"]"


def ack_failed(uid: int | str | None, refused: Refused) -> bytes:
    """The ack of a ``Send`` that was refused."""
    answer = _AckFailed("Send Emit is failed.", uid, refused.error, refused.why, _retry_in(refused))
    return b"[" + _encode(answer) + b"]"


def ack_error(refused: Refused) -> bytes:
    """The ack of a command, other than ``Send``, that was refused."""
    return b"[" + _encode(_Error(refused.error, refused.why, _retry_in(refused))) + b"]"


def _retry_in(refused: Refused) -> float | UnsetType:
    return UNSET if refused.retry_in is None else refused.retry_in


def status(peer: int | str, mid: str, what: int) -> bytes:
    """The body of RESPSTATUS. ``peer``: to whom the message was, as its sender wrote it; ``what``: a ``Status``."""
    return _encode(("RESPSTATUS", {"pId": peer, "mid": mid, "STATUS": what}))


def carbon(message: Message) -> bytes:
    """The body of RESPCARBON: to the sender's other sockets."""
    return b'["RESPCARBON",{"RC":1,"ER":0,"MSG":[' + piece(message, None) + b"]}]"


def read(peer: str, mid: str) -> bytes:
    """The body of RESPREAD: to the reader's other sockets."""
    return _encode(("RESPREAD", {"pId": peer, "mid": mid}))


def typing(user: str) -> bytes:
    """The body of RESPTYPING."""
    return _encode(("RESPTYPING", {"uId": user}))


def presences(found: Mapping[str, tuple[bool | None, int | None]]) -> bytes:
    """The ack of Presence. Of each: whether it is online (None: unknown), when it was last seen."""
    return _encode([{user: {"online": online, "lastSeen": seen} for user, (online, seen) in found.items()}])


def presence(user: str, online: bool | None, last_seen: int | None) -> bytes:
    """The body of RESPPRESENCE. ``last_seen``: milliseconds since 1970, where it is known."""
    return _encode(("RESPPRESENCE", {"id": user, "online": online, "lastSeen": last_seen}))


def push_key(key: str) -> bytes:
    """The ack of PushKey."""
    return _encode([{"ER": 0, "key": key}])


def blocked(users: Sequence[str]) -> bytes:
    """The ack of Blocked."""
    return _encode([{"ids": users}])


def event(name: str, *args: Any) -> bytes:
    """The body of an event of any name. ``args``: what msgspec can write, JSON that is ready as ``msgspec.Raw``.

    Its numbers are as JavaScript writes them (``jsonnumbers``).
    """
    return as_javascript(_encode((name, *args)))


def goodbye(reason: str, retry_in: float) -> bytes:
    """The body of Goodbye. ``retry_in``: seconds until a new connection is welcome."""
    return _encode(("Goodbye", {"reason": reason, "retryIn": round(retry_in, 1)}))


def token_expiring(seconds: float) -> bytes:
    """The body of TokenExpiring. ``seconds``: until the socket's token expires."""
    return _encode(("TokenExpiring", {"in": max(round(seconds), 0)}))


def fit(
    found: Sequence[tuple[int | None, Message]], room: int, newest: bool
) -> tuple[list[bytes], tuple[bytes, ...], bool]:
    """As many messages as one packet may hold.

    Args:
        found: messages, oldest first, with their offsets in an inbox.
        room: bytes.
        newest: whether to keep the newest ones, rather than the oldest.

    Returns:
        The pieces, oldest first, with placeholders that count through; their attachments; and
        whether some did not fit.
    """
    chosen: list[tuple[int | None, Message, bytes]] = []
    attachments = 0
    binaries = binary_text = 0
    looks_alike = False
    for offset, message in reversed(found) if newest else found:
        text = piece(message, offset)
        room -= len(text) + sum(map(len, message.attachments))
        attachments += len(message.attachments)
        if message.attachments:
            binaries += 1
            binary_text += len(message.msg)
        else:
            looks_alike = looks_alike or (len(found) > 1 and _looks_like_binary(message.msg))
        # Text that looks like a placeholder would be taken for one beside attachments.
        if chosen and (
            room < 0
            or attachments > MAX_ATTACHMENTS_SENT
            or (binaries > 1 and binary_text > MAX_RENUMBERED)
            or (attachments and looks_alike)
        ):
            break
        chosen.append((offset, message, text))
    if newest:
        chosen.reverse()
    pieces: list[bytes] = []
    parts: tuple[bytes, ...] = ()
    for offset, message, text in chosen:
        if message.attachments and parts:
            moved, _ = socketio.renumber(message.msg, message.attachments, ANY_DEPTH, first=len(parts))
            pieces.append(piece(msgspec.structs.replace(message, msg=Raw(moved)), offset))
        else:
            pieces.append(text)
        parts += message.attachments
    return pieces, parts, len(chosen) < len(found)


def _looks_like_binary(msg: Raw) -> bool:
    """Whether a placeholder's name stands in ``msg``, perhaps written by escapes. (1.x and 2.x look at no more.)"""
    text = bytes(msg)
    return b'"_placeholder"' in text or (b"\u00" in text and _PLACEHOLDER.search(text) is not None)


def page(pieces: Sequence[bytes], more: bool) -> bytes:
    """The ack of History and Sync."""
    return b'[{"MSG":[%b],"more":%b}]' % (b",".join(pieces), b"true" if more else b"false")


def conversations(found: Sequence[Conversation], room: int) -> bytes:
    """The ack of Conversations.

    Args:
        found: the newest first.
        room: bytes. Lines that do not fit are null.
    """
    listed = []
    for one in found:
        last, cut = one.last, one.cut
        size = len(last.msg)
        if size > room:
            last, cut = msgspec.structs.replace(last, msg=NO_LINE), True
        else:
            room -= size
        shown = piece(last, None)
        if cut:
            shown = shown[:-1] + b',"cut":true}'
        listed.append(b'{"pId":%b,"last":%b,"unread":%d}' % (_encode(one.peer), shown, one.unread))
    return b"[[%b]]" % b",".join(listed)
