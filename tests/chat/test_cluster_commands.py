"""Words as bytes: what one daemon packs the other unpacks, and nothing that comes raises anything else."""

from __future__ import annotations

import contextlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.cluster_commands import (
    Carbon,
    ClusterCommand,
    ClusterCommandError,
    Disconnect,
    Emit,
    EmitToMany,
    Receipt,
    Replaced,
    Typing,
    packed,
    unpacked,
)
from kschat.chat.message import Message
from kschat.chat.outgoing import Status
from tests.contracts.made import message

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=128)
parts = st.lists(st.binary(max_size=50), max_size=3).map(tuple)
words = st.one_of(
    st.builds(Typing, names),
    st.builds(Receipt, names, st.booleans(), names, st.sampled_from(list(Status)).map(int)),
    st.builds(Carbon, st.binary(), parts),
    st.builds(Emit, st.binary(), parts),
    st.builds(EmitToMany, st.lists(names, max_size=3).map(tuple), st.binary(), parts),
    st.builds(Disconnect, names),
    st.builds(Replaced, names),
)


def several(*given_words: bytes) -> bytes:
    """An array of words, as buses make it."""
    return b"\xdd" + len(given_words).to_bytes(4, "big") + b"".join(given_words)


class Words(SynchronousTestCase):
    @given(st.lists(words, max_size=5))
    def test_what_is_packed_is_unpacked(self, told: list[ClusterCommand]) -> None:
        self.assertEqual(unpacked(several(*map(packed, told))), told)

    @given(st.binary(max_size=60))
    def test_any_bytes_are_words_or_an_error_of_their_own(self, data: bytes) -> None:
        with contextlib.suppress(ClusterCommandError):
            unpacked(data)

    @given(words, st.integers(0, 200), st.integers(0, 255))
    def test_a_word_that_was_damaged_is_a_word_none_or_an_error_of_their_own(
        self, word: ClusterCommand, place: int, byte: int
    ) -> None:
        data = bytearray(several(packed(word)))
        data[place % len(data)] = byte
        with contextlib.suppress(ClusterCommandError):
            unpacked(bytes(data))

    def test_a_word_that_is_not_known_is_passed_over(self) -> None:
        newer = msgspec.msgpack.encode(["z", {"a": 1}, b"2"])
        longer = msgspec.msgpack.encode(["t", "ann", "a field more"])
        told = several(packed(Typing("ann")), newer, longer, packed(Disconnect("x")))
        self.assertEqual(unpacked(told), [Typing("ann"), Typing("ann"), Disconnect("x")])

    def test_a_receipt_says_whether_the_peer_was_written_as_a_number(self) -> None:
        huge = 10**128 - 1
        said: list[tuple[Message, Receipt]] = [
            (message(pId="7"), Receipt("7", False, "", 2)),
            (message(pId=7), Receipt("7", True, "", 2)),
            (message(pId=-huge), Receipt(str(-huge), True, "", 2)),
        ]
        for one, receipt in said:
            expected = msgspec.structs.replace(receipt, mid=one.mid)
            self.assertEqual(Receipt.of(one, Status.DELIVERED), expected)
