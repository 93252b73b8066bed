"""The indexes of the memory store: inboxes and conversations, each a deque of messages."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Raw

from kschat.chat.interfaces import MAX_UNREAD, Entry, Stored
from kschat.chat.message import Message
from kschat.chat.mids import parse_number

#: For bisect.
BY_NUMBER: Final = attrgetter("number")


class IndexedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message in its conversation.

    Attributes:
        stored: the message.
        number: orders it, as its mid does.
        line: see ``lines.line_of``.
    """

    stored: Stored
    number: int
    line: Raw | None = None


class MemoryInbox:
    """The inbox of a user. Messages in ``kept`` have the offsets ``last - len(kept) + 1`` to ``last``.

    None stands where one was erased, but not at the beginning.
    """

    __slots__ = ("cursor", "kept", "last", "user")

    def __init__(self, user: str, last: int) -> None:
        self.user = user
        self.kept: deque[Message | None] = deque()
        self.last = last
        self.cursor = 0

    @property
    def first(self) -> int:
        """The smallest offset that is kept."""
        return self.last - len(self.kept) + 1

    def beyond(self, after: int) -> Iterator[Entry]:
        """The messages with greater offsets, by rising offset."""
        begin = max(after + 1, self.first)
        for offset, message in enumerate(islice(self.kept, begin - self.first, None), begin):
            if message is not None:
                yield Entry(offset, message)

    def forget_oldest(self) -> None:
        """The oldest message goes."""
        self.kept.popleft()
        self._strip()

    def erase(self, offset: int) -> None:
        """The message with this offset goes, if there is one."""
        if self.first <= offset <= self.last:
            self.kept[offset - self.first] = None
            self._strip()

    def _strip(self) -> None:
        while self.kept and self.kept[0] is None:
            self.kept.popleft()


class MemoryConversation:
    """A conversation: its messages, and each user's read mark. In a room, the users with a mark are the members."""

    __slots__ = ("kept", "key", "last", "read")

    def __init__(self, key: tuple[str, ...]) -> None:
        self.key = key
        self.kept: deque[IndexedMessage] = deque()
        self.last = 0
        self.read: dict[str, int] = {}

    @property
    def is_room(self) -> bool:
        """Whether it is a room's, and not that of two users."""
        return len(self.key) == 1

    def find(self, mid: str) -> IndexedMessage | None:
        """The message with this mid."""
        number = parse_number(mid)
        # Most conversations are not looked into: its user may have thousands.
        if number is None or not self.kept or not self.kept[0].number <= number <= self.last:
            return None
        at = bisect_left(self.kept, number, key=BY_NUMBER)
        found = self.kept[at] if at < len(self.kept) else None
        return found if found is not None and found.stored.message.mid == mid else None

    def replace(self, found: IndexedMessage, after: IndexedMessage) -> None:
        """Put a message in the place of another one with the same number."""
        self.kept[bisect_left(self.kept, found.number, key=BY_NUMBER)] = after

    def peer_of(self, user: str) -> str:
        """Its name to one of its users: the other user, or the room."""
        return self.key[0] if self.is_room or self.key[1] == user else self.key[1]

    def unread(self, user: str) -> int:
        """How many messages of others ``user`` did not mark as read, ``MAX_UNREAD`` at the most."""
        read = self.read.get(user, 0)
        count = 0
        for kept in reversed(self.kept):
            if kept.number <= read or count == MAX_UNREAD:
                break
            count += kept.stored.message.sender != user
        return count

    def between(self, after: int, upto: int) -> Iterator[Message]:
        """The messages whose numbers are greater than the one and not greater than the other."""
        start = bisect_right(self.kept, after, key=BY_NUMBER)
        # (By an index, each would be looked for from an end of the deque.)
        for one in islice(self.kept, start, bisect_right(self.kept, upto, key=BY_NUMBER)):
            yield one.stored.message
