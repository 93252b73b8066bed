"""A store, a router and a bus behind wires: whatever crosses one takes a while, and keeps its order there.

What crosses two wires may overtake: so it is between two daemons, and between a daemon's connections to store and bus.
The times come from a seed. A daemon's connections to a server can be cut, held in one direction or both, and refused;
what was asked and not answered fails then, and may be done all the same, even later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
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
    RouterUnavailable,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

T = TypeVar("T")

#: Makes a call within a daemon, if that lives.
Enter = Callable[[Callable[[], object]], None]

#: Seconds that something takes on a wire: mostly little, now and then long.
DELAYS: Final = (0.0, 0.0, 0.0005, 0.001, 0.001, 0.002, 0.005, 0.02)


#: The same of a wire that may be slow.
SLOW: Final = (*DELAYS, 0.05, 0.1)

#: Seconds without an answer after which a daemon takes a connection for dead.
PATIENCE: Final = 5.0

#: Seconds between two tries to connect.
RETRY: Final = (0.1, 0.3, 1.0, 3.0)

#: Seconds after which the bus takes the users of a daemon off that it does not hear of.
EXPIRY: Final = 10.0


def at_once(call: Callable[[], object]) -> None:
    """The ``Enter`` of a daemon that always lives."""
    call()


class Wire:
    """One direction of a connection: what is put in comes out later, in the same order.

    Attributes:
        held: whether nothing comes out now.
    """

    def __init__(self, clock: IReactorTime, random: Random, delays: Sequence[float]) -> None:
        self._clock = clock
        self._random = random
        self._delays = delays
        self._last = 0.0
        self._waiting: deque[Callable[[], object]] = deque()
        self._due = 0
        self._life = 0
        self.held = False

    def put(self, arrives: Callable[[], object]) -> None:
        """Have ``arrives`` called when it is through."""
        now = self._clock.seconds()
        self._last = max(self._last, now + self._random.choice(self._delays))
        self._waiting.append(arrives)
        self._clock.callLater(self._last - now, self._is_due, self._life)

    def hold(self) -> None:
        """Let nothing through until ``release``."""
        self.held = True

    def release(self) -> None:
        """Let all through that is due."""
        self.held = False
        self._go()

    def drop(self) -> None:
        """What is under way never arrives."""
        self._waiting.clear()
        self._due = 0
        self._life += 1

    def _is_due(self, life: int) -> None:
        if life == self._life:
            self._due += 1
            self._go()

    def _go(self) -> None:
        while self._due and not self.held:
            self._due -= 1
            self._waiting.popleft()()


class Line:
    """A connection to a server: what is asked is done there when it arrives, and answered in the same order.

    Args:
        clock, random: see ``Wire``.
        delays: of what is asked.
        enter: brings answers into the daemon.
        unavailable: what fails when the connection ends.

    Attributes:
        is_up: whether there is a connection.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        delays: Sequence[float] = DELAYS,
        *,
        enter: Enter = at_once,
        unavailable: type[Exception] = StoreUnavailable,
    ) -> None:
        self._make = lambda: (Wire(clock, random, delays), Wire(clock, random, DELAYS))
        self.up, self.down = self._make()
        self._enter = enter
        self._unavailable = unavailable
        self._pending: dict[Deferred[Any], None] = {}
        self._late: list[Wire] = []
        self.is_up = True

    def ask(self, do: Callable[[], Deferred[T]]) -> Deferred[T]:
        """The answer to what ``do`` finds at the server."""
        if not self.is_up:
            return fail(self._unavailable("there is no connection"))
        answer: Deferred[T] = Deferred()
        self._pending[answer] = None
        down = self.down

        def answered(found: T | Failure) -> None:
            down.put(lambda: self._answer(answer, found))

        self.up.put(lambda: do().addBoth(answered))
        return answer

    def tell(self, do: Callable[[], object]) -> None:
        """Have ``do`` done at the server, without an answer."""
        if self.is_up:
            self.up.put(do)

    def hear(self, arrives: Callable[[], object]) -> None:
        """Have the server tell the daemon something."""
        if self.is_up:
            self.down.put(lambda: self._enter(arrives))

    def cut(self, late: bool) -> None:
        """The connection has ended.

        Args:
            late: whether what is on its way to the server is done there all the same, by and by.
        """
        if not self.is_up:
            return
        self.is_up = False
        self.down.drop()
        if late:
            self._late.append(self.up)
        else:
            self.up.drop()
        pending, self._pending = self._pending, {}
        for answer in pending:
            self._enter(lambda answer=answer: answer.errback(self._unavailable("the connection has ended")))  # type: ignore[misc]

    def renew(self) -> None:
        """There is another connection."""
        self.up, self.down = self._make()
        self.is_up = True

    def release(self) -> None:
        """Nothing is held any more, nor what came of connections that have ended."""
        late, self._late = self._late, []
        for wire in [*late, self.up, self.down]:
            wire.release()

    def _answer(self, answer: Deferred[T], found: T | Failure) -> None:
        if answer in self._pending:
            del self._pending[answer]
            self._enter(lambda: answer.callback(found))


class Attached:
    """One daemon's connections to a server, which begin and end together.

    Args:
        clock, random: see ``Wire``.
        enter: see ``Line``.
        lines: the connections.

    Attributes:
        is_up: whether they are there.
        refused: whether the server can't be connected to.
    """

    def __init__(self, clock: IReactorTime, random: Random, enter: Enter, *lines: Line) -> None:
        self._clock = clock
        self._random = random
        self._enter = enter
        self._lines = lines
        self._patience: IDelayedCall | None = None
        self._retry: IDelayedCall | None = None
        self._tries = 0
        self._dead = False
        self.is_up = True
        self.refused = False

    def cut(self, late: bool = False) -> None:
        """End the connections; see ``Line.cut``. The daemon notices at once, and connects again by and by."""
        if not self.is_up:
            return
        self._end(late)
        self._enter(self.on_down)
        self._tries = 0
        self._retry_later()

    def hold(self, *, requests: bool, answers: bool, lines: int | None = None) -> None:
        """Let nothing through in these directions. A daemon that is patient in vain ends the connections.

        Args:
            requests, answers: the directions.
            lines: of how many of the connections; None for all.
        """
        if not self.is_up:
            return
        for line in self._lines[:lines]:
            if requests:
                line.up.hold()
            if answers:
                line.down.hold()
        if self._patience is None:
            self._patience = self._clock.callLater(PATIENCE, self._lose_patience)

    def heal(self) -> None:
        """All comes through from now on, and the server can be connected to."""
        self.refused = False
        self._be_patient()
        for line in self._lines:
            line.release()

    def kill(self) -> None:
        """The daemon is dead. What it has asked for may still arrive."""
        self._dead = True
        self._end(late=True)
        for line in self._lines:
            line.release()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def on_down(self) -> None:
        """The connections have ended."""

    def on_up(self) -> None:
        """They are there again."""

    def _end(self, late: bool) -> None:
        self.is_up = False
        self._be_patient()
        for line in self._lines:
            line.cut(late)

    def _lose_patience(self) -> None:
        self._patience = None
        self.cut(late=True)

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _retry_later(self) -> None:
        wait = RETRY[min(self._tries, len(RETRY) - 1)] * self._random.uniform(0.7, 1.3)
        self._tries += 1
        self._retry = self._clock.callLater(wait, self._try)

    def _try(self) -> None:
        self._retry = None
        if self.refused:
            self._retry_later()
            return
        for line in self._lines:
            line.renew()
        self.is_up = True
        self._enter(self.on_up)


@implementer(IStore)
class FarStore(Attached):
    """One daemon's connections to a store: one for what writes, one for what reads.

    Args:
        store: the store.
        clock, random: see ``Wire``.
        enter: see ``Line``.
    """

    keeps = True
    outbox = None

    def __init__(self, store: MemoryStore, clock: IReactorTime, random: Random, enter: Enter = at_once) -> None:
        self._store = store
        self._writes, self._reads = Line(clock, random, SLOW, enter=enter), Line(clock, random, enter=enter)
        self._listener: StoreListener | None = None
        self.epoch = store.epoch
        super().__init__(clock, random, enter, self._writes, self._reads)

    @property
    def up(self) -> bool:
        return self.is_up

    def on_up(self) -> None:
        if self._listener is not None:
            self._listener.reconnected()

    def attach(self, listener: StoreListener) -> None:
        self._listener = listener

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
class FarRouter(Attached):
    """One daemon's router, as RabbitMQ's: users of the daemon that publishes have it at once, others later.

    Args:
        exchange: what it publishes to.
        clock, random: see ``Wire``.
        enter: see ``Line``.

    Attributes:
        repeats: how many of a hundred batches arrive twice.
        misses: how many of a hundred can't be brought whole.
    """

    alone = False
    figures: Mapping[str, int] = MappingProxyType({})

    def __init__(self, exchange: Exchange, clock: IReactorTime, random: Random, enter: Enter = at_once) -> None:
        self._exchange = exchange
        self._line = Line(clock, random, enter=enter, unavailable=RouterUnavailable)
        self._listener: RouterListener | None = None
        self._wanted: dict[str, set[str]] = {}
        # Whether all who are wanted were bound since the connection began.
        self._is_bound = True
        # How many queues the broker has taken away.
        self._queue = 0
        self.bound: set[str] = set()
        self.repeats = self.misses = 0
        exchange.routers.append(self)
        super().__init__(clock, random, enter, self._line)

    @property
    def up(self) -> bool:
        return self.is_up and self._is_bound

    def attach(self, listener: RouterListener) -> None:
        self._listener = listener

    def start(self) -> None:
        self._say(RouterEvent.UP)

    def stop(self) -> Deferred[None]:
        self._leave()
        stopped: Deferred[None] = self._line.ask(lambda: succeed(None)).addErrback(_none_if_away)
        return stopped.addCallback(lambda _: self.kill())

    def kill(self) -> None:
        super().kill()
        self._leave()

    def bind(self, user: str, socket: str) -> Deferred[None]:
        self._wanted.setdefault(user, set()).add(socket)
        if not self.up:
            return fail(RouterUnavailable("there is no connection"))
        return self._bind(user)

    def unbind(self, user: str, socket: str) -> None:
        sockets = self._wanted.get(user, set())
        sockets.discard(socket)
        if not sockets and self._wanted.pop(user, None) is not None:
            self._line.tell(lambda: None if user in self._wanted else self.bound.discard(user))

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        self.deliver([one for one in batch if any(user in self._wanted for user, _ in one.places)])
        if not self.up:
            return fail(RouterUnavailable("there is no connection"))

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
        if not mine:
            return
        if self.misses and self._random.randrange(100) < self.misses:
            users = list({user: None for one in mine for user, _ in one.places if user in self.bound})
            self._line.hear(lambda: self._miss(users))
            return
        queue = self._queue

        def arrive() -> None:
            if queue == self._queue:
                self.deliver(mine)

        self._line.hear(arrive)
        if self.repeats and self._random.randrange(100) < self.repeats:
            self._line.hear(arrive)

    def deliver(self, batch: Sequence[Stored]) -> None:
        """Hand on what is for users here."""
        if batch and self._listener is not None:
            self._listener.deliver(batch)

    def cancel(self) -> None:
        """The broker takes the queue away, with what is in it. The daemon declares another."""
        if self.up:
            self.bound.clear()
            self._queue += 1
            self._line.hear(self._cancelled)

    def on_down(self) -> None:
        self._is_bound = False
        self._say(RouterEvent.DOWN)

    def on_up(self) -> None:
        self._bind_all()

    def _end(self, late: bool) -> None:
        super()._end(late)
        self.bound.clear()

    def _cancelled(self) -> None:
        self._is_bound = False
        self._say(RouterEvent.CANCELLED)
        self._bind_all()

    def _bind_all(self) -> None:
        # The last answer says that those before it are bound.
        bound = [self._bind(user) for user in self._wanted] or [self._line.ask(lambda: succeed(None))]
        gatherResults(bound, consumeErrors=True).addCallbacks(lambda _: self._all_bound(), lambda _: None)

    def _all_bound(self) -> None:
        self._is_bound = True
        self._say(RouterEvent.UP)

    def _bind(self, user: str) -> Deferred[None]:
        def now() -> Deferred[None]:
            if user in self._wanted and not self._dead:
                self.bound.add(user)
            return succeed(None)

        return self._line.ask(now)

    def _leave(self) -> None:
        self.bound.clear()
        if self in self._exchange.routers:
            self._exchange.routers.remove(self)

    def _miss(self, users: Sequence[str]) -> None:
        if self._listener is not None:
            self._listener.missed(users)

    def _say(self, event: RouterEvent) -> None:
        if self._listener is not None:
            self._listener.on_router_event(event)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RouterUnavailable)


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

    def tell_wants(self, of: FarBus) -> None:
        """What one daemon wants has changed."""
        for bus in self.buses:
            if bus is not of:
                others = self.wants_of_others(bus)
                bus.hear(lambda bus=bus, others=others: bus.listener.on_wants(others))  # type: ignore[misc]

    def take_off(self, users: Sequence[str], seen: int) -> list[str]:
        """Those of ``users`` whom no daemon has any more; whoever watches them is told."""
        gone = [user for user in users if not self.has(user)]
        for user in gone:
            self.changed(user, False, seen)
        return gone


@implementer(IBus)
class FarBus(Attached):
    """One daemon's bus, as Redis's: a connection that publishes, and one that listens.

    Args:
        hall: what it has in common with others.
        clock, random: see ``Wire``.
        enter: see ``Line``.
    """

    listener: BusListener

    def __init__(self, hall: Hall, clock: IReactorTime, random: Random, enter: Enter = at_once) -> None:
        self._hall = hall
        self._publishes, self._listens = Line(clock, random, enter=enter), Line(clock, random, SLOW, enter=enter)
        # What the server has: whom this daemon listens to and watches, and who is on it.
        self.listening: dict[str, None] = {}
        self.watching: dict[str, None] = {}
        self.entered: dict[str, None] = {}
        self.told_wants = Wants.NOTHING
        # The same, as the daemon has it.
        self._listened: dict[str, None] = {}
        self._watched: dict[str, None] = {}
        self.here_now: dict[str, None] = {}
        self._left: dict[str, int] = {}
        self._wants = Wants.NOTHING
        self._is_ready = False
        self._expiry: IDelayedCall | None = None
        super().__init__(clock, random, enter, self._publishes, self._listens)

    @property
    def up(self) -> bool:
        return self.is_up and self._is_ready

    def attach(self, listener: BusListener) -> None:
        self.listener = listener

    def start(self) -> None:
        self._hall.buses.append(self)
        self._ready()
        for bus in self._hall.buses:
            bus.listener.on_wants(self._hall.wants_of_others(bus))

    def stop(self) -> Deferred[None]:
        def now() -> Deferred[None]:
            self._take_off(self._milliseconds())
            return succeed(None)

        if not self.up:
            self.kill()
            return succeed(None)
        return self._publishes.ask(now).addErrback(_nothing).addCallback(lambda _: self.kill())

    def kill(self) -> None:
        super().kill()
        self.listening.clear()
        self.watching.clear()
        self._expire_later()

    def hear(self, arrives: Callable[[], object]) -> None:
        """What was published arrives here later."""
        self._listens.hear(arrives)

    def listen(self, user: str) -> Deferred[None]:
        self._listened[user] = None
        if not self.up:
            return succeed(None)
        both = [self._subscribed(self.listening, user), self._publishes.ask(lambda: succeed(None))]
        return gatherResults(both, consumeErrors=True).addCallbacks(lambda _: None, _nothing)

    def unlisten(self, user: str) -> None:
        self._listened.pop(user, None)
        self._listens.tell(lambda: self.listening.pop(user, None))

    def daemons(self) -> Deferred[int | None]:
        if not self.up:
            return succeed(None)
        count: Deferred[int | None] = self._publishes.ask(lambda: succeed(len(self._hall.buses)))
        return count.addErrback(_nothing)

    def watch(self, user: str) -> None:
        self._watched[user] = None
        if self.up:
            self._subscribed(self.watching, user).addErrback(_nothing)

    def unwatch(self, user: str) -> None:
        self._watched.pop(user, None)
        self._listens.tell(lambda: self.watching.pop(user, None))

    def here(self, user: str) -> None:
        self.here_now[user] = None
        self._left.pop(user, None)
        self._publishes.tell(lambda: self._enter_user(user))
        self.listener.on_presence(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        self.here_now.pop(user, None)
        self._left[user] = seen

        def now() -> None:
            if user in self.entered:
                del self.entered[user]
                self._hall.seen[user] = max(seen, self._hall.seen.get(user, 0))
                if not self._hall.has(user):
                    self._hall.changed(user, False, self._hall.seen.pop(user))

        self._publishes.tell(now)

    def want(self, wants: Wants) -> None:
        self._wants = wants
        self._publishes.tell(lambda: self._want(wants))

    def publish(self, users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        if self.up:
            for user in users:
                self._publishes.tell(lambda user=user: self._publish(user, command, echo))  # type: ignore[misc]

    def publish_all(self, command: ClusterCommand) -> None:
        if self.up:
            self._publishes.tell(lambda: self._publish(None, command, False))

    def ask(self, user: str, command: ClusterCommand) -> Deferred[int]:
        if not self.up:
            return succeed(0)
        heard = self._publishes.ask(lambda: succeed(self._publish(user, command, False)))
        return heard.addErrback(lambda _: 0)

    def flush(self) -> Deferred[None]:
        if not self.up:
            return succeed(None)
        return self._publishes.ask(lambda: succeed(None)).addErrback(_nothing)

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        def now() -> Deferred[dict[str, bool | None]]:
            return succeed({user: self._hall.has(user) for user in users})

        def unknown(_: Failure) -> dict[str, bool | None]:
            return dict.fromkeys(users)

        def answered(found: dict[str, bool | None]) -> dict[str, bool | None]:
            return {user: True if user in self.here_now else known for user, known in found.items()}

        if not self.up:
            return succeed(answered(dict.fromkeys(users)))
        listens = self._listens.ask(lambda: succeed(None))
        asked = listens.addCallback(lambda _: self._publishes.ask(now))
        return asked.addErrback(unknown).addCallback(answered)

    def on_down(self) -> None:
        self._is_ready = False
        self.listener.on_bus_event(BusEvent.DOWN)

    def on_up(self) -> None:
        """Enter again, and listen again; then it is up."""

        def now() -> Deferred[None]:
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None
            if self not in self._hall.buses:
                self._hall.buses.append(self)
            for user in [user for user in self.entered if user not in self.here_now]:
                del self.entered[user]
                self._hall.take_off([user], self._left.get(user, 1))
            for user in self.here_now:
                self._enter_user(user)
            self._want(self._wants)
            return succeed(None)

        asked: list[Deferred[None]] = [self._publishes.ask(now)]
        asked += [self._subscribed(self.listening, user) for user in self._listened]
        asked += [self._subscribed(self.watching, user) for user in self._watched]
        gatherResults(asked, consumeErrors=True).addCallbacks(lambda _: self._ready(), _nothing)

    def _ready(self) -> None:
        self._is_ready = True
        self.listener.on_bus_event(BusEvent.UP)
        self.listener.on_wants(self._hall.wants_of_others(self))
        # Whoever came meanwhile.
        for user in self._listened:
            if user not in self.listening:
                self._subscribed(self.listening, user).addErrback(_nothing)
        for user in self._watched:
            if user not in self.watching:
                self._subscribed(self.watching, user).addErrback(_nothing)

    def _end(self, late: bool) -> None:
        # "It is dropped at once: nothing is told late." (``IBus``)
        super()._end(late and self._dead)
        self.listening.clear()
        self.watching.clear()
        self._expire_later()

    def _expire_later(self) -> None:
        if self._expiry is None and self in self._hall.buses:
            self._expiry = self._clock.callLater(EXPIRY, self._expire)

    def _expire(self) -> None:
        """Nothing was heard of this daemon for long."""
        self._expiry = None
        seen = self._milliseconds()
        gone = self._take_off(seen)
        for bus in self._hall.buses:
            if gone and bus.up:
                bus.hear(lambda bus=bus: bus.listener.on_daemon_lost(gone, seen))  # type: ignore[misc]
                break

    def _take_off(self, seen: int) -> list[str]:
        if self in self._hall.buses:
            self._hall.buses.remove(self)
        entered, self.entered = list(self.entered), {}
        self.told_wants = Wants.NOTHING
        self._hall.tell_wants(self)
        gone = []
        for user in entered:
            gone += self._hall.take_off([user], self._hall.seen.pop(user, seen))
        return gone

    def _milliseconds(self) -> int:
        return int(self._clock.seconds() * 1000)

    def _subscribed(self, to: dict[str, None], user: str) -> Deferred[None]:
        def now() -> Deferred[None]:
            to[user] = None
            return succeed(None)

        return self._listens.ask(now)

    def _enter_user(self, user: str) -> None:
        if self._dead:
            return  # it arrives late, and the bus knows already that the daemon is no more
        fresh = not self._hall.has(user)
        self.entered[user] = None
        if fresh:
            self._hall.seen.pop(user, None)
            self._hall.changed(user, True, None)

    def _want(self, wants: Wants) -> None:
        self.told_wants = wants
        self._hall.tell_wants(self)

    def _publish(self, user: str | None, command: ClusterCommand, echo: bool) -> int:
        heard = [bus for bus in self._hall.buses if bus is not self and (user is None or user in bus.listening)]
        for bus in [*heard, *([self] if echo and user in self.listening else [])]:
            bus.hear(lambda bus=bus: bus.listener.on_commands(user, unpacked(b"\x91" + packed(command))))  # type: ignore[misc]
        return len(heard)


def _nothing(_: object) -> None:
    """It can't be known now."""
