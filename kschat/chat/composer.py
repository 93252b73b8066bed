"""Makes messages from drafts, by the same rules for senders with and without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from kschat.chat import incoming
from kschat.chat.changes import NO_TEXT, peer_of
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.editing import as_update
from kschat.chat.message import MAX_ID, Error, Message, Refused, Update
from kschat.chat.mids import Mids
from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_REWRITTEN, as_javascript
from kschat.wire.limits import Limits
from kschat.wire.socketio import renumber

_QUOTE: Final = ord('"')


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a sender who has no socket.

    Attributes:
        recipient: a user, or a room with its ``#``. A number and its string mean the same user.
        msg: any JSON value; ``{"_placeholder": true, "num": n}`` in it means ``attachments[n]``.
        cid: the sender's own id of the message, 1 to 64 characters: sent again with the same one, it is stored once.
        attachments: binary parts.
    """

    recipient: int | str
    msg: Raw
    cid: str | None = None
    attachments: Sequence[bytes] = ()


class Composer:
    """Makes messages.

    Args:
        mids: makes their ids.
        wall: gives them their time.
        limits: on one packet.
    """

    def __init__(self, mids: Mids, wall: WallClock, limits: Limits) -> None:
        self._mids = mids
        self._wall = wall
        self._limits = limits

    def compose(
        self, user: str, payload: incoming.Send, attachments: Sequence[bytes] = (), *, name: str | None = None
    ) -> Message:
        """The message that a valid ``Send`` of ``user`` means. ``name``: what its recipients are shown for the user.

        Raises:
            Refused: NOT_ALLOWED, INVALID.
        """
        sender = str(payload.uId)
        if sender != user:
            raise Refused(Error.NOT_ALLOWED, "uId is not the user of your token.")
        recipient = str(payload.pId)
        if len(recipient) > MAX_ID:
            raise Refused(Error.INVALID, f"pId is longer than {MAX_ID} characters.")
        parts: tuple[bytes, ...] = ()
        try:
            if attachments:
                depth = self._limits.max_depth
                text, parts = renumber(payload.msg, tuple(attachments), depth, most=MAX_REWRITTEN)
                msg = Raw(text)
            else:
                # A copy: what was decoded keeps the whole frame alive. Most messages are strings, and hold no number.
                text = bytes(payload.msg)
                msg = Raw(text if text[0] == _QUOTE else as_javascript(text, MAX_REWRITTEN))
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"msg is not valid: {error.detail}.") from None
        time = milliseconds(self._wall)
        return Message(
            self._mids.make(time), sender, recipient, payload.uId, payload.pId, msg, time, payload.cid, parts, name
        )

    def compose_update(
        self,
        user: str,
        target: Message,
        update: Update,
        *,
        msg: Raw = NO_TEXT,
        attachments: Sequence[bytes] = (),
        cid: str | None = None,
        name: str | None = None,
    ) -> Message:
        """The update of ``target`` that ``user`` makes. ``msg``, ``attachments``: what its text is to be, of an edit.

        Raises:
            Refused: INVALID.
        """
        payload = incoming.Send(user, peer_of(target, user), msg, cid=cid)
        return as_update(self.compose(user, payload, attachments, name=name), target, update)

    def compose_draft(self, user: str, draft: Draft, name: str | None = None) -> Message:
        """The message that a draft of ``user`` means: as if a socket had sent it. ``name``: see ``compose``.

        Raises:
            Refused: INVALID, TOO_LARGE.
        """
        if len(draft.attachments) > self._limits.max_attachments:
            raise Refused(Error.INVALID, f"The message has more than {self._limits.max_attachments} attachments.")
        self._check_content(draft.msg, draft.attachments)
        fields = {"uId": user, "pId": draft.recipient, "msg": draft.msg, "cid": draft.cid}
        try:
            payload = Raw(msgspec.json.encode(fields))
        except UnicodeEncodeError:
            raise Refused(Error.INVALID, "A text holds half of a surrogate pair.") from None
        return self.compose(user, incoming.decode_send((payload,)), draft.attachments, name=name)

    def with_content(self, message: Message, msg: Raw) -> Message:
        """A message, or an edit, with another ``msg``. Attachments that this does not refer to are left out.

        Raises:
            Refused: INVALID, TOO_LARGE.
        """
        self._check_content(msg, message.attachments)
        try:
            text, parts = renumber(msg, message.attachments, self._limits.max_depth, most=MAX_REWRITTEN)
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"msg is not valid: {error.detail}.") from None
        return msgspec.structs.replace(message, msg=Raw(text), attachments=parts)

    def _check_content(self, msg: Raw, attachments: Sequence[bytes]) -> None:
        """Raises Refused, INVALID or TOO_LARGE, if no packet of a client could have it."""
        limits = self._limits
        if len(msg) + sum(map(len, attachments)) > limits.max_payload:
            raise Refused(Error.TOO_LARGE, f"The message is larger than {limits.max_payload} bytes.")
        try:
            # First, since a megabyte of arrays takes 200 ms to decode.
            jsontext.check_values(bytes(msg))
            jsontext.decode(bytes(msg), limits.max_depth, MAX_REWRITTEN)
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"msg is not valid: {error.detail}.") from None
