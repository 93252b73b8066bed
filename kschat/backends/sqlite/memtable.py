"""The newest messages in memory: durable in the message table, and not yet in the index tables.

Only the writer thread changes a ``MemTable``; all threads read it. Messages are never removed from one. Once the first
messages are in the index tables, a new ``MemTable`` with the rest replaces it. A reader that takes the ``MemTable``
first and then queries the tables therefore finds each message in at least one of the two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from threading import Lock
from typing import Final

import msgspec
from msgspec import Raw

from kschat.chat.changes import is_update
from kschat.chat.conversations import conversation_key
from kschat.chat.interfaces import Entry, Stored
from kschat.chat.lines import line_of
from kschat.chat.message import Message

#: For bisect.
_mid: Final = attrgetter("message.mid")


class MemTable:
    """The newest messages.

    They are sorted by inbox and conversation on first use. Under load most reach the index tables before that.
    """

    __slots__ = ("_direct", "_inboxes", "_lines", "_lock", "_messages", "_sorted", "_threads")

    def __init__(self) -> None:
        self._messages: list[Stored] = []
        # Of messages whose line is not their msg, by mid.
        self._lines: dict[str, Raw] = {}
        self._sorted = 0
        self._lock = Lock()
        self._inboxes: dict[str, list[Entry]] = {}
        self._threads: dict[tuple[str, str] | str, list[Message]] = {}
        self._direct: dict[str, list[tuple[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def after(self, count: int) -> MemTable:
        """A new one without the first ``count`` messages."""
        rest = MemTable()
        rest._messages = self._messages[count:]
        if rest._messages and self._lines:
            first = rest._messages[0].message.mid
            rest._lines = {mid: line for mid, line in self._lines.items() if mid >= first}
        return rest

    def extend(self, fresh: Iterable[Stored], lines: Mapping[str, Raw]) -> None:
        """Add messages that are durable. ``lines``: of those whose line is not their msg, by mid."""
        if lines:
            self._lines.update(lines)
        self._messages.extend(fresh)

    def replace(self, message: Message) -> None:
        """A message was changed, and that is durable. If it is one of these, it is the changed one from now on."""
        with self._lock:
            at = bisect_left(self._messages, message.mid, key=_mid)
            if at == len(self._messages) or self._messages[at].message.mid != message.mid:
                return
            places = self._messages[at].places
            self._messages[at] = Stored(message, places)
            line = line_of(message)
            if line is None:
                self._lines.pop(message.mid, None)
            else:
                self._lines[message.mid] = line
            if at >= self._sorted:
                return
            # (Readers have the lists themselves, and see one message or the other.)
            for user, offset in places:
                entries = self._inboxes[user]
                entries[offset - entries[0].offset] = Entry(offset, message)
            messages = self._threads[conversation_key(message.sender, message.recipient)]
            messages[bisect_left(messages, message.mid, key=attrgetter("mid"))] = message

    def listed(self, message: Message) -> tuple[Message, bool]:
        """One of its messages, with its line; whether that is not the whole msg."""
        line = self._lines.get(message.mid)
        if line is None:
            return message, False
        return msgspec.structs.replace(message, msg=line, attachments=()), True

    @property
    def inboxes(self) -> Mapping[str, Sequence[Entry]]:
        """Entries by user, by rising offset, dense."""
        self._sort()
        return self._inboxes

    @property
    def threads(self) -> Mapping[tuple[str, str] | str, Sequence[Message]]:
        """Messages by conversation: the sorted pair of users, or the room."""
        self._sort()
        return self._threads

    @property
    def direct(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Keys of the direct conversations of each user, each once."""
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
                self._sorted += 1
                if message.extra is not None and is_update(message):
                    continue
                key = conversation_key(message.sender, message.recipient)
                messages = threads.get(key)
                if messages is None:
                    messages = threads[key] = []
                    if not isinstance(key, str):
                        for user in set(key):
                            self._direct.setdefault(user, []).append(key)
                messages.append(message)
