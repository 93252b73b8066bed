"""All uses of Twisted's private names, each with the symptom that made it necessary.

``tests/front/test_compat.py`` lists them, and fails with one sentence if a name is gone.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

# A connection without the PROXY protocol's header is closed without a word by Twisted's wrapper, whose classes are not
# public; a proxy that does not send it was found by nobody.
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import BufferingTLSTransport
from twisted.python import log
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

__all__ = [
    "AcyclicTLSTransport",
    "HAProxyProtocolWrapper",
    "HAProxyWrappingFactory",
    "TellingChannel",
    "bound_accepts",
    "bound_events",
    "forget_body",
    "forget_producer",
    "has_proxy_header",
    "request_line",
    "set_target",
    "take_buffered",
    "unsent",
    "watch_turns",
]


def has_proxy_header(connection: HAProxyProtocolWrapper) -> bool:
    """Whether a connection has begun with the PROXY protocol's header. (Else it is ended because it has none.)"""
    return connection._proxyInfo is not None


class AcyclicTLSTransport(BufferingTLSTransport):
    """A TLS connection that leaves no reference cycle.

    After a connection that ended without close_notify, a Failure was in a cycle with the frames of its traceback, which
    kept the OpenSSL objects alive: 6,000 such connections left 34 MB until the next full garbage collection.
    """

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        super()._tlsShutdownFinished(reason)
        if reason is not None and reason.value is not None:
            reason.value.__traceback__ = None
            reason.cleanFailure()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended."""
        super().connectionLost(reason)
        self._producer = None


# HTTPChannel. Its request has method and target only once the body is there; what must be known before (whether a body
# may come at all, and whose POST it is) would be known too late.


class TellingChannel(HTTPChannel):
    """An HTTP connection that tells of bytes that are no request.

    twisted.web answers these itself and closes, by no method that is public: an attack of them was seen in no metric.
    """

    def bad_request(self) -> None:
        """Such bytes have arrived."""

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.bad_request()
        super()._respondToBadRequestAndDisconnect()


def request_line(channel: Any) -> tuple[bytes, bytes, bytes]:
    """Method, target and version of the request whose head an ``HTTPChannel`` has read."""
    return channel._command, channel._path, channel._version


def set_target(channel: Any, target: bytes) -> None:
    """Another target for the request whose head was read."""
    channel._path = target


def forget_body(channel: Any) -> None:
    """Let the request whose head was read have no body. For ``allHeadersReceived``.

    Hundreds of requests whose bodies did not come held as many connections, whatever they were for.
    """
    channel.length = 0
    channel._transferDecoder = None


def take_buffered(channel: Any) -> bytes:
    """What arrived behind the requests that an ``HTTPChannel`` has read; it holds it no more.

    A client sends its first WebSocket frames together with its handshake; they were lost.
    """
    buffered: list[bytes] = channel._dataBuffer
    channel._dataBuffer = []
    return b"".join(buffered)


def forget_producer(channel: Any) -> None:
    """Let go of the producer that stands between an ``HTTPChannel`` and its transport.

    Through it each WebSocket held the channel that its handshake had come by.
    """
    channel._networkProducer = None


# tcp.Port and the epoll reactor. In one turn a port accepts 20 connections more than in the one before, without end,
# and the reactor reads and writes all that is ready: a flood of connections, or the end of thousands at once, made
# turns of 70 to 90 ms, in which no timer fired.

#: Connections that a port accepts in one turn of the reactor.
MAX_ACCEPTS: Final = 8

#: Events that the reactor asks for in one turn. Those that it does not come to stay for the next.
MAX_EVENTS: Final = 512


def bound_accepts(port: Any) -> None:
    """Let a listening port accept no more than ``MAX_ACCEPTS`` connections in one turn."""
    if not hasattr(port, "numberAccepts"):
        return  # not one of Twisted's own ports

    def get(port: Any) -> int:
        return min(int(port.__dict__.get("numberAccepts", MAX_ACCEPTS)), MAX_ACCEPTS)

    def keep(port: Any, number: int) -> None:
        port.__dict__["numberAccepts"] = number

    kind = type(port)
    port.__class__ = type(kind.__name__, (kind,), {"numberAccepts": property(get, keep), "__module__": kind.__module__})


#: Seconds after which a turn handles no further event. The clock is looked at after each fourth one; where events were
#: left over from the turn before, after each one.
EVENT_SECONDS: Final = 0.005

#: Seconds that newcomers have in each turn, whatever those who have joined take.
NEWCOMER_SECONDS: Final = 0.002


class _BoundedPoller:
    """An epoll object that reports no more events than there is time for in one turn.

    If some were left over, events of clients who have joined come first, then the others, the oldest first. An attacker
    can open any number of connections, and each message would wait for all of them: 100 ms behind 100 handshakes.

    Args:
        poller: the epoll object.
        seconds: the clock.
        joined: whether the client at a descriptor has joined; if there is no client, whether it comes before clients.
        read: reads what is there at a descriptor.
    """

    def __init__(
        self,
        poller: Any,
        seconds: Callable[[], float],
        *,
        joined: Callable[[int], bool],
        read: Callable[[int], None],
    ) -> None:
        self.read = read
        self.wait = poller.poll
        self.seconds = seconds
        self.joined = joined
        # Events that were not handled, by descriptor.
        self.left: dict[int, int] = {}
        # Descriptors that were unregistered in this turn. The next connection may get such a number at once, and must
        # not be closed by a hang-up of the one before. (epoll reports again what is still ready.)
        self.gone: set[int] = set()
        self.known: set[int] = set()
        self.register, self.modify = poller.register, poller.modify
        self.forget = poller.unregister
        self.close, self.fileno = poller.close, poller.fileno
        # Called with the length of each turn, from the end of one wait to the next; and when this turn began.
        self.took: Callable[[float], None] | None = None
        self.woke = 0.0

    def unregister(self, fd: int) -> None:
        """See ``epoll``."""
        self.known.discard(fd)
        self.left.pop(fd, None)
        self.gone.add(fd)
        self.forget(fd)

    def poll(self, timeout: float, most: int) -> Iterable[tuple[int, int]]:
        """The events of one turn, but those that are handled here."""
        if self.took is None:
            return self.unread(self.events(timeout, most))
        self.took(self.seconds() - self.woke)
        events = self.events(timeout, most)
        self.woke = self.seconds()
        return self.unread(events)

    def unread(self, events: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """The events that are more than something to read. What is there to read is read in between."""
        for event in events:
            if event[1] == select.EPOLLIN:
                self.read(event[0])
            else:
                yield event

    def events(self, timeout: float, most: int) -> Iterable[tuple[int, int]]:
        """The events that were left over, with new ones; without any, wait for some."""
        self.gone.clear()
        left = self.left
        if left:
            self.left = {}
            left.update(self.wait(0, min(most, MAX_EVENTS)))
            return self.in_order(left)
        events: list[tuple[int, int]] = self.wait(timeout, min(most, MAX_EVENTS))
        return self.within(events) if len(events) > 4 else events

    def within(self, events: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """As many of ``events`` as there is time for; the others are kept."""
        until = self.seconds() + EVENT_SECONDS
        for number, event in enumerate(events, 1):
            yield event
            if not number & 3 and self.seconds() >= until:
                self.keep(events[number:])
                return

    def in_order(self, events: dict[int, int]) -> Iterator[tuple[int, int]]:
        """The same, those of joined clients first; at least one of them, and at least one of the others."""
        first: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        known = self.known
        for event in events.items():
            fd = event[0]
            if fd not in known:
                if not self.joined(fd):
                    others.append(event)
                    continue
                known.add(fd)
            first.append(event)
        until = self.seconds() + EVENT_SECONDS
        yield from self.some(first, until)
        yield from self.some(others, max(until, self.seconds() + NEWCOMER_SECONDS))

    def some(self, events: list[tuple[int, int]], until: float) -> Iterator[tuple[int, int]]:
        """Those of ``events`` that begin before ``until``, but at least one."""
        for number, event in enumerate(events, 1):
            yield event
            if self.seconds() >= until:
                self.keep(events[number:])
                return

    def keep(self, events: list[tuple[int, int]]) -> None:
        """Leave ``events`` for the next turn, but those of descriptors that were unregistered meanwhile."""
        gone = self.gone
        self.left.update(event for event in events if event[0] not in gone)


def bound_events(reactor: Any) -> None:
    """Bound the time in which an epoll reactor handles events in one turn. Other reactors stay as they are.

    To be called once the reactor has its clock.
    """
    if type(reactor).__name__ == "EPollReactor" and not isinstance(reactor._poller, _BoundedPoller):
        selectables = reactor._selectables

        def joined(fd: int) -> bool:
            return comes_first(selectables.get(fd))

        def read(fd: int) -> None:
            # As the reactor does, which makes a context for ``log.msg`` first: that took 1.5 us, for 2 reads a message.
            selectable = selectables.get(fd)
            if selectable is None:
                return  # it was closed by an event before this one
            try:
                why = selectable.doRead()
            except BaseException as error:  # noqa: BLE001 - and is logged with its traceback
                why = error
                log.err()
            if why:
                reactor._disconnectSelectable(selectable, why, True)

        reactor._poller = _BoundedPoller(reactor._poller, reactor.seconds, joined=joined, read=read)


def comes_first(selectable: Any) -> bool:
    """Whether what reads at a descriptor comes before newcomers: a client who has joined, or a back end."""
    if isinstance(selectable, Port):
        return False
    protocol = getattr(selectable, "protocol", None)
    while isinstance(protocol, ProtocolWrapper):  # TLS, or the PROXY protocol
        protocol = protocol.wrappedProtocol
    return bool(getattr(protocol, "has_joined", True))


def watch_turns(reactor: Any, took: Callable[[float], None]) -> None:
    """Call ``took`` with the seconds of each turn of a reactor that ``bound_events`` knows."""
    poller = getattr(reactor, "_poller", None)
    if isinstance(poller, _BoundedPoller):
        poller.woke = poller.seconds()
        poller.took = took


def unsent(transport: Any) -> int:
    """Bytes that Twisted holds for a peer, of which it tells nothing. (TLS passes on at once what it is given.)"""
    count: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return count
