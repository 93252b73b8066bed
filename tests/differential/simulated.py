"""A store, a router and a bus behind simulated wires: whatever crosses one takes a while, and keeps its order there.

What crosses two wires may overtake: so it is between two daemons, and between a daemon's connections to store and bus.
The times come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import TypeVar

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from kschat.backends.memory import MemoryStore
from kschat.chat.bus import BusEvent, BusListener, IBus, Wants
from kschat.chat.cluster_commands import ClusterCommand, packed, unpacked
from kschat.chat.interfaces import (
    NO_BOUND,
    Blocks,
    Conversation,
    InboxPage,
    InboxState,
    IRouter,
    IStore,
    Page,
    Progress,
    RouterEvent,
    RouterListener,
    Stored,
    StoreListener,
)
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

T = TypeVar("T")

#: Seconds that something takes on a wire: mostly little, now and then long.
DELAYS = (0.0, 0.0, 0.0005, 0.001, 0.001, 0.002, 0.005, 0.02)


#: The same of a wire that may be slow.
SLOW = (*DELAYS, 0.05, 0.1)


class Wire:
    """One direction of a connection: what is put in comes out later, in the same order."""

    def __init__(self, clock: IReactorTime, random: Random, delays: Sequence[float]) -> None:
        self._clock = clock
        self._random = random
        self._delays = delays
        self._last = 0.0

    def put(self, arrives: Callable[[], object]) -> None:
        """Have ``arrives`` called when it is through."""
        now = self._clock.seconds()
        self._last = max(self._last, now + self._random.choice(self._delays))
        self._clock.callLater(self._last - now, arrives)


class Line:
    """A connection to a server: what is asked is done there when it arrives, and answered in the same order."""

    def __init__(self, clock: IReactorTime, random: Random, delays: Sequence[float] = DELAYS) -> None:
        self.up, self.down = Wire(clock, random, delays), Wire(clock, random, DELAYS)

    def ask(self, do: Callable[[], Deferred[T]]) -> Deferred[T]:
        """The answer to what ``do`` finds at the server."""
        answer: Deferred[T] = Deferred()
        self.up.put(lambda: do().addBoth(lambda found: self.down.put(lambda: answer.callback(found))))
        return answer


@implementer(IStore)
class FarStore:
    """One daemon's connections to a store: one for what writes, one for what reads."""

    keeps = True
    up = True
    outbox = None

    def __init__(self, store: MemoryStore, clock: IReactorTime, random: Random) -> None:
        self._store = store
        self._writes, self._reads = Line(clock, random, SLOW), Line(clock, random)
        self.epoch = store.epoch

    def attach(self, listener: StoreListener) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        return self._writes.ask(lambda: self._store.append(batch))

    def change(self, update: Message) -> Deferred[Stored]:
        return self._writes.ask(lambda: self._store.change(update))

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return self._reads.ask(lambda: self._store.find(user, mid, peer))

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return self._reads.ask(lambda: self._store.readers(room, user, mid))

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self._reads.ask(lambda: self._store.inbox(user))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reads.ask(lambda: self._store.ends(users))

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return self._reads.ask(lambda: self._store.read(user, after, limit))

    def is_outdated(self, offset: int) -> None:
        self._store.is_outdated(offset)

    def save_progress(self, progress: Progress) -> Deferred[None]:
        return self._writes.ask(lambda: self._store.save_progress(progress))

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reads.ask(lambda: self._store.last_seen(users))

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return self._reads.ask(lambda: self._store.history(user, peer, before=before, limit=limit))

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return self._reads.ask(lambda: self._store.conversations(user, limit, before=before))

    def rooms(self, user: str) -> Deferred[list[str]]:
        return self._reads.ask(lambda: self._store.rooms(user))

    def erase(self, user: str) -> Deferred[int]:
        return self._writes.ask(lambda: self._store.erase(user))

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        return self._writes.ask(lambda: self._store.mark_read(user, peer, mid))

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        return self._writes.ask(lambda: self._store.join(room, user, most, most_rooms=most_rooms))

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return self._writes.ask(lambda: self._store.leave(room, user))

    def members(self, room: str) -> Deferred[list[str]]:
        return self._reads.ask(lambda: self._store.members(room))

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self._writes.ask(lambda: self._store.block(user, peer, most))

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self._writes.ask(lambda: self._store.unblock(user, peer))

    def blocked(self, user: str) -> Deferred[list[str]]:
        return self._reads.ask(lambda: self._store.blocked(user))

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        return self._reads.ask(lambda: self._store.blocks(user, peers))

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        return self._writes.ask(lambda: self._store.subscribe(user, subscription, most))

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return self._writes.ask(lambda: self._store.unsubscribe(user, endpoint))

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self._reads.ask(lambda: self._store.subscriptions(user))

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        return self._writes.ask(lambda: self._store.revoke(revocation, now=now, most=most))

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return self._reads.ask(lambda: self._store.revocations(after, limit))


class Exchange:
    """What routers have in common: who is bound where."""

    def __init__(self) -> None:
        self.routers: list[FarRouter] = []


@implementer(IRouter)
class FarRouter:
    """One daemon's router, as RabbitMQ's: users of the daemon that publishes have it at once, others later."""

    up = True
    alone = False
    figures: Mapping[str, int] = MappingProxyType({})

    def __init__(self, exchange: Exchange, clock: IReactorTime, random: Random) -> None:
        self._exchange = exchange
        self._line = Line(clock, random)
        self._listener: RouterListener | None = None
        self._wanted: dict[str, set[str]] = {}
        self.bound: set[str] = set()
        exchange.routers.append(self)

    def attach(self, listener: RouterListener) -> None:
        self._listener = listener

    def start(self) -> None:
        if self._listener is not None:
            self._listener.on_router_event(RouterEvent.UP)

    def stop(self) -> Deferred[None]:
        self._exchange.routers.remove(self)
        return self._line.ask(lambda: succeed(None))

    def bind(self, user: str, socket: str) -> Deferred[None]:
        sockets = self._wanted.setdefault(user, set())
        sockets.add(socket)

        def now() -> Deferred[None]:
            if user in self._wanted:
                self.bound.add(user)
            return succeed(None)

        return self._line.ask(now)

    def unbind(self, user: str, socket: str) -> None:
        sockets = self._wanted.get(user, set())
        sockets.discard(socket)
        if not sockets and self._wanted.pop(user, None) is not None:
            self._line.up.put(lambda: None if user in self._wanted else self.bound.discard(user))

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        self.deliver([one for one in batch if any(user in self._wanted for user, _ in one.places)])

        def now() -> Deferred[list[bool]]:
            for router in self._exchange.routers:
                if router is not self:
                    router.arrived(batch)
            bound = [router.bound for router in self._exchange.routers]
            return succeed([any(user in some for some in bound for user, _ in one.places) for one in batch])

        return self._line.ask(now)

    def arrived(self, batch: Sequence[Stored]) -> None:
        """Messages are at the exchange: those to users that are bound now are on their way."""
        mine = [one for one in batch if any(user in self.bound for user, _ in one.places)]
        if mine:
            self._line.down.put(lambda: self.deliver(mine))

    def deliver(self, batch: Sequence[Stored]) -> None:
        """Hand on what is for users here."""
        if batch and self._listener is not None:
            self._listener.deliver(batch)


class Hall:
    """What buses have in common: who listens, who is where, who watches, what is wanted."""

    def __init__(self) -> None:
        self.buses: list[FarBus] = []
        self.seen: dict[str, int] = {}

    def has(self, user: str) -> bool:
        return any(user in bus.entered for bus in self.buses)

    def changed(self, user: str, online: bool, seen: int | None) -> None:
        for bus in self.buses:
            if user in bus.watching:
                bus.hear(lambda bus=bus: bus.listener.on_presence(user, online, seen))  # type: ignore[misc]

    def wants_of_others(self, of: FarBus) -> Wants:
        wants = Wants.NOTHING
        for bus in self.buses:
            if bus is not of:
                wants |= bus.told_wants
        return wants


@implementer(IBus)
class FarBus:
    """One daemon's bus, as Redis's: a connection that publishes, and one that listens."""

    listener: BusListener
    up = True

    def __init__(self, hall: Hall, clock: IReactorTime, random: Random) -> None:
        self._hall = hall
        self._publishes, self._listens = Line(clock, random), Line(clock, random, SLOW)
        self.listening: set[str] = set()
        self.watching: set[str] = set()
        self.entered: set[str] = set()
        self.here_now: set[str] = set()
        self.told_wants = Wants.NOTHING

    def attach(self, listener: BusListener) -> None:
        self.listener = listener

    def start(self) -> None:
        self._hall.buses.append(self)
        self.listener.on_bus_event(BusEvent.UP)
        for bus in self._hall.buses:
            bus.listener.on_wants(self._hall.wants_of_others(bus))

    def stop(self) -> Deferred[None]:
        def now() -> Deferred[None]:
            self._hall.buses.remove(self)
            entered, self.entered = self.entered, set()
            for user in entered:
                if not self._hall.has(user):
                    self._hall.changed(user, False, self._hall.seen.pop(user, 1))
            self._want(Wants.NOTHING)
            return succeed(None)

        return self._publishes.ask(now)

    def hear(self, arrives: Callable[[], object]) -> None:
        """What was published arrives here later."""
        self._listens.down.put(arrives)

    def _subscribed(self, to: set[str], user: str) -> Deferred[None]:
        def now() -> Deferred[None]:
            to.add(user)
            return succeed(None)

        return self._listens.ask(now)

    def listen(self, user: str) -> Deferred[None]:
        both = [self._subscribed(self.listening, user), self._publishes.ask(lambda: succeed(None))]
        return gatherResults(both).addCallback(lambda _: None)

    def unlisten(self, user: str) -> None:
        self._listens.up.put(lambda: self.listening.discard(user))

    def daemons(self) -> Deferred[int | None]:
        return self._publishes.ask(lambda: succeed(len(self._hall.buses)))

    def watch(self, user: str) -> None:
        self._subscribed(self.watching, user)

    def unwatch(self, user: str) -> None:
        self._listens.up.put(lambda: self.watching.discard(user))

    def here(self, user: str) -> None:
        self.here_now.add(user)

        def now() -> None:
            fresh = not self._hall.has(user)
            self.entered.add(user)
            if fresh:
                self._hall.seen.pop(user, None)
                self._hall.changed(user, True, None)

        self._publishes.up.put(now)
        self.listener.on_presence(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        self.here_now.discard(user)

        def now() -> None:
            if user in self.entered:
                self.entered.discard(user)
                self._hall.seen[user] = max(seen, self._hall.seen.get(user, 0))
                if not self._hall.has(user):
                    self._hall.changed(user, False, self._hall.seen.pop(user))

        self._publishes.up.put(now)

    def want(self, wants: Wants) -> None:
        self._publishes.up.put(lambda: self._want(wants))

    def _want(self, wants: Wants) -> None:
        self.told_wants = wants
        for bus in self._hall.buses:
            if bus is not self:
                others = self._hall.wants_of_others(bus)
                bus.hear(lambda bus=bus, others=others: bus.listener.on_wants(others))  # type: ignore[misc]

    def _publish(self, user: str | None, command: ClusterCommand, echo: bool) -> int:
        heard = [bus for bus in self._hall.buses if bus is not self and (user is None or user in bus.listening)]
        for bus in [*heard, *([self] if echo and user in self.listening else [])]:
            bus.hear(lambda bus=bus: bus.listener.on_commands(user, unpacked(b"\x91" + packed(command))))  # type: ignore[misc]
        return len(heard)

    def publish(self, users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        for user in users:
            self._publishes.up.put(lambda user=user: self._publish(user, command, echo))  # type: ignore[misc]

    def publish_all(self, command: ClusterCommand) -> None:
        self._publishes.up.put(lambda: self._publish(None, command, False))

    def ask(self, user: str, command: ClusterCommand) -> Deferred[int]:
        return self._publishes.ask(lambda: succeed(self._publish(user, command, False)))

    def flush(self) -> Deferred[None]:
        return self._publishes.ask(lambda: succeed(None))

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        def now() -> Deferred[dict[str, bool | None]]:
            return succeed({user: self._hall.has(user) for user in users})

        def answered(found: dict[str, bool | None]) -> dict[str, bool | None]:
            return {user: True if user in self.here_now else known for user, known in found.items()}

        listens = self._listens.ask(lambda: succeed(None))
        return listens.addCallback(lambda _: self._publishes.ask(now)).addCallback(answered)
