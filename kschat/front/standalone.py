"""Puts a ``Server`` of one's own on a port: Socket.IO alone, by the same front as the chat's."""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 - it is not Python's
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from twisted.web.resource import Resource

from kschat.chat.counters import Counters
from kschat.front import static
from kschat.front.channel import BoundedSite, ChannelBounds, ConnectionCount
from kschat.front.endpoints import server_endpoint
from kschat.front.engine import Engine, EngineSettings
from kschat.front.monotonic import use_monotonic_clock
from kschat.front.port import ListeningService
from kschat.front.resource import EngineResource
from kschat.front.timetable import Alarms
from kschat.wire.connection import Application
from kschat.wire.cork import Cork
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits

#: Seconds that connections have to end in good order.
CLOSE_TIMEOUT = 3.0


class SocketIOService(Service):
    """Serves ``application`` at ``/socket.io/``, for clients 1.x to 4.x at the same time.

    Args:
        listen: a Twisted endpoint, such as ``tcp:3000`` or ``tcp:3000:interface=127.0.0.1``.
        application: a ``kschat.server.Server``.
        reactor: Twisted's. Its clock becomes ``time.monotonic``, so that no time-out waits for a clock that was set.
        settings: heartbeat, origins and the like; their defaults where not given.
        limits: on what clients send.
        bounds: of HTTP connections.
        client_dist: the directory of npm's client, which is served beside; "" for where npm puts it.
        root: the site around it, where there is one; ``socket.io`` is put into it.

    Attributes:
        engine: has the sessions.
        site: makes what speaks on each connection.
    """

    log = Logger()

    def __init__(
        self,
        listen: str,
        application: Application,
        reactor: Any,
        settings: EngineSettings | None = None,
        limits: Limits | None = None,
        bounds: ChannelBounds | None = None,
        client_dist: str = "",
        root: Resource | None = None,
    ) -> None:
        # Before anything is scheduled.
        use_monotonic_clock(reactor)
        counters, connections, alarms = Counters(), ConnectionCount(), Alarms(reactor)
        limits = Limits() if limits is None else limits
        self.engine = Engine(
            application,
            alarms,
            Cork(),
            limits,
            EngineSettings() if settings is None else settings,
            counters,
            connections,
            reactor,
        )
        self._reactor = reactor
        tree = Resource() if root is None else root
        dist = static.client_dist(client_dist, FilePath(os.getcwd()))
        resource = EngineResource(self.engine, static.ClientDist(dist))
        tree.putChild(b"socket.io", resource)
        if bounds is None:
            bounds = ChannelBounds(max_body=limits.max_payload)
        self.site = BoundedSite(tree, bounds, alarms, counters, connections, reactor, access_log=False)
        self.site.arriving.append(resource.arriving)
        self._port = ListeningService(server_endpoint(reactor, listen), self.site, listen, reactor)

    def privilegedStartService(self) -> None:
        """Listen, while the process may still take a low port."""
        super().privilegedStartService()
        self._port.privilegedStartService()

    def startService(self) -> None:
        """Serve. Raises CannotListen."""
        super().startService()
        self._port.startService()

    def stopService(self) -> Deferred[None]:
        """Take no new connection, and end those that are there with their reason."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        stopped = self._port.stopService()
        if stopped is not None:
            await stopped
        try:
            await self.engine.close_all(Reason.SHUTTING_DOWN).addTimeout(CLOSE_TIMEOUT, self._reactor)
        except TimeoutError:
            self.log.warn("connections did not end by themselves")
