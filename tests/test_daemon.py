"""How a daemon begins and ends: in which order, and within which time whatever does not answer."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from kschat import daemon
from kschat.daemon import DRAIN_TIMEOUT
from kschat.front.service import CLOSE_TIMEOUT, FrontService
from tests.chat.house import House
from tests.front.daemon import V3, V4, Daemon, Peer
from tests.front.frames import CLOSE, close_frame


class Port(Service):
    """Listens, as far as anybody can tell."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.open = False
        self.closing: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        self.open = True
        self.daemon.site.doStart()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.open = False
        self.daemon.site.doStop()
        return self.closing or succeed(None)


class Late(Resource):
    """Never answers."""

    isLeaf = True

    def render(self, request: object) -> Any:
        return NOT_DONE_YET


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.daemon = Daemon(house=self.house, page=Late())
        self.port = Port(self.daemon)
        front = FrontService(self.port, self.daemon.front, self.house.clock)
        self.service = daemon.Daemon(front, chat=self.house.chat, router=self.house.router, clock=self.house.clock)
        self.service.startService()

    def guest(self, user: str, query: str = V4) -> Peer:
        """A client that was let in, and has read the answer."""
        peer = self.daemon.websocket(f"{query}&token={self.house.token(user)}")
        peer.send("40/kschat,")
        self.assertIn("40/kschat", peer.texts()[-1])
        return peer

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.house.clock.advance(0.1)

    def stop(self) -> Deferred[Any]:
        with capturedLogs() as events:
            stopped = self.service.stopService()
        self.log = [formatEvent(event) for event in events]
        return stopped


class Beginning(ServiceTests):
    def test_the_store_runs_and_the_port_is_open(self) -> None:
        self.assertTrue(self.house.store.running)
        self.assertTrue(self.port.open)


class Ending(ServiceTests):
    def test_where_nobody_is_it_ends_at_once(self) -> None:
        self.successResultOf(self.stop())
        self.assertFalse(self.port.open)
        self.assertFalse(self.house.store.running)
        self.assertIn("going down: 0 connections, no new ones", self.log)
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_the_port_closes_first(self) -> None:
        self.port.closing = Deferred()
        peer = self.guest("ann")
        stopped = self.stop()
        self.assertTrue(self.house.chat.closing)
        self.assertEqual(peer.frames(), [])
        self.port.closing.callback(None)
        self.assertEqual(peer.closing().code, 1001)
        peer.arrive(close_frame(1001))
        self.successResultOf(stopped)

    def test_what_was_accepted_is_answered_before_sockets_are_closed_and_nothing_new_is_taken(self) -> None:
        self.house.store.answers.held = True
        peer = self.guest("ann")
        peer.send('42/kschat,1["Send",{"uId":"ann","pId":"ann","msg":"taken"}]')
        self.house.turn()
        stopped = self.stop()
        peer.send('42/kschat,2["Send",{"uId":"ann","pId":"ann","msg":"too late"}]')
        refused, _ = peer.texts()
        self.assertTrue(refused.startswith('43/kschat,2[{"RESPONSE":"Send Emit is failed."'), refused)
        self.assertIn('"ER":7', refused)
        self.house.store.answers.held = False
        self.house.store.answers.give()
        frames = peer.frames()
        texts = [frame.payload.decode() for frame in frames if frame.opcode == 1]
        self.assertTrue(any(text.startswith('43/kschat,1[{"RESPONSE":"Send Emit is success."') for text in texts))
        self.assertTrue(any('"RESPRECEIVER"' in text and '"taken"' in text for text in texts))
        self.assertEqual((frames[-1].opcode, frames[-1].code, frames[-1].reason), (CLOSE, 1001, "server shutting down"))
        peer.arrive(close_frame(1001))
        self.successResultOf(stopped)

    def test_clients_of_each_revision_are_closed_with_the_reason(self) -> None:
        peers = [self.guest("ann", V3), self.guest("ben", V4), self.daemon.websocket(V4)]
        stopped = self.stop()
        for peer in peers:
            closing = peer.closing()
            self.assertEqual((closing.code, closing.reason), (1001, "server shutting down"))
            self.assertNoResult(stopped)
            peer.arrive(close_frame(1001))
        self.successResultOf(stopped)

    def test_clients_that_can_understand_it_are_told_goodbye(self) -> None:
        peer = self.guest("ann", V4 + "&goodbye=1")
        self.stop()
        word, _ = peer.frames()
        self.assertIn(b'"Goodbye",{"reason":"drain"', word.payload)

    def test_users_that_were_here_are_noted_before_the_store_stops(self) -> None:
        peer = self.guest("ann")
        stopped = self.stop()
        peer.arrive(close_frame(1001))
        self.successResultOf(stopped)
        self.assertEqual(self.successResultOf(self.house.store.last_seen(["ann"])), {"ann": 1_700_000_000_000})

    def test_idle_connections_of_http_do_not_hold_it_up(self) -> None:
        wire = self.daemon.connect()
        stopped = self.stop()
        wire.pump()
        self.successResultOf(stopped)
        self.assertEqual(self.daemon.connections.open, 0)

    def test_where_the_store_does_not_answer_it_ends_in_time(self) -> None:
        self.house.store.answers.held = True
        peer = self.guest("ann")
        peer.send('42/kschat,1["Send",{"uId":"ann","pId":"ann","msg":"taken"}]')
        self.house.turn()
        with capturedLogs() as events:
            stopped = self.stop()
            self.pass_time(DRAIN_TIMEOUT - 0.2)
            self.assertEqual(peer.frames(), [])
            self.pass_time(0.4)
            self.assertEqual(peer.closing().code, 1001)
            self.pass_time(CLOSE_TIMEOUT + 2 * DRAIN_TIMEOUT + 0.5)
        self.successResultOf(stopped)
        lines = [formatEvent(event) for event in events]
        self.assertEqual(len([line for line in lines if "messages were still not answered" in line]), 1)
        self.assertEqual(self.daemon.connections.open, 0)

    def test_where_peers_do_not_answer_it_ends_in_time(self) -> None:
        peers = [self.guest("ann") for _ in range(3)]
        peers[1].wire.room = 0
        stopped = self.stop()
        self.pass_time(CLOSE_TIMEOUT + 0.2)
        self.successResultOf(stopped)
        self.assertEqual([peer.wire.aborted for peer in peers], [True] * 3)

    def test_where_a_request_is_never_answered_it_ends_in_time(self) -> None:
        wire = self.daemon.connect()
        wire.arrive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.pass_time(CLOSE_TIMEOUT + 0.2)
        self.successResultOf(stopped)

    def test_a_store_that_fails_at_the_end_is_logged_and_the_daemon_ends(self) -> None:
        for broken in ("call", "answer"):
            self.setUp()
            self.guest("ann").wire.hang_up()
            self.house.store.answers.broken = broken
            self.successResultOf(self.stop())
            self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_port_that_fails_at_the_end_does_not_keep_sockets_open(self) -> None:
        self.port.closing = Deferred()
        peer = self.guest("ann")
        stopped = self.stop()
        self.port.closing.errback(ZeroDivisionError())
        self.assertEqual(peer.closing().code, 1001)
        peer.arrive(close_frame(1001))
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
