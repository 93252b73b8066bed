"""The newest messages, in memory: those that are durable, but not in the inbox and thread tables yet.

Written by the writer's thread alone, and read by the reader's. Nothing is ever taken out: once all of a
``Recent`` is in the tables, another takes its place. So whoever takes the ``Recent`` first and then asks the
tables finds each message in at least one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from kschat.chat.interfaces import Entry, Stored
from kschat.chat.messages import Message


class Recent:
    """The newest messages.

    Attributes:
        inboxes: by user, by rising offset, without a hole.
        threads: by conversation: the two users in order, or a room.
    """

    __slots__ = ("inboxes", "threads")

    def __init__(self) -> None:
        self.inboxes: dict[str, list[Entry]] = {}
        self.threads: dict[tuple[str, str] | str, list[Message]] = {}

    def extend(self, fresh: Iterable[Stored]) -> None:
        """Take in messages that are durable now."""
        inboxes, threads = self.inboxes, self.threads
        for stored in fresh:
            message = stored.message
            for user, offset in stored.places:
                entries = inboxes.get(user)
                if entries is None:
                    entries = inboxes[user] = []
                entries.append(Entry(offset, message))
            key = thread_key(message.sender, message.recipient)
            messages = threads.get(key)
            if messages is None:
                messages = threads[key] = []
            messages.append(message)


def thread_key(user: str, peer: str) -> tuple[str, str] | str:
    """The key of a conversation: its two users in order, or the room."""
    if peer[0] == "#":
        return peer
    return (user, peer) if user < peer else (peer, user)
