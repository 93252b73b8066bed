"""The outbox of the memory store: lost when the process exits, like the messages."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.local_outbox import Lease, Marks
from kschat.chat.changes import is_update
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import Stored
from kschat.chat.mids import number_of
from kschat.chat.outbox import (
    MAX_DROPPED,
    MAX_JOINS,
    MAX_PLACES,
    Backlog,
    Commit,
    Event,
    IOutbox,
    Join,
    LeaseLost,
    Logged,
    LogPage,
    Mark,
    Queued,
    Retry,
    WaitingUser,
)


class _Schedule:
    """What is due when, sorted: to find the first does not take longer if there are many."""

    def __init__(self) -> None:
        self._times: list[tuple[int, Any]] = []
        self._of: dict[Any, int] = {}

    def set(self, what: Any, due: int) -> None:
        """It is due then, whatever was said of it before."""
        self.remove(what)
        self._of[what] = due
        insort(self._times, (due, what))

    def remove(self, what: Any) -> None:
        """It is not due any more."""
        due = self._of.pop(what, None)
        if due is not None:
            del self._times[bisect_left(self._times, (due, what))]

    def upto(self, before: int, limit: int) -> list[tuple[int, Any]]:
        """The first that are due."""
        return list(islice(takewhile(lambda one: one[0] <= before, self._times), limit))


class _Row(msgspec.Struct):
    """An event in the queue of a consumer."""

    consumer: str
    event: Event
    attempts: int = 0
    note: bytes = b""


@implementer(IOutbox)
class MemoryOutbox:
    """See ``IOutbox``.

    Args:
        messages: returns some messages whose numbers are greater than the first, and not greater than the second.
        number: returns the number of the newest message.
        cursors: returns how far users have confirmed.
    """

    def __init__(
        self,
        messages: Callable[[int, int, int], Sequence[Stored]],
        number: Callable[[], int],
        cursors: Callable[[Sequence[str]], dict[str, int]],
    ) -> None:
        self._messages = messages
        self._number = number
        self._cursors = cursors
        self._position = number()
        self._lease = Lease()
        self._joins: deque[Join] = deque(maxlen=MAX_JOINS)
        self._lost_joins = 0
        self._joined = 0
        self._marks = Marks()
        self._connected: dict[str, None] = {}
        # The last offset of which each user was told who waits, and when to look at whom.
        self._told: dict[str, int] = {}
        self._look = _Schedule()
        # By number, and so the oldest first.
        self._rows: dict[int, _Row] = {}
        self._due: dict[str, _Schedule] = {}
        self._given = 0

    def joined(self, room: str, user: str, at: int) -> None:
        """A user became a member of a room."""
        self._joined += 1
        self._lost_joins += len(self._joins) == MAX_JOINS
        self._joins.append(Join(self._joined, room, user, at))

    def forget(self, user: str) -> None:
        """The user is erased."""
        self._marks.forget(user)
        self._connected.pop(user, None)
        self._stop_waiting(user)
        self._joins = deque((one for one in self._joins if one.user != user), MAX_JOINS)
        for number in [n for n, row in self._rows.items() if user in (row.event.user, *row.event.named)]:
            self._drop(number)

    def _stop_waiting(self, user: str) -> None:
        self._told.pop(user, None)
        self._look.remove(user)

    def _drop(self, number: int) -> None:
        row = self._rows.pop(number, None)
        if row is not None:
            self._due[row.consumer].remove(number)

    def acquire(self, holder: str, seconds: float) -> Deferred[bool]:
        """See ``IOutbox``. No other daemon has this store."""
        return succeed(self._lease.acquire(holder))

    def release(self, holder: str) -> Deferred[None]:
        self._lease.release(holder)
        return succeed(None)

    def end(self) -> Deferred[str]:
        return succeed(str(self._number()))

    def log(self, upto: str, limit: int) -> Deferred[LogPage]:
        found = self._messages(self._position, int(upto), limit)
        if not found:
            return succeed(LogPage((), upto if int(upto) > self._position else None))
        listed: list[Logged] = []
        last, places = found[0], 0
        for last in found:
            if not is_update(last.message):
                listed.append(_logged(last))
                places += len(last.places)
                if places >= MAX_PLACES:
                    break
        return succeed(LogPage(listed, str(number_of(last.message.mid))))

    def joins(self, limit: int) -> Deferred[list[Join]]:
        return succeed(list(islice(self._joins, limit)))

    def mark(self, users: Sequence[str]) -> Deferred[None]:
        self._marks.add(users)
        return succeed(None)

    def mark_connected(self) -> Deferred[None]:
        self._marks.add(tuple(self._connected))
        return succeed(None)

    def marks(self, limit: int) -> Deferred[list[Mark]]:
        return succeed(self._marks.oldest(limit))

    def connected(self, users: Sequence[str]) -> Deferred[set[str]]:
        return succeed({user for user in users if user in self._connected})

    def cursors(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed(self._cursors(users))

    def waiting(self, before: int, limit: int) -> Deferred[list[WaitingUser]]:
        return succeed([WaitingUser(user, due, self._told[user]) for due, user in self._look.upto(before, limit)])

    def commit(self, holder: str, commit: Commit) -> Deferred[int]:
        """See ``IOutbox``. It is as durable as this process."""
        if self._lease.holder != holder:
            return fail(LeaseLost())
        if commit.log is not None:
            self._position = max(self._position, int(commit.log))
        while self._joins and self._joins[0].number <= commit.joins:
            self._joins.popleft()
        self._marks.remove(commit.marks)
        self._connected.update(dict.fromkeys(commit.connected))
        for user in commit.disconnected:
            self._connected.pop(user, None)
        for user in commit.settled:
            self._stop_waiting(user)
        waiting = [WaitingUser(user, due) for user, due in commit.undelivered.items() if user not in self._told]
        for one in (*commit.waiting, *waiting):
            self._told[one.user] = one.told
            self._look.set(one.user, one.due)
        added = 0
        for consumer, events in commit.events.items():
            added += len(events)
            for event in events:
                self._given += 1
                self._rows[self._given] = _Row(consumer, event)
                self._due.setdefault(consumer, _Schedule()).set(self._given, event.at)
        dropped = min(max(len(self._rows) - commit.most, 0), MAX_DROPPED + added)
        for number in list(islice(self._rows, dropped)):
            self._drop(number)
        return succeed(dropped)

    def queued(self, consumer: str, before: int, limit: int) -> Deferred[list[Queued]]:
        schedule = self._due.get(consumer)
        numbers = [] if schedule is None else [number for _, number in schedule.upto(before, limit)]
        rows = [(number, self._rows[number]) for number in numbers]
        return succeed([Queued(number, row.event, row.attempts, row.note) for number, row in rows])

    def settle(self, consumer: str, done: Sequence[int], again: Sequence[Retry]) -> Deferred[None]:
        for number in done:
            self._drop(number)
        for retry in again:
            if (row := self._rows.get(retry.number)) is not None:
                row.attempts, row.note = retry.attempts, retry.note
                self._due[consumer].set(retry.number, retry.due)
        return succeed(None)

    def expire(self, before: int, limit: int) -> Deferred[int]:
        old = list(islice(takewhile(lambda number: self._rows[number].event.at < before, self._rows), limit))
        for number in old:
            self._drop(number)
        return succeed(len(old))

    def backlog(self) -> Deferred[Backlog]:
        oldest = next(iter(self._rows.values()), None)
        lost_joins, self._lost_joins = self._lost_joins, 0
        return succeed(
            Backlog(
                len(self._rows),
                None if oldest is None else oldest.event.at,
                lost_joins=lost_joins,
                lost_marks=self._marks.take_lost(),
            )
        )


def _logged(stored: Stored) -> Logged:
    message = stored.message
    room = message.recipient if is_room(message.recipient) else None
    return Logged(message.mid, message.sender, room, message.time, stored.places)
