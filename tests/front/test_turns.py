"""Fair turns: what one client sent at once is read in several turns, in its order, and nothing of it is lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.turns import (
    FEW_PACKETS,
    LARGE,
    LESS_LARGE,
    LONG_TURN,
    MAX_PARKED_SECONDS,
    MAX_REST,
    MAX_ROUNDS,
    PACKETS,
    PARKED_AT_ONCE,
    PARKED_LOOK,
    READ_ON_BELOW,
    TURN_SECONDS,
    Turns,
)
from kschat.front.websocket import CLOSE_TIMEOUT, MAX_FRAGMENTS
from kschat.wire import payload
from kschat.wire.engineio import Frame
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from tests.front.daemon import V3, Daemon, handshake
from tests.front.frames import BINARY, CONTINUATION, PING, PONG, client_frame, close_frame
from tests.front.pollers import PendingRequest, Poller, request

#: An attachment.
BYTES = client_frame(b"", BINARY)


def event(value: object) -> str:
    """An event with one argument."""
    return f"42/kschat,{json.dumps(['x', value])}"


def events(first: int, count: int) -> bytes:
    """Frames of so many events, counted."""
    return b"".join(client_frame(event(number).encode()) for number in range(first, first + count))


def numbers(daemon: Daemon) -> list[Any]:
    """What the events that arrived carried."""
    return [one[-1] for one in daemon.recorder.of("event")]


class Ticking(Clock):
    """A clock that goes on by ``tick`` whenever it is looked at."""

    tick = 0.0

    def seconds(self) -> float:
        self.rightNow += self.tick
        return super().seconds()


def turn(clock: Clock) -> None:
    """One turn of a reactor: a call that is made for now by another one waits for the next turn. (Not so in Clock.)"""
    for call in [call for call in clock.calls if call.getTime() <= clock.rightNow]:
        clock.calls.remove(call)
        call.called = 1
        call.func(*call.args, **call.kw)


class FakeReader:
    """Has so many packets, and notes who reads."""

    def __init__(self, turns: Turns, name: str, packets: int, log: list[str]) -> None:
        self.turns, self.name, self.left, self.log = turns, name, packets, log

    def read_on(self, until: float) -> None:
        self.log.append(self.name)
        self.left -= 1
        if self.left > 0:
            self.turns.enter(self)


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Ticking()
        self.turns = Turns(self.clock)
        self.log: list[str] = []

    def enter(self, name: str, packets: int) -> None:
        self.turns.enter(FakeReader(self.turns, name, packets, self.log))

    def test_nobody_is_read_in_the_turn_in_which_it_entered(self) -> None:
        self.enter("a", 1)
        self.assertEqual((self.log, len(self.turns)), ([], 1))
        turn(self.clock)
        self.assertEqual((self.log, len(self.turns)), (["a"], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_are_read_in_rotation(self) -> None:
        for name in "abc":
            self.enter(name, 2)
        turn(self.clock)
        self.assertEqual("".join(self.log), "abcabc")

    def test_a_turn_is_bounded_in_time_and_the_rotation_goes_on_where_it_ended(self) -> None:
        for name in "abc":
            self.enter(name, 5)
        self.clock.tick = TURN_SECONDS / 1.5
        turns = []
        while len(self.turns):
            before = len(self.log)
            self.clock.rightNow += MAX_REST
            turn(self.clock)
            turns.append("".join(self.log[before:]))
        self.assertEqual("".join(turns), "abc" * 5)
        self.assertTrue(all(1 <= len(turn) <= 2 for turn in turns), turns)

    def test_after_a_long_turn_the_rotation_rests_as_long(self) -> None:
        class Slow(FakeReader):
            takes = 0.0

            def read_on(reader, until: float) -> None:  # noqa: N805 - self is the test
                self.clock.rightNow += reader.takes
                super().read_on(until)

        for takes, rest in ((LONG_TURN / 2, 0), (LONG_TURN * 2, LONG_TURN * 2), (1.0, MAX_REST)):
            reader = Slow(self.turns, "a", 2, self.log)
            reader.takes = takes
            self.turns.enter(reader)
            turn(self.clock)
            if takes >= TURN_SECONDS:
                (call,) = self.clock.getDelayedCalls()
                self.assertAlmostEqual(call.getTime() - self.clock.seconds(), rest)
            while len(self.turns):
                self.clock.advance(MAX_REST)
                turn(self.clock)

    def test_one_is_read_in_a_turn_however_slow_it_is(self) -> None:
        self.clock.tick = 10 * TURN_SECONDS
        self.enter("a", 3)
        turn(self.clock)
        self.assertEqual(self.log, ["a"])

    def test_a_clock_that_stands_still_does_not_make_a_turn_endless(self) -> None:
        self.enter("a", 10 * MAX_ROUNDS)
        turn(self.clock)
        self.assertEqual(len(self.log), MAX_ROUNDS)

    def test_while_somebody_waits_less_is_read_at_once(self) -> None:
        self.assertEqual((self.turns.packets, self.turns.large), (PACKETS, LARGE))
        self.enter("a", 1)
        self.assertEqual((self.turns.packets, self.turns.large), (FEW_PACKETS, LESS_LARGE))
        self.clock.advance(0)
        self.assertEqual((self.turns.packets, self.turns.large), (PACKETS, LARGE))

    def test_a_bug_in_one_stops_nobody_else(self) -> None:
        class Broken:
            def read_on(self, until: float) -> None:
                raise ZeroDivisionError

        self.turns.enter(Broken())
        self.enter("a", 1)
        self.clock.advance(0)
        self.assertEqual(self.log, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Parked(SynchronousTestCase):
    """Who has a large packet waits while too many wait for the store."""

    def setUp(self) -> None:
        self.daemon = Daemon()
        self.full = True
        self.daemon.front.turns.is_full = lambda: self.full

    def look(self) -> None:
        """The next look whether it is full, and the turns after it."""
        self.daemon.clock.advance(PARKED_LOOK)
        self.daemon.take_turns()

    def test_a_few_read_on_at_each_look_in_the_order_in_which_they_came(self) -> None:
        clock, log = Ticking(), list[str]()
        turns = Turns(clock, lambda: self.full)
        names = [f"{number}" for number in range(2 * PARKED_AT_ONCE + 1)]
        for name in names:
            turns.park(FakeReader(turns, name, 1, log))
        read = []
        for self.full in (True, True, False, False, True, False):
            clock.advance(PARKED_LOOK)
            read.append(len(log))
        self.assertEqual(read, [0, 0, PARKED_AT_ONCE, 2 * PARKED_AT_ONCE, 2 * PARKED_AT_ONCE, len(names)])
        self.assertEqual(log, names)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_nobody_waits_for_ever(self) -> None:
        clock, log = Ticking(), list[str]()
        turns = Turns(clock, lambda: True)
        turns.park(FakeReader(turns, "a", 1, log))
        clock.pump([PARKED_LOOK] * round((MAX_PARKED_SECONDS - 1) / PARKED_LOOK))
        turns.park(FakeReader(turns, "b", 1, log))
        self.assertEqual(log, [])
        clock.pump([PARKED_LOOK] * round(1.1 / PARKED_LOOK))
        self.assertEqual(log, ["a"])

    def test_a_websocket_is_read_up_to_its_large_packet(self) -> None:
        peer, other = self.daemon.joined(), self.daemon.joined()
        large = client_frame(event("x" * LARGE).encode())
        peer.arrive(events(0, 3) + large + events(3, 1) + large)
        self.daemon.take_turns()
        other.arrive(events(10, 1))
        self.look()
        self.assertEqual(numbers(self.daemon), [0, 1, 2, 10])
        self.assertEqual((peer.wire.reading, other.wire.reading), (False, True))
        self.full = False
        self.look()
        self.assertEqual([one for one in numbers(self.daemon) if type(one) is int], [0, 1, 2, 10, 3])
        self.assertEqual(len(numbers(self.daemon)), 7)
        self.assertTrue(peer.wire.reading)

    def test_each_large_packet_waits(self) -> None:
        peer = self.daemon.joined()
        peer.arrive(client_frame(event("x" * LARGE).encode()) * 3)
        for expected in range(3):
            self.daemon.take_turns()
            self.assertEqual(len(numbers(self.daemon)), expected)
            self.daemon.clock.pump([PARKED_LOOK] * round(MAX_PARKED_SECONDS / PARKED_LOOK + 1))
        self.daemon.take_turns()
        self.assertEqual(len(numbers(self.daemon)), 3)

    def test_one_whose_connection_is_lost_meanwhile_is_read_to_its_end(self) -> None:
        peer = self.daemon.joined()
        peer.arrive(client_frame(event("x" * LARGE).encode()))
        self.daemon.take_turns()
        peer.wire.hang_up()
        self.assertEqual(self.daemon.recorder.of("ended"), [])
        self.full = False
        self.look()
        self.assertEqual(len(numbers(self.daemon)), 1)
        self.assertEqual(len(self.daemon.recorder.of("ended")), 1)

    def test_a_large_body_waits_and_a_small_one_does_not(self) -> None:
        poller, other = Poller(self.daemon), Poller(self.daemon)
        poller.join()
        other.join()
        self.daemon.recorder.log.clear()
        asked = poller.post(event("x" * LARGE))
        self.daemon.take_turns()
        self.assertEqual(other.post(event(1)).status, 200)
        self.look()
        self.assertTrue(asked.parked)
        self.assertEqual(numbers(self.daemon), [1])
        self.full = False
        self.look()
        self.assertEqual((asked.status, len(numbers(self.daemon))), (200, 2))

    def test_the_end_of_a_session_answers_its_body_at_once(self) -> None:
        poller = Poller(self.daemon)
        poller.join()
        asked = poller.post(event("x" * LARGE))
        self.daemon.take_turns()
        self.assertTrue(asked.parked)
        self.daemon.sessions.close_all(Reason.SHUTTING_DOWN)
        self.assertEqual(asked.status, 200)


class WebSockets(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon()
        self.peer = self.daemon.joined()

    def turn(self) -> None:
        """One turn of the reactor."""
        turn(self.daemon.clock)
        self.peer.wire.pump()

    def test_what_is_more_than_one_turn_s_waits_and_nothing_more_is_read_meanwhile(self) -> None:
        self.peer.arrive(events(0, 10 * PACKETS))
        self.assertEqual(numbers(self.daemon), list(range(PACKETS)))
        self.assertFalse(self.peer.wire.reading)
        self.peer.arrive(events(10 * PACKETS, 3))
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(10 * PACKETS + 3)))
        self.assertTrue(self.peer.wire.reading)

    def test_each_kind_of_packet_and_frame_is_counted(self) -> None:
        """None of these is handled in one turn, however many of them come in one read."""
        kinds = {
            "pings of revision 3": (V3, client_frame(b"2")),
            "pongs of revision 4": ("", client_frame(b"3")),
            "noops": ("", client_frame(b"6")),
            "pings": ("", client_frame(b"", PING)),
            "pongs": ("", client_frame(b"", PONG)),
            "acks": ("", client_frame(b"43/kschat,1[]")),
            "joins": ("", client_frame(b"40") + client_frame(b"41")),
            "binary": (
                "",
                client_frame(b'451-/kschat,["x",{"_placeholder":true,"num":0}]') + client_frame(b"", BINARY),
            ),
            "messages in fragments": ("", client_frame(b"6", fin=False) + client_frame(b"", CONTINUATION)),
        }
        for name, (query, data) in kinds.items():
            daemon = Daemon(limits=Limits(max_joins=10**6))
            peer = daemon.joined(query) if query else daemon.joined()
            peer.arrive(data * 1000 + client_frame(event("last").encode()))
            self.assertNotIn("last", numbers(daemon), name)
            self.assertFalse(peer.wire.reading, name)
            daemon.take_turns()
            self.assertEqual(numbers(daemon)[-1], "last", name)
            self.assertEqual(daemon.recorder.of("ended"), [], name)

    def test_another_client_is_served_between(self) -> None:
        other = self.daemon.joined()
        self.peer.arrive(events(0, 2000 * PACKETS))
        other.send(event("other"))
        self.turn()
        other.send(event("another"))
        seen = numbers(self.daemon)
        self.assertEqual((seen[PACKETS], seen[-1]), ("other", "another"))
        self.assertLess(len(seen), PACKETS * (2 + MAX_ROUNDS))

    def test_packets_that_take_long_end_the_turn(self) -> None:
        clock = Ticking()
        self.daemon.clock.seconds = clock.seconds  # type: ignore[method-assign]
        clock.tick = 0.01
        self.peer.arrive(events(0, PACKETS))
        self.assertLess(len(numbers(self.daemon)), PACKETS)
        clock.tick = 0
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(PACKETS)))

    def test_a_large_packet_waits_for_the_rotation_however_it_comes(self) -> None:
        text = event("x" * LARGE).encode()
        half = len(text) // 2
        for name, data in {
            "whole": client_frame(text),
            "in fragments": client_frame(text[:half], fin=False) + client_frame(text[half:], CONTINUATION),
            "whole, more than 64 kB": client_frame(event("y" * 70_000).encode()),
        }.items():
            self.daemon.recorder.log.clear()
            self.peer.arrive(data + client_frame(event("after").encode()))
            self.assertEqual(numbers(self.daemon), [], name)
            self.daemon.take_turns()
            first, second = numbers(self.daemon)
            self.assertEqual(second, "after", name)
            self.assertGreater(len(first), LARGE - 1, name)
            # In two reads: it waits once the last byte of it is there.
            self.peer.arrive(data[:-1])
            self.assertTrue(self.peer.wire.reading, name)
            self.peer.arrive(data[-1:])
            self.assertEqual(len(numbers(self.daemon)), 2, name)
            self.daemon.take_turns()
            self.assertEqual(len(numbers(self.daemon)), 3, name)

    def test_a_client_that_closes_behind_much_is_read_to_its_end(self) -> None:
        self.peer.arrive(events(0, 10 * PACKETS) + close_frame(1000))
        self.assertEqual(self.daemon.recorder.of("ended"), [])
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(10 * PACKETS)))
        self.assertEqual(self.peer.closing().code, 1000)
        self.assertEqual(len(self.daemon.sessions), 0)
        self.assertEqual(self.daemon.connections.open, 0)

    def test_what_came_before_a_connection_was_lost_is_read_to_its_end(self) -> None:
        self.peer.arrive(events(0, 10 * PACKETS))
        self.peer.wire.hang_up()
        self.assertEqual(len(self.daemon.sessions), 1)
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(10 * PACKETS)))
        ((reason, _),) = self.daemon.recorder.of("ended")
        self.assertEqual(reason, Reason.TRANSPORT_CLOSE)
        self.assertEqual((len(self.daemon.sessions), self.daemon.connections.open, len(self.daemon.timers)), (0, 0, 0))

    def test_an_end_of_ours_reads_nothing_more_but_the_client_s_answer(self) -> None:
        self.peer.arrive(events(0, 10 * PACKETS) + close_frame(1001))
        self.daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(PACKETS)))
        self.assertEqual(self.peer.closing().code, 1001)
        self.assertEqual((len(self.daemon.sessions), self.daemon.connections.open), (0, 0))
        self.assertEqual(len(self.daemon.timers), 0)

    def test_an_end_of_ours_of_a_client_that_was_lost_leaves_nothing(self) -> None:
        self.peer.arrive(events(0, 10 * PACKETS))
        self.peer.wire.hang_up()
        self.daemon.engine.close_all(Reason.SHUTTING_DOWN)
        self.daemon.take_turns()
        self.daemon.clock.advance(CLOSE_TIMEOUT + 1)
        self.assertEqual((len(self.daemon.sessions), self.daemon.connections.open), (0, 0))
        self.assertEqual(len(self.daemon.timers), 0)

    def test_a_packet_that_ends_the_session_ends_the_reading(self) -> None:
        self.peer.arrive(events(0, 2 * PACKETS) + client_frame(b"9") + events(0, 2 * PACKETS) + close_frame())
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(2 * PACKETS)))
        ((reason, _),) = self.daemon.recorder.of("ended")
        self.assertEqual(reason, Reason.PARSE_ERROR)
        self.assertEqual(self.daemon.connections.open, 0)

    def test_frames_behind_a_handshake_wait_as_well(self) -> None:
        wire = self.daemon.connect()
        wire.arrive(handshake() + client_frame(b"40/kschat,") + events(0, 10 * PACKETS))
        self.assertLess(len(numbers(self.daemon)), PACKETS)
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(10 * PACKETS)))

    def test_fragments_of_nothing_are_bounded(self) -> None:
        """Each is kept until the message is whole, and no limit of bytes counts it."""
        self.peer.arrive(client_frame(b"6", fin=False) + client_frame(b"", CONTINUATION, fin=False) * MAX_FRAGMENTS)
        self.daemon.take_turns()
        self.assertEqual(self.daemon.recorder.of("ended"), [])
        self.peer.arrive(client_frame(b"", CONTINUATION, fin=False))
        self.daemon.take_turns()
        self.assertEqual(self.peer.closing().code, 1009)
        ((reason, detail),) = self.daemon.recorder.of("ended")
        self.assertEqual((reason, "fragments" in detail), (Reason.TOO_LARGE, True))


class UnreadAnswers(SynchronousTestCase):
    """A client that does not read what it is answered."""

    LIMIT = 1_000_000

    def setUp(self) -> None:
        self.daemon = Daemon(max_unsent=self.LIMIT)
        self.peer = self.daemon.joined(V3)
        self.peer.wire.room = 0

    def test_of_pings_the_last_alone_is_answered_once_it_reads(self) -> None:
        for number in range(5000):
            self.peer.arrive(client_frame(b"%0125d" % number, PING))
        self.daemon.take_turns()
        self.assertLess(self.peer.wire.unsent, 66_000)
        self.peer.wire.room = None
        pongs = [frame.payload for frame in self.peer.frames()]
        self.assertEqual(pongs[:-1], [b"%0125d" % number for number in range(len(pongs) - 1)])
        self.assertEqual(pongs[-1], b"%0125d" % 4999)

    def test_who_does_not_read_is_not_read_from(self) -> None:
        """Pings of Engine.IO are answered each; so are events that ask for an ack."""
        ping = client_frame(b"2" + b"x" * 100)
        sent = 0
        while self.peer.wire.reading and sent < 20_000:
            self.peer.arrive(ping)
            self.daemon.take_turns()
            sent += 1
        self.assertLess(self.peer.wire.unsent, self.LIMIT * READ_ON_BELOW + 70_000)
        self.assertGreater(self.peer.wire.unsent, self.LIMIT * READ_ON_BELOW - 1000)
        self.assertEqual(self.daemon.recorder.of("ended"), [])
        self.peer.arrive(ping * 100)
        self.assertFalse(self.peer.wire.reading)
        self.peer.wire.room = None
        self.assertEqual(len(self.peer.frames() + self.peer.frames()), sent + 100)
        self.assertTrue(self.peer.wire.reading)

    def test_it_is_closed_like_any_other_when_its_heartbeat_is_missing(self) -> None:
        while self.peer.wire.reading:
            self.peer.arrive(client_frame(b"2" + b"x" * 100) * 20)
            self.daemon.take_turns()
        self.daemon.clock.pump([10] * 6)
        self.assertEqual([reason for reason, _ in self.daemon.recorder.of("ended")], [Reason.PING_TIMEOUT])
        self.daemon.clock.advance(CLOSE_TIMEOUT + 1)
        self.daemon.clock.advance(0)
        self.assertEqual((self.daemon.connections.open, len(self.daemon.timers)), (0, 0))


class BeforeTheChatIsJoined(SynchronousTestCase):
    """A client without a token has a smaller bound."""

    LIMITS = Limits(max_payload_unjoined=2000)

    def test_a_large_packet_closes_however_it_comes(self) -> None:
        text = b"42" + b"x" * 1999
        for name, data in {
            "whole": client_frame(text),
            "its head": client_frame(text)[:8],
            "binary": client_frame(text, BINARY),
            "in fragments": client_frame(text[:1000], fin=False) + client_frame(text[1000:], CONTINUATION),
            "of more than 64 kB": client_frame(text * 100),
        }.items():
            daemon = Daemon(limits=self.LIMITS)
            peer = daemon.websocket()
            peer.send("40")
            peer.arrive(data)
            daemon.take_turns()
            self.assertEqual(peer.closing().code, 1009, name)
            self.assertEqual(daemon.recorder.of("ended")[0][0], Reason.TOO_LARGE, name)

    def test_afterwards_it_may_send_as_much_as_any(self) -> None:
        for size in (1900, 2001, 70_000):
            for cut in (1, 10, 500):
                daemon = Daemon(limits=self.LIMITS)
                peer = daemon.joined()
                data = client_frame(event("x" * size).encode())
                peer.arrive(data[:-cut])
                peer.arrive(data[-cut:])
                daemon.take_turns()
                self.assertEqual(numbers(daemon), ["x" * size])

    def test_the_same_holds_for_bodies(self) -> None:
        daemon = Daemon(limits=self.LIMITS)
        poller = Poller(daemon)
        asked = poller.post("42" + "x" * 2000)
        daemon.take_turns()
        self.assertEqual(asked.status, 400)
        self.assertEqual(daemon.recorder.of("ended")[0][0], Reason.TOO_LARGE)
        poller = Poller(daemon)
        head = request("POST", poller._query, b"x" * 16_001)[:-16_001]
        asked = PendingRequest(daemon.connect(), head)  # it is not waited for
        self.assertEqual(asked.status, 413)
        self.assertEqual([reason for reason, _ in daemon.recorder.of("ended")], [Reason.TOO_LARGE] * 2)
        poller = Poller(daemon)
        poller.join()
        asked = poller.post(event("x" * 30_000))
        daemon.take_turns()
        self.assertEqual((asked.status, numbers(daemon)), (200, ["x" * 30_000]))
        asked = poller.post(event("x" * 3000))
        daemon.take_turns()
        self.assertEqual((asked.status, len(numbers(daemon))), (200, 2))


class Joins(SynchronousTestCase):
    def test_joins_of_a_connection_are_bounded_at_once_and_by_time(self) -> None:
        daemon = Daemon(limits=Limits(max_joins=5))
        peer = daemon.websocket()
        again = client_frame(b"40/kschat,") + client_frame(b"41/kschat,")
        peer.arrive(again * 5)
        self.assertEqual(len(daemon.recorder.of("connect")), 5)
        daemon.clock.advance(1)
        peer.arrive(again)
        self.assertEqual(len(daemon.recorder.of("connect")), 6)
        daemon.clock.advance(20)
        peer.arrive(again * 6)
        self.assertEqual(len(daemon.recorder.of("connect")), 11)
        closing = peer.closing()
        self.assertEqual((closing.code, closing.reason), (1008, "rate"))
        self.assertEqual(daemon.recorder.of("ended")[0][0], Reason.RATE)


class Bodies(SynchronousTestCase):
    def test_bodies_and_websockets_take_part_in_one_rotation(self) -> None:
        daemon = Daemon()
        poller, peer = Poller(daemon), daemon.joined()
        poller.join()
        daemon.recorder.log.clear()
        asked = poller.post(*[event(number) for number in range(1000, 1000 + 3 * PACKETS)])
        peer.arrive(events(0, 3 * PACKETS))
        daemon.take_turns()
        self.assertEqual(asked.status, 200)
        seen = numbers(daemon)
        self.assertEqual([one for one in seen if one < 1000], list(range(3 * PACKETS)))
        self.assertEqual([one for one in seen if one >= 1000], list(range(1000, 1000 + 3 * PACKETS)))
        self.assertEqual([one >= 1000 for one in seen[PACKETS : PACKETS + FEW_PACKETS + PACKETS]].count(False), 8)

    def test_packets_that_take_long_end_the_turn(self) -> None:
        clock = Ticking()
        daemon = Daemon()
        poller = Poller(daemon)
        poller.join()
        daemon.clock.seconds = clock.seconds  # type: ignore[method-assign]
        clock.tick = 0.01
        asked = poller.post(*[event(number) for number in range(PACKETS)])
        self.assertLess(len(numbers(daemon)), PACKETS)
        clock.tick = 0
        daemon.take_turns()
        self.assertEqual((asked.status, numbers(daemon)), (200, list(range(PACKETS))))

    def test_a_large_body_is_not_looked_at_in_the_turn_in_which_it_came(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon)
        poller.join()
        asked = poller.post(event("x" * LARGE))
        self.assertTrue(asked.parked)
        self.assertEqual(numbers(daemon), [])
        daemon.take_turns()
        self.assertEqual((asked.status, len(numbers(daemon))), (200, 1))

    def test_what_waits_of_a_body_is_read_in_turns_after_the_change_to_websocket(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon)
        poller.join()
        asked = poller.post(*[event(number) for number in range(10 * PACKETS)])
        peer = poller.websocket()
        peer.send("2probe")
        peer.arrive(client_frame(b"5") + events(10 * PACKETS, PACKETS))
        seen = len(numbers(daemon))
        self.assertLess(seen, 2 * PACKETS)
        self.assertFalse(peer.wire.reading)
        peer.arrive(events(11 * PACKETS, 1))
        daemon.take_turns()
        self.assertEqual(numbers(daemon), list(range(11 * PACKETS + 1)))
        self.assertEqual(asked.status, 200)
        self.assertTrue(peer.wire.reading)

    def test_a_fault_in_what_waits_then_ends_the_session(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon, 3)
        poller.join()
        poller.ask("POST", b"1:2" * 10 * PACKETS + b"9:2")
        peer = poller.websocket()
        peer.send("2probe")
        peer.arrive(client_frame(b"5") + events(0, 1))
        daemon.take_turns()
        self.assertEqual(numbers(daemon), [])
        self.assertEqual([reason for reason, _ in daemon.recorder.of("ended")], [Reason.PARSE_ERROR])


class Requests(SynchronousTestCase):
    """HTTP requests that one client sends without waiting for their answers."""

    GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

    def setUp(self) -> None:
        self.daemon = Daemon(access_log=False)
        self.wire = self.daemon.connect()

    def answered(self) -> int:
        self.wire.pump()
        return bytes(self.wire.taken).count(b"HTTP/1.1 200")

    def test_one_is_answered_in_the_turn_in_which_they_come_and_nothing_more_is_read(self) -> None:
        self.wire.arrive(self.GET * 10)
        self.assertEqual(self.answered(), 1)
        self.assertFalse(self.wire.reading)
        self.wire.arrive(self.GET)
        self.daemon.take_turns()
        self.assertEqual(self.answered(), 11)
        self.assertTrue(self.wire.reading)

    def test_a_turn_is_bounded_in_time(self) -> None:
        clock = Ticking()
        self.daemon.clock.seconds = clock.seconds  # type: ignore[method-assign]
        self.wire.arrive(self.GET * 10)
        clock.tick = TURN_SECONDS
        turn(self.daemon.clock)
        self.assertEqual(self.answered(), 2)

    def test_while_the_answers_are_not_read_no_more_are_made(self) -> None:
        self.wire.room = 0
        self.wire.arrive(self.GET * 5000)
        self.daemon.take_turns()
        self.assertLess(self.wire.unsent, 70_000)
        self.assertFalse(self.wire.reading)
        self.wire.room = None
        while self.answered() < 5000:
            self.daemon.take_turns()
        self.assertEqual(self.daemon.connections.open, 1)

    def test_who_leaves_meanwhile_leaves_nothing(self) -> None:
        self.wire.arrive(self.GET * 10)
        self.wire.hang_up()
        self.daemon.take_turns()
        self.assertEqual((self.daemon.connections.open, len(self.daemon.timers)), (0, 0))

    def test_a_drain_ends_it(self) -> None:
        self.wire.arrive(self.GET * 10)
        self.daemon.site.stopFactory()
        self.daemon.take_turns()
        self.assertEqual(self.answered(), 1)
        self.assertIsNotNone(self.wire.lost)

    def test_a_handshake_behind_a_request_takes_the_connection_over(self) -> None:
        self.wire.arrive(self.GET + handshake() + client_frame(b"40/kschat,") + events(0, 100))
        self.daemon.take_turns()
        self.assertEqual(numbers(self.daemon), list(range(100)))

    def test_requests_behind_one_that_waits_for_its_answer(self) -> None:
        poller = Poller(self.daemon)
        poller.join()
        waiting = poller.get()
        waiting.wire.arrive(request("POST", poller._query, event(1).encode()) + self.GET)
        self.assertEqual(numbers(self.daemon), [])
        poller.post('42/kschat,7["answered"]')
        self.daemon.recorder.sockets[-1].emit(b'["x"]')
        self.daemon.take_turns()
        self.assertIn(1, numbers(self.daemon))
        self.assertEqual(bytes(waiting.wire.taken).count(b"HTTP/1.1 200"), 3)


PIECES = st.one_of(
    st.builds(lambda size: client_frame(event("x" * size).encode()), st.sampled_from([0, 1, 100, 200, 3000, 20_000])),
    st.builds(
        lambda size, at: (
            client_frame(event("y" * size).encode()[:at], fin=False)
            + client_frame(b"ping", PING)
            + client_frame(event("y" * size).encode()[at:], CONTINUATION)
        ),
        st.sampled_from([10, 3000, 20_000]),
        st.integers(1, 15),
    ),
    st.just(client_frame(b"6") * 100),
    st.just(client_frame(b"", PONG) * 70),
    st.just(client_frame(b"p", PING)),
    st.just(client_frame(b'451-/kschat,["x",{"_placeholder":true,"num":0}]') + client_frame(b"\1\2" * 1500, BINARY)),
    st.just(client_frame('42/kschat,["x","\N{SNOWMAN}"]'.encode()) * 9),
)


class AnyTurns(SynchronousTestCase):
    """However the bytes come and the turns fall, the same packets arrive in the same order."""

    @settings(deadline=None, max_examples=60)
    @given(st.lists(PIECES, min_size=1, max_size=8), st.data())
    def test_on_a_websocket(self, pieces: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(client_frame(event(number).encode()) + piece for number, piece in enumerate(pieces))
        alone = Daemon()
        alone.joined().arrive(stream)
        alone.take_turns()
        daemon = Daemon()
        peer, other = daemon.joined(), daemon.joined()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            peer.arrive(stream[begin:end])
            act = data.draw(st.integers(0, 3))
            if act == 1:
                daemon.clock.advance(0)
            elif act == 2:
                other.arrive(client_frame(b"6") * 100)
            elif act == 3:
                daemon.take_turns()
        daemon.take_turns()
        self.assertEqual(daemon.recorder.of("event"), alone.recorder.of("event"))
        self.assertEqual(peer.frames(), [(PONG, frame) for frame in self.pings(pieces)])
        self.assertTrue(peer.wire.reading)

    @staticmethod
    def pings(pieces: list[bytes]) -> list[bytes]:
        """The payloads that pongs carry."""
        ping, fragment = client_frame(b"p", PING), client_frame(b"ping", PING)
        return [b"p" if piece == ping else b"ping" for piece in pieces if piece == ping or fragment in piece]

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.sampled_from([1, 5, 63, 64, 65, 130, 300]), min_size=1, max_size=4), st.data())
    def test_in_bodies(self, counts: list[int], data: st.DataObject) -> None:
        daemon = Daemon()
        poller, other = Poller(daemon, data.draw(st.sampled_from([3, 4]))), daemon.joined()
        poller.join()
        daemon.recorder.log.clear()
        wire = daemon.connect()
        first = 0
        for count in counts:
            texts = [event(number) for number in range(first, first + count)]
            body, _ = payload.encode([Frame(text.encode()) for text in texts], poller.revision, 10**9)
            first += count
            sent = request("POST", poller._query, body.payload)
            cut = data.draw(st.integers(0, len(sent)))
            wire.arrive(sent[:cut])
            if data.draw(st.booleans()):
                daemon.clock.advance(0)
            if data.draw(st.booleans()):
                other.arrive(client_frame(b"6") * 100)
            wire.arrive(sent[cut:])
        daemon.take_turns()
        self.assertEqual(numbers(daemon), list(range(first)))
        self.assertEqual(bytes(wire.taken).count(b"200 OK"), len(counts))


class ChunkedBodies(SynchronousTestCase):
    def test_tiny_chunks_are_read_in_several_turns(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon)
        poller.join()
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in event("x" * 5000).encode()) + b"0\r\n\r\n"
        head = request("POST", poller._query).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        wire = daemon.connect()
        wire.arrive(head + body + Requests.GET)
        self.assertEqual((numbers(daemon), wire.reading), ([], False))
        daemon.take_turns()
        self.assertEqual(numbers(daemon), ["x" * 5000])
        self.assertEqual(bytes(wire.taken).count(b"HTTP/1.1 200"), 2)
