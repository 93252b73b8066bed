"""The front's life: it listens, and shuts down in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred  # noqa: A004 - it is not Python's
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.front.assembly import Front
from kschat.wire.errors import Reason

#: Seconds that connections have to end; those left are cut by the process's end.
CLOSE_TIMEOUT = 3.0


class FrontService(Service):
    """Listens for a front.

    Args:
        ports: listens for clients; or several services that do.
        front: what connections speak to.
        clock: the reactor.
        inner: listens for operators, back ends and other daemons, until no client is left.
    """

    log = Logger()

    def __init__(self, ports: IService, front: Front, clock: IReactorTime, *, inner: IService | None = None) -> None:
        self.front = front
        # The inner ones first: what is said last is that clients are served.
        self._ports = (ports,) if inner is None else (inner, ports)
        self._clock = clock

    def privilegedStartService(self) -> None:
        """Listen, while the process may still take a low port. Raises CannotListen."""
        super().privilegedStartService()
        for ports in self._ports:
            ports.privilegedStartService()

    def startService(self) -> None:
        """Serve. Raises CannotListen."""
        super().startService()
        for ports in self._ports:
            ports.startService()

    async def stop_listening(self) -> None:
        """Take no new client; those that are here stay, and are served."""
        self.front.engine.close()
        await self._step(self._ports[-1].stopService, "the port was still open")

    async def stop_inner(self) -> None:
        """Take no new connection of operators, back ends and other daemons."""
        for ports in self._ports[:-1]:
            await self._step(ports.stopService, "an inner port was still open")

    async def close_connections(self) -> None:
        """Tell each client why, and wait until its connection has ended."""
        await self._step(self._close, "connections had not closed")
        self.front.repeated.flush()

    async def _step(self, step: Callable[[], Deferred[Any] | None], late: str) -> None:
        await bounded_step(step, seconds=CLOSE_TIMEOUT, late=late, clock=self._clock, log=self.log)

    def stopService(self) -> Deferred[None]:
        """Both, one after the other."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.stop_listening()
        await self.stop_inner()
        await self.close_connections()

    def _close(self) -> Deferred[None]:
        if self.front.peers is not None:
            self.front.peers.close()
        return self.front.engine.close_all(Reason.SHUTTING_DOWN)


async def bounded_step(
    step: Callable[[], Deferred[Any] | None], *, seconds: float, late: str, clock: IReactorTime, log: Logger
) -> None:
    """Take one step of an orderly end. Whatever becomes of it, the caller goes on to the next one.

    Args:
        step: begins it.
        seconds: that it may take.
        late: what was not done, for the log.
        clock: the reactor.
        log: is told of a step that failed, or took too long.
    """
    try:
        await maybeDeferred(step).addTimeout(seconds, clock)
    except TimeoutError:
        log.warn("{what} after {seconds} seconds", what=late, seconds=seconds)
    except Exception:  # noqa: BLE001 - and is logged
        log.failure("a step of the shutdown failed")
