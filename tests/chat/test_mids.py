"""The number in a mid orders messages; and what conversations are called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.conversations import conversation_key, is_room, pair_key, room_name
from kschat.chat.mids import (
    MAX_COUNT,
    MAX_NUMBER,
    Mids,
    first_mid,
    mid_of,
    number_of,
    parse_number,
    renumbered,
    suffix_of,
)
from tests.contracts.made import message

NUMBERS = st.integers(0, MAX_NUMBER)


class MidTests(SynchronousTestCase):
    """Taken apart and put together."""

    @given(NUMBERS, NUMBERS)
    def test_a_mid_is_its_number_and_the_rest_and_sorts_by_the_number(self, one: int, other: int) -> None:
        mid = mid_of(one, "0a0b0c0d")
        self.assertEqual((number_of(mid), parse_number(mid), suffix_of(mid)), (one, one, "0a0b0c0d"))
        self.assertEqual(mid < mid_of(other, "0a0b0c0d"), one < other)
        self.assertEqual(mid < first_mid(other), one < other)

    def test_what_clients_give_for_a_mid_may_be_none(self) -> None:
        for text in ("", "8" + "0" * 23, "0" * 15, "0" * 23 + "g", "0" * 24 + "\n", "A" * 24):
            self.assertIsNone(parse_number(text), text)

    def test_they_rise_whatever_the_clock_says(self) -> None:
        mids = Mids("0a0b0c0d")
        times = [5, 5, 9, 3, 0, 9, 10, *[10] * (MAX_COUNT + 2), 11]
        made = [mids.make(time) for time in times]
        self.assertEqual(made, sorted(set(made)))
        self.assertEqual(made[0], "000000000005" + "0000" + "0a0b0c0d")

    def test_a_message_with_another_number_keeps_the_rest(self) -> None:
        one = message()
        other = renumbered(one, 7)
        self.assertEqual((other.mid, other.msg), (mid_of(7, suffix_of(one.mid)), one.msg))


class ConversationTests(SynchronousTestCase):
    """Rooms and pairs."""

    def test_a_room_is_what_begins_with_its_mark(self) -> None:
        self.assertEqual([is_room(name) for name in ("#r", "r", "", "r#")], [True, False, False, False])
        self.assertEqual([room_name(name) for name in ("r", "#r")], ["#r", "#r"])

    def test_a_conversation_is_the_same_whoever_writes(self) -> None:
        self.assertEqual(conversation_key("ann", "ben"), conversation_key("ben", "ann"))
        self.assertEqual(conversation_key("ann", "ann"), pair_key("ann", "ann"))
        self.assertEqual(conversation_key("ann", "#r"), "#r")
