"""``Hooks``: one daemon of a cluster at a time makes the events, and passes them to their consumers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.interfaces import IStore, StoreUnavailable
from kschat.chat.outbox import IOutbox, LeaseLost
from kschat.chat.presence import State
from kschat.counters import Counters
from kschat.hooks.consumer import Consumer
from kschat.hooks.deriver import Deriver, DeriverSettings
from kschat.hooks.dispatcher import Dispatcher
from kschat.hooks.events import OF_PRESENCE, TYPES
from kschat.hooks.marks import Marks
from kschat.outage_log import OutageLog

#: Seconds between two looks at the store. What was logged before one look is looked at in the next: most messages are
#: delivered by then.
LOOK_EVERY: Final = 1.0

#: Seconds for which a daemon has the lease. After it crashes, another daemon can have it that much later.
LEASE: Final = 10.0

#: Seconds after a daemon gets the lease until it checks whether the users who are known as connected still are: after a
#: restart, clients need a moment to reconnect.
RECONCILE_AFTER: Final = 15.0

#: Seconds between two looks at how much there is, and for what is too old.
LOOK_AFTER_EVERY: Final = 10.0

#: Events that are too old and are deleted at once.
MAX_EXPIRED: Final = 1000

#: Seconds that deliveries may take when the daemon ends.
STOP_WAIT: Final = 2.0


class HooksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator has set.

    Attributes:
        deriver: how events are made.
        max_age: seconds after which an event is not tried any more.
    """

    deriver: DeriverSettings = DeriverSettings()
    max_age: float = 86_400.0


class Hooks:
    """The hooks of one daemon. It is a backend of the daemon: ``start`` and ``stop``.

    Args:
        store: has an outbox.
        presence: says who is online, on whatever daemon, and when the others were last seen.
        consumers: are given the events.
        clock: the reactor.
        wall: the time of day.
        settings: what the operator has set.
        counters: count.
        uniform: gives a random number between two others.

    Attributes:
        marks: must be told who comes and goes on this daemon.
        is_leading: whether this daemon makes the events.
        waiting, oldest: events in the queues, and when the oldest was made (milliseconds since 1970), as last looked.
    """

    log = Logger()

    def __init__(
        self,
        store: IStore,
        presence: Callable[[Sequence[str]], Deferred[dict[str, State]]],
        consumers: Sequence[Consumer],
        *,
        clock: IReactorTime,
        wall: WallClock,
        settings: HooksSettings,
        counters: Counters,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._outbox: IOutbox = store.outbox
        self._consumers = consumers
        self._clock = clock
        self._wall = wall
        self._settings = settings
        self._counters = counters
        self._holder = token_hex(8)
        self.marks = Marks(self._outbox, clock, counters)
        self._deriver = Deriver(
            store,
            presence,
            clock=clock,
            wall=wall,
            settings=settings.deriver,
            counters=counters,
            random=lambda: token_hex(16),
        )
        self._dispatchers = [
            Dispatcher(
                consumer,
                self._outbox,
                clock=clock,
                wall=wall,
                counters=counters,
                uniform=uniform,
                max_age=settings.max_age,
            )
            for consumer in consumers
        ]
        self._outages = OutageLog(self.log)
        self._running = False
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self.is_leading = False
        self.waiting = 0
        self.oldest: int | None = None
        # The lease was taken, or extended, then; where the log ended at the look before; when to do what is not done at
        # each look.
        self._leased = 0.0
        self._end: str | None = None
        self._reconcile_at: float | None = None
        self._look_after_at = 0.0
        self._want()

    def use(self, settings: HooksSettings) -> bool:
        """Other settings hold from now on, and the consumers may want other types of events.

        Returns:
            Whether events of presence are wanted, and were not before: then ``marks`` must be told who is here.
        """
        self._settings = settings
        self._deriver.settings = settings.deriver
        before = self.marks.on
        self._want()
        for dispatcher in self._dispatchers:
            dispatcher.max_age = settings.max_age
            dispatcher.resume()
        return self.marks.on and not before

    def _want(self) -> None:
        wanted = {type_: [one.name for one in self._consumers if type_ in one.types] for type_ in TYPES}
        self._deriver.wanted = {type_: names for type_, names in wanted.items() if names}
        self.marks.on = bool(OF_PRESENCE & self._deriver.wanted.keys())

    def start(self) -> None:
        """Begin to look at the store."""
        self._running = True
        self._look_in(LOOK_EVERY)

    def stop(self) -> Deferred[None]:
        """Finish what is being delivered, as far as that can be done soon, and give the lease back."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for dispatcher in self._dispatchers:
            dispatcher.pause()
        return Deferred.fromCoroutine(self._end_all())

    async def _end_all(self) -> None:
        if self._looking is not None:
            await self._looked()
        drained = [dispatcher.drained() for dispatcher in self._dispatchers]
        late = self._clock.callLater(STOP_WAIT, self._cancel)
        await gatherResults([*drained, self.marks.stop()])
        if late.active():
            late.cancel()
        await gatherResults([consumer.stop() for consumer in self._consumers])
        if self.is_leading:
            self.is_leading = False
            try:
                await self._outbox.release(self._holder)
            except StoreUnavailable:
                return  # it expires

    def _cancel(self) -> None:
        for dispatcher in self._dispatchers:
            dispatcher.cancel()

    def _looked(self) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        looking = self._looking
        if looking is None:
            return succeed(None)
        looking.addBoth(lambda _: ended.callback(None))
        return ended

    def _look_in(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = Deferred.fromCoroutine(self._step())
        looking.addErrback(self._failed).addBoth(self._done)

    def _done(self, _: object) -> None:
        self._looking = None
        if self._running:
            self._look_in(LOOK_EVERY)

    def _failed(self, failure: Failure) -> None:
        if failure.check(LeaseLost) is not None:
            self._follow()
        elif failure.check(StoreUnavailable) is not None:
            self._outages.down("hooks wait for the store: {reason}", failure.getErrorMessage())
        else:
            self.log.failure("events of hooks could not be made", failure)

    async def _step(self) -> None:
        """One look."""
        if not await self._lease():
            self._follow()
            return
        self._lead()
        self._deriver.begin()
        upto, self._end = self._end, await self._outbox.end()
        if upto is not None:
            await self._repeat(lambda: self._deriver.messages(self._holder, upto))
        await self._repeat(lambda: self._deriver.joins(self._holder))
        now = self._clock.seconds()
        if self._reconcile_at is not None and now >= self._reconcile_at:
            if self.marks.on:
                await self._outbox.mark_connected()
            self._reconcile_at = None
        await self._repeat(lambda: self._deriver.marks(self._holder))
        await self._repeat(lambda: self._deriver.waiting(self._holder))
        if now >= self._look_after_at:
            await self._look_after()
            self._look_after_at = now + LOOK_AFTER_EVERY
        self._outages.up()
        self._dispatch()

    async def _repeat(self, look: Callable[[], Any]) -> None:
        """Look until there is no more, with turns of the reactor for others in between."""
        while await look():
            if not self._running:
                return
            self._dispatch()
            await self._deriver.rest()
            if self._clock.seconds() - self._leased > LEASE / 3 and not await self._lease():
                raise LeaseLost

    async def _lease(self) -> bool:
        began = self._clock.seconds()
        has = bool(await self._outbox.acquire(self._holder, LEASE))
        if has:
            self._leased = began
        return has

    def _lead(self) -> None:
        if not self.is_leading:
            self.is_leading = True
            self._end = None
            self._reconcile_at = self._clock.seconds() + RECONCILE_AFTER
            self._look_after_at = 0.0
            self.log.info("this daemon makes the events of hooks")

    def _follow(self) -> None:
        if self.is_leading:
            self.log.info("another daemon makes the events of hooks")
            self.is_leading = False
            self.waiting, self.oldest = 0, None
            for dispatcher in self._dispatchers:
                dispatcher.pause()

    def _dispatch(self) -> None:
        # A daemon that stood still may have lost the lease.
        if self._running and self._clock.seconds() - self._leased < LEASE:
            for dispatcher in self._dispatchers:
                dispatcher.look()

    async def _look_after(self) -> None:
        before = milliseconds(self._wall) - int(self._settings.max_age * 1000)
        while expired := await self._outbox.expire(before, MAX_EXPIRED):
            self._counters.hook_dropped["age"] += expired
            await self._deriver.rest()
        backlog = await self._outbox.backlog()
        self.waiting, self.oldest = backlog.events, backlog.oldest
        for reason, count, text in (
            ("log", backlog.lost, "{count} messages were stored without a hook: too many waited"),
            ("joins", backlog.lost_joins, "{count} joins were dropped without a hook: too many waited"),
            ("marks", backlog.lost_marks, "{count} users came or went without a hook: too many waited"),
        ):
            if count:
                self._counters.hook_dropped[reason] += count
                self.log.error(text, count=count)
