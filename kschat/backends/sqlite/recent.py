"""The newest messages, in memory: those that are durable, but not in the inbox and thread tables yet.

Written by the writer's thread alone, and read by all. Nothing is ever taken out: once the first messages of a
``Recent`` are in the tables, another with the rest takes its place. So whoever takes the ``Recent`` first and then asks
the tables finds each message in at least one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from kschat.chat.interfaces import Entry, Stored
from kschat.chat.message import Message


class Recent:
    """The newest messages.

    They are sorted by inbox and conversation once somebody asks: under load most are in the tables before that.
    """

    __slots__ = ("_direct", "_inboxes", "_lock", "_messages", "_sorted", "_threads")

    def __init__(self) -> None:
        self._messages: list[Stored] = []
        self._sorted = 0
        self._lock = Lock()
        self._inboxes: dict[str, list[Entry]] = {}
        self._threads: dict[tuple[str, str] | str, list[Message]] = {}
        self._direct: dict[str, list[tuple[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def after(self, count: int) -> Recent:
        """Another, without the first ``count`` messages."""
        rest = Recent()
        rest._messages = self._messages[count:]
        return rest

    def extend(self, fresh: Iterable[Stored]) -> None:
        """Take in messages that are durable now."""
        self._messages.extend(fresh)

    @property
    def inboxes(self) -> Mapping[str, Sequence[Entry]]:
        """By user, by rising offset, without a hole."""
        self._sort()
        return self._inboxes

    @property
    def threads(self) -> Mapping[tuple[str, str] | str, Sequence[Message]]:
        """By conversation: the two users in order, or a room."""
        self._sort()
        return self._threads

    @property
    def direct(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """By user, the conversations of two in which there are messages, each once."""
        self._sort()
        return self._direct

    def _sort(self) -> None:
        # By whichever thread asks: the lock makes the other wait, and find it done.
        with self._lock:
            inboxes, threads = self._inboxes, self._threads
            # What comes meanwhile is sorted for who asks next.
            for stored in self._messages[self._sorted :]:
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
                    if not isinstance(key, str):
                        for user in set(key):
                            self._direct.setdefault(user, []).append(key)
                messages.append(message)
                self._sorted += 1


def thread_key(user: str, peer: str) -> tuple[str, str] | str:
    """The key of a conversation: its two users in order, or the room."""
    if peer[0] == "#":
        return peer
    return (user, peer) if user < peer else (peer, user)
