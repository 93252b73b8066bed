"""A daemon in a simulated world: the code of kschat from the bytes of its clients to its store, router and bus."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import jwt
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.static import Data

from kschat.budget import Budget
from kschat.chat.application import NAMESPACE, Chat
from kschat.chat.context import make_context
from kschat.chat.delivery import Bounds
from kschat.chat.inflight import MAX_IN_FLIGHT
from kschat.chat.keys import Keys
from kschat.chat.mids import Mids
from kschat.chat.stream import MAX_EARLY
from kschat.chat.tokens import Verifier
from kschat.counters import Counters
from kschat.daemon import Daemon
from kschat.front.assembly import Front, FrontSettings
from kschat.front.engine import EngineSettings
from kschat.front.service import FrontService
from kschat.rates import RateSettings
from kschat.server import Server
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits
from simulate.clock import ProcessClock, VirtualClock
from simulate.ledger import Ledger, ModelStore
from simulate.network import Connection, TcpEnd
from simulate.services import Exchange, FarBus, FarRouter, FarStore, Hall

SECRET: Final = b"a secret of the simulation, 32 bytes or more"

#: Small bounds, so that they are reached.
BOUNDS: Final = Bounds(max_batch=20, max_in_flight=3, max_waiting=200)

#: Bytes that a daemon holds for all its clients.
MAX_BUFFERED: Final = 20_000_000

#: Seconds that a daemon may take to end in order: each step of its end is bounded.
END_SECONDS: Final = 60.0


def token(user: str) -> str:
    """A token that lets ``user`` in, for ever."""
    return jwt.encode({"data": {"id": user, "rooms": []}}, SECRET, "HS256")


class SimulatedDaemon:
    """One daemon, which can be killed, stopped in order, halted, and started again.

    Args:
        name: for what is noted.
        clock: the world's.
        ledger: the world's.
        store, exchange, hall: what the daemons share.
        streams: gives chances for a life of this daemon.

    Attributes:
        lives: whether its process is there.
        ending: whether it ends in order.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: VirtualClock,
        ledger: Ledger,
        store: ModelStore,
        exchange: Exchange,
        hall: Hall,
        streams: Callable[..., Random],
    ) -> None:
        self.name = name
        self._world = clock
        self._ledger = ledger
        self._model, self._exchange, self._hall = store, exchange, hall
        self._streams = streams
        self._life = 0
        self.lives = False
        self.ending = False
        self.halted = False
        self._queue: list[Callable[[], object]] = []
        self.connections: list[Connection] = []
        self.repeats = self.misses = 0
        self.skew = 0.0

    def start(self) -> None:
        """Start the process."""
        assert not self.lives
        self._life += 1
        life = self._life
        self.lives, self.ending, self.halted = True, False, False
        self._queue = []

        def enter(call: Callable[[], object]) -> None:
            if self._life == life and self.lives:
                self._enter(call)

        self.enter = enter
        random = self._streams("daemon", self.name, life)
        self.clock = clock = ProcessClock(self._world, enter)
        clock.skew = self.skew
        self.store = FarStore(self._model, self._world, self._streams("store", self.name, life), enter)
        self.router = FarRouter(self._exchange, self._world, self._streams("router", self.name, life), enter)
        self.bus = FarBus(self._hall, self._world, self._streams("bus", self.name, life), enter)
        self.router.repeats, self.router.misses = self.repeats, self.misses
        self.counters, cork, limits, rates = Counters(), Cork(), Limits(), RateSettings(presence_interval=0.1)
        self.budget = Budget(MAX_BUFFERED, self.counters.evicted)
        self.context = make_context(
            budget=self.budget,
            clock=clock,
            wall=clock.wall,
            verifier=Verifier(Keys.from_secret(SECRET), ("HS256",), clock.wall),
            store=self.store,
            router=self.router,
            bus=self.bus,
            cork=cork,
            mids=Mids(f"{random.getrandbits(32):08x}"),
            bounds=BOUNDS,
            limits=limits,
            max_room=100,
            max_rooms=100,
            counters=self.counters,
            uniform=random.uniform,
            rates=rates,
            name=self.name,
        )
        chat = Chat(self.context)
        server = Server(clock, observer=chat)
        server.mount(NAMESPACE, chat)
        self.front = Front(
            server,
            clock,
            budget=self.budget,
            settings=FrontSettings(engine=EngineSettings(), limits=limits, access_log=False),
            counters=self.counters,
            cork=cork,
            client=Data(b"", "text/javascript"),
            wall=clock.wall,
            busy=lambda: self.context.delivery.busy,
            is_full=lambda: self.context.delivery.is_full,
        )
        self._site = self.front.site(Resource())
        service = FrontService(MultiService(), self.front, clock)
        self._daemon = Daemon(service, chat=chat, router=self.router, clock=clock)
        self._ledger.note("start", self.name)
        self._enter(self._daemon.startService)

    def accept(self, end: TcpEnd) -> IProtocol | None:
        """See ``network.Listener``."""
        if not self.lives or self.ending:
            return None
        protocol: IProtocol | None = self._site.buildProtocol(end.getPeer())
        return protocol

    def kill(self) -> None:
        """The process ends at once."""
        if not self.lives:
            return
        self._ledger.note("kill", self.name)
        self._ledger.counts["kills"] += 1
        self._gone()
        for part in (self.store, self.router, self.bus):
            part.kill()

    def stop(self) -> None:
        """SIGTERM. When it has ended, ``lives`` is False."""
        if not self.lives or self.ending:
            return
        self._ledger.note("stop", self.name)
        self.ending = True
        life = self._life
        late = self._world.callLater(END_SECONDS, self._end_late)

        def ended(result: object) -> None:
            late.cancel()
            if self._life == life and self.lives:
                self._ledger.note("stopped", self.name)
                self._world.callLater(0, self._has_ended, result)

        self._late = late
        self._enter(lambda: _both(self._daemon.stopService(), ended))

    def halt(self) -> None:
        """The process stands still: SIGSTOP, or a virtual machine that is moved."""
        if self.lives:
            self._ledger.note("halt", self.name)
            self.halted = True

    def go_on(self) -> None:
        """It goes on; all that was due in the meantime happens now."""
        if self.lives and self.halted:
            self._ledger.note("go on", self.name)
            self.halted = False
            queue, self._queue = self._queue, []
            for at, call in enumerate(queue):
                if self.halted or not self.lives:
                    self._queue = queue[at:] + self._queue
                    return
                self._enter(call)

    def check(self) -> None:
        """Whether every bound holds."""
        if not self.lives:
            return
        delivery, fail = self.context.delivery, self._ledger.fail
        if delivery.waiting > BOUNDS.max_waiting or delivery.in_flight > BOUNDS.max_in_flight:
            fail(self.name, "has", delivery.waiting, "messages waiting, and", delivery.in_flight, "batches in flight")
        if not 0 <= self.budget.held <= MAX_BUFFERED:
            fail(self.name, "holds", self.budget.held, "bytes")
        for session in self.context.hub.sessions(None):
            stream = session.stream
            if len(stream.in_flight) > MAX_IN_FLIGHT or len(stream._early) > MAX_EARLY:
                fail(self.name, "has too much in flight for", session.user)

    def _enter(self, call: Callable[[], object]) -> None:
        if self.halted:
            self._queue.append(call)
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a reactor goes on after a bug, and this world ends with it
            if self._ledger.violation is None:
                self._ledger.violation = f"{self.name}: {error!r} was raised\n{Failure().getTraceback()}"

    def _has_ended(self, result: object) -> None:
        if self.lives and self.ending:
            if isinstance(result, Failure):
                self._ledger.fail(self.name, "did not end in order:", result.getErrorMessage())
            self._check_end()
            self._gone()

    def _gone(self) -> None:
        self.lives = False
        self.halted = False
        self._queue = []
        if self.ending and self._late.active():
            self._late.cancel()
        self.clock.stop()
        for connection in self.connections:
            connection.killed()
        self.connections = []

    def _end_late(self) -> None:
        self._ledger.fail(self.name, "has not ended after", END_SECONDS, "seconds:", *self.clock.names())

    def _check_end(self) -> None:
        """Nothing is left of a daemon that has ended in order."""
        fail = self._ledger.fail
        if self.context.delivery.waiting or self.context.delivery.in_flight:
            fail(self.name, "has ended, and messages wait")
        if self.context.hub.users or len(self.front.sessions):
            fail(
                self.name, "has ended, with", self.context.hub.users, "users and", len(self.front.sessions), "sessions"
            )
        if self.budget.held and not self.front.connections.open and not self.front.sessions.lingering:
            fail(self.name, "has ended, and holds", self.budget.held, "bytes")


def _both(fires: Deferred[Any], called: Callable[[object], None]) -> None:
    fires.addBoth(called)
