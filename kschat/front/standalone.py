"""Puts a ``Server`` of one's own on a port: Socket.IO alone, by the same front as the chat's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 - it is not Python's
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from twisted.web.resource import Resource

from kschat.chat.counters import Counters
from kschat.front import static
from kschat.front.channel import BoundedSite, ChannelBounds, ConnectionCount
from kschat.front.endpoints import server_endpoint
from kschat.front.engine import AllowRequest, Engine, EngineSettings
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
    """Serves ``application`` at ``path``, for clients 1.x to 4.x at the same time.

    Args:
        listen: a Twisted endpoint, such as ``tcp:3000`` or ``tcp:3000:interface=127.0.0.1``.
        application: a ``kschat.server.Server``.
        reactor: Twisted's. Its clock becomes ``time.monotonic``, so that no time-out waits for a clock that was set.
        settings: heartbeat, origins and the like; their defaults where not given.
        limits: on what clients send.
        bounds: of HTTP connections.
        client_dist: the directory of npm's client, which is served beside; "" for where npm puts it.
        root: the site around it, where there is one; ``path`` is put into it.
        path: where clients find it, their option of the same name.
        allow: is asked for each request that would begin a session. It is given the ``Handshake``, with headers and
            URL, and refuses by returning False or by raising ``Refused``. May be ``async def``.
        wall: the time of day, for handshakes.

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
        *,
        path: str = "/socket.io/",
        allow: AllowRequest | None = None,
        wall: Callable[[], float] = time.time,
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
            msgspec.structs.replace(EngineSettings() if settings is None else settings, keep_headers=True),
            counters,
            connections,
            reactor,
            wall=wall,
            allow=allow,
        )
        self._reactor = reactor
        tree = Resource() if root is None else root
        dist = static.client_dist(client_dist, FilePath(os.getcwd()))
        resource = EngineResource(self.engine, static.ClientDist(dist))
        segments = _segments(path)
        _put(tree, segments, resource)
        if bounds is None:
            bounds = ChannelBounds(max_body=limits.max_payload)
        self.site = BoundedSite(tree, bounds, alarms, counters, connections, reactor, access_log=False)
        self.site.arriving.append(resource.arriving)
        self.site.engine_path = b"".join(b"/" + segment for segment in segments)
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


def _segments(path: str) -> list[bytes]:
    segments = [segment.encode("ascii") for segment in path.split("/") if segment]
    if not segments:
        raise ValueError("path: sessions need one of their own, such as /socket.io/")
    return segments


def _put(tree: Resource, segments: list[bytes], resource: Resource) -> None:
    """Put ``resource`` below ``tree``, beside what is there."""
    for segment in segments[:-1]:
        below = tree.children.get(segment)
        if below is None:
            below = Resource()
            tree.putChild(segment, below)
        tree = below
    tree.putChild(segments[-1], resource)
