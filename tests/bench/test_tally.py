"""Numbers that arrive, and how it is told that some did not."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.tally import Tally


def told(first: int, *numbers: int) -> Tally:
    """Return a tally that was given these numbers as the load gives them."""
    tally = Tally(first)
    for number in numbers:
        if number == tally.next:
            tally.next = number + 1
        else:
            tally.odd(number)
    return tally


class TallyTests(SynchronousTestCase):
    def test_numbers_in_order_are_only_counted(self) -> None:
        tally = told(5, 5, 6, 7)
        self.assertEqual((tally.count(), tally.repeated, tally.disordered), (3, 0, 0))

    def test_a_number_that_comes_again_is_repeated_and_counted_once(self) -> None:
        tally = told(1, 1, 2, 2, 1)
        self.assertEqual((tally.count(), tally.repeated, tally.disordered), (2, 2, 0))

    def test_a_number_that_comes_late_is_disordered_and_not_lost(self) -> None:
        tally = told(1, 1, 3, 2)
        self.assertEqual((tally.count(), tally.repeated, tally.disordered), (3, 0, 1))
        self.assertEqual(told(1, 1, 2, 3).lost(tally), 0)

    def test_what_was_acknowledged_and_never_came_is_lost(self) -> None:
        acks = told(1, 1, 2, 3, 4, 5)
        self.assertEqual(acks.lost(told(1, 1, 3)), 3)

    def test_what_was_never_acknowledged_is_not_lost(self) -> None:
        acks = told(1, 1, 3)
        self.assertEqual(acks.lost(told(1, 1, 3, 4)), 0)

    @given(st.lists(st.integers(1, 30), max_size=60), st.lists(st.integers(1, 30), max_size=60))
    def test_it_says_what_sets_would_say(self, first: list[int], second: list[int]) -> None:
        acks, arrivals = told(1, *first), told(1, *second)
        self.assertEqual(acks.count(), len(set(first)))
        self.assertEqual(acks.repeated, len(first) - len(set(first)))
        self.assertEqual(acks.lost(arrivals), len(set(first) - set(second)))
