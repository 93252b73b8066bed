"""A burst of handshakes is admitted at the configured rate. Requests of existing sessions do not wait."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.counters import Counters
from kschat.front.handshake_queue import (
    BURST_SECONDS,
    LOOK_SECONDS,
    MAX_LOOK_SECONDS,
    MAX_WAIT_SECONDS,
    HandshakeQueue,
)
from tests.front.daemon import V4, Daemon, Response
from tests.front.frames import TEXT, client_frame
from tests.front.wires import Wire


class Queue(SynchronousTestCase):
    RATE = 100.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.queue = self.make()
        self.begun: list[str] = []

    def make(self, rate: float = RATE, most: int = 500) -> HandshakeQueue:
        return HandshakeQueue(self.clock, rate=rate, most=most, counters=self.counters)

    def come(self, address: str = "a") -> bool:
        """One comes. Returns whether it began or waits."""
        if self.queue.admits():
            self.begun.append(address)
            return True
        return self.queue.enter(address, lambda: self.begun.append(address)) is not None

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([LOOK_SECONDS] * round(seconds / LOOK_SECONDS))

    def test_a_crowd_begins_at_the_rate_and_all_of_it_does(self) -> None:
        self.assertTrue(all(self.come() for _ in range(400)))
        burst = round(self.RATE * BURST_SECONDS)
        self.assertEqual(len(self.begun), burst)
        for second in (1, 2, 3):
            self.pass_time(1)
            self.assertAlmostEqual(len(self.begun), burst + second * self.RATE, delta=2)
        self.pass_time(1.1)
        self.assertEqual((len(self.begun), len(self.queue), self.counters.queued), (400, 0, 400 - burst))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_few_do_not_wait(self) -> None:
        for _ in range(50):
            self.come()
            self.clock.advance(0.02)
        self.assertEqual((len(self.begun), self.counters.queued), (50, 0))

    def test_addresses_take_turns(self) -> None:
        for _ in range(200):
            self.come("many")
        for address in "xyz":
            self.come(address)
        before = len(self.begun)
        self.pass_time(0.1)
        self.assertLess(self.begun.index("z"), before + 10)

    def test_what_comes_later_does_not_overtake(self) -> None:
        for _ in range(30):
            self.come("a")
        # There would be room for one by now, and others wait.
        self.clock.advance(LOOK_SECONDS / 2)
        self.assertFalse(self.queue.admits())

    def test_beyond_the_bounds_there_is_no_place(self) -> None:
        self.queue = self.make(most=20)
        self.assertEqual([self.come() for _ in range(40)].count(True), 30)
        self.assertEqual((len(self.queue), self.counters.full), (20, {"handshakes": 10}))
        # As many as have their turn in time, however many may wait.
        self.queue = self.make(rate=2, most=1000)
        self.assertEqual([self.come() for _ in range(40)].count(True), 1 + round(2 * MAX_WAIT_SECONDS))
        self.assertTrue(math.isclose(self.queue.wait, MAX_WAIT_SECONDS))

    def test_one_address_that_fills_the_queue_does_not_keep_others_out(self) -> None:
        self.queue = self.make(rate=10, most=1000)
        self.assertEqual([self.come("many") for _ in range(200)].count(True), 1 + round(10 * MAX_WAIT_SECONDS))
        self.assertEqual([self.come(address) for address in "xyz"], [True] * 3)
        self.pass_time(0.6)
        self.assertIn("z", self.begun)
        # Of many addresses, too, each waits no longer than that.
        self.assertEqual([self.come(f"other {number}") for number in range(200)].count(True), 10 * MAX_WAIT_SECONDS - 1)

    def test_the_work_of_many_at_once_is_spread_over_turns(self) -> None:
        marks: list[int] = []
        later = self.clock.callLater

        def call_later(seconds: float, call: Callable[[], None]) -> IDelayedCall:
            marks.append(len(self.begun))
            return later(seconds, call)

        def begin() -> None:
            self.begun.append("")
            self.clock.rightNow += MAX_LOOK_SECONDS / 9.9

        self.patch(self.clock, "callLater", call_later)
        # The end; and a rate that SIGHUP removes.
        for starts in (lambda: self.queue.close(), lambda: self.queue.use(0, 500)):
            self.queue, self.begun, marks[:] = self.make(), [], []
            while self.queue.admits():
                pass
            for _ in range(50):
                self.queue.enter("a", begin)
            starts()
            self.clock.advance(LOOK_SECONDS)
            self.assertEqual((len(self.begun), self.clock.getDelayedCalls()), (50, []))
            self.assertLessEqual(max(after - before for before, after in itertools.pairwise([*marks, 50])), 10)

    def test_whoever_leaves_gives_its_place_and_its_turn_to_others(self) -> None:
        for _ in range(10):
            self.come()
        places = [self.queue.enter(address, lambda address=address: self.begun.append(address)) for address in "xxy"]  # type: ignore[misc]
        for place in (*places[:2], places[0]):
            assert place is not None
            self.queue.leave(place)
        self.assertEqual(len(self.queue), 1)
        self.pass_time(0.03)
        self.assertEqual(self.begun[10:], ["y"])
        self.queue.leave(places[2])  # type: ignore[arg-type]
        self.assertEqual(len(self.queue), 0)

    def test_without_a_rate_nobody_waits_and_another_rate_holds_from_then_on(self) -> None:
        self.queue = self.make(rate=0)
        self.assertTrue(all(self.queue.admits() for _ in range(10_000)))
        self.queue.use(self.RATE, 5)
        self.assertEqual([self.come() for _ in range(40)].count(True), 10 + 5)
        self.queue.use(0, 5)
        self.pass_time(0.02)
        self.assertEqual(len(self.queue), 0)

    def test_at_the_end_all_begin_and_find_that_it_is_the_end(self) -> None:
        for _ in range(40):
            self.come()
        self.queue.close()
        self.assertEqual((len(self.begun), self.clock.getDelayedCalls()), (40, []))


class Requests(SynchronousTestCase):
    """Through the real site."""

    def setUp(self) -> None:
        # One at a time, one a second.
        self.daemon = Daemon(handshakes=1.0, max_handshakes_waiting=3)

    def begin(self, peer: str = "192.0.2.7", query: str = "EIO=4&transport=polling", body: bytes = b"") -> Wire:
        wire = self.daemon.connect(peer=peer)
        method = b"POST" if body else b"GET"
        wire.arrive(
            b"%b /socket.io/?%b HTTP/1.1\r\nHost: chat.example\r\nContent-Length: %d\r\n\r\n%b"
            % (method, query.encode(), len(body), body)
        )
        self.daemon.take_turns()
        return wire

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.daemon.clock.advance(LOOK_SECONDS)
        self.daemon.take_turns()

    def test_each_has_its_turn_and_whoever_has_a_session_does_not_wait(self) -> None:
        first = self.begin()
        sid = json.loads(Response(bytes(first.taken)).body[1:])["sid"]
        waiting = [self.begin(), self.begin()]
        self.assertEqual([bytes(wire.taken) for wire in waiting], [b"", b""])
        self.assertEqual(
            Response(bytes(self.begin(query=f"EIO=4&transport=polling&sid={sid}", body=b"40").taken)).status, 200
        )
        upgrade = self.daemon.websocket(f"EIO=4&transport=websocket&sid={sid}")
        upgrade.send("2probe")
        self.assertEqual(upgrade.texts(), ["3probe"])
        self.pass_time(1.1)
        self.assertEqual([bool(wire.taken) for wire in waiting], [True, False])
        self.pass_time(1.1)
        self.assertEqual(Response(bytes(waiting[1].taken)).status, 200)
        self.assertEqual(len(self.daemon.sessions), 3)

    def test_a_websocket_waits_with_what_it_has_sent_already(self) -> None:
        self.begin()
        wire = self.daemon.upgrade(V4)
        wire.arrive(client_frame(b"40/kschat,", TEXT))
        self.daemon.take_turns()
        self.assertEqual(bytes(wire.taken), b"")
        self.pass_time(1.1)
        self.assertTrue(wire.taken.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(self.daemon.recorder.of("connect"), [("/kschat",)])

    def test_beyond_the_bound_it_is_told_to_come_again(self) -> None:
        wires = [self.begin() for _ in range(5)]
        refused = Response(bytes(wires[4].taken))
        self.assertEqual((refused.status, refused.headers["retry-after"]), (503, "3"))
        self.assertEqual(self.daemon.counters.turned_away, 1)

    def test_one_that_has_left_takes_no_turn(self) -> None:
        self.begin()
        gone, waiting = self.begin(), self.begin()
        gone.finish()
        self.pass_time(1.1)
        self.assertTrue(waiting.taken)
        self.assertEqual(len(self.daemon.sessions), 2)

    def test_at_the_end_they_are_told_that_it_is_going_down(self) -> None:
        self.begin()
        waiting = self.begin()
        self.daemon.engine.close()
        self.daemon.take_turns()
        self.assertEqual(Response(bytes(waiting.taken)).status, 503)
        self.assertIn(b"going down", bytes(waiting.taken))
