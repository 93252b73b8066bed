"""``IOutbox``: what a store keeps for hooks, and the types of it.

A store has an outbox only if hooks are on. It is four things that the daemon which has the lease turns into events:

- the log: messages as they were stored, in order, each with its places in inboxes;
- joins: users who became members of rooms;
- marks: users whose sockets came or went;
- waiting: users who had undelivered messages when they were looked at, and when to look at them again.

``commit`` takes what was looked at out of these and puts events into the queue, in one step: after a crash an event is
there or its cause is. Each consumer (webhooks, Web Push) has a queue of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from zope.interface import Interface

#: Batches of messages that the log of a store has which all daemons append to, while no daemon reads it. (The other
#: stores have the messages themselves.)
MAX_LOG: Final = 20_000

#: Places in inboxes after which a page of the log ends: the deriver looks each of them up.
MAX_PLACES: Final = 5000

#: Users with marks, and joins, that wait to be looked at.
MAX_MARKS: Final = 100_000
MAX_JOINS: Final = 100_000

#: Events that one commit drops, beside as many as it adds. There are more to drop after the operator has lowered the
#: bound. The store does nothing else meanwhile.
MAX_DROPPED: Final = 1000

#: Bytes of the note that a consumer may keep with an event.
MAX_NOTE: Final = 1000


class LeaseLost(Exception):
    """Another daemon makes the events now; nothing was changed."""


class Logged(msgspec.Struct, frozen=True, gc=False):
    """A message in the log.

    Attributes:
        mid, sender: of the message.
        room: it was sent to, with its ``#``; None for a message to a user.
        at: when it was stored, in milliseconds since 1970.
        places: each recipient, with the offset in that user's inbox.
    """

    mid: str
    sender: str
    room: str | None
    at: int
    places: tuple[tuple[str, int], ...]


class LogPage(msgspec.Struct, frozen=True, gc=False):
    """A part of the log.

    Attributes:
        messages: the oldest that were not committed. Updates are not among them.
        upto: what ``Commit.log`` says when these were looked at; None if there was nothing.
    """

    messages: Sequence[Logged]
    upto: str | None = None


class Join(msgspec.Struct, frozen=True, gc=False):
    """A user became a member of a room.

    Attributes:
        number: rises from join to join.
        room: with its ``#``.
        at: in milliseconds since 1970.
    """

    number: int
    room: str
    user: str
    at: int


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The sockets of a user came or went. ``number`` is another each time."""

    user: str
    number: int


class WaitingUser(msgspec.Struct, frozen=True, gc=False):
    """A user to look at.

    Attributes:
        due: when, in milliseconds since 1970.
        told: the last offset of which an event has told; 0 for none.
    """

    user: str
    due: int
    told: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """What a consumer is told.

    Attributes:
        id: the same at each try.
        type: such as ``message.undelivered``; see ``kschat/hooks/events.py``.
        user: whom it is about; of a message, the recipient.
        at: milliseconds since 1970.
        data: a JSON object.
        named: other users whom ``data`` names.
    """

    id: str
    type: str
    user: str
    at: int
    data: Raw
    named: tuple[str, ...] = ()


class Queued(msgspec.Struct, frozen=True, gc=False):
    """An event in the queue of a consumer.

    Attributes:
        number: in the store; rises from event to event.
        attempts: tries until now.
        note: what the consumer has kept with it.
    """

    number: int
    event: Event
    attempts: int = 0
    note: bytes = b""


class Retry(msgspec.Struct, frozen=True, gc=False):
    """An event is to be tried again, at ``due`` (milliseconds since 1970)."""

    number: int
    due: int
    attempts: int
    note: bytes = b""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what came of it.

    Attributes:
        log: ``LogPage.upto``: all up to there was looked at. None: nothing of the log was.
        joins: all up to this number were looked at; 0 for none.
        marks: those that were looked at. One whose number is another by now stays.
        connected, disconnected: users who are to be known as connected from now on, or no longer.
        undelivered: users with undelivered messages: when to look at them, unless that is known already.
        waiting: users who were looked at: when to look at them again.
        settled: users who were looked at, and have nothing to wait for.
        events: by consumer.
        most: events that the queues hold; the oldest are dropped, up to ``MAX_DROPPED`` more than ``events``.
    """

    log: str | None = None
    joins: int = 0
    marks: Sequence[Mark] = ()
    connected: Sequence[str] = ()
    disconnected: Sequence[str] = ()
    undelivered: Mapping[str, int] = {}
    waiting: Sequence[WaitingUser] = ()
    settled: Sequence[str] = ()
    events: Mapping[str, Sequence[Event]] = {}
    most: int = 100_000


class Backlog(msgspec.Struct, frozen=True, gc=False):
    """How much an outbox holds.

    Attributes:
        events: in the queues.
        oldest: when the oldest of them was made, in milliseconds since 1970; None for none.
        lost: messages that were not logged, since ``MAX_LOG`` was reached; counted since the last question, as the next
            ones.
        lost_joins: joins that were dropped, beyond ``MAX_JOINS``.
        lost_marks: users who were not marked, beyond ``MAX_MARKS``.
    """

    events: int = 0
    oldest: int | None = None
    lost: int = 0
    lost_joins: int = 0
    lost_marks: int = 0


class IOutbox(Interface):
    """What a store keeps for hooks. Each method fails with StoreUnavailable, soon, where it can't be done now.

    Nothing here delays ``IStore.append``. What a call has changed may be lost if the machine loses power, but not one
    part of it without the other.
    """

    def acquire(holder: str, seconds: float) -> Deferred[bool]:
        """Have the lease for so many seconds from now, unless another holder has it. Whether ``holder`` has it."""

    def release(holder: str) -> Deferred[None]:
        """Give the lease back, if ``holder`` has it."""

    def end() -> Deferred[str]:
        """Where the log ends now: what ``log`` takes."""

    def log(upto: str, limit: int) -> Deferred[LogPage]:
        """The oldest messages of the log up to there.

        These are ``limit``, fewer if they have ``MAX_PLACES`` places, or as many as were stored together.
        """

    def joins(limit: int) -> Deferred[list[Join]]:
        """The oldest joins."""

    def mark(users: Sequence[str]) -> Deferred[None]:
        """The sockets of these came or went. What is beyond ``MAX_MARKS`` is not kept, and counted."""

    def mark_connected() -> Deferred[None]:
        """Mark all users who are known as connected."""

    def marks(limit: int) -> Deferred[list[Mark]]:
        """The oldest marks."""

    def connected(users: Sequence[str]) -> Deferred[set[str]]:
        """Which of ``users`` are known as connected."""

    def cursors(users: Sequence[str]) -> Deferred[dict[str, int]]:
        """``InboxState.cursor`` of many users in one call; of those who have none: 0, or nothing."""

    def waiting(before: int, limit: int) -> Deferred[list[WaitingUser]]:
        """Users who are to be looked at up to a time (milliseconds since 1970), the first one first."""

    def commit(holder: str, commit: Commit) -> Deferred[int]:
        """Do all of it, or nothing.

        Returns:
            How many events were dropped, since there were too many. Fails with LeaseLost.
        """

    def queued(consumer: str, before: int, limit: int) -> Deferred[list[Queued]]:
        """The events of a consumer that are due at a time (milliseconds since 1970), the first one first."""

    def settle(consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
        """Events of a consumer need no other try, or are to be tried later."""

    def expire(before: int, limit: int) -> Deferred[int]:
        """Delete the oldest events, if they were made before a time (milliseconds since 1970). Returns how many."""

    def backlog() -> Deferred[Backlog]:
        """How much it holds."""
