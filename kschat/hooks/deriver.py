"""``Deriver``: looks at what the store has logged, and makes events of it.

Each step ends in a commit, which takes what was looked at out of the store's log and puts the events into its queues.
What fails in between is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.chat.changes import is_update
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import Entry, IStore
from kschat.chat.outbox import Commit, Event, IOutbox, Logged, WaitingUser
from kschat.chat.presence import State
from kschat.counters import Counters
from kschat.hooks import events
from kschat.hooks.events import CONNECTED, DISCONNECTED, JOINED, STORED, UNDELIVERED, UndeliveredData

#: Messages of the log, and joins, of one step.
MAX_LOGGED: Final = 200

#: Users that the store or the bus is asked about in one call, and marks of one step.
MAX_USERS: Final = 200

#: Events that are made in one turn, and of one commit, during which the store does nothing else: those who send wait.
MAX_EVENTS: Final = 50

#: After each step, the reactor and the store are free for others for this part of the time that the step took; seconds
#: of the longest such rest.
REST: Final = 0.5
MAX_REST: Final = 0.02

#: Messages of a user that are looked at for ``message.undelivered``, and pages in which they are read.
MAX_COUNTED: Final = 100
MAX_PAGES: Final = 4


class DeriverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator has set.

    Attributes:
        after: seconds for which a message must be undelivered.
        every: seconds between two events ``message.undelivered`` of a user.
        most: events that the queues hold.
    """

    after: float = 60.0
    every: float = 300.0
    most: int = 100_000


class Deriver:
    """Makes events.

    Args:
        store: has the log, and inboxes.
        presence: says who is online, on whatever daemon.
        clock: the reactor, which is free for others between two steps.
        wall: the time of day.
        settings: what the operator has set.
        counters: count events.
        random: makes a part of an id.

    Attributes:
        settings: see above; they may change.
        wanted: the consumers of each type of event. Events of other types are not made.
    """

    def __init__(
        self,
        store: IStore,
        presence: Callable[[Sequence[str]], Deferred[dict[str, State]]],
        *,
        clock: IReactorTime,
        wall: WallClock,
        settings: DeriverSettings,
        counters: Counters,
        random: Callable[[], str],
    ) -> None:
        self._store = store
        self._outbox: IOutbox = store.outbox
        self._presence = presence
        self._clock = clock
        self._wall = wall
        self.settings = settings
        self._counters = counters
        self._random = random
        self._rested = clock.seconds()
        self.wanted: Mapping[str, Sequence[str]] = {}

    async def messages(self, holder: str, upto: str) -> bool:
        """Look at the oldest messages of the log up to there. Whether there may be more. Fails as ``commit`` does."""
        page = await self._outbox.log(upto, MAX_LOGGED)
        if page.upto is None:
            return False
        made: Iterable[Event] = ()
        late: dict[str, int] = {}
        if STORED in self.wanted or UNDELIVERED in self.wanted:
            undelivered = await self._undelivered(page.messages)
            if UNDELIVERED in self.wanted:
                for message, user in undelivered:
                    late.setdefault(user, message.at + self._after)
            if STORED in self.wanted:
                absent = await self._absent({user for _, user in undelivered})
                # One by one, as they are committed: of a message to a large room there are many.
                made = (events.stored(message, user) for message, user in undelivered if user in absent)
        await self._commit(holder, made, Commit(log=page.upto, undelivered=late))
        return True

    async def _undelivered(self, messages: Sequence[Logged]) -> list[tuple[Logged, str]]:
        """Each message with each of its recipients who have not confirmed it."""
        users = {user for message in messages for user, _ in message.places}
        cursors: dict[str, int] = {}
        for some in _parts(users):
            cursors.update(await self._outbox.cursors(some))
        return [
            (message, user) for message in messages for user, offset in message.places if offset > cursors.get(user, 0)
        ]

    async def _absent(self, users: set[str]) -> set[str]:
        """Those who have no socket. If that can't be known, a user counts as absent: the message was not delivered."""
        states: dict[str, State] = {}
        for some in _parts(users):
            states.update(await self._presence(some))
        return {user for user in users if not states[user][0]}

    async def joins(self, holder: str) -> bool:
        """Look at the oldest joins. As above."""
        joins = await self._outbox.joins(MAX_LOGGED)
        if not joins:
            return False
        made = map(events.joined, joins) if JOINED in self.wanted else ()
        await self._commit(holder, made, Commit(joins=joins[-1].number))
        return len(joins) == MAX_LOGGED

    async def marks(self, holder: str) -> bool:
        """Look at the users whose sockets came or went first. As above."""
        marks = await self._outbox.marks(MAX_USERS)
        if not marks:
            return False
        users = [mark.user for mark in marks]
        known = await self._outbox.connected(users)
        states = await self._presence(users)
        came = [user for user in users if states[user][0] and user not in known]
        went = [user for user in users if states[user][0] is False and user in known]
        now = milliseconds(self._wall)
        made = []
        if CONNECTED in self.wanted:
            made += [events.connected(user, now, self._random) for user in came]
        if DISCONNECTED in self.wanted:
            made += [events.disconnected(user, now, states[user][1], self._random) for user in went]
        # Those of whom it can't be known now are looked at again.
        seen = [mark for mark in marks if states[mark.user][0] is not None]
        done = Commit(marks=seen, connected=came, disconnected=went, events=self._queues(made), most=self.settings.most)
        await self._keep(holder, done)
        return len(seen) == MAX_USERS

    async def waiting(self, holder: str) -> bool:
        """Look at the users with undelivered messages who are due. As above."""
        now = milliseconds(self._wall)
        users = await self._outbox.waiting(now, MAX_EVENTS)
        made: list[Event] = []
        again: list[WaitingUser] = []
        settled: list[str] = []
        for user in users:
            event, later = await self._look(user, now) if UNDELIVERED in self.wanted else (None, None)
            if event is not None:
                made.append(event)
            if later is None:
                settled.append(user.user)
            else:
                again.append(later)
        if users:
            done = Commit(waiting=again, settled=settled, events=self._queues(made), most=self.settings.most)
            await self._keep(holder, done)
        return len(users) == MAX_EVENTS

    async def _look(self, waiting: WaitingUser, now: int) -> tuple[Event | None, WaitingUser | None]:
        """What is to be said of a user, and when to look again."""
        user, told = waiting.user, waiting.told
        state = await self._store.inbox(user)
        if state.last <= max(state.cursor, told):
            return None, None
        entries, more = await self._entries(user, state.cursor)
        messages = [entry for entry in entries if not is_update(entry.message)]
        fresh = [entry for entry in messages if entry.offset > told]
        if not fresh and not (more and messages):
            return None, None
        if fresh and fresh[0].message.time + self._after > now:
            return None, WaitingUser(user, fresh[0].message.time + self._after, told)
        found = [entry.message for entry in messages]
        rooms = (one.recipient for one in found if is_room(one.recipient))
        senders = (one.sender for one in found)
        data = UndeliveredData(
            user=user,
            count=len(messages),
            more=more,
            since=messages[0].message.time,
            newest=messages[-1].message.mid,
            senders=tuple(islice(dict.fromkeys(senders), events.MAX_NAMED)),
            rooms=tuple(islice(dict.fromkeys(rooms), events.MAX_NAMED)),
            conversations=events.conversations_of(found),
        )
        again = WaitingUser(user, now + int(self.settings.every * 1000), state.last)
        return events.undelivered(data, now, state.last), again

    async def _entries(self, user: str, after: int) -> tuple[list[Entry], bool]:
        """The oldest entries of an inbox beyond an offset, and whether there may be more."""
        entries: list[Entry] = []
        for _ in range(MAX_PAGES):
            page = await self._store.read(user, entries[-1].offset if entries else after, MAX_COUNTED - len(entries))
            entries += page.entries
            if not page.entries or page.entries[-1].offset >= page.last:
                return entries, False
            if len(entries) >= MAX_COUNTED:
                break
        return entries, True

    @property
    def _after(self) -> int:
        return int(self.settings.after * 1000)

    def _queues(self, made: Sequence[Event]) -> dict[str, list[Event]]:
        """Events by consumer."""
        queues: dict[str, list[Event]] = {}
        for event in made:
            self._counters.hook_events[event.type] += 1
            for consumer in self.wanted.get(event.type, ()):
                queues.setdefault(consumer, []).append(event)
        return queues

    async def _commit(self, holder: str, made: Iterable[Event], last: Commit) -> None:
        """Commit events in parts, and with the last part what they were made of.

        After a crash in between the first parts are made again: their ids are the same.
        """
        left = iter(made)
        part = list(islice(left, MAX_EVENTS))
        while len(part) == MAX_EVENTS:
            await self._keep(holder, Commit(events=self._queues(part), most=self.settings.most))
            await self.rest()
            part = list(islice(left, MAX_EVENTS))
        done = msgspec.structs.replace(last, events=self._queues(part), most=self.settings.most)
        await self._keep(holder, done)

    async def _keep(self, holder: str, commit: Commit) -> None:
        dropped = await self._outbox.commit(holder, commit)
        if dropped:
            self._counters.hook_dropped["full"] += dropped

    def rest(self) -> Deferred[Any]:
        """Fires after a rest: clients are served in between."""
        took = self._clock.seconds() - self._rested
        rested: Deferred[Any] = Deferred()

        def end() -> None:
            self._rested = self._clock.seconds()
            rested.callback(None)

        self._clock.callLater(min(max(took * REST, 0.0), MAX_REST), end)
        return rested

    def begin(self) -> None:
        """A look at the store begins."""
        self._rested = self._clock.seconds()


def _parts(users: set[str]) -> list[list[str]]:
    listed = sorted(users)
    return [listed[start : start + MAX_USERS] for start in range(0, len(listed), MAX_USERS)]
