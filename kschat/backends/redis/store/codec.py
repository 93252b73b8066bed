"""Converts messages to their form in Redis and back. Only the scripts use the fields around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from kschat.backends.generations import GENERATION
from kschat.backends.ids import ids_of, written
from kschat.backends.redis.client import packing
from kschat.chat.changes import with_text
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import Stored
from kschat.chat.lines import MAX_LINE, NO_LINE, line_of
from kschat.chat.message import Changes, Error, Message, Update
from kschat.chat.mids import COUNT_BITS, MAX_COUNT, MidNumber, mid_of, number_of, suffix_of

#: What a message is without its number: the rest of the mid, sender, recipient, how they were written, time, cid,
#: msg, attachments.
Rest = tuple[str, str, str, int | str, int, str | None, bytes, tuple[bytes, ...]]

#: The same of an update, and of a message that was changed: with what it is, or what became of it.
ExtraRest = tuple[str, str, str, int | str, int, str | None, bytes, tuple[bytes, ...], Update | Changes]

#: Pairs of users of which the conversation's name is remembered, which saves 0.4 us a message. One takes 350 bytes:
#: with 100,000 a daemon's memory grew by 35 MB over its first hours, which looks like a leak.
MAX_NAMES: Final = 10_000

#: What ``Rest`` begins with: an array of eight. Of a large message, scripts may answer with the first six (``headOf``),
#: or five if the sixth is None.
_WHOLE: Final = b"\x98"

#: What ``ExtraRest`` begins with: an array of nine.
_EXTRA: Final = b"\x99"

_head: Final = msgspec.msgpack.Decoder(list[int | str])
_encoder: Final = msgspec.msgpack.Encoder()
_rest: Final = msgspec.msgpack.Decoder(Rest)
_extra_rest: Final = msgspec.msgpack.Decoder(ExtraRest)
_places: Final = msgspec.msgpack.Decoder(list[str | int])


class StoredError(Exception):
    """What stands in Redis is no message. The text is for the log and shows nothing of it."""


class BatchEncoder:
    """Encodes batches, and remembers the names of conversations."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], tuple[str, int]] = {}

    def conversation(self, user: str, peer: str) -> tuple[str, int]:
        """The name of a conversation in keys, and the user's side of it: 1 or 2; of a room 0."""
        found = self._names.get((user, peer))
        if found is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            if is_room(peer):
                found = (peer, 0)
            elif user <= peer:
                found = (f"{len(user.encode())}:{user}{peer}", 1)
            else:
                found = (f"{len(peer.encode())}:{peer}{user}", 2)
            self._names[(user, peer)] = found
        return found

    def encode(self, batch: Sequence[Message], *head: Any) -> bytes:
        """A batch as the script ``append`` takes it. ``head``: what stands before the messages."""
        values: list[Any] = [*head]
        encode, conversation_of = _encoder.encode, self.conversation
        for message in batch:
            mid, sender, recipient, cid = message.mid, message.sender, message.recipient, message.cid
            name, side = conversation_of(sender, recipient)
            number = number_of(mid)
            plain = message.uId == sender and message.pId == recipient and message.name is None
            rest = encode(
                (
                    suffix_of(mid),
                    sender,
                    recipient,
                    0 if plain else ids_of(message),
                    message.time,
                    cid,
                    bytes(message.msg),
                    message.attachments,
                )
            )
            values += (
                sender,
                recipient,
                name,
                side,
                cid or "",
                number >> COUNT_BITS,
                number & MAX_COUNT,
                packing.text(rest),
                "" if len(message.msg) <= MAX_LINE and not message.attachments else _listed_rest(message),
            )
        return packing.pack(*values)


def rest_of(message: Message) -> bytes:
    """A message without its number."""
    rest = (
        suffix_of(message.mid),
        message.sender,
        message.recipient,
        ids_of(message),
        message.time,
        message.cid,
        bytes(message.msg),
        message.attachments,
    )
    return _encoder.encode(rest if message.extra is None else (*rest, message.extra))


def peer_of(side: int, name: bytes) -> str:
    """Whom the user on this side (1 or 2) talks with in the conversation of this name; of a room (0), the room."""
    if side == 0:
        return name.decode()
    length, _, both = name.partition(b":")
    return (both[int(length) :] if side == 1 else both[: int(length)]).decode()


def _listed_rest(message: Message) -> Any:
    """What ``conversations`` shows of a message whose line is not its msg."""
    line = listed_rest(message)
    return "" if line is None else packing.text(line)


def listed_rest(message: Message) -> bytes | None:
    """A message without its number, with its line; None if that is its whole msg."""
    line = line_of(message)
    return None if line is None else rest_of(msgspec.structs.replace(message, msg=line, attachments=()))


def listed_of(id_: bytes, rest: bytes, cut: bool) -> tuple[Message, bool]:
    """A message with its line, and whether that is not the whole msg.

    Args:
        id_: its id.
        rest: the message without its number.
        cut: whether ``rest`` has the line already; older ones may be whole.
    """
    if rest[:1] not in (_WHOLE, _EXTRA):
        return _head_of(id_, rest, NO_LINE, ()), True
    last = message_of(id_, rest)
    if not cut:
        line = line_of(last)
        if line is not None:
            return msgspec.structs.replace(last, msg=line, attachments=()), True
    return last, cut


def message_of(id_: bytes, rest: bytes) -> Message:
    """The message with this id in its conversation's stream. Raises StoredError."""
    extra = None
    try:
        if rest[:1] == _EXTRA:
            suffix, sender, recipient, ids, time, cid, msg, attachments, extra = _extra_rest.decode(rest)
        else:
            suffix, sender, recipient, ids, time, cid, msg, attachments = _rest.decode(rest)
        uid, pid, name = written(ids, sender, recipient) if ids else (sender, recipient, None)
        mid = mid_of(number_of_id(id_), suffix)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoredError("a stored message can't be read") from None
    return Message(mid, sender, recipient, uid, pid, Raw(msg), time, cid, attachments, name, extra)


def update_as_read(id_: bytes, rest: bytes, text: bytes) -> Message:
    """An update, as it is read. ``text``: the message without its number that an edit is of; b"" if it is gone."""
    # (The number of that message is not looked at.)
    return with_text(message_of(id_, rest), message_of(id_, text) if text else None)


def _head_of(id_: bytes, head: bytes, msg: Raw, attachments: tuple[bytes, ...]) -> Message:
    """A large message, of which only the head was read, with other content."""
    try:
        suffix, sender, recipient, ids, time, *cids = _head.decode(head)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoredError("the head of a stored message can't be read") from None
    rest = (suffix, sender, recipient, ids, time, cids[0] if cids else None, bytes(msg), attachments)
    return message_of(id_, _encoder.encode(rest))


def number_of_id(id_: bytes) -> MidNumber:
    """The number of a message, of its id in a stream."""
    ms, _, count = id_.partition(b"-")
    return (int(ms) << COUNT_BITS) | int(count)


def id_of(number: MidNumber) -> str:
    """The id of a number."""
    return f"{number >> COUNT_BITS}-{number & MAX_COUNT}"


def missing(told: Sequence[Sequence[Any]]) -> list[tuple[bytes, bytes]]:
    """Conversations and ids of the messages that the script ``append`` has answered with no more of, each once."""
    return list(dict.fromkeys((facts[1], facts[0]) for _, kind, *facts in told if kind == b"l"))


def looked_up(
    told: Sequence[Sequence[Any]], found: Mapping[tuple[bytes, bytes], Sequence[bytes]]
) -> list[Sequence[Any]]:
    """The same with what was found of them: each as the script ``messages`` answers with it."""
    return [
        (which, b"r", facts[0], *found[(facts[1], facts[0])]) if kind == b"l" else (which, kind, *facts)
        for which, kind, *facts in told
    ]


def answers(batch: Sequence[Message], offsets: Sequence[int], told: Sequence[Sequence[Any]]) -> list[Stored]:
    """What the script ``append`` has answered."""
    stored = [Stored(message, ((message.recipient, offset),)) for message, offset in zip(batch, offsets, strict=True)]
    for which, kind, *facts in told:
        stored[which - 1] = _told(batch[which - 1], kind, facts)
    return stored


def _told(message: Message, kind: bytes, facts: Sequence[Any]) -> Stored:
    if kind == b"t":
        return Stored(message, (), False, Error.TOO_MANY, facts[0] / 1000)
    if kind == b"x":
        return Stored(message, (), False, Error.NOT_ALLOWED)
    if kind == b"r":
        id_, *found = facts
        if not found:  # it was deleted in this very moment
            return Stored(_numbered(message, number_of_id(id_)), (), True)
        rest, said, packed = found
        whole = rest[:1] == _WHOLE
        if rest[:1] == _EXTRA:
            # It was changed since: nobody is told a text of it.
            now = message_of(id_, rest)
            first = msgspec.structs.replace(now, msg=message.msg, attachments=message.attachments, extra=None)
        else:
            first = message_of(id_, rest) if whole else _head_of(id_, rest, message.msg, message.attachments)
        places = (
            unpacked_places(packed)
            if is_room(first.recipient)
            else ((first.recipient, offset_of_id(said.split(b" ", 3)[2])),)
        )
        return Stored(first, places, True, whole=whole)
    message = _numbered(message, number_of_id(facts[0]))
    if kind == b"n":
        return Stored(message, ((message.recipient, facts[1]),))
    return Stored(message, unpacked_places(facts[1]))


def _numbered(message: Message, number: int) -> Message:
    mid = mid_of(number, suffix_of(message.mid))
    return message if mid == message.mid else msgspec.structs.replace(message, mid=mid)


def unpacked_places(places: bytes) -> tuple[tuple[str, int], ...]:
    """The places of a message to a room. Raises StoredError."""
    try:
        values: list[Any] = _places.decode(places)
        return tuple(zip(values[::2], map(int, values[1::2]), strict=True))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoredError("the places of a stored message can't be read") from None


def offset_of_id(place: bytes) -> int:
    """The offset of an id in an inbox's stream."""
    generation, _, count = place.partition(b"-")
    return (int(generation) - 1) * GENERATION + int(count) + 1
