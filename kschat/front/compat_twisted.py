"""All uses of Twisted's private names, each with the symptom that made it necessary.

``tests/front/test_compat.py`` lists them, and fails with one sentence if a name is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

# A connection without the PROXY protocol's header is closed without a word by Twisted's wrapper, whose classes are not
# public; a proxy that does not send it was found by nobody.
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory

__all__ = [
    "HAProxyProtocolWrapper",
    "HAProxyWrappingFactory",
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


# HTTPChannel. Its request has method and target only once the body is there; what must be known before (whether a body
# may come at all, and whose POST it is) would be known too late.


def request_line(channel: Any) -> tuple[bytes, bytes]:
    """Method and target of the request whose head an ``HTTPChannel`` has read."""
    return channel._command, channel._path


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
MAX_ACCEPTS: Final = 20

#: Events that the reactor handles in one turn. Those that are left over come first in the next.
MAX_EVENTS: Final = 128


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


#: Seconds after which a turn handles no further event. The clock is looked at after each eighth.
EVENT_SECONDS: Final = 0.01


class _BoundedPoller:
    """An epoll object that tells of ``MAX_EVENTS`` events at most, and of none once they took ``EVENT_SECONDS``."""

    def __init__(self, poller: Any, seconds: Callable[[], float]) -> None:
        self.wait = poller.poll
        self.seconds = seconds
        # Events of the turn before that were not handled. (What has become of them meanwhile does no harm: what is not
        # ready says so when it is read.)
        self.left: list[tuple[int, int]] = []
        self.register, self.unregister, self.modify = poller.register, poller.unregister, poller.modify
        self.close, self.fileno = poller.close, poller.fileno
        # Told how long each turn took, from the end of the wait to the next one; and when this one began.
        self.took: Callable[[float], None] | None = None
        self.woke = 0.0

    def poll(self, timeout: float, most: int) -> Iterable[tuple[int, int]]:
        """The events of one turn."""
        if self.took is None:
            return self.events(timeout, most)
        self.took(self.seconds() - self.woke)
        events = self.events(timeout, most)
        self.woke = self.seconds()
        return events

    def events(self, timeout: float, most: int) -> Iterable[tuple[int, int]]:
        """Those that are left over from the turn before, or wait for others."""
        events = self.left
        if events:
            self.left = []
        else:
            events = self.wait(timeout, min(most, MAX_EVENTS))
        return self.within(events) if len(events) > 8 else events

    def within(self, events: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """As many of ``events`` as there is time for; the others are left."""
        until = self.seconds() + EVENT_SECONDS
        for number, event in enumerate(events, 1):
            yield event
            if not number & 7 and self.seconds() >= until:
                self.left = events[number:]
                return


def bound_events(reactor: Any) -> None:
    """Let an epoll reactor handle no more events in one turn than these. Others stay as they are.

    To be called once the reactor has its clock.
    """
    if type(reactor).__name__ == "EPollReactor" and not isinstance(reactor._poller, _BoundedPoller):
        reactor._poller = _BoundedPoller(reactor._poller, reactor.seconds)


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
