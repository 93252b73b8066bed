"""What an update does to the message that it is of: the same in every store. Pure.

An update (``Edit``, ``Delete``, ``React``) is an entry in the inbox of everybody in the conversation, with an offset of
its own. It holds no text: a store reads the text from the message, as it is then, so that an edit of a text that was
edited again or deleted since shows no earlier one.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from kschat.chat.conversations import is_room
from kschat.chat.message import DELETE, EDIT, VOID, Changes, Error, Message, Update

#: Characters of a reaction: one emoji, with whatever joins it.
MAX_EMOJI: Final = 32

#: Users that have reacted to one message. Each page of history shows all of them.
MAX_REACTIONS: Final = 100

#: What is left of a text that was deleted, and what an update holds for a text.
NO_TEXT: Final = Raw(b"null")

_UNCHANGED: Final = Changes()


def changes_of(message: Message) -> Changes:
    """What became of a message, which is no update."""
    return message.extra if isinstance(message.extra, Changes) else _UNCHANGED


def update_of(message: Message) -> Update:
    """What makes ``message`` an update, which it is."""
    assert isinstance(message.extra, Update)
    return message.extra


def is_update(message: Message) -> bool:
    """Whether it is an update, and not a message."""
    return type(message.extra) is Update


def is_hidden(message: Message) -> bool:
    """Whether nobody is shown a message of an inbox: its text was deleted, or it tells of a text that is gone."""
    extra = message.extra
    if extra is None:
        return False
    return extra.kind == VOID if isinstance(extra, Update) else extra.deleted is not None


def peer_of(message: Message, user: str) -> str:
    """The conversation of ``user`` that a message is in: the room, or the other user."""
    return message.recipient if is_room(message.recipient) or message.sender == user else message.sender


def changed(target: Message, update: Message) -> Message | Error:
    """The message ``target`` after an update.

    The caller has checked that its sender may make it. The message may have been changed since then.

    Returns:
        The message; ``target`` itself if it is so already. INVALID for an edit of, or a reaction to, what was deleted;
        TOO_MANY if ``MAX_REACTIONS`` others have reacted.
    """
    about, now = update_of(update), changes_of(target)
    if now.deleted is not None:
        return target if about.kind == DELETE else Error.INVALID
    if about.kind == DELETE:
        return msgspec.structs.replace(target, msg=NO_TEXT, attachments=(), extra=Changes(deleted=update.time))
    if about.kind == EDIT:
        return msgspec.structs.replace(
            target,
            msg=update.msg,
            attachments=update.attachments,
            extra=Changes(edited=update.time, reactions=now.reactions),
        )
    others = tuple([one for one in now.reactions if one[0] != update.sender])
    reactions = (*others, (update.sender, about.emoji)) if about.emoji else others
    if reactions == now.reactions or (update.sender, about.emoji) in now.reactions:
        return target
    if len(reactions) > MAX_REACTIONS:
        return Error.TOO_MANY
    after = Changes(edited=now.edited, reactions=reactions)
    return msgspec.structs.replace(target, extra=None if after == _UNCHANGED else after)


def without_reaction(message: Message, user: str) -> Message:
    """A message without the reaction of ``user``; the message itself if it has none, as an update."""
    now = message.extra
    if not isinstance(now, Changes):
        return message
    reactions = tuple([one for one in now.reactions if one[0] != user])
    if len(reactions) == len(now.reactions):
        return message
    after = msgspec.structs.replace(now, reactions=reactions)
    return msgspec.structs.replace(message, extra=None if after == _UNCHANGED else after)


def without_text(update: Message) -> Message:
    """An update as a store keeps it."""
    return msgspec.structs.replace(update, msg=NO_TEXT, attachments=())


def with_text(update: Message, target: Message | None) -> Message:
    """An update as it is read: an edit has the text that ``target`` has now. ``target``: None if it is gone."""
    about = update_of(update)
    if about.kind != EDIT:
        return update
    if target is None or changes_of(target).deleted is not None:
        return msgspec.structs.replace(update, extra=msgspec.structs.replace(about, kind=VOID))
    return msgspec.structs.replace(update, msg=target.msg, attachments=target.attachments)
