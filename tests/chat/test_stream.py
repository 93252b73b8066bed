"""The machine of a delivery stream, without any I/O: its table, its drawing, and each way through it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import inflight, outgoing, stream
from kschat.chat.inflight import Written
from kschat.chat.interfaces import Entry, InboxPage
from kschat.chat.stream import (
    FIRST_PAGE,
    MAX_REREADS,
    PAGE,
    SECONDS,
    TRANSITIONS,
    DeliveryStream,
    StreamInput,
    StreamState,
    StreamTimer,
)
from tests.chat.peers import message

_MOVE = re.compile(r"(\w+) --([\w ]+)--> (\w+)")


class TableTests(SynchronousTestCase):
    """The table, and what the module says of it."""

    def test_the_drawing_shows_each_change_of_state(self) -> None:
        assert stream.__doc__ is not None
        drawn = {
            (state, StreamInput[what.replace(" ", "_").upper()], StreamState[after])
            for before, what, after in _MOVE.findall(stream.__doc__)
            for state in (StreamState if before == "any" else (StreamState[before],))
            if state is not StreamState[after]
        }
        moves = {(before, what, after) for (before, what), (after, _) in TRANSITIONS.items() if before is not after}
        self.assertEqual(moves, drawn)

    def test_a_closed_stream_has_no_way_back(self) -> None:
        self.assertNotIn(StreamState.CLOSED, {state for state, _ in TRANSITIONS})

    def test_every_state_can_be_left_and_closed(self) -> None:
        for state in set(StreamState) - {StreamState.CLOSED}:
            self.assertIs(TRANSITIONS[state, StreamInput.CLOSED][0], StreamState.CLOSED)
            self.assertGreater(len({after for (before, _), (after, _) in TRANSITIONS.items() if before is state}), 2)

    def test_each_input_means_something_somewhere(self) -> None:
        self.assertEqual({what for _, what in TRANSITIONS}, set(StreamInput))

    def test_each_timer_has_one_purpose(self) -> None:
        self.assertEqual(set(SECONDS), set(StreamTimer))
        for timer in StreamTimer:
            self.assertEqual(timer.value.name, f"{timer.name}_TIMEOUT")


class Actions:
    """Writes down what a stream asks for."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.reads: list[tuple[int, int]] = []
        self.timers: set[StreamTimer] = set()
        self.told: list[int] = []
        self.asked: list[int] = []
        self.missing: list[tuple[int, bool]] = []
        self.closes: DeliveryStream | None = None

    def write(self, offset: int, message: Any, piece: bytes) -> int | None:
        self.written.append(offset)
        if self.closes is not None:
            self.closes.on_closed()
        return offset

    def read_page(self, after: int, limit: int) -> None:
        self.reads.append((after, limit))

    def start(self, timer: StreamTimer) -> None:
        assert timer not in self.timers
        self.timers.add(timer)

    def stop(self, timer: StreamTimer) -> None:
        self.timers.remove(timer)

    def delivered(self, upto: int, entries: Sequence[Written]) -> None:
        assert entries
        assert entries[-1][0] == upto
        self.told += [entry[0] for entry in entries]

    def ask_confirmation(self, offset: int) -> None:
        self.asked.append(offset)

    def unknown(self, offset: int, final: bool) -> None:
        self.missing.append((offset, final))


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.actions = Actions()
        self.stream = DeliveryStream(self.actions)

    def arrive(self, *offsets: int) -> None:
        for offset in offsets:
            one = message("ben")
            self.stream.on_message(offset, one, outgoing.piece(one, offset))

    def page(self, *offsets: int, last: int = 0, **fields: Any) -> None:
        entries = [Entry(offset, message("ben", **fields)) for offset in offsets]
        self.stream.on_page(InboxPage(entries, 1, max(last, *offsets, 0)))

    def timeout(self, timer: StreamTimer) -> None:
        self.actions.timers.remove(timer)
        self.stream.on_timeout(timer)

    def live(self, at: int = 0) -> None:
        self.stream.on_opened(at, at)
        self.state(StreamState.LIVE)

    def state(self, state: StreamState) -> None:
        self.assertIs(self.stream.state, state)


class OpeningTests(StreamTestCase):
    def test_what_arrives_before_the_store_has_answered_is_read(self) -> None:
        self.arrive(3)
        self.stream.on_inbox_end(4)
        self.stream.on_opened(1, 2)
        self.state(StreamState.READING)
        self.assertEqual((self.actions.written, self.actions.reads), ([], [(1, FIRST_PAGE)]))
        self.page(2, 3, 4)
        self.assertEqual(self.actions.written, [2, 3, 4])
        self.state(StreamState.LIVE)

    def test_nothing_to_read_is_live_at_once(self) -> None:
        self.live(7)
        self.arrive(8)
        self.assertEqual((self.actions.written, self.actions.reads), ([8], []))

    def test_a_stream_that_is_not_open_writes_nothing(self) -> None:
        self.stream.on_transient(message("ben"), b"{}")
        self.arrive(1)
        self.stream.on_confirmed(1)
        self.stream.on_acked(1)
        self.stream.on_page_failed()
        self.assertEqual((self.actions.written, self.actions.told, self.actions.asked), ([], [], []))
        self.state(StreamState.OPENING)


class LiveTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.live()

    def test_early_messages_wait_for_the_gap_to_fill(self) -> None:
        self.arrive(2, 3)
        self.assertEqual((self.actions.written, self.actions.timers), ([], {StreamTimer.GAP}))
        self.arrive(1)
        self.assertEqual((self.actions.written, self.actions.timers, self.actions.reads), ([1, 2, 3], set(), []))

    def test_a_gap_that_stays_is_read(self) -> None:
        self.arrive(3)
        self.timeout(StreamTimer.GAP)
        self.state(StreamState.READING)
        self.page(1, 2, 3)
        self.assertEqual(self.actions.written, [1, 2, 3])
        self.state(StreamState.LIVE)

    def test_what_comes_twice_is_dropped(self) -> None:
        self.arrive(1, 1, 3, 2, 3, 1)
        self.assertEqual(self.actions.written, [1, 2, 3])

    def test_an_end_that_is_known_changes_nothing(self) -> None:
        self.arrive(1)
        self.stream.on_inbox_end(1)
        self.assertEqual(self.actions.reads, [])
        self.stream.on_inbox_end(2)
        self.assertEqual(self.actions.reads, [(1, FIRST_PAGE)])

    def test_a_full_window_lags_and_goes_on_once_it_is_relieved(self) -> None:
        self.patch(inflight, "MAX_IN_FLIGHT", 3)
        self.patch(inflight, "LAG", 2)
        self.arrive(1, 2, 3, 4)
        self.state(StreamState.LAGGING)
        self.assertEqual((self.actions.written, self.actions.timers), ([1, 2, 3], set()))
        self.stream.on_confirmed(1)
        self.state(StreamState.LAGGING)
        self.stream.on_confirmed(2)
        self.state(StreamState.READING)
        self.page(4)
        self.state(StreamState.LIVE)
        self.assertEqual(self.actions.written, [1, 2, 3, 4])

    def test_no_further_page_is_read_while_much_is_in_flight(self) -> None:
        self.patch(inflight, "LAG", 2)
        self.stream.on_inbox_end(4)
        self.page(1, 2, last=4)
        self.state(StreamState.LAGGING)
        self.assertEqual(len(self.actions.reads), 1)
        self.stream.on_acked(2)
        self.state(StreamState.READING)
        self.page(3, 4)
        self.state(StreamState.LIVE)  # it is at the end, and so does not lag, however much is in flight
        self.assertTrue(self.stream.in_flight.lags)

    def test_a_page_is_cut_where_too_much_is_in_flight(self) -> None:
        self.patch(inflight, "LAG_BYTES", 200)
        self.stream.on_inbox_end(5)
        self.page(1, 2, 3, 4, 5)
        self.assertLess(len(self.actions.written), 5)
        self.state(StreamState.LAGGING)
        self.stream.on_confirmed(9)
        self.assertEqual(self.actions.reads[1], (self.stream.at, len(self.actions.written)))

    def test_while_a_confirmation_leaves_some_in_flight_another_is_asked_for(self) -> None:
        self.arrive(1, 2)
        self.assertEqual(self.actions.asked, [])
        self.stream.on_confirmed(1)
        self.stream.on_confirmed(2)
        self.assertEqual((self.actions.asked, self.actions.told), ([2], [1, 2]))

    def test_transient_messages_have_offsets_of_the_stream_s_own(self) -> None:
        self.patch(inflight, "MAX_IN_FLIGHT", 2)
        for _ in range(3):
            self.stream.on_transient(message("ben"), b"{}")
        self.assertEqual((self.actions.written, len(self.stream.in_flight)), ([1, 2, 3], 2))

    def test_a_reader_that_is_closed_when_it_is_written_to_leaves_nothing_behind(self) -> None:
        self.arrive(2, 3)
        self.actions.closes = self.stream
        self.arrive(1)
        self.assertEqual((self.actions.written, self.actions.timers), ([1], set()))
        self.state(StreamState.CLOSED)

    def test_one_that_is_closed_amid_a_page_reads_no_other(self) -> None:
        self.stream.on_inbox_end(9)
        self.actions.closes = self.stream
        self.page(1, 2, last=9)
        self.assertEqual(len(self.actions.reads), 1)
        self.state(StreamState.CLOSED)


class ReadingTests(StreamTestCase):
    def test_pages_grow_up_to_their_bound(self) -> None:
        self.stream.on_opened(0, 1000)
        for start in (1, 26, 76):
            self.page(start, last=1000)
        self.assertEqual([limit for _, limit in self.actions.reads], [FIRST_PAGE, PAGE, PAGE, PAGE])

    def test_a_page_that_fails_is_tried_again(self) -> None:
        self.stream.on_opened(0, 1)
        self.stream.on_page_failed()
        self.state(StreamState.WAITING)
        self.arrive(2)
        self.assertEqual(self.actions.timers, {StreamTimer.RETRY})
        self.timeout(StreamTimer.RETRY)
        self.state(StreamState.READING)
        self.page(1, 2)
        self.assertEqual((self.actions.written, self.actions.timers), ([1, 2], set()))

    def test_what_is_not_kept_any_more_is_passed_over(self) -> None:
        self.stream.on_opened(0, 5)
        self.page(last=5)
        self.assertEqual((self.stream.at, self.actions.missing), (5, []))
        self.state(StreamState.LIVE)

    def test_no_stream_moves_beyond_what_the_store_has(self) -> None:
        self.live(1)
        self.arrive(1000)
        self.timeout(StreamTimer.GAP)
        self.page(last=1)
        self.state(StreamState.LIVE)
        self.assertEqual((self.stream.at, self.actions.missing), (1, [(1000, False)]))
        self.arrive(2)
        self.assertEqual(self.actions.written, [2])
        for count in range(1, MAX_REREADS + 1):
            self.timeout(StreamTimer.CLAIM)
            self.assertEqual(len(self.actions.reads), count + 1)
            self.page(last=2)
        self.assertEqual(self.actions.timers, set())
        self.assertEqual([final for _, final in self.actions.missing], [False] * MAX_REREADS + [True])

    def test_it_is_there_at_last(self) -> None:
        self.live(1)
        self.stream.on_inbox_end(1000)
        self.page(last=1)
        self.timeout(StreamTimer.CLAIM)
        self.page(1000)
        self.assertEqual((self.actions.written, self.actions.timers), ([1000], set()))

    def test_closing_stops_all_timers(self) -> None:
        self.live(1)
        self.stream.on_inbox_end(1000)
        self.page(last=1)
        self.arrive(5)
        self.assertEqual(self.actions.timers, {StreamTimer.CLAIM, StreamTimer.GAP})
        self.stream.on_closed()
        self.assertEqual(self.actions.timers, set())
        self.page(2)
        self.arrive(2)
        self.assertEqual(self.actions.written, [])
