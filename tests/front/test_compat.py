"""Canaries: the privates of Twisted and Autobahn that are touched are there, or one sentence says which is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflate
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection, Port
from twisted.internet.testing import StringTransport
from twisted.protocols.haproxy import _wrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from kschat.front import compat_autobahn, compat_twisted
from tests.canary import Canary, Private
from tests.front.daemon import handshake


def channel() -> Any:
    """An HTTP channel that has read the head of a request, and not its body."""
    found = HTTPChannel()
    found.makeConnection(StringTransport())
    found.dataReceived(b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    return found


def proxied() -> Any:
    """A connection that waits for the PROXY protocol's header."""
    nothing: Any = None
    return _wrapper.HAProxyProtocolWrapper(nothing, nothing)


def websocket() -> Any:
    """A WebSocket whose handshake is done, of Autobahn alone."""
    found = WebSocketServerProtocol()
    found.factory = WebSocketServerFactory(reactor=Clock())
    found.makeConnection(StringTransport())
    found.dataReceived(handshake())
    return found


def inflater() -> Any:
    """What inflates a peer's messages."""
    return PerMessageDeflate(True, False, False, 0, 0, 8)


class Closed:
    """What a TCP connection needs to be made."""

    def fileno(self) -> int:
        return -1

    def setblocking(self, blocking: bool) -> None:
        pass


def connection() -> Any:
    """A TCP connection of Twisted's, without a socket below."""
    closed: Any = Closed()
    nobody: Any = None
    return Connection(closed, nobody, None)


def tls() -> Any:
    """A connection with TLS of Twisted's."""
    nobody: Any = None
    return TLSMemoryBIOProtocol(nobody, nobody)


def epoll() -> Any:
    """A reactor that nobody runs."""
    found = EPollReactor()
    found.removeAll()
    return found


def listening() -> Any:
    """A port that has begun to listen."""
    port = Port(0, Factory(), interface="127.0.0.1", reactor=epoll())
    port.startListening()
    port.socket.close()
    return port


class Client:
    """A protocol."""

    has_joined = True


class End(FileDescriptor):
    """One that has something to read."""

    def __init__(self, reactor: Any, end: socket.socket) -> None:
        super().__init__(reactor)
        self.end = end
        self.read = 0
        self.protocol = Client()
        self.does: Callable[[End], None] = lambda end: None

    def fileno(self) -> int:
        return self.end.fileno()

    def doRead(self) -> None:
        self.read += 1
        self.does(self)


class Twisted(Canary, SynchronousTestCase):
    module = compat_twisted
    names = (
        Private(channel, "_command", "twisted", "request_line needs, to know of a request before its body is there"),
        Private(channel, "_path", "twisted", "request_line needs, to know of a request before its body is there"),
        Private(channel, "_version", "twisted", "request_line needs, to know whether a request must have a Host"),
        Private(
            channel, "_transferDecoder", "twisted", "forget_body needs, or bodies that nobody reads are waited for"
        ),
        Private(channel, "_dataBuffer", "twisted", "take_buffered needs, or frames behind a handshake are lost"),
        Private(
            channel,
            "_respondToBadRequestAndDisconnect",
            "twisted",
            "TellingChannel needs, or bytes that are no request are not counted",
        ),
        Private(channel, "_networkProducer", "twisted", "forget_producer needs, or each WebSocket holds its channel"),
        Private(listening, "numberAccepts", "twisted", "bound_accepts needs, or a flood makes long turns"),
        Private(epoll, "_poller", "twisted", "bound_events needs, or the end of thousands makes a long turn"),
        Private(epoll, "_selectables", "twisted", "bound_events needs, or clients wait for all newcomers"),
        Private(epoll, "_disconnectSelectable", "twisted", "bound_events needs, or what has ended is never closed"),
        Private(connection, "_tempDataLen", "twisted", "unsent needs, or slow readers are not seen"),
        Private(connection, "dataBuffer", "twisted", "unsent needs"),
        Private(connection, "offset", "twisted", "unsent needs"),
        Private(tls, "_tlsShutdownFinished", "twisted", "AcyclicTLSTransport needs, or each end leaves a cycle"),
        Private(tls, "_producer", "twisted", "AcyclicTLSTransport needs, or each end leaves a cycle"),
        Private(lambda: _wrapper, "HAProxyProtocolWrapper", "twisted", "haproxy: endpoints stand on"),
        Private(lambda: _wrapper, "HAProxyWrappingFactory", "twisted", "haproxy: endpoints stand on"),
        Private(proxied, "_proxyInfo", "twisted", "has_proxy_header needs, or nobody learns why a proxy is refused"),
    )

    def test_a_port_accepts_so_many_connections_in_one_turn_whatever_it_sets_itself(self) -> None:
        port: Any = listening()
        compat_twisted.bound_accepts(port)
        most = compat_twisted.MAX_ACCEPTS
        for number, expected in ((1, 1), (most, most), (most + 1, most), (5000, most), (3, 3)):
            port.numberAccepts = number
            self.assertEqual(port.numberAccepts, expected)
        port.numberAccepts += most
        self.assertEqual(port.numberAccepts, most)

    def ready(self, reactor: Any, count: int) -> list[End]:
        """So many that have something to read."""
        ends = []
        for _ in range(count):
            one, other = socket.socketpair()
            self.addCleanup(one.close)
            self.addCleanup(other.close)
            other.send(b"x")
            ends.append(End(reactor, one))
            reactor.addReader(ends[-1])
        self.addCleanup(reactor.removeAll)
        return ends

    def bounded(self) -> Any:
        """An epoll reactor whose clock stands still."""
        reactor: Any = EPollReactor()
        self.now = 0.0
        reactor.seconds = lambda: self.now
        for _ in range(2):
            compat_twisted.bound_events(reactor)
        return reactor

    def test_a_turn_of_the_reactor_has_the_events_that_there_is_time_for(self) -> None:
        reactor = self.bounded()
        ends = self.ready(reactor, 40)
        reactor.doPoll(0)
        self.assertEqual([end.read for end in ends], [1] * 40)

        def takes(end: End) -> None:
            self.now += compat_twisted.EVENT_SECONDS / 7.9

        for end in ends:
            end.does = takes
        # Those that take long are fewer a turn, and none is passed over.
        for turn in range(1, 6):
            reactor.doPoll(0)
            self.assertEqual(sum(end.read for end in ends), 40 + 8 * turn)
        self.assertEqual([end.read for end in ends], [2] * 40)

    def test_what_ends_or_fails_while_it_is_read_is_closed_and_the_others_are_read(self) -> None:
        reactor = self.bounded()
        ends = self.ready(reactor, 5)
        lost: list[tuple[int, type[BaseException]]] = []

        def fails(end: End) -> None:
            raise ZeroDivisionError("a bug of a protocol")

        for number, end in enumerate(ends):
            self.patch(end, "connectionLost", lambda reason, number=number: lost.append((number, reason.type)))
        ends[1].does = fails
        self.patch(ends[3], "doRead", lambda: CONNECTION_DONE)
        for _ in range(2):
            reactor.doPoll(0)
        self.assertEqual(lost, [(1, ZeroDivisionError), (3, ConnectionDone)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([end.read for end in ends], [2, 1, 2, 0, 2])

    def test_what_was_closed_by_an_event_before_is_not_read(self) -> None:
        reactor = self.bounded()
        ends = self.ready(reactor, 3)

        def ends_the_others(end: End) -> None:
            for other in ends:
                if other is not end:
                    reactor.removeReader(other)

        for end in ends:
            end.does = ends_the_others
        reactor.doPoll(0)
        self.assertEqual(sum(end.read for end in ends), 1)

    def test_those_who_have_joined_come_before_newcomers_that_are_left_over(self) -> None:
        reactor = self.bounded()
        newcomers = self.ready(reactor, 30)
        order: list[End] = []

        def takes(end: End) -> None:
            order.append(end)
            self.now += compat_twisted.EVENT_SECONDS / 3.9

        for end in newcomers:
            end.protocol.has_joined = False
            end.does = takes
        reactor.doPoll(0)
        joined = self.ready(reactor, 2)
        for end in joined:
            end.does = takes
        for _ in range(20):
            reactor.doPoll(0)
        self.assertEqual(set(order[4:6]), set(joined))
        # Those who have joined take not all of the time.
        self.assertEqual(len(set(order)), 32)

    def test_a_descriptor_that_is_another_client_s_is_looked_at_again(self) -> None:
        reactor = self.bounded()
        (end,) = self.ready(reactor, 1)
        poller = reactor._poller
        self.assertEqual(list(poller.in_order({end.fileno(): 1})), [(end.fileno(), 1)])
        self.assertIn(end.fileno(), poller.known)
        reactor.removeReader(end)
        self.assertNotIn(end.fileno(), poller.known)

    def test_an_event_that_was_left_over_is_not_reported_for_the_next_owner_of_its_descriptor(self) -> None:
        self.replace_one(between_turns=False)
        self.replace_one(between_turns=True)

    def replace_one(self, *, between_turns: bool) -> None:
        """A connection that has something to read ends, and one that has not gets its descriptor."""
        reactor = self.bounded()
        ends = self.ready(reactor, 9)
        ended = ends[-1]
        quiet, other = socket.socketpair()
        self.addCleanup(quiet.close)
        self.addCleanup(other.close)
        replaced: list[End] = []

        def replace() -> None:
            reactor.removeReader(ended)
            os.dup2(quiet.fileno(), ended.fileno())
            replaced.append(End(reactor, ended.end))
            reactor.addReader(replaced[0])

        def takes(end: End) -> None:
            self.now += compat_twisted.EVENT_SECONDS
            if not (between_turns or replaced):
                replace()

        for end in ends:
            end.does = takes
        reactor.doPoll(0)
        if between_turns:
            replace()
        for _ in range(20):
            reactor.doPoll(0)
        self.assertEqual((ended.read, replaced[0].read), (0, 0))
        self.assertGreater(min(end.read for end in ends[:-1]), 0)

    def test_whoever_listens_is_no_client_and_backends_come_first(self) -> None:
        self.assertFalse(compat_twisted.comes_first(listening()))
        self.assertTrue(compat_twisted.comes_first(object()))

    def test_a_turn_lasts_from_one_wait_to_the_next(self) -> None:
        reactor: Any = EPollReactor()
        self.addCleanup(reactor.removeAll)
        now = 0.0
        reactor.seconds = lambda: now
        compat_twisted.bound_events(reactor)
        wait = reactor._poller.wait

        def waits(timeout: float, most: int) -> Any:
            nonlocal now
            now += 100
            return wait(timeout, most)

        reactor._poller.wait = waits
        turns: list[float] = []
        compat_twisted.watch_turns(reactor, turns.append)
        for seconds in (0.5, 0.25, 0.0):
            now += seconds
            reactor.doPoll(0)
        self.assertEqual(turns, [0.5, 0.25, 0])
        compat_twisted.watch_turns(object(), turns.append)

    def test_request_line_is_what_arrived(self) -> None:
        there = channel()
        self.assertEqual(compat_twisted.request_line(there), (b"POST", b"/x", b"HTTP/1.1"))
        compat_twisted.set_target(there, b"/y")
        self.assertEqual(compat_twisted.request_line(there), (b"POST", b"/y", b"HTTP/1.1"))


class Autobahn(Canary, SynchronousTestCase):
    module = compat_autobahn
    names = (
        Private(websocket, "_dataReceived", "autobahn", "received_by_autobahn needs"),
        Private(websocket, "_perMessageCompress", "autobahn", "agreed_compression needs, or nothing is compressed"),
        Private(websocket, "_max_message_size_exceeded", "autobahn", "too_large needs, or sockets are not told why"),
        Private(inflater, "_decompressor", "autobahn", "forget_inflater needs, or each connection holds an inflater"),
        *(
            Private(websocket, name, "autobahn", "EngineProtocol reads or sets")
            for name in (
                "state",
                "inside_message",
                "failedByMe",
                "maxFramePayloadSize",
                "maxMessagePayloadSize",
                "http_headers",
                "http_request_params",
                "http_request_data",
                "http_response_data",
            )
        ),
    )
