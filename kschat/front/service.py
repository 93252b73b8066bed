"""Opens the front, and closes it in good order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred  # noqa: A004 - it is not Python's
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.chat.application import Chat
from kschat.chat.interfaces import IRouter
from kschat.front.engine import Engine
from kschat.front.peers import Peers
from kschat.wire.errors import Reason

#: Seconds that accepted messages have to be stored and answered when the daemon goes down.
DRAIN_TIMEOUT = 10.0

#: Seconds that connections have to end after that; those left are cut by the process's end.
CLOSE_TIMEOUT = 3.0


class FrontService(Service):
    """One daemon's front.

    Args:
        port: listens; or several that do.
        chat, router, engine: what is behind it.
        clock: the reactor.
        peers: other daemons, if there are any.
    """

    log = Logger()

    def __init__(
        self,
        port: Service,
        chat: Chat,
        router: IRouter,
        engine: Engine,
        clock: IReactorTime,
        peers: Peers | None = None,
    ) -> None:
        self._port = port
        self._chat = chat
        self._router = router
        self._engine = engine
        self._clock = clock
        self._peers = peers

    def privilegedStartService(self) -> None:
        """Listen, while the process may still take a low port."""
        super().privilegedStartService()
        self._port.privilegedStartService()

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self._chat.store.start()
        self._router.start()
        self._chat.replica.start()
        self._port.startService()

    async def _stop(self) -> None:
        chat, engine = self._chat, self._engine
        chat.closing = True
        await self._step(CLOSE_TIMEOUT, self._port.stopService, "the port was still open")
        self.log.info("going down: {connections} connections, no new ones", connections=engine.connections.open)
        await self._step(DRAIN_TIMEOUT, chat.delivery.drained, "messages were still unanswered")
        await self._step(CLOSE_TIMEOUT, self._close_all, "connections did not end by themselves")
        await self._step(DRAIN_TIMEOUT, chat.hub.notes.write, "cursors were still not stored")
        await self._step(CLOSE_TIMEOUT, chat.replica.stop, "the replica had not ended")
        await self._step(CLOSE_TIMEOUT, self._router.stop, "the router had not ended")
        await self._step(DRAIN_TIMEOUT, chat.store.stop, "the store had not ended")

    def _close_all(self) -> Deferred[None]:
        if self._peers is not None:
            self._peers.close()
        return self._engine.close_all(Reason.SHUTTING_DOWN)

    def stopService(self) -> Deferred[Any]:
        """Take nothing new, finish what was accepted, then close each connection with its reason."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _step(self, seconds: float, begin: Callable[[], Deferred[Any] | None], otherwise: str) -> None:
        """One step of the end. Whatever becomes of it, the next one follows."""
        try:
            await maybeDeferred(begin).addTimeout(seconds, self._clock)
        except TimeoutError:
            self.log.warn("{what} after {seconds} seconds", what=otherwise, seconds=seconds)
        except Exception:  # noqa: BLE001 - and is logged
            self.log.failure("a step of the end failed")
