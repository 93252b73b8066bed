"""A store and a router inside this process: for one daemon, and gone with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from kschat.chat.interfaces import Deliver, IRouter, IStore, Stored
from kschat.chat.messages import Message

#: What a message costs beside its body and attachments, in bytes: a rough count of its objects.
OVERHEAD = 600


class _Inbox:
    """One user's messages: those kept have the offsets ``last - len(kept) + 1`` to ``last``."""

    __slots__ = ("kept", "last", "user")

    def __init__(self, user: str, last: int) -> None:
        self.user = user
        self.kept: deque[Stored] = deque()
        self.last = last


@implementer(IStore)
class MemoryStore:
    """Keeps the newest messages in memory; what is beyond its bounds is forgotten, oldest first.

    Args:
        max_messages: how many are kept.
        max_bytes: of their bodies and attachments, with ``OVERHEAD`` each.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        # Offsets of inboxes that were forgotten whole end here; new ones go on from it, so
        # that an offset never comes twice. (Keeping each would keep every id ever written to.)
        self._floor = 0
        self._inboxes: dict[str, _Inbox] = {}
        self._order: deque[_Inbox] = deque()
        self._known: dict[tuple[str, str], Stored] = {}

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. It is as durable as this process."""
        result = []
        for message in batch:
            key = None
            if message.cid is not None:
                key = (message.sender, message.cid)
                known = self._known.get(key)
                if known is not None:
                    result.append(Stored(known.message, known.offset, True))
                    continue
            inbox = self._inboxes.get(message.recipient)
            if inbox is None:
                inbox = self._inboxes[message.recipient] = _Inbox(message.recipient, self._floor)
            inbox.last += 1
            stored = Stored(message, inbox.last)
            inbox.kept.append(stored)
            self._order.append(inbox)
            self._bytes += _size(message)
            if key is not None:
                self._known[key] = stored
            result.append(stored)
        self._forget()
        return succeed(result)

    def read(self, user: str, after: int, limit: int) -> Deferred[list[Stored]]:
        """See ``IStore``."""
        inbox = self._inboxes.get(user)
        if inbox is None:
            return succeed([])
        first = inbox.last - len(inbox.kept) + 1
        skip = max(after + 1 - first, 0)
        return succeed(list(islice(inbox.kept, skip, skip + limit)))

    def _forget(self) -> None:
        while len(self._order) > self._max_messages or (self._bytes > self._max_bytes and self._order):
            # Each inbox stands in ``_order`` once a message, so its oldest is the one meant.
            inbox = self._order.popleft()
            message = inbox.kept.popleft().message
            if not inbox.kept:
                del self._inboxes[inbox.user]
                self._floor = max(self._floor, inbox.last)
            self._bytes -= _size(message)
            if message.cid is not None:
                self._known.pop((message.sender, message.cid), None)


def _size(message: Message) -> int:
    return OVERHEAD + len(bytes(message.msg)) + sum(map(len, message.attachments))


@implementer(IRouter)
class MemoryRouter:
    """Carries messages to the one daemon there is: this one."""

    def __init__(self) -> None:
        self._deliver: Deliver | None = None
        self._bound: set[str] = set()

    def attach(self, deliver: Deliver) -> None:
        """See ``IRouter``."""
        self._deliver = deliver

    def bind(self, user: str) -> Deferred[None]:
        """See ``IRouter``."""
        self._bound.add(user)
        return succeed(None)

    def unbind(self, user: str) -> None:
        """See ``IRouter``."""
        self._bound.discard(user)

    def publish(self, batch: Sequence[Stored]) -> Deferred[list[bool]]:
        """See ``IRouter``."""
        bound = self._bound
        carried = [stored.message.recipient in bound for stored in batch]
        if self._deliver is not None:
            self._deliver([one for one, here in zip(batch, carried, strict=True) if here])
        return succeed(carried)
