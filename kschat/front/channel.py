"""One HTTP connection and its requests, bounded in time and size; the access log.

twisted.web restarts its timeout with every byte, so a peer that sends a byte now and then keeps its connection forever;
and it spools bodies of any size to disk. Here each phase of a request is bounded: its head, its body, its answer, and
the wait for the next request. A body that nobody reads is not waited for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from kschat.budget import Budget
from kschat.counters import Counters
from kschat.front.clients import NOBODY, ClientAddress, ClientAddresses
from kschat.front.compat_twisted import (
    TellingChannel,
    forget_body,
    forget_producer,
    request_line,
    set_target,
    take_buffered,
    unsent,
)
from kschat.front.pool import Holder, Place, Pool
from kschat.front.target import hosts_allowed, parse_target
from kschat.front.timers import TimerWheel
from kschat.front.turns import Turns
from kschat.repeated_log import RepeatedLog

#: The value of a query argument whose name contains this must not appear in any log.
SECRET: Final = b"token"

#: So must the value of this one: whoever knows the id of a polling session controls the session.
SESSION: Final = b"sid"

#: Text that may contain a JWT. The pattern matches whole words, so that each byte is looked at once: a pattern that
#: started at ``eyJ`` was retried at thousands of places in one URL and blocked the reactor for half a second.
_WORD: Final = re.compile(rb"[\w.%-]+")


#: Bytes of answers that have not left from which on they are counted: of one part, and of all of a connection.
LARGE_ANSWER: Final = 4096


#: Addresses of which it is said that they look like a proxy's.
MAX_UNTRUSTED: Final = 10


class ChannelBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one HTTP connection. Times in seconds, sizes in bytes.

    Attributes:
        head_timeout: from the connection's beginning until its first request's head is there.
        body_timeout: from the head until the body is there.
        answer_timeout: from the body until the answer has left, and then until the next head.
        max_head: request line and headers.
        max_body: body.
        max_connections: open at once, whatever they speak. Then those that have not joined give way; if all have, a
            further one is closed unanswered.
        max_connections_per_address: the same, of one address.
    """

    head_timeout: float = 10
    body_timeout: float = 30
    answer_timeout: float = 60
    max_head: int = 16_384
    max_body: int = 1_000_000
    max_connections: int = 10_000
    max_connections_per_address: int = 1_000


class ConnectionCount:
    """Counts the open connections of one daemon, whatever they speak.

    Args:
        places: of connections.
    """

    __slots__ = ("_emptied", "places")

    def __init__(self, places: Pool) -> None:
        self.places = places
        self._emptied: list[Deferred[None]] = []

    @property
    def open(self) -> int:
        """How many there are."""
        return self.places.taken

    def leave(self, place: Place | None) -> None:
        """A connection has ended."""
        if place is not None and self.places.leave(place) and not self.open:
            emptied, self._emptied = self._emptied, []
            for fires in emptied:
                fires.callback(None)

    def emptied(self) -> Deferred[None]:
        """Fires when the last connection has ended; at once if there is none."""
        fires: Deferred[None] = Deferred()
        if self.open:
            self._emptied.append(fires)
        else:
            fires.callback(None)
        return fires


#: Bytes of heads, and of bodies in chunks, that are read in one turn: ten thousand lines and chunks stand in 64 kB.
MAX_LINES: Final = 2_048

TOO_LARGE: Final = b"413 Request Entity Too Large"
#: What X-Forwarded-Proto says.
_SECURE: Final = {b"https": True, b"wss": True, b"http": False, b"ws": False}

#: Arguments of a query. Each costs far more than its bytes: of 3,900, a request took 8 ms.
MAX_ARGUMENTS: Final = 100

#: Segments of a path. Resources take them off one by one, each time from the front: of 15,000, a request took 18 ms.
MAX_SEGMENTS: Final = 100

_TOO_MANY: Final = b"503 Service Unavailable"
_BAD_REQUEST: Final = b"400 Bad Request"


class _Nowhere(BytesIO):
    """Discards the rest of a refused body."""

    def write(self, data: object) -> int:
        return 0


class BoundedRequest(Request):
    """A request with a bounded body: a larger one is answered with 413 and the connection closed.

    Attributes:
        client_address: whose it is; known once its head is there.
        digest: of the body that another daemon says it has; empty where no daemon says it, None until it was looked at.
        secure: whether its client speaks TLS, where that is known: True on a connection with TLS, and what a trusted
            proxy says in X-Forwarded-Proto; None otherwise, since a proxy may take TLS away.
    """

    channel: Channel
    client_address: ClientAddress = NOBODY
    digest: bytes | None = None
    secure: bool | None = None
    _refused = False
    _received = 0

    def gotLength(self, length: int | None) -> None:
        """The head has arrived. ``length`` is None for a chunked body."""
        if length is not None and length > self.channel.site.bounds.max_body:
            self.refuse(TOO_LARGE)
        elif not self._refused:
            # Twisted's own spools bodies of 100 kB or more, and all chunked ones, to a file, which takes a descriptor.
            self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body has arrived."""
        self._received += len(data)
        if self._received > self.channel.site.bounds.max_body:
            self.refuse(TOO_LARGE)
        elif not self._refused:
            super().handleContentChunk(data)
            self.channel.hold(self._received)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The whole request has arrived."""
        if not self._refused:
            super().requestReceived(command, path, version)

    def __repr__(self) -> str:
        """Without secrets: twisted.web logs it."""
        return f"<{_text(self.method)} {_text(redacted(self.uri))}>"

    def discard(self) -> None:
        """Hold nothing of the body, and pass nothing on."""
        self._refused = True
        self.content = _Nowhere()

    def refuse(self, status: bytes) -> None:
        """Answer with ``status`` and close without reading the rest. A second call does nothing."""
        if not self._refused:
            self.discard()
            self.requestHeaders.removeHeader(b"Expect")  # twisted.web would ask for the body all the same
            self.channel.refuse(status)


class Carried(Protocol):
    """A session whose requests a connection carries."""

    @property
    def proved(self) -> bool:
        """Whether it has joined."""


class Heir(Holder, Protocol):
    """The protocol that takes a connection over."""

    place: Place | None

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived."""


class Channel(TellingChannel):
    """One HTTP connection. Made by ``BoundedSite``."""

    site: BoundedSite
    transport: Any
    requestFactory = BoundedRequest
    #: its slot in the timer wheel
    slot: int | None = None
    #: its place among the connections
    place: Place | None = None
    #: whose it is by its address; "" where each request may be another client's
    address = ""
    #: bytes of the body that is held; and whether any bytes are counted
    _body = 0
    _holds = False
    #: the session whose requests it carries
    carries: Carried | None = None
    #: the protocol that took the connection over
    heir: Heir | None = None
    #: bytes that had arrived behind the request until then
    early = b""
    #: whether the connection has ended
    lost = False
    #: requests that came behind one, and wait for another turn
    rest = b""
    #: whether they are in the rotation
    waits = False
    #: whether the client does not read its answers
    congested = False
    #: whether all requests are answered, and another one may come
    idle = False

    def connectionMade(self) -> None:
        """A connection was accepted."""
        bounds = self.site.bounds
        self.totalHeadersSize = bounds.max_head
        self.place = self.site.connections.places.enter(self, self.address)
        self.site.channels.add(self)
        super().connectionMade()
        self._wait(bounds.head_timeout)

    def headerReceived(self, line: bytes) -> bool:
        """A header has arrived. Returns whether the request may go on."""
        try:
            received: bool = super().headerReceived(line)
            return received
        except ValueError:
            # A Content-Length of thousands of digits, which Python refuses to convert and twisted.web does not catch.
            self.requests[-1].refuse(TOO_LARGE)
            return False

    def allHeadersReceived(self) -> None:
        """A request's head has arrived."""
        self.idle = False
        self._wait(self.site.bounds.body_timeout)
        request = self.requests[-1]
        addresses = self.site.addresses
        forwarded = request.requestHeaders.getRawHeaders(b"x-forwarded-for", ())
        hop = addresses.of_connection(self.getPeer())
        request.client_address = addresses.of_request(hop, forwarded)
        if forwarded and not self.site.of_peers and addresses.may_be_proxy(hop):
            self.site.untrusted_proxy(hop)
        request.secure = self._speaks_tls(request, addresses.is_proxy(hop))
        method, uri, version = request_line(self)
        target = parse_target(uri, self.site.engine_paths)
        hosts = request.requestHeaders.getRawHeaders(b"host", ())
        if not self.address and not self.site.of_peers and not self.attribute(request.client_address):
            target = None
            request.refuse(_TOO_MANY)
        elif target is None or _too_many_parts(target.uri) or not hosts_allowed(hosts, version):
            target = None
            request.refuse(_BAD_REQUEST)
        else:
            if self.length != 0 and not takes_body(self.site.resource, request, method=method, uri=target.uri):
                # It is answered at once, as if it had no body, and what comes behind it is not read.
                forget_body(self)
                request.requestHeaders.removeHeader(b"Expect")
                request.requestHeaders.setRawHeaders(b"Connection", [b"close"])
            set_target(self, target.uri)
            if target.authority is not None:
                # RFC 9112, 3.2.2: the Host header is ignored then.
                request.requestHeaders.setRawHeaders(b"Host", [target.authority])
        super().allHeadersReceived()
        if target is not None:
            for told in self.site.heads:
                told(request, method, target.uri)

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived. Of several requests the first is read, and the others in turns of their own."""
        if self.rest:
            self.rest += data
            self.transport.pauseProducing()
        elif len(data) <= MAX_LINES or self.heir is not None:
            super().dataReceived(data)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Read as much of ``data`` as a turn may, and let the rest wait."""
        rest = b""
        if self.line_mode or self.length is None:
            data, rest = data[:MAX_LINES], data[MAX_LINES:]
        super().dataReceived(data)
        if not rest:
            return
        if self.heir is not None:
            self.heir.dataReceived(rest)
        elif self.transport.disconnecting:
            return  # it was a bad request, and nothing is read behind one
        elif not (self.rest or self.line_mode or self.length is None):
            super().dataReceived(rest)  # a body of a known length
        elif not self.lost:
            self.rest += rest
            self.transport.pauseProducing()
            self._enter()

    def read_on(self, until: float) -> None:
        """It is this connection's turn. See ``turns.Reader``."""
        self.waits = False
        if self.rest and not self.congested and not self.lost:
            rest, self.rest = self.rest, b""
            self.transport.resumeProducing()
            self._read(rest)

    def pauseProducing(self) -> None:
        """The client does not read its answers: answer nothing more until it does."""
        self.congested = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """All answers have left."""
        self.congested = False
        if self._holds:
            self.hold(self._body)
        super().resumeProducing()
        self._enter()

    def _enter(self) -> None:
        if self.rest and not self.waits:
            self.waits = True
            self.site.turns.enter(self)

    def rawDataReceived(self, data: bytes) -> None:
        """A part of a body has arrived, or bytes for the protocol that took the connection over."""
        if self.heir is None:
            super().rawDataReceived(data)
        else:
            self.heir.dataReceived(data)

    def allContentReceived(self) -> None:
        """A request has arrived; its answer may take a while."""
        self._wait(self.site.bounds.answer_timeout)
        if self.place is not None:
            self.site.connections.places.returned(self.place)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """The request is answered; the connection may carry another, which waits for its turn."""
        self.idle = True
        self._wait(self.site.bounds.answer_timeout)
        if not self.address and self.place is not None:
            # What a proxy's connection carries next may be another client's.
            self.site.connections.places.move(self.place, "")
        if self._holds or unsent(self.transport) >= LARGE_ANSWER:
            self.hold(0)
        self.paused = True
        super().requestDone(request)
        self.paused = False
        # What came behind it, and what ``dataReceived`` has put aside of that.
        self.rest = self.clearLineBuffer() + self.rest
        if not self.persistent:
            self.rest = b""
        elif self.rest:
            self.transport.pauseProducing()
            self._enter()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended."""
        self.lost = True
        self.site.timers.cancel(self)
        self.site.channels.discard(self)
        self.site.connections.leave(self.place)
        self._let_go_bytes()
        self.carries = None
        super().connectionLost(reason)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Write the head of an answer, without the header in which twisted.web tells its version."""
        if isinstance(headers, Headers):
            headers.removeHeader(b"server")
        super().writeHeaders(version, code, reason, headers)

    def _speaks_tls(self, request: BoundedRequest, by_proxy: bool) -> bool | None:
        """See ``BoundedRequest.secure``."""
        if request.isSecure():
            return True
        said = (request.getHeader(b"x-forwarded-proto") or b"") if by_proxy else b""
        # Of several proxies the first one, which the client spoke to, is the one that counts.
        return _SECURE.get(said.partition(b",")[0].strip().lower())

    def attribute(self, client: ClientAddress) -> bool:
        """Count this connection as ``client``'s while it carries its request. Returns whether it has room for it."""
        site = self.site
        key = "" if site.addresses.is_proxy(client) else client.key
        return self.place is None or site.connections.places.move(self.place, key)

    @property
    def proved(self) -> bool:
        """See ``pool.Holder``. Between requests a connection can be replaced at no cost."""
        return bool(self.requests) and self.carries is not None and self.carries.proved

    @property
    def has_joined(self) -> bool:
        """Whether its bytes are read before those of newcomers: it carries a session that has joined."""
        return self.carries is not None and self.carries.proved

    def give_way(self) -> None:
        """See ``pool.Holder``."""
        self.transport.abortConnection()

    def write(self, data: bytes) -> None:
        """A part of an answer."""
        super().write(data)
        if len(data) >= LARGE_ANSWER:
            self.hold(self._body)

    def hold(self, body: int) -> None:
        """So much of a body has arrived, beside answers that have not left."""
        self._body = body
        if self.transport is not None:
            size = self.measure()
            if not body and size < LARGE_ANSWER:
                size = 0
            self._holds = size > 0
            self.site.budget.set(self, size)

    def _let_go_bytes(self) -> None:
        self._body = 0
        if self._holds:
            self._holds = False
            self.site.budget.set(self, 0)

    @property
    def held_for(self) -> str:
        """See ``budget.BufferHolder``."""
        return "" if self.place is None else self.place.address

    def measure(self) -> int:
        """See ``budget.BufferHolder``."""
        return self._body + unsent(self.transport)

    def end_largest(self) -> None:
        """See ``budget.BufferHolder``."""
        for request in self.requests:
            request.discard()
        self._body = 0
        self.transport.abortConnection()

    def alarm(self) -> None:
        """A phase took too long."""
        if not self.idle or unsent(self.transport):
            self.site.refused["timeout"] += 1
        self.transport.abortConnection()

    def bad_request(self) -> None:
        """What has arrived is no request; twisted.web answers it."""
        self.site.refused[_BAD_REQUEST[:3].decode()] += 1

    def refuse(self, status: bytes) -> None:
        """Answer with ``status`` and close without reading the rest."""
        self.site.refused[status[:3].decode()] += 1
        self.transport.write(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        self.loseConnection()

    def retire(self) -> None:
        """Accept no further request."""
        if self.requests:
            self.persistent = False
        else:
            self.loseConnection()

    def park(self) -> None:
        """The answer has no deadline here: the session that gives it has its own."""
        self.site.timers.cancel(self)

    def let_go(self, heir: Heir) -> Any:
        """Give transport and place to ``heir``, and release everything but ``early``."""
        self.heir = heir
        self._let_go_bytes()
        heir.place, self.place = self.place, None
        if heir.place is not None:
            heir.place.holder = heir
        self.early = take_buffered(self)
        self.site.timers.cancel(self)
        self.site.channels.discard(self)
        self.setTimeout(None)
        transport, self.transport = self.transport, None
        transport.unregisterProducer()
        forget_producer(self)
        for request in self.requests:
            request.content.close()
        self.requests = []
        return transport

    def _wait(self, seconds: float) -> None:
        if self.transport is not None:
            self.site.timers.schedule(self, seconds)


class BoundedSite(Site):
    """The HTTP server: bounded connections, and an access log without secrets. Made by ``assembly.Front``.

    Args:
        root: the resource tree.
        reactor: for twisted.web.
        bounds: of each connection and of all.
        timers: end connections.
        turns: of requests that arrived at once.
        counters: counts.
        connections: counts connections, whatever they speak.
        addresses: say whose a request is.
        repeated: gathers lines about requests that were refused.
        budget: counts the bytes of bodies and of answers.
        access_log: whether each answered request is logged.
        of_peers: whether it is other daemons that connect, each for many clients.

    Attributes:
        channels: the connections that speak HTTP.
        heads: called with each request's head, its method and its URI, before the body arrives.
        engine_paths: paths of sessions, without a slash at their end; several slashes in front of one are the same as
            one.
    """

    # twisted.web's own makes a proxy around each channel, for HTTP/2, which is not spoken here.
    protocol: Callable[[], Channel] = Channel  # type: ignore[assignment]

    def __init__(
        self,
        root: IResource,
        reactor: Any,
        *,
        bounds: ChannelBounds,
        timers: TimerWheel,
        turns: Turns,
        counters: Counters,
        connections: ConnectionCount,
        addresses: ClientAddresses,
        repeated: RepeatedLog,
        budget: Budget,
        access_log: bool = True,
        of_peers: bool = False,
    ) -> None:
        # Otherwise twisted.web would parse forms, and their fields would pass for the URL's.
        super().__init__(
            root, requestFactory=BoundedRequest, timeout=None, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.heads: list[Callable[[Request, bytes, bytes], None]] = []
        self.engine_paths: list[bytes] = []
        self.bounds = bounds
        self.timers = timers
        self.turns = turns
        self.connections = connections
        self.addresses = addresses
        self.of_peers = of_peers
        self._repeated = repeated
        self._log = Logger()
        self._untrusted: set[str] = set()
        self.budget = budget
        self.channels: set[Channel] = set()
        self._counters = counters
        self.refused = counters.http_refused
        self.log_requests(access_log)

    def log_requests(self, on: bool) -> None:
        """Switch the access log on or off."""
        # A Logger on the class would have the class's name as its namespace.
        self._access_log = Logger(namespace="kschat.access") if on else None

    def untrusted_proxy(self, hop: ClientAddress) -> None:
        """A connection's address looks like that of a proxy that nobody named. It is said once of each address."""
        if hop.host not in self._untrusted and len(self._untrusted) < MAX_UNTRUSTED:
            self._untrusted.add(hop.host)
            self._log.warn(
                "requests from {address} name their clients (X-Forwarded-For), which is not believed: all of them "
                "count as one client. If that is your proxy, add {address} to trusted_proxies",
                address=hop.host,
            )

    def startFactory(self) -> None:
        """Do nothing: twisted.web would start a timer for its access log, every second."""

    def stopFactory(self) -> None:
        """The port is closed: end connections that only wait for another request."""
        for channel in list(self.channels):
            channel.retire()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A channel; None if there are too many connections. ``addr`` is None where it is not known yet."""
        hop = self.addresses.of_connection(addr)
        address = "" if self.of_peers or self.addresses.is_proxy(hop) else hop.key
        if not self.connections.places.has_room(address):
            self._counters.turned_away += 1
            return None
        channel: Channel | None = super().buildProtocol(addr)
        if channel is not None:
            channel.address = address
        return channel

    def log(self, request: http.Request) -> None:
        """Log one line for each answered request. Lines of those that were refused are gathered."""
        log = self._access_log
        if log is None or not isinstance(request, BoundedRequest):
            return
        text, code = "{peer} {method} {uri} {code} {length}", request.code
        fields = {
            "peer": request.client_address.host,
            "method": _text(redacted(request.method)),  # any word may stand there
            "uri": _text(redacted(request.uri)),
            "code": code,
            "length": request.sentLength,
        }
        if code < http.BAD_REQUEST:
            log.info(text, **fields)
        else:
            self._repeated.info(log, text, kind=f"requests that were answered with {code}", **fields)


def _too_many_parts(uri: bytes) -> bool:
    path, _, query = uri.partition(b"?")
    return path.count(b"/") > MAX_SEGMENTS or query.count(b"&") + query.count(b";") >= MAX_ARGUMENTS


def takes_body(root: IResource, request: Request, *, method: bytes, uri: bytes) -> bool:
    """Whether a request's body may matter to the resource that will answer it.

    It does not where there is no such resource (404), where that has no such method (405), in a GET or HEAD (RFC 9110,
    section 9.3.1), and where the resource's own ``takes_body(request, method, uri)`` denies it.
    """
    resource: Any = root
    for segment in uri.partition(b"?")[0].split(b"/")[1:]:
        if resource.isLeaf:
            break
        child = getattr(resource, "children", {}).get(unquote_to_bytes(segment))
        if child is None:
            # Only a resource that makes its children as they are asked for can have one.
            return _makes_children(type(resource))
        resource = child
    decides = getattr(resource, "takes_body", None)
    if decides is not None:
        return bool(decides(request, method, uri))
    if method in (b"GET", b"HEAD"):
        return False
    overridden = getattr(type(resource), "render", None) is not Resource.render
    return overridden or hasattr(resource, "render_" + method.decode("latin-1"))


def _makes_children(kind: type) -> bool:
    return any(getattr(kind, name, None) is not getattr(Resource, name) for name in ("getChild", "getChildWithDefault"))


def redacted(uri: bytes) -> bytes:
    """``uri`` with the values of secret arguments and anything that looks like a token masked."""
    path, mark, query = _WORD.sub(_without_jwt, uri).partition(b"?")
    parts = []
    for part in query.replace(b";", b"&").split(b"&"):
        name, equals, _ = part.partition(b"=")
        plain = (unquote_to_bytes(name) if b"%" in name else name).lower()
        if equals and (SECRET in plain or plain == SESSION):
            part = name + b"=..."
        parts.append(part)
    return path + mark + b"&".join(parts)


def _without_jwt(word: re.Match[bytes]) -> bytes:
    """Mask what looks like a JWT, to the end of the word (a JWT's header begins with ``{"``)."""
    before, begins, rest = word[0].partition(b"eyJ")
    return before + b"..." if begins and (b"." in rest or b"%2e" in rest.lower()) else word[0]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").encode("unicode_escape").decode("ascii")
