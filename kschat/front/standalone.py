"""Puts a ``Server`` on a port: Socket.IO without the chat, on the same front."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.python.filepath import FilePath
from twisted.web.resource import Resource

from kschat.counters import Counters
from kschat.front import static
from kschat.front.assembly import Front, FrontSettings
from kschat.front.channel import ChannelBounds
from kschat.front.compat_twisted import bound_events
from kschat.front.endpoints import server_endpoint
from kschat.front.engine import AllowRequest, EngineSettings
from kschat.front.monotonic import use_monotonic_clock
from kschat.front.port import ListeningService
from kschat.front.service import FrontService
from kschat.wire.connection import Application
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits


class SocketIOService(FrontService):
    """Serves ``application`` at ``path``, for clients 1.x to 4.x at the same time.

    Args:
        listen: a Twisted endpoint, such as ``tcp:3000`` or ``tcp:3000:interface=127.0.0.1``.
        application: a ``kschat.server.Server``.
        reactor: Twisted's. Its clock becomes ``time.monotonic``, so that no time-out waits for a clock that was set.
        settings: heartbeat, origins and the like.
        limits: on what clients send.
        bounds: of HTTP connections; by default a body may be as large as a packet.
        client_dist: the directory of npm's client, which is served beside; "" for where npm puts it.
        root: the site around it, where there is one; ``path`` is put into it.
        path: where clients find it, their option of the same name.
        allow: asked for each request that would begin a session. It is given the ``Handshake``, with headers and URL,
            and refuses by returning False or by raising ``Refused``. May be ``async def``.
        wall: the time of day, for handshakes.

    Attributes:
        engine: has the sessions.
        site: makes what speaks on each connection.
    """

    def __init__(
        self,
        listen: str,
        application: Application,
        reactor: Any,
        *,
        settings: EngineSettings | None = None,
        limits: Limits | None = None,
        bounds: ChannelBounds | None = None,
        client_dist: str = "",
        root: Resource | None = None,
        path: str = "/socket.io/",
        allow: AllowRequest | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        # Before anything is scheduled.
        use_monotonic_clock(reactor)
        bound_events(reactor)
        limits = Limits() if limits is None else limits
        front = Front(
            application,
            reactor,
            settings=FrontSettings(
                engine=msgspec.structs.replace(EngineSettings() if settings is None else settings, keep_headers=True),
                limits=limits,
                bounds=ChannelBounds(max_body=limits.max_payload) if bounds is None else bounds,
                access_log=False,
            ),
            counters=Counters(),
            cork=Cork(),
            client=static.ClientDist(static.client_dist(client_dist, FilePath(os.getcwd()))),
            wall=wall,
            allow=allow,
        )
        self.engine = front.engine
        self.site = front.site(Resource() if root is None else root, path)
        endpoint = server_endpoint(reactor, listen)
        clock: IReactorTime = reactor
        super().__init__(ListeningService(endpoint, self.site, description=listen, reactor=reactor), front, clock)
