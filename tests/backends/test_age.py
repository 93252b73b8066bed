"""How old messages are whose numbers run ahead of the clock."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.age import LATE, MOST_LATE, Late, is_late, oldest_kept

DAY = 86_400_000
NOW = 1_700_000_000_000


def number(ms: int, count: int = 0) -> int:
    """The number of a message."""
    return (ms << 16) + count


class AgeTests(SynchronousTestCase):
    """Messages are kept for a day. All later numbers are those of a clock that was three days ahead."""

    def kept(self, now: int, old: Late | None, newest: Late | None, last: int = 0) -> int:
        return oldest_kept(now - DAY, now, last, old, newest)

    def test_late_is_what_is_ahead_of_its_time_and_no_more_than_can_be_believed(self) -> None:
        for by, late in ((0, False), (LATE, False), (LATE + 1, True), (MOST_LATE, True), (MOST_LATE + 1, False)):
            self.assertIs(is_late(number(NOW), NOW - by), late, by)

    def test_without_late_messages_the_number_says_the_age(self) -> None:
        self.assertEqual(self.kept(NOW, None, None), number(NOW - DAY))

    def test_while_the_clock_is_behind_late_messages_are_as_old_as_they_say(self) -> None:
        old = Late(number(NOW + 3 * DAY, 7), NOW)
        newest = Late(number(NOW + 3 * DAY, 9), NOW + DAY)
        self.assertEqual(self.kept(NOW + DAY + 1, old, newest, newest.number), old.number + 1)

    def test_when_the_clock_has_caught_up_they_are_believed_where_others_show_that_it_ran_on(self) -> None:
        old = Late(number(NOW + 3 * DAY, 7), NOW)
        now, last = NOW + 4 * DAY - 1, number(NOW + 4 * DAY - 2)
        for newest, believed in ((Late(number(NOW + 3 * DAY, 9), NOW + 2 * DAY), True), (old, False)):
            expected = old.number + 1 if believed else number(now - DAY)
            self.assertEqual(self.kept(now, old, newest, last), expected)

    def test_a_clock_that_was_behind_for_a_moment_makes_nothing_old(self) -> None:
        old = Late(number(NOW, 1), NOW - 3 * DAY)
        self.assertEqual(self.kept(NOW + 60_000, old, old, number(NOW + 50_000)), number(NOW + 60_000 - DAY))

    def test_what_is_old_by_its_number_is_old_in_any_case(self) -> None:
        old = Late(number(NOW, 1), NOW - DAY)
        self.assertEqual(self.kept(NOW + 9 * DAY, old, old, number(NOW + 10 * DAY)), number(NOW + 8 * DAY))
