"""Keeps a connection to a server: connects, prepares it for use, and connects again whenever it ends.

Both brokers stand on this. What may happen when is in ``TRANSITIONS``, the one table at the end:

::

    IDLE --start--> CONNECTING                 CONNECTING --connected--> PREPARING
    PREPARING --ready--> UP                    CONNECTING --lost--> PAUSED
    PREPARING --lost--> PAUSED                 UP --lost--> PAUSED
    PAUSED --timer--> CONNECTING               PAUSED --stop--> IDLE
    CONNECTING --stop--> STOPPING              PREPARING --stop--> STOPPING
    UP --stop--> LEAVING                       STOPPING --lost--> IDLE
    LEAVING --lost--> IDLE

``ReconnectMachine`` has the states, and neither connections nor a clock. ``ReconnectingClient`` does what the machine
asks for, with a ``Connector`` that knows the server. Whatever a connector raises is a reason to try again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, auto
from random import uniform
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class ReconnectState(Enum):
    """How a client stands to its server."""

    #: It was not started, or has ended.
    IDLE = auto()
    #: TCP is being connected.
    CONNECTING = auto()
    #: A connection is there, and is prepared.
    PREPARING = auto()
    #: A connection can be used.
    UP = auto()
    #: A while passes until the next try.
    PAUSED = auto()
    #: It shall end, and what was never up ends.
    STOPPING = auto()
    #: It shall end, and the connection that was up ends.
    LEAVING = auto()


class ReconnectInput(Enum):
    """What can happen."""

    START = auto()
    STOP = auto()
    CONNECTED = auto()
    READY = auto()
    #: The connection has ended, or there was none to be had.
    LOST = auto()
    TIMER = auto()


class RetryPolicy(msgspec.Struct, frozen=True):
    """How long to wait for the next try.

    Attributes:
        first: seconds after the first failure, and after a connection that was up.
        last: seconds at the most.
        factor: by which each wait is longer than the one before.
        spread: the least and the most of a wait that is really waited, as a share of it: many clients of one server
            shall not come back at once.
    """

    first: float = 0.1
    last: float = 3.0
    factor: float = 1.6
    spread: tuple[float, float] = (0.7, 1.3)

    def after(self, wait: float) -> float:
        """The wait after another one, which is 0 where there was none."""
        return min(self.factor * wait, self.last) or self.first


class ReconnectActions(Protocol):
    """What a machine asks for. Each may put the next input into it at once."""

    def connect(self) -> None:
        """Begin to connect: CONNECTED or LOST follows."""

    def prepare(self) -> None:
        """Prepare the connection: READY or LOST follows."""

    def announce_up(self) -> None:
        """The connection can be used. LOST follows when it has ended."""

    def announce_down(self) -> None:
        """The connection that could be used has ended."""

    def announce_failure(self) -> None:
        """There was no connection that could be used."""

    def wait(self, seconds: float) -> None:
        """TIMER follows then."""

    def cancel_wait(self) -> None:
        """TIMER must not follow."""

    def end(self) -> None:
        """End what there is, or is about to be: LOST follows."""

    def announce_end(self) -> None:
        """All has ended."""


class ReconnectMachine:
    """The states, without I/O.

    Args:
        actions: does what is asked for.
        policy: of the waits.
    """

    def __init__(self, actions: ReconnectActions, policy: RetryPolicy) -> None:
        self.state = ReconnectState.IDLE
        self._actions = actions
        self._policy = policy
        self._wait = 0.0

    def put(self, what: ReconnectInput) -> None:
        """Something happened. In a state where it means nothing: nothing."""
        entry = TRANSITIONS.get((self.state, what))
        if entry is not None:
            self.state, action = entry
            action(self)

    def _connect(self) -> None:
        self._actions.connect()

    def _begin(self) -> None:
        self._wait = 0.0
        self._actions.connect()

    def _prepare(self) -> None:
        self._actions.prepare()

    def _up(self) -> None:
        self._wait = 0.0
        self._actions.announce_up()

    def _failed(self) -> None:
        self._actions.announce_failure()
        self._pause()

    def _down(self) -> None:
        self._actions.announce_down()
        self._pause()

    def _pause(self) -> None:
        if self.state is ReconnectState.PAUSED:  # else who was told has stopped it
            self._wait = self._policy.after(self._wait)
            self._actions.wait(self._wait)

    def _stop_waiting(self) -> None:
        self._actions.cancel_wait()
        self._actions.announce_end()

    def _end(self) -> None:
        self._actions.end()

    def _ended(self) -> None:
        self._actions.announce_end()

    def _left(self) -> None:
        self._actions.announce_down()
        self._actions.announce_end()


class Connection(Protocol):
    """What a client needs of a connection.

    Attributes:
        ended: whether it has.
        gone: fires when it has.
    """

    ended: bool
    gone: Deferred[None]

    def abort(self, why: str) -> None:
        """End it now, whatever waits to be sent."""


C = TypeVar("C", bound=Connection)


class Connector(Protocol[C]):
    """Knows the server, and is told what becomes of the connections to it."""

    async def connect(self) -> C:
        """A new connection. Raises whatever prevents it."""

    async def prepare(self, connection: C, progress: Callable[[], object]) -> None:
        """Make a connection ready for use. Raises whatever prevents it.

        Args:
            connection: a new one.
            progress: to be called when the server has answered something: then it may take as long again.
        """

    def end(self, connection: C) -> None:
        """End a connection that is up, in good order where that can be done."""

    def give_up(self, connection: C, error: BaseException) -> None:
        """End a connection that could not be prepared, at once."""

    def on_up(self, connection: C) -> None:
        """A connection can be used."""

    def on_down(self, connection: C) -> None:
        """A connection that could be used has ended."""

    def on_failure(self, connection: C | None, error: BaseException) -> None:
        """There was no connection; or one has ended that could not be used."""


class ReconnectingClient(Generic[C]):
    """Has a connection whenever there can be one.

    Args:
        connector: knows the server.
        clock: for the waits.
        policy: of the waits.
        patience: seconds that a server may take to answer while a connection is prepared.

    Attributes:
        connection: the one that can be used, or None.
        tries: how often it was tried to connect.
    """

    log = Logger()

    def __init__(self, connector: Connector[C], clock: IReactorTime, policy: RetryPolicy, patience: float) -> None:
        self._connector = connector
        self._clock = clock
        self._policy = policy
        self._patience = patience
        self._machine = ReconnectMachine(self, policy)
        self._timer: IDelayedCall | None = None
        # What goes on while there is no connection, and the one that is not up yet.
        self._connecting: Deferred[None] = succeed(None)
        self._candidate: C | None = None
        self._error: BaseException = CancelledError()
        self._stopped: Deferred[None] = succeed(None)
        self.connection: C | None = None
        self.tries = 0

    @property
    def state(self) -> ReconnectState:
        """Where it is."""
        return self._machine.state

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped."""
        return self.state not in (ReconnectState.IDLE, ReconnectState.STOPPING, ReconnectState.LEAVING)

    def start(self) -> None:
        """Begin. A server that is not there yet is waited for."""
        if self.state is ReconnectState.IDLE:
            self._stopped = Deferred()
            self._machine.put(ReconnectInput.START)

    def stop(self) -> Deferred[None]:
        """End. Fires when the connection has ended."""
        self._machine.put(ReconnectInput.STOP)
        ended: Deferred[None] = Deferred()
        self._stopped.addCallback(lambda _: ended.callback(None))
        return ended

    def abort(self, why: str) -> None:
        """End the connection, if there is one, at once; the next is tried."""
        for connection in (self.connection, self._candidate):
            if connection is not None:
                connection.abort(why)

    # What the machine asks for.

    def connect(self) -> None:
        self.tries += 1
        self._connecting = self._run(self._connect())

    async def _connect(self) -> None:
        try:
            self._candidate = await self._connector.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and tried again
            self._error = error
            self._machine.put(ReconnectInput.LOST)
            return
        if self.state is ReconnectState.STOPPING:
            await self._give_up(self._candidate, CancelledError())
        else:
            self._machine.put(ReconnectInput.CONNECTED)

    def prepare(self) -> None:
        assert self._candidate is not None
        self._run(self._prepare(self._candidate))

    async def _prepare(self, candidate: C) -> None:
        timer = self._clock.callLater(self._patience, candidate.abort, "it did not answer")

        def progress() -> None:
            if timer.active():
                timer.reset(self._patience)

        preparing = Deferred.fromCoroutine(self._connector.prepare(candidate, progress))
        # What it waits for may be answered by nobody, once the connection has ended.
        candidate.gone.addCallback(lambda _: preparing.cancel())
        try:
            await preparing
            # The client may have been stopped meanwhile, even by ``prepare`` itself: then it waits for this end.
            if candidate.ended or self.state is ReconnectState.STOPPING:
                raise CancelledError
        except Exception as error:  # noqa: BLE001 - as above
            await self._give_up(candidate, error)
            return
        finally:
            if timer.active():
                timer.cancel()
        self._machine.put(ReconnectInput.READY)

    async def _give_up(self, candidate: C, error: BaseException) -> None:
        self._error = error
        if not candidate.ended and not self._told(self._connector.give_up, candidate, error):
            candidate.abort("an error that should not be")
        await _when_gone(candidate)
        self._machine.put(ReconnectInput.LOST)

    def announce_up(self) -> None:
        connection, self._candidate = self._candidate, None
        assert connection is not None
        self.connection = connection
        self._told(self._connector.on_up, connection)
        self._run(self._wait_for_end(connection))

    async def _wait_for_end(self, connection: C) -> None:
        await _when_gone(connection)
        self._machine.put(ReconnectInput.LOST)

    def announce_down(self) -> None:
        connection, self.connection = self.connection, None
        self._told(self._connector.on_down, connection)

    def announce_failure(self) -> None:
        candidate, self._candidate = self._candidate, None
        self._told(self._connector.on_failure, candidate, self._error)

    def wait(self, seconds: float) -> None:
        low, high = self._policy.spread
        self._timer = self._clock.callLater(seconds * uniform(low, high), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._machine.put(ReconnectInput.TIMER)

    def cancel_wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        if self.connection is not None:
            if not self._told(self._connector.end, self.connection):
                self.connection.abort("an error that should not be")
        elif self._candidate is not None:
            self._candidate.abort("this daemon is shutting down")
        else:
            self._connecting.cancel()

    def announce_end(self) -> None:
        if self._candidate is not None:
            self.announce_failure()
        self._stopped.callback(None)

    def _told(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Tell the connector. Whether it raised nothing."""
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 - and is logged; who is told must not end the tries
            self.log.failure("a connection event could not be handled")
            return False
        return True

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(coroutine).addErrback(
            lambda failure: self.log.failure("a connection could not be kept", failure)
        )


async def _when_gone(connection: Connection) -> None:
    """Wait for a connection's end, with others who do."""
    gone: Deferred[None] = Deferred()
    connection.gone.addCallback(lambda _: gone.callback(None))
    await gone


Action = Callable[[ReconnectMachine], None]
_S, _I, _M = ReconnectState, ReconnectInput, ReconnectMachine

#: (state, input) -> (next state, what is done).
TRANSITIONS: Final[dict[tuple[ReconnectState, ReconnectInput], tuple[ReconnectState, Action]]] = {
    (_S.IDLE, _I.START): (_S.CONNECTING, _M._begin),
    (_S.CONNECTING, _I.CONNECTED): (_S.PREPARING, _M._prepare),
    (_S.CONNECTING, _I.LOST): (_S.PAUSED, _M._failed),
    (_S.CONNECTING, _I.STOP): (_S.STOPPING, _M._end),
    (_S.PREPARING, _I.READY): (_S.UP, _M._up),
    (_S.PREPARING, _I.LOST): (_S.PAUSED, _M._failed),
    (_S.PREPARING, _I.STOP): (_S.STOPPING, _M._end),
    (_S.UP, _I.LOST): (_S.PAUSED, _M._down),
    (_S.UP, _I.STOP): (_S.LEAVING, _M._end),
    (_S.PAUSED, _I.TIMER): (_S.CONNECTING, _M._connect),
    (_S.PAUSED, _I.STOP): (_S.IDLE, _M._stop_waiting),
    (_S.STOPPING, _I.LOST): (_S.IDLE, _M._ended),
    (_S.LEAVING, _I.LOST): (_S.IDLE, _M._left),
}
