"""A compact encoding of the user and room ids in a message, and of its sender's name.

Numbers stay numbers, however large. It is one field in every store and on RabbitMQ. What has no name is encoded as it
was before there were names.
"""

from __future__ import annotations

import json

from kschat.chat.message import Message


def ids_of(message: Message) -> int | str:
    """How the sender wrote the ids: 1 for a number as ``uId``, 2 as ``pId``; both as JSON where they are others.

    The name is the third in that JSON, where there is one.
    """
    uid, pid = message.uId, message.pId
    if message.name is not None:
        return json.dumps([uid, pid, message.name])
    flags = 0
    if type(uid) is int:
        flags = 1
        uid = str(uid)
    if type(pid) is int:
        flags |= 2
        pid = str(pid)
    if uid == message.sender and pid == message.recipient:
        return flags
    return json.dumps([message.uId, message.pId])


def written(ids: int | str, sender: str, recipient: str) -> tuple[int | str, int | str, str | None]:
    """``uId`` and ``pId`` as they were written, and the sender's name. Raises ValueError: it is no such encoding."""
    if isinstance(ids, int):
        try:
            return int(sender) if ids & 1 else sender, int(recipient) if ids & 2 else recipient, None
        except ValueError:  # whose text shows them
            raise ValueError("an id that should be a number") from None
    found = json.loads(ids)
    if type(found) is not list or len(found) not in (2, 3):
        raise ValueError("ids that are no list of two or three")
    uid, pid, *name = found
    if type(uid) not in (int, str) or type(pid) not in (int, str) or (name and type(name[0]) is not str):
        raise ValueError("ids that are neither numbers nor text")
    return uid, pid, name[0] if name else None
