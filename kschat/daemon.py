"""The daemon's life: the order in which its parts start and stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.chat.application import Chat
from kschat.chat.interfaces import IRouter
from kschat.counters import Counters
from kschat.front.drain import Drain
from kschat.front.polling import LAST_WORDS_TIMEOUT
from kschat.front.service import CLOSE_TIMEOUT, FrontService, bounded_step

#: Seconds that each step of the end may take that stores or answers what was accepted.
DRAIN_TIMEOUT = 10.0

#: Seconds that the end may wait for spans to be sent.
TRACING_TIMEOUT = 2.0


class Backend(Protocol):
    """A store, a router or a bus."""

    def start(self) -> object:
        """Begin to connect."""

    def stop(self) -> Deferred[Any]:
        """End; fires when all has ended."""


class BackendService(Service):
    """A backend as a service.

    Args:
        name: ``store``, ``router``, ``bus``, ``keys``, ``hooks`` or ``tracing``.
        backend: the backend.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self.setName(name)
        self._backend = backend

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        self._backend.start()

    def stopService(self) -> Deferred[Any]:
        """End it."""
        super().stopService()
        return maybeDeferred(self._backend.stop)


class Daemon(MultiService):
    """One daemon: store, router, bus and front, as child services that start in this order.

    They end in the order of ``_end``, each step in bounded time: nothing that was accepted is lost, and a step that
    fails keeps none of the others from being taken.

    Args:
        front: listens, and has the connections.
        chat: what they are for, with its store and its bus.
        router: carries messages between daemons.
        clock: the reactor.
        keys: fetches the keys of tokens; None where they are in a file.
        hooks: ask and tell other people's servers.
        tracing: sends spans; None if there are none.
        drain_notice: seconds for which the daemon serves as before after it was told to end.
        drain_time: seconds over which connections are closed after that.
        parts: whether each external part (store, RabbitMQ, Redis) can be used, by name.

    Attributes:
        drain_notice, drain_time: see above; they may change.
    """

    log = Logger()

    def __init__(
        self,
        front: FrontService,
        *,
        chat: Chat,
        router: IRouter,
        clock: IReactorTime,
        keys: Backend | None = None,
        hooks: Sequence[Backend] = (),
        tracing: Backend | None = None,
        drain_notice: float = 0.0,
        drain_time: float = 0.0,
        parts: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        super().__init__()
        self._parts = parts
        sessions = front.front.sessions
        self._drain = Drain(sessions, clock=clock, settled=chat.settled)
        self.drain_notice = drain_notice
        self.drain_time = drain_time
        self.front = front
        self._chat = chat
        self._clock = clock
        self._store = BackendService("store", chat.context.store)
        self._router = BackendService("router", router)
        self._bus = BackendService("bus", chat.context.bus)
        self._keys = None if keys is None else BackendService("keys", keys)
        self._hooks = [BackendService(f"hook {number}", hook) for number, hook in enumerate(hooks)]
        self._tracing = None if tracing is None else BackendService("tracing", tracing)
        # Keys first: clients are waiting when the daemon listens.
        for child in filter(
            None, (self._tracing, self._keys, self._store, *self._hooks, self._router, self._bus, front)
        ):
            child.setServiceParent(self)

    @property
    def counters(self) -> Counters:
        """What the daemon counts."""
        return self._chat.context.counters

    def status(self) -> str:
        """The state of the daemon in one line, for the service manager."""
        connections, users = self.front.front.connections.open, self._chat.context.hub.users
        missing = [name for name, up in self._parts().items() if not up]
        what = "Closing" if self._chat.closing else "Serving"
        without = f"; {' and '.join(missing)} can't be used" if missing else ""
        return f"{what}: {connections} connections, {users} users{without}"

    def startService(self) -> None:
        """Start all, and read the list of revoked tokens as soon as the store can."""
        super().startService()
        self._chat.context.revoker.start()

    def stopService(self) -> Deferred[Any]:
        """Take nothing new, finish what was accepted, then close each connection with its reason."""
        # Not as a MultiService, which would end all children at once.
        Service.stopService(self)
        return Deferred.fromCoroutine(self._end())

    def hurry(self) -> None:
        """End without a notice and a drain, or cut them short. The order of the end stays."""
        self._drain.hurry()

    async def _end(self) -> None:
        chat, front = self._chat, self.front
        drain = self._drain
        chat.drain()
        notice, time = self.drain_notice, self.drain_time
        if notice and not drain.hurried:
            self.log.info("going down in {seconds:g} seconds: /readyz says so", seconds=notice)
            await drain.wait(notice)
        if not time or drain.hurried:
            chat.close()
        await front.stop_listening()
        self.log.info("going down: {connections} connections, no new ones", connections=front.front.connections.open)
        if not chat.context.delivery.closed:
            await drain.close_evenly(time)
            # Clients fetch them through other daemons, as long as the inner port is open.
            await drain.last_words(LAST_WORDS_TIMEOUT)
            chat.close()
        await front.stop_inner()
        await self._step(chat.context.delivery.drained, DRAIN_TIMEOUT, "messages were still not answered")
        chat.context.hub.deliver_rest()
        await front.close_connections()
        for hook in self._hooks:
            await self._step(hook.stopService, CLOSE_TIMEOUT, "a hook had not stopped")
        chat.context.presence.stop()
        chat.context.revoker.stop()
        await self._step(chat.context.hub.write_behind.write, DRAIN_TIMEOUT, "cursors were still not stored")
        if self._keys is not None:
            await self._step(self._keys.stopService, CLOSE_TIMEOUT, "the keys were still fetched")
        await self._step(self._bus.stopService, CLOSE_TIMEOUT, "the bus had not stopped")
        await self._step(self._router.stopService, CLOSE_TIMEOUT, "the router had not stopped")
        await self._step(self._store.stopService, DRAIN_TIMEOUT, "the store had not stopped")
        if self._tracing is not None:
            await self._step(self._tracing.stopService, TRACING_TIMEOUT, "spans were still not sent")
        chat.context.repeated.flush()

    async def _step(self, step: Callable[[], Deferred[Any] | None], seconds: float, late: str) -> None:
        await bounded_step(step, seconds=seconds, late=late, clock=self._clock, log=self.log)
