"""Forwards requests for sessions of other daemons to those daemons, byte by byte.

So daemons behind a round-robin proxy act as one server, also for clients that poll or upgrade to WebSocket. The session
id identifies the daemon (``session_ids``), without Redis or RabbitMQ. The request is sent with all its headers, the
client's address, a proof that both come from a daemon, and ``Connection: close``; then bytes flow both ways, as an
answer or as a WebSocket, until either side closes.

::

    client -- Downstream: the daemon that was asked -- Upstream: the daemon that has the session, at its port for peers
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from kschat.budget import Budget
from kschat.counters import Counters
from kschat.front.channel import LARGE_ANSWER, Channel, ConnectionCount
from kschat.front.compat_twisted import unsent
from kschat.front.engine_request import client_of, is_upgrade
from kschat.front.handover import take_over
from kschat.front.pool import Place
from kschat.front.session_ids import PeerAddress, SessionIds
from kschat.front.timers import TimerWheel

#: Seconds until a daemon that does not answer counts as dead. Its port is in the same network.
CONNECT_TIMEOUT: Final = 3.0

#: The header with the proof. A client's header of this name is not forwarded.
PROOF: Final = b"X-Kschat-Peer"

#: The header with the client's address, which the proof covers. A client's header of this name is not forwarded.
CLIENT: Final = b"X-Kschat-Client"

#: Headers of one connection (RFC 9110, section 7.6.1), and headers that are written again.
_NOT_HANDED_ON: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"content-length", b"expect", PROOF.lower(), CLIENT.lower()}
)


class Downstream(Protocol):
    """The client's end.

    Attributes:
        slot: its slot in the timer wheel.
        place: its place among the connections.
        proved: whether the other daemon has answered; it has the session, and minds whose it is.
    """

    transport: Any

    def __init__(self, peers: Peers, upstream: Upstream) -> None:
        self._peers = peers
        self._far = upstream
        self.slot: int | None = None
        self.place: Place | None = None
        self.proved = False
        self._holds = False

    def connectionMade(self) -> None:
        """The HTTP connection was handed over."""
        self.transport.registerProducer(self._far.transport, True)
        self._far.transport.registerProducer(self.transport, True)
        self.heard()

    def heard(self) -> None:
        """Bytes arrived, from either side."""
        self._peers.timers.schedule(self, self._peers.silence)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        self.heard()
        self._far.transport.write(data)
        self.minds()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client's connection has ended."""
        self._peers.timers.cancel(self)
        if self._holds:
            self._holds = False
            self._peers.budget.set(self, 0)
        self._peers.ended(self)
        self._far.transport.unregisterProducer()
        self._far.transport.loseConnection()

    def minds(self) -> None:
        """Bytes were passed on, to either side."""
        size = self.measure()
        if size >= LARGE_ANSWER or self._holds:
            self._holds = size > 0
            self._peers.budget.set(self, size)

    @property
    def held_for(self) -> str:
        """See ``budget.BufferHolder``."""
        return "" if self.place is None else self.place.address

    def measure(self) -> int:
        """See ``budget.BufferHolder``."""
        return unsent(self.transport) + unsent(self._far.transport)

    def end_largest(self) -> None:
        """See ``budget.BufferHolder``."""
        self.alarm()

    def finish(self) -> None:
        """The other side has ended: write what it sent, then end."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def give_way(self) -> None:
        """See ``pool.Holder``."""
        self.alarm()

    def alarm(self) -> None:
        """The connection was silent for longer than any session is."""
        self.transport.abortConnection()
        self._far.transport.abortConnection()


class Upstream(Protocol):
    """The other daemon's end."""

    transport: Any
    downstream: Downstream | None = None

    def connectionMade(self) -> None:
        """The daemon accepted the connection."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the other daemon."""
        if self.downstream is not None:
            self.downstream.proved = True
            self.downstream.heard()
            self.downstream.transport.write(data)
            self.downstream.minds()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other daemon's connection has ended."""
        if self.downstream is not None:
            self.downstream.finish()


class Peers:
    """The other daemons.

    Args:
        reactor: connects.
        session_ids: reads the daemon's address out of the id of a session.
        timers: ends silent connections.
        connections: the count of accepted connections, which includes the client's end.
        budget: counts the bytes that wait for either side.
        silence: seconds without a byte after which a connection is cut; must be longer than any heartbeat.
        max_forwards: requests and WebSockets that are handed on at once.
        counters: counts.

    Attributes:
        max_forwards: see above; it may change.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        session_ids: SessionIds,
        timers: TimerWheel,
        connections: ConnectionCount,
        budget: Budget,
        silence: float,
        max_forwards: int,
        counters: Counters,
    ) -> None:
        self.session_ids = session_ids
        self.timers = timers
        self.silence = silence
        self.budget = budget
        self._reactor = reactor
        self._connections = connections
        self.max_forwards = max_forwards
        self._counters = counters
        # Twisted would log the beginning and the end of each connection.
        self._factory = Factory.forProtocol(Upstream)
        self._factory.noisy = False
        self._connecting = 0
        self._pipes: set[Downstream] = set()
        # Daemons that could not be reached. Each is logged once, until it is reached again.
        self._lost: set[PeerAddress] = set()

    @property
    def forwards(self) -> int:
        """Requests and WebSockets that are being forwarded."""
        return self._connecting + len(self._pipes)

    @property
    def full(self) -> bool:
        """Whether the bound is reached."""
        return self.forwards >= self.max_forwards

    def hand_on(self, request: Request, address: PeerAddress) -> Deferred[bool]:
        """Forward a request to the daemon at ``address``.

        Returns:
            Whether it was forwarded, or the client has left; if not, it is to be answered here.
        """
        return Deferred.fromCoroutine(self._hand_on(request, address))

    async def _hand_on(self, request: Request, address: PeerAddress) -> bool:
        head = self._head(request)
        endpoint = HostnameEndpoint(self._reactor, address.host, address.port, CONNECT_TIMEOUT)
        connecting = endpoint.connect(self._factory)
        left: list[Failure] = []

        def leave(failure: Failure) -> None:
            left.append(failure)
            connecting.cancel()

        request.notifyFinish().addErrback(leave)
        self._connecting += 1
        try:
            upstream: Any = await connecting
        except Exception as error:  # noqa: BLE001 - whatever it is, the session can't be reached
            if left:
                return True
            if address not in self._lost:
                self._lost.add(address)
                self.log.warn("the daemon at {address} can't be reached: {why}", address=str(address), why=str(error))
            return False
        finally:
            self._connecting -= 1
        self._lost.discard(address)
        channel = request.channel
        assert isinstance(channel, Channel)
        upstream.downstream = downstream = Downstream(self, upstream)
        self._pipes.add(downstream)
        self._counters.handed_on += 1
        take_over(channel, downstream)
        upstream.transport.write(head + channel.early)
        return True

    def _head(self, request: Request) -> bytes:
        """The request as it arrived, except for its path and the headers of its connection."""
        body = b"" if request.content is None else request.content.read()
        # The other daemon serves peers at a path of its own, whatever ``base_path`` is.
        uri = b"/socket.io/?" + request.uri.partition(b"?")[2]
        lines = [b"%b %b HTTP/1.1" % (request.method, uri)]
        for name, values in request.requestHeaders.getAllRawHeaders():
            if name.lower() not in _NOT_HANDED_ON:
                lines += [name + b": " + value for value in values]
        if request.getHeader(b"host") is None:
            lines += [b"Host:"]  # HTTP/1.1 requires it, HTTP/1.0, by which the client may have sent it, does not
        if is_upgrade(request):
            lines += [b"Upgrade: websocket", b"Connection: Upgrade"]
            body = b""  # it has no meaning, and without a length it would be read as WebSocket frames
        else:
            lines += [b"Connection: close", b"Content-Length: %d" % len(body)]
        client = client_of(request).to_header()
        lines += [CLIENT + b": " + client]
        proof = self.session_ids.proofs.make(method=request.method, uri=uri, client=client, body=body)
        lines += [PROOF + b": " + proof, b"", body]
        return b"\r\n".join(lines)

    def ended(self, downstream: Downstream) -> None:
        """A client's connection has ended."""
        self._pipes.discard(downstream)
        self._connections.leave(downstream.place)

    def close(self) -> None:
        """End all forwarding."""
        for downstream in list(self._pipes):
            downstream.finish()
