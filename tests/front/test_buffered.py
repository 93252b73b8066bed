"""What all clients together may make a daemon hold: each kind is counted, and beyond the bound the largest is ended."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from kschat.wire.errors import Reason
from tests.front.daemon import Daemon, Peer
from tests.front.frames import client_frame
from tests.front.pollers import Poller
from tests.front.wires import Wire

#: Bytes that all may hold in these tests.
LIMIT = 1_000_000


class Large(Resource):
    """Answers with much, and takes bodies."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"x" * 300_000


def send(daemon: Daemon, size: int, number: int) -> None:
    """The application sends so much to one of its sockets."""
    daemon.recorder.sockets[number].emit(b'["e","%b"]' % (b"x" * size))


class Buffered(SynchronousTestCase):
    def daemon(self, **settings: Any) -> Daemon:
        return Daemon(max_buffered=LIMIT, max_unsent=400_000, **settings)

    def held(self, daemon: Daemon) -> int:
        budget = daemon.front.budget
        self.assertEqual(budget.held, sum(budget._sizes.values()))
        self.assertLessEqual(budget.held, LIMIT)
        return budget.held

    def assertNothingHeld(self, daemon: Daemon) -> None:
        self.assertEqual((daemon.front.budget.held, daemon.front.budget._sizes), (0, {}))

    def slow(self, daemon: Daemon) -> Peer:
        """A client that has joined, and reads nothing from now on."""
        peer = daemon.joined()
        peer.wire.room = 0
        return peer

    def test_what_websockets_do_not_read(self) -> None:
        daemon = self.daemon()
        peers = [self.slow(daemon) for _ in range(10)]
        for _ in range(20):
            for number in range(10):
                send(daemon, 10_000 + 100 * number, number)
                self.held(daemon)
        ended = daemon.recorder.of("ended")
        self.assertGreater(len(ended), 0)
        self.assertLess(len(ended), 10)
        self.assertEqual({reason for reason, _ in ended}, {Reason.SLOW_READER})
        self.assertEqual(daemon.counters.evicted, {"buffered": len(ended)})
        self.assertGreater(self.held(daemon), LIMIT / 2)
        for peer in peers:
            if peer.wire.lost is None:
                peer.wire.room = None
                peer.wire.pump()
        daemon.clock.advance(3)
        self.assertNothingHeld(daemon)

    def test_a_little_that_many_do_not_read(self) -> None:
        # Less than what Twisted tells a producer of.
        daemon = self.daemon()
        for _ in range(30):
            self.slow(daemon)
        for number in range(30):
            send(daemon, 50_000, number)
            self.held(daemon)
        self.assertGreater(daemon.counters.evicted["buffered"], 0)

    def test_who_reads_is_not_ended_for_those_who_do_not(self) -> None:
        daemon = self.daemon()
        reads = daemon.joined()
        for _ in range(10):
            self.slow(daemon)
        for _ in range(20):
            for number in range(11):
                if daemon.recorder.sockets[number].accepted:
                    send(daemon, 20_000, number)
            reads.wire.pump()
        self.assertIsNone(reads.wire.lost)
        protocol: Any = reads.wire.protocol
        self.assertLess(daemon.front.budget._sizes[protocol], 21_000)  # of the last write, as far as it is known
        self.assertEqual(protocol.measure(), 0)

    def test_what_waits_for_gets(self) -> None:
        daemon = self.daemon()
        pollers = [Poller(daemon) for _ in range(5)]
        for poller in pollers:
            poller.join()
        for _ in range(10):
            for number in range(5):
                if daemon.recorder.sockets[number].accepted:
                    send(daemon, 30_000, number)
                    self.held(daemon)
        ended = daemon.recorder.of("ended")
        self.assertEqual({reason for reason, _ in ended}, {Reason.SLOW_READER})
        for poller in pollers:
            if poller.lives:
                while len(poller.frames(poller.get("&t=a"))) > 1 and daemon.front.budget.held:
                    pass
                poller.post("1")
        self.assertNothingHeld(daemon)

    def test_last_words_of_those_who_do_not_come_for_them(self) -> None:
        daemon = self.daemon()
        poller = Poller(daemon)
        poller.join()
        send(daemon, 100_000, 0)
        daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.assertGreater(self.held(daemon), 100_000)
        daemon.clock.advance(6)
        self.assertNothingHeld(daemon)

    def test_bodies_that_do_not_end(self) -> None:
        daemon = self.daemon(page=Large())
        wires: list[Wire] = []
        for _ in range(30):
            wire = daemon.connect()
            wire.arrive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 90_000)
            wires.append(wire)
            self.held(daemon)
        daemon.clock.advance(0)
        self.assertGreater(sum(wire.lost is not None for wire in wires), 15)
        for wire in wires:
            if wire.lost is None:
                wire.hang_up()
        self.assertNothingHeld(daemon)

    def test_a_body_that_ended_is_held_until_it_is_answered(self) -> None:
        daemon = self.daemon(page=Large())
        wire = daemon.connect()
        wire.arrive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 99_999)
        self.assertEqual(self.held(daemon), 99_999)
        wire.arrive(b"x")
        self.assertNothingHeld(daemon)

    def test_answers_that_are_not_read(self) -> None:
        daemon = self.daemon(page=Large())
        wires = [daemon.connect(room=0) for _ in range(6)]
        for wire in wires:
            wire.arrive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.held(daemon)
        daemon.clock.advance(0)
        left = [wire for wire in wires if wire.lost is None]
        self.assertGreater(len(left), 0)
        self.assertLess(len(left), 4)
        for wire in left:
            wire.room = None
            wire.pump()
        self.assertNothingHeld(daemon)

    def test_messages_that_do_not_arrive_whole(self) -> None:
        daemon = self.daemon()
        peers = [daemon.joined() for _ in range(4)]
        for peer in peers:
            peer.arrive(client_frame(b"x" * 400_000)[:399_000])
            self.held(daemon)
        daemon.clock.advance(3)
        self.assertGreater(daemon.counters.evicted["buffered"], 0)
        for peer in peers:
            if peer.wire.lost is None:
                peer.wire.hang_up()
        self.assertNothingHeld(daemon)
