"""Assembles the front: the only way to make it, for the daemon, ``standalone`` and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.web.resource import IResource, Resource

from kschat.budget import MAX_BUFFERED, Budget
from kschat.counters import Counters
from kschat.front.channel import BoundedSite, ChannelBounds, ConnectionCount
from kschat.front.clients import ClientAddresses
from kschat.front.context import TransportContext
from kschat.front.engine import AllowRequest, Engine, EngineSettings
from kschat.front.handshake_queue import HandshakeQueue
from kschat.front.peers import Peers
from kschat.front.pool import Pool
from kschat.front.refusals import RefusalLog
from kschat.front.registry import SessionRegistry, TrackedConnection, new_session_id
from kschat.front.resource import EngineResource, PeerResource
from kschat.front.session_ids import SessionIds
from kschat.front.site import put_at
from kschat.front.timers import TimerWheel
from kschat.front.turns import Turns
from kschat.repeated_log import RepeatedLog
from kschat.wire.connection import Application
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits
from kschat.wire.session import HeartbeatTimes

#: Bytes that the daemon in between adds to a request that it hands on.
FORWARDED_HEAD = 1024

#: Where daemons serve what other daemons hand on.
PEER_PATH = "/socket.io/"


class FrontSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about the front.

    Attributes:
        engine: of sessions.
        limits: on what clients send.
        bounds: of HTTP connections.
        max_forwards: requests and WebSockets that are handed on to other daemons at once.
        access_log: whether each answered request is logged.
        trusted_proxies: whose X-Forwarded-For is believed; see ``ClientAddresses``.
    """

    engine: EngineSettings = EngineSettings()
    limits: Limits = Limits()
    bounds: ChannelBounds = ChannelBounds()
    max_forwards: int = 5000
    access_log: bool = True
    trusted_proxies: tuple[str, ...] = ()


class Front:
    """Sessions over HTTP for one application.

    Args:
        application: what the sessions are for.
        reactor: Twisted's, or a test's clock.
        settings: what peers may do.
        counters: counts.
        cork: holds writes back.
        client: answers for a file's name below the path of sessions: npm's client.
        session_ids: ids that other daemons understand; None where there are no other daemons.
        wall: the time of day, for handshakes.
        allow: asked for each request that would begin a session.
        busy: whether what the application was given waits.
        is_full: whether so many bytes of that are large packets that others had better not be read.
        handshake_wait: the seconds until an address may begin a session, see ``Engine``.
        connection: what is above each session.
        registry: makes what keeps the sessions.
        budget: counts the bytes that the daemon holds, also for the application.
        beside: another front, whose timers, turns and count of connections this one shares.

    Attributes:
        engine: the policy for requests.
        sessions: the open sessions.
        connections: the count of TCP connections.
        polls: the places of sessions that poll.
        queue: where handshakes beyond the rate wait.
        budget: counts the bytes that the daemon holds.
        timers: wake sessions and connections.
        turns: of what clients sent at once.
        peers: the other daemons; None where there are none.
        repeated: gathers lines of the log; to be flushed at the end.
    """

    def __init__(
        self,
        application: Application,
        reactor: Any,
        *,
        settings: FrontSettings,
        counters: Counters,
        cork: Cork,
        client: IResource,
        session_ids: SessionIds | None = None,
        wall: Callable[[], float] = time.time,
        allow: AllowRequest | None = None,
        busy: Callable[[], bool] = lambda: False,
        is_full: Callable[[], bool] = lambda: False,
        handshake_wait: Callable[[str], float] | None = None,
        connection: type[TrackedConnection] = TrackedConnection,
        registry: Callable[..., SessionRegistry] = SessionRegistry,
        beside: Front | None = None,
        budget: Budget | None = None,
    ) -> None:
        engine = settings.engine
        self.repeated = RepeatedLog(reactor)
        self.budget = Budget(MAX_BUFFERED, counters.evicted) if budget is None else budget
        self.timers: TimerWheel = TimerWheel(reactor) if beside is None else beside.timers
        self.turns: Turns = Turns(reactor, is_full) if beside is None else beside.turns
        bounds = settings.bounds
        self.connections: ConnectionCount
        if beside is None:
            places = Pool(
                "connections",
                limit=bounds.max_connections,
                limit_per_address=bounds.max_connections_per_address,
                full=counters.full,
                evicted=counters.evicted,
            )
            self.connections = ConnectionCount(places)
        else:
            self.connections = beside.connections
        self.polls = Pool(
            "polls",
            limit=engine.max_polls,
            limit_per_address=engine.max_polls_per_address,
            full=counters.full,
            evicted=counters.evicted,
        )
        self.sessions = registry(
            application,
            timers=self.timers,
            limits=settings.limits,
            times=HeartbeatTimes(engine.ping_interval, engine.ping_timeout),
            connect_timeout=engine.connect_timeout,
            new_id=new_session_id if session_ids is None else session_ids.new,
            connection=connection,
        )
        context = TransportContext(
            sessions=self.sessions,
            timers=self.timers,
            turns=self.turns,
            cork=cork,
            clock=reactor,
            connections=self.connections,
            refusals=RefusalLog(counters, self.repeated),
            polls=self.polls,
            budget=self.budget,
            max_payload=settings.limits.max_payload,
            max_payload_unjoined=min(settings.limits.max_payload, settings.limits.max_payload_unjoined),
            max_body_unjoined=min(
                settings.limits.max_payload, settings.limits.max_payload_unjoined * settings.limits.max_namespaces
            ),
            max_unsent=engine.max_unsent,
            upgrade_timeout=engine.upgrade_timeout,
            deflate_from=engine.deflate_from,
            busy=busy,
        )
        self.queue = HandshakeQueue(
            reactor, rate=engine.handshakes, most=engine.max_handshakes_waiting, counters=counters
        )
        self.engine = Engine(context, engine, wall=wall, allow=allow, handshake_wait=handshake_wait, queue=self.queue)
        self.peers: Peers | None = None
        if session_ids is not None:
            self.peers = Peers(
                reactor,
                session_ids=session_ids,
                timers=self.timers,
                connections=self.connections,
                budget=self.budget,
                silence=2 * (engine.ping_interval + engine.ping_timeout),
                max_forwards=settings.max_forwards,
                counters=counters,
            )
        self._resource = EngineResource(self.engine, client, self.peers)
        self._reactor = reactor
        self._settings = settings
        self._counters = counters
        self._session_ids = session_ids
        self._addresses = ClientAddresses(settings.trusted_proxies)
        self._sites: list[BoundedSite] = []

    def use(self, settings: FrontSettings) -> None:
        """Apply the live settings: bounds of connections, polling sessions, handshakes and forwards; the access log."""
        bounds, engine = settings.bounds, settings.engine
        self.connections.places.use(bounds.max_connections, bounds.max_connections_per_address)
        self.polls.use(engine.max_polls, engine.max_polls_per_address)
        self.queue.use(engine.handshakes, engine.max_handshakes_waiting)
        if self.peers is not None:
            self.peers.max_forwards = settings.max_forwards
        for site in self._sites:
            site.log_requests(settings.access_log)

    def site(self, root: Resource, path: str = "/socket.io/") -> BoundedSite:
        """The site for clients.

        Args:
            root: what else is served.
            path: where the sessions are put into it. Raises ValueError where it is the root's own.
        """
        site = self._site(root, self._settings.bounds)
        self.serve(site, root, path)
        return site

    def ops_site(self, root: Resource) -> BoundedSite:
        """The site for operators, which serves ``root`` and no session."""
        return self._site(root, self._settings.bounds)

    def peer_site(self) -> BoundedSite:
        """The site for other daemons, which serves what they hand on."""
        assert self._session_ids is not None, "there are no other daemons"
        bounds = self._settings.bounds
        bounds = msgspec.structs.replace(bounds, max_head=bounds.max_head + FORWARDED_HEAD)
        root = Resource()
        site = self._site(root, bounds, of_peers=True)
        put_at(root, PEER_PATH, PeerResource(self._session_ids, self._resource))
        site.heads.append(self._resource.head_arrived)
        return site

    def serve(self, site: BoundedSite, root: Resource, path: str) -> None:
        """Put the sessions at ``path`` of a site that is there already."""
        put_at(root, path, self._resource)
        # Without it overlapping POSTs of a session would be seen only once their bodies are there, in any order.
        site.heads.append(self._resource.head_arrived)
        site.engine_paths.append(b"/" + path.strip("/").encode("ascii"))

    def _site(self, root: IResource, bounds: ChannelBounds, of_peers: bool = False) -> BoundedSite:
        site = BoundedSite(
            root,
            self._reactor,
            bounds=bounds,
            timers=self.timers,
            turns=self.turns,
            counters=self._counters,
            connections=self.connections,
            addresses=self._addresses,
            repeated=self.repeated,
            budget=self.budget,
            access_log=self._settings.access_log,
            of_peers=of_peers,
        )
        self._sites.append(site)
        return site
