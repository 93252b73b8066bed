"""A compact encoding of the user and room ids in a message. Numbers stay numbers, however large."""

from __future__ import annotations

import json

from kschat.chat.message import Message


def ids_of(message: Message) -> int | str:
    """How the sender wrote the names: 1 for a number as ``uId``, 2 as ``pId``; both as JSON where they are others."""
    uid, pid = message.uId, message.pId
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


def written(ids: int | str, sender: str, recipient: str) -> tuple[int | str, int | str]:
    """``uId`` and ``pId`` as they were written."""
    if isinstance(ids, int):
        return int(sender) if ids & 1 else sender, int(recipient) if ids & 2 else recipient
    uid, pid = json.loads(ids)
    return uid, pid
