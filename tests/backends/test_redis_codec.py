"""Messages as Redis keeps them, without a Redis."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.generations import GENERATION
from kschat.backends.redis.store.codec import (
    MAX_NAMES,
    BatchEncoder,
    StoredError,
    answers,
    id_of,
    listed_of,
    message_of,
    number_of_id,
    peer_of,
)
from kschat.chat.interfaces import Stored
from kschat.chat.lines import line_of
from kschat.chat.message import Error, Message
from kschat.chat.mids import number_of
from tests.contracts.made import awkward_messages, message, mid

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


class Damaged(SynchronousTestCase):
    """What stands in Redis and is no message."""

    def test_it_is_refused_by_an_error_that_shows_nothing_of_it(self) -> None:
        whole = ["00000000", "ann", "ben", 0, 1, None, b'"text"', []]
        pack = msgspec.msgpack.encode
        ids = ("5", "[1]", '[1,{},"text"]', '["x",1,2]', "text", "[" * 100_000, 1)
        for rest in (
            b"",
            b"\x98",
            b"text",
            pack(whole[:4]),
            pack([b"text"] * 8),
            pack(whole) + b"\xff",
            b"\x98\xa1\xff" + pack(whole)[10:],
            *(pack([*whole[:3], one, *whole[4:]]) for one in ids),
        ):
            for read in (message_of, lambda id_, rest: listed_of(id_, rest, True)):
                error = self.assertRaises(StoredError, read, b"1-1", rest)
                self.assertNotIn("text", repr(error))
        self.assertRaises(StoredError, message_of, b"no id", pack(whole))


class TestPacking(SynchronousTestCase):
    """What goes to Redis comes back."""

    def rest(self, one: Message) -> tuple[list[Any], bytes]:
        """What the script sees of a message, and the rest of it. (What lists show of it is the last.)"""
        argument = BatchEncoder().encode([one], 7, 9)
        deadline, most, *seen = _texts(argument)
        self.assertEqual((deadline, most), (7, 9))
        return seen[:-2], seen[-2]

    def test_each_odd_message_comes_back_as_it_went(self) -> None:
        for what, one in awkward_messages().items():
            seen, rest = self.rest(one)
            id_ = f"{seen[5]}-{seen[6]}".encode()
            back = message_of(id_, rest)
            self.assertEqual(back, one, what)
            self.assertEqual((type(back.uId), type(back.pId)), (type(one.uId), type(one.pId)), what)

    def test_lists_are_given_what_they_show_where_that_is_not_the_whole(self) -> None:
        for what, one in awkward_messages().items():
            *_, id_ms, id_count, rest, listed = _texts(BatchEncoder().encode([one]))
            id_ = f"{id_ms}-{id_count}".encode()
            line = line_of(one)
            if line is None:
                self.assertEqual((listed, listed_of(id_, rest, False)), (b"", (one, False)), what)
            else:
                shown = (msgspec.structs.replace(one, msg=line, attachments=()), True)
                self.assertEqual(listed_of(id_, listed, True), shown, what)
                self.assertEqual(listed_of(id_, rest, False), shown, what)

    def test_the_script_sees_names_number_and_cid(self) -> None:
        seen, _ = self.rest(message("ben", "ann", mid=mid((5 << 16) + 3), cid="c1"))
        self.assertEqual(seen, [b"ben", b"ann", b"3:annben", 2, b"c1", 5, 3])
        seen, _ = self.rest(message("ben", "#r"))
        self.assertEqual(seen[1:5], [b"#r", b"#r", 0, b""])

    @settings(max_examples=300)
    @given(NAMES, NAMES)
    def test_both_users_know_a_conversation_by_one_name_and_each_other_by_it(self, one: str, other: str) -> None:
        encoder = BatchEncoder()
        if "#" in (one[0], other[0]):
            return
        name, side = encoder.conversation(one, other)
        again, other_side = encoder.conversation(other, one)
        self.assertEqual(name, again)
        self.assertEqual(side + other_side, 2 if one == other else 3)
        self.assertEqual(peer_of(side, name.encode()), other)
        self.assertEqual(peer_of(other_side, name.encode()), one)

    @settings(max_examples=300)
    @given(NAMES, NAMES, NAMES, NAMES)
    def test_no_two_conversations_have_one_name(self, one: str, two: str, three: str, four: str) -> None:
        encoder = BatchEncoder()
        same = {one, two} == {three, four} and (one == two) == (three == four)
        if not any(name[0] == "#" for name in (one, two, three, four)):
            self.assertEqual(encoder.conversation(one, two)[0] == encoder.conversation(three, four)[0], same)

    def test_names_that_are_remembered_have_a_bound(self) -> None:
        encoder = BatchEncoder()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, most = tracemalloc.get_traced_memory()[0], 0
        for number in range(100_500):
            encoder.conversation("ann", f"user {number}")
            if number % 1000 == 0:
                most = max(most, tracemalloc.get_traced_memory()[0] - before)
        self.assertLessEqual(len(encoder._names), MAX_NAMES)
        # What a long run of daemons must not show as growth.
        self.assertLess(most, 5_000_000)

    @given(st.integers(0, 2**63 - 1))
    def test_a_number_is_an_id_and_back(self, number: int) -> None:
        self.assertEqual(number_of_id(id_of(number).encode()), number)

    def test_what_the_script_answers_is_what_is_told(self) -> None:
        plain, later, room, repeat, stranger = (message() for _ in range(5))
        first = message("ann", "#r", cid="c1")
        _, rest = self.rest(first)
        places = msgspec.msgpack.encode(["ben", 1, "cem", GENERATION + 2])
        told = [
            [2, b"n", b"5-3", 9],
            [3, b"p", id_of(number_of(room.mid)).encode(), places],
            [4, b"r", id_of(number_of(first.mid)).encode(), rest, b"7 3 - ann", places],
            [5, b"x"],
        ]
        self.assertEqual(
            answers([plain, later, room, repeat, stranger], [4, 0, 0, 0, 0], told),
            [
                Stored(plain, (("ben", 4),)),
                Stored(msgspec.structs.replace(later, mid=mid((5 << 16) + 3)), (("ben", 9),)),
                Stored(room, (("ben", 1), ("cem", GENERATION + 2))),
                Stored(first, (("ben", 1), ("cem", GENERATION + 2)), True),
                Stored(stranger, (), False, Error.NOT_ALLOWED),
            ],
        )


def _texts(argument: bytes) -> list[Any]:
    """What Redis's msgpack makes of an argument: texts are bytes, whatever is in them. (It knows no other bytes.)"""
    values: list[Any] = []
    at = 3 if argument[0] == 0xDC else 1
    while at < len(argument):
        if argument[at] == 0xDB:
            length = int.from_bytes(argument[at + 1 : at + 5], "big")
            values.append(argument[at + 5 : at + 5 + length])
            at += 5 + length
            continue
        end = at + 1
        while True:
            try:
                value = msgspec.msgpack.decode(argument[at:end])
                break
            except msgspec.DecodeError:
                end += 1
        values.append(value.encode() if isinstance(value, str) else value)
        at = end
    return values
