"""Who may edit, delete, and react to a message, and the updates that do so. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from kschat.chat.changes import changes_of, peer_of
from kschat.chat.conversations import is_room
from kschat.chat.message import DELETE, EDIT, Error, Message, Refused, Update
from kschat.chat.recipients import ensure_may_write
from kschat.chat.tokens import Identity

#: What is said where there is no such message in any conversation that the user may see.
NO_MESSAGE: Final = "There is no such message in your conversations."

#: And where its text was deleted, before or meanwhile.
DELETED: Final = "The message was deleted."
GONE: Final = "There is no such message, or it was deleted."

_VERBS: Final = {EDIT: "edit", DELETE: "delete"}


def ensure_may(kind: str, target: Message | None, identity: Identity, *, within: float, now: int) -> Message:
    """The message, if ``identity`` may change it so.

    Args:
        kind: ``EDIT``, ``DELETE``, or ``REACT``.
        target: the message, in a conversation that the user may see; None if there is none.
        identity: who wants to.
        within: seconds for which a sender may edit and delete.
        now: milliseconds since 1970.

    Raises:
        Refused: INVALID if there is no such message, or it was deleted; NOT_ALLOWED if it is another's, if it is too
            old, or if the token does not allow its user to write to the peer.
    """
    if target is None:
        raise Refused(Error.INVALID, NO_MESSAGE)
    if kind != DELETE:
        if changes_of(target).deleted is not None:
            raise Refused(Error.INVALID, DELETED)
        if identity.to is not None:
            ensure_may_write(identity.to, peer_of(target, identity.user))
    verb = _VERBS.get(kind)
    if verb is None or (kind == DELETE and moderates(identity, target)):
        return target
    if target.sender != identity.user:
        raise Refused(Error.NOT_ALLOWED, f"You may {verb} your own messages only.")
    if not within or now - target.time > within * 1000:
        raise Refused(Error.NOT_ALLOWED, f"The message is too old to {verb}.")
    return target


def moderates(identity: Identity, target: Message) -> bool:
    """Whether a message is to a room whose messages ``identity`` may delete, whoever sent them."""
    room, rooms = target.recipient, identity.moderates
    return is_room(room) and (rooms == "*" or room in rooms or room[1:] in rooms)


def as_update(made: Message, target: Message, update: Update) -> Message:
    """A message that was made for the conversation of ``target``, as the update of it."""
    uid, pid = ids_in(target, made.sender)
    return msgspec.structs.replace(made, uId=uid, pId=pid, extra=update)


def ids_in(target: Message, user: str) -> tuple[int | str, int | str]:
    """How ``user`` and the conversation are written in an update of ``target``: as in that, where they stand there."""
    if target.sender == user:
        return target.uId, target.pId
    if is_room(target.recipient):
        return user, target.pId
    return target.pId, target.uId
