"""What is in flight to one socket: counted, confirmed by pongs, delivered by pongs or acks, and bounded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import inflight
from kschat.chat.inflight import InFlightWindow, Written
from tests.chat.peers import message


class InFlightWindowTests(SynchronousTestCase):
    """Each message is of 10 bytes, and asks for the ack that is its offset and 100."""

    def setUp(self) -> None:
        self.window = InFlightWindow()

    def push(self, *offsets: int, asks: bool = True, size: int = 10) -> None:
        for offset in offsets:
            self.window.push(offset, offset + 100 if asks else None, message("ben"), size=size)

    def offsets(self, entries: list[Written]) -> list[int]:
        return [entry[0] for entry in entries]

    def confirm(self, offset: int) -> list[int]:
        """What is delivered by a pong."""
        return self.offsets(self.window.confirm(offset))

    def ack(self, offset: int) -> list[int]:
        """What is delivered by the ack that this message asked for."""
        return self.offsets(self.window.ack(offset + 100))

    def test_it_counts_messages_and_bytes(self) -> None:
        self.assertFalse(self.window)
        self.push(1, 2, 3)
        self.assertEqual((len(self.window), self.window.size), (3, 30))
        self.window.confirm(2)
        self.assertEqual((len(self.window), self.window.size), (1, 10))
        self.assertEqual(self.offsets(list(self.window.entries)), [3])

    def test_a_pong_delivers_all_before_it_once(self) -> None:
        self.push(1, 2, 3)
        self.assertEqual([self.confirm(2), self.confirm(2), self.confirm(9)], [[1, 2], [], [3]])

    def test_a_window_lags_and_is_full_at_its_bounds(self) -> None:
        for name, value in {"LAG": 2, "MAX_IN_FLIGHT": 4, "LAG_BYTES": 1000, "MAX_IN_FLIGHT_BYTES": 2000}.items():
            self.patch(inflight, name, value)
        seen = []
        for offset in range(1, 5):
            self.push(offset)
            seen.append((self.window.lags, self.window.full))
        self.assertEqual(seen, [(False, False), (True, False), (True, False), (True, True)])
        self.window = InFlightWindow()
        self.push(1, size=1000)
        self.assertEqual((self.window.lags, self.window.full), (True, False))
        self.push(2, size=1000)
        self.assertTrue(self.window.full)

    def test_a_client_that_acks_has_only_what_it_acks(self) -> None:
        self.push(1, 2, 3, 4)
        self.assertEqual(self.ack(1), [1])
        self.assertEqual(self.confirm(3), [])
        self.assertEqual(len(self.window), 1)
        self.assertEqual(self.ack(2), [2])
        self.assertEqual(self.ack(4), [3, 4])

    def test_an_ack_covers_updates_before_it_which_ask_for_none(self) -> None:
        self.push(1, asks=False)
        self.push(2)
        self.push(3, asks=False)
        self.push(4)
        self.assertEqual(self.ack(2), [1, 2])
        self.assertEqual(self.ack(4), [3, 4])
        self.assertEqual((len(self.window), self.window.size), (0, 0))

    def test_an_update_alone_is_delivered_by_its_pong_also_to_a_client_that_acks(self) -> None:
        self.push(1)
        self.ack(1)
        self.push(2, asks=False)
        self.assertEqual(self.confirm(2), [2])
        self.push(3)
        self.push(4, asks=False)
        self.assertEqual(self.confirm(4), [])
        self.assertEqual(self.ack(3), [3, 4])

    def test_an_ack_of_another_event_does_not_make_it_one_that_acks(self) -> None:
        self.push(1, 2)
        self.assertEqual(self.offsets(self.window.ack(101 - 50)), [])
        self.push(3)
        # This number belongs to an event between the second message and the third.
        self.window.push(4, 200, message("ben"), size=10)
        self.assertEqual(self.offsets(self.window.ack(150)), [1, 2, 3])
        self.assertEqual(self.confirm(4), [4])

    def test_an_ack_that_comes_after_its_pong_makes_it_one_that_acks(self) -> None:
        self.push(1)
        self.assertEqual(self.confirm(1), [1])
        self.assertEqual(self.ack(1), [])
        self.push(2)
        self.assertEqual(self.confirm(2), [])
        self.assertEqual(self.ack(2), [2])

    def test_late_acks_are_recognised_only_so_far_back(self) -> None:
        self.patch(inflight, "MAX_LATE_ACKS", 2)
        self.push(1, 2, 3)
        self.confirm(3)
        self.ack(1)
        self.push(4)
        self.assertEqual(self.confirm(4), [4])

    def test_too_many_missing_acks_count_as_delivered_the_oldest_first(self) -> None:
        self.patch(inflight, "MAX_UNACKED", 2)
        self.push(1)
        self.ack(1)
        self.push(2, 3, 4, 5)
        self.assertEqual(self.confirm(5), [2, 3])

    def test_too_many_bytes_too(self) -> None:
        self.patch(inflight, "MAX_UNACKED_BYTES", 25)
        self.push(1)
        self.ack(1)
        self.push(2, 3, 4, 5)
        self.assertEqual(self.confirm(5), [2, 3])

    def test_messages_of_one_event_get_the_number_of_its_ack_later(self) -> None:
        self.push(1)
        self.push(2, 3, asks=False)
        self.window.number(2, 150)
        self.assertEqual([entry[1] for entry in self.window.entries], [101, 150, 150])
        self.assertEqual(self.offsets(self.window.ack(150)), [1, 2, 3])

    def test_an_event_that_is_not_written_yet_is_confirmed_by_no_ack(self) -> None:
        self.push(1)
        self.push(2, asks=False)
        self.assertEqual(self.offsets(self.window.ack(999)), [1])

    def test_the_oldest_can_be_dropped(self) -> None:
        self.push(1, 2)
        self.window.drop_oldest()
        self.assertEqual((self.offsets(list(self.window.entries)), self.window.size), ([2], 10))
        self.window.drop_oldest()
        self.window.drop_oldest()
        self.assertEqual((len(self.window), self.window.size), (0, 0))

    def test_a_cleared_window_is_empty(self) -> None:
        self.push(1)
        self.ack(1)
        self.push(2, 3)
        self.confirm(2)
        self.window.clear()
        self.assertEqual((len(self.window), self.window.size, self.ack(3)), (0, 0, []))
