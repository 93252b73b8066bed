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
from kschat.front.drain import SETTLE_SECONDS
from kschat.front.polling import LAST_WORDS_TIMEOUT
from kschat.front.service import CLOSE_TIMEOUT, FrontService
from tests.chat.house import House
from tests.front.daemon import V3, V4, Daemon, Peer
from tests.front.frames import CLOSE, TEXT, Seen, close_frame
from tests.front.pollers import Poller


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
        self.service = self.make_service(front)
        self.service.startService()

    def make_service(self, front: FrontService) -> daemon.Daemon:
        return daemon.Daemon(front, chat=self.house.chat, router=self.house.router, clock=self.house.clock)

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


class Draining(ServiceTests):
    """SIGTERM where the operator has given it time: first a notice, then connections end evenly."""

    NOTICE, TIME = 5.0, 10.0

    def make_service(self, front: FrontService) -> daemon.Daemon:
        return daemon.Daemon(
            front,
            chat=self.house.chat,
            router=self.house.router,
            clock=self.house.clock,
            drain_notice=self.NOTICE,
            drain_time=self.TIME,
        )

    def send(self, peer: Peer, text: str, user: str = "ann") -> None:
        peer.send(f'42/kschat,1["Send",{{"uId":"{user}","pId":"{user}","msg":"{text}"}}]')
        self.house.turn()

    def assert_acknowledged(self, frames: list[Seen]) -> None:
        words = [frame.payload for frame in frames if frame.opcode == TEXT]
        success = b'43/kschat,1[{"RESPONSE":"Send Emit is success."'
        self.assertTrue(any(word.startswith(success) for word in words), words)

    def answer_closing(self, peers: list[Peer]) -> int:
        """How many were told to close; they answer, and are gone."""
        told = [peer for peer in peers if any(frame.opcode == CLOSE for frame in peer.frames())]
        for peer in told:
            peer.arrive(close_frame(1001))
            peers.remove(peer)
        return len(told)

    def test_it_serves_as_before_for_the_notice_and_is_not_ready(self) -> None:
        peer = self.guest("ann")
        self.stop()
        self.pass_time(self.NOTICE - 0.2)
        self.assertTrue(self.house.chat.closing)
        self.assertTrue(self.port.open)
        self.guest("ben")
        self.send(peer, "served")
        self.assert_acknowledged(peer.frames())
        self.pass_time(0.4)
        self.assertFalse(self.port.open)

    def test_connections_end_evenly_and_are_served_until_then_and_none_begins(self) -> None:
        for count in (3, 50, 400):
            self.setUp()
            peers = [self.guest("ann", V4 + "&goodbye=1")] + [self.guest(f"user{one}") for one in range(count - 1)]
            last = peers[-1]
            stopped = self.stop()
            self.pass_time(self.NOTICE)
            ended = []
            for second in range(int(self.TIME)):
                self.pass_time(1)
                if second == 4:
                    self.send(last, "served", f"user{count - 2}")
                    self.assert_acknowledged(last.frames())
                    refused = self.daemon.request(
                        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                    )
                    self.assertEqual((refused.status, refused.json["message"]), (503, "The server is going down"))
                    self.assertEqual(refused.headers["retry-after"], "1")
                ended.append(self.answer_closing(peers))
            self.assertTrue(all(abs(one - count / self.TIME) <= count / 40 + 1 for one in ended), ended)
            self.pass_time(1)
            self.answer_closing(peers)
            self.assertEqual(peers, [])
            self.successResultOf(stopped)
            self.assertFalse(self.house.store.running)

    def test_those_that_poll_are_waited_for_until_they_know_and_not_for_ever(self) -> None:
        for comes in (True, False):
            self.setUp()
            poller = Poller(self.daemon)
            # Its answer is on its way: there is no GET that could be told.
            stopped = self.stop()
            self.pass_time(self.NOTICE + 1)
            self.assertEqual(len(self.daemon.sessions), 0)
            self.assertNoResult(stopped)
            if comes:
                self.assertEqual(poller.take(), ["1"])
                self.pass_time(0.3)
            else:
                self.pass_time(LAST_WORDS_TIMEOUT)
            self.pass_time(CLOSE_TIMEOUT)
            self.successResultOf(stopped)

    def test_clients_that_can_understand_it_are_told_goodbye(self) -> None:
        peer = self.guest("ann", V4 + "&goodbye=1")
        self.stop()
        self.pass_time(self.NOTICE + 0.4)
        word, closing = peer.frames()
        self.assertIn(b'"Goodbye",{"reason":"drain"', word.payload)
        self.assertEqual((closing.opcode, closing.code), (CLOSE, 1001))

    def test_a_session_does_not_end_before_what_it_sent_is_answered(self) -> None:
        peer = self.guest("ann")
        self.stop()
        self.pass_time(self.NOTICE - 0.2)
        self.house.store.answers.held = True
        self.send(peer, "taken")
        self.pass_time(SETTLE_SECONDS)
        self.assertEqual(peer.frames(), [])
        self.house.store.answers.held = False
        self.house.store.answers.give()
        frames = peer.frames()
        self.assert_acknowledged(frames)
        self.assertIn(CLOSE, [frame.opcode for frame in frames])

    def test_where_the_store_does_not_answer_it_ends_in_time(self) -> None:
        peer = self.guest("ann")
        stopped = self.stop()
        self.pass_time(self.NOTICE - 0.2)
        self.house.store.answers.held = True
        self.send(peer, "taken")
        self.pass_time(2 * SETTLE_SECONDS)
        self.assertEqual(peer.closing().code, 1001)
        self.pass_time(CLOSE_TIMEOUT + 4 * DRAIN_TIMEOUT)
        self.successResultOf(stopped)

    def test_in_a_hurry_it_ends_at_once_and_in_order_at_any_time(self) -> None:
        for waited in (-1.0, 1.0, self.NOTICE + 1.0):
            self.setUp()
            peers = [self.guest(f"user{number}") for number in range(20)]
            if waited < 0:
                self.service.hurry()
            stopped = self.stop()
            if waited > 0:
                self.pass_time(waited)
                self.assertLess(self.answer_closing(peers), 10)
                self.service.hurry()
            self.answer_closing(peers)
            self.successResultOf(stopped)
            self.assertEqual(peers, [])
            self.assertFalse(self.house.store.running)

    def test_where_nobody_is_only_the_notice_is_waited_for(self) -> None:
        stopped = self.stop()
        self.pass_time(self.NOTICE + 0.1)
        self.successResultOf(stopped)
