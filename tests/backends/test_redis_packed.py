"""Messages as Redis keeps them, and batches in the lane, without a Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis.connection import RedisUnavailable
from kschat.backends.redis.store.codec import (
    GENERATION,
    BatchEncoder,
    answers,
    id_of,
    message_of,
    number_of_id,
    peer_of,
)
from kschat.backends.redis.store.write_queue import (
    ASSUMED_ROOM_SIZE,
    MAX_SCRIPT_BYTES,
    MAX_SCRIPT_WRITES,
    MAX_WRITES_IN_FLIGHT,
    WriteQueue,
)
from kschat.chat.interfaces import Stored
from kschat.chat.message import Error, Message
from kschat.chat.mids import number_of
from tests.contracts.made import awkward_messages, message, mid, to

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


class TestPacking(SynchronousTestCase):
    """What goes to Redis comes back."""

    def rest(self, one: Message) -> tuple[list[Any], bytes]:
        """What the script sees of a message, and the rest of it."""
        argument = BatchEncoder().encode([one], 7, 9)
        deadline, most, *seen = _texts(argument)
        self.assertEqual((deadline, most), (7, 9))
        return seen[:-1], seen[-1]

    def test_each_odd_message_comes_back_as_it_went(self) -> None:
        for what, one in awkward_messages().items():
            seen, rest = self.rest(one)
            id_ = f"{seen[5]}-{seen[6]}".encode()
            back = message_of(id_, rest)
            self.assertEqual(back, one, what)
            self.assertEqual((type(back.uId), type(back.pId)), (type(one.uId), type(one.pId)), what)

    def test_the_script_sees_names_number_and_cid(self) -> None:
        seen, _ = self.rest(message("ben", "ann", mid=mid((5 << 16) + 3), cid="c1"))
        self.assertEqual(seen, [b"ben", b"ann", b"3:annben", 2, b"c1", 5, 3])
        seen, _ = self.rest(message("ben", "#r"))
        self.assertEqual(seen[1:5], [b"#r", b"#r", 0, b""])

    @settings(max_examples=300, deadline=None)
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

    @settings(max_examples=300, deadline=None)
    @given(NAMES, NAMES, NAMES, NAMES)
    def test_no_two_conversations_have_one_name(self, one: str, two: str, three: str, four: str) -> None:
        encoder = BatchEncoder()
        same = {one, two} == {three, four} and (one == two) == (three == four)
        if not any(name[0] == "#" for name in (one, two, three, four)):
            self.assertEqual(encoder.conversation(one, two)[0] == encoder.conversation(three, four)[0], same)

    def test_names_that_are_remembered_have_a_bound(self) -> None:
        encoder = BatchEncoder()
        for number in range(100_500):
            encoder.conversation("ann", f"user {number}")
        self.assertLessEqual(len(encoder._names), 100_000)

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


class FakeLink:
    """A link whose answers the test gives."""

    def __init__(self) -> None:
        self.up = True
        self.why = "it is down"
        self.sent: list[tuple[Any, Deferred[Any]]] = []

    def do(self, *command: Any) -> Deferred[Any]:
        if not self.up:
            return fail(RedisUnavailable(self.why))
        answer: Deferred[Any] = Deferred()
        self.sent.append((command, answer))
        return answer

    def answer(self) -> None:
        """Answer the oldest."""
        command, answer = self.sent.pop(0)
        answer.callback(command[0])


class TestLane(SynchronousTestCase):
    """What is sent when."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.queue = WriteQueue(self.link)  # type: ignore[arg-type]

    def do(self, writes: int, name: str) -> Deferred[Any]:
        return self.queue.do(writes, lambda: (name,))

    def sent(self) -> list[str]:
        return [command[0] for command, _ in self.link.sent]

    def test_small_ones_are_sent_at_once(self) -> None:
        asked = [self.do(1, str(number)) for number in range(100)]
        self.assertEqual(len(self.link.sent), 100)
        for _ in range(100):
            self.link.answer()
        self.assertEqual([self.successResultOf(one) for one in asked], [str(number) for number in range(100)])

    def test_large_ones_wait_and_small_ones_behind_them_too(self) -> None:
        large = MAX_WRITES_IN_FLIGHT // 2 + 1
        asked = [self.do(large, "a"), self.do(large, "b"), self.do(1, "c")]
        self.assertEqual(self.sent(), ["a"])
        self.link.answer()
        self.assertEqual(self.sent(), ["b", "c"])
        self.link.answer()
        self.link.answer()
        self.assertEqual([self.successResultOf(one) for one in asked], ["a", "b", "c"])

    def test_one_that_is_larger_than_all_that_may_be_is_sent_alone(self) -> None:
        self.do(1, "a")
        self.do(10 * MAX_WRITES_IN_FLIGHT, "b")
        self.assertEqual(self.sent(), ["a"])
        self.link.answer()
        self.assertEqual(self.sent(), ["b"])

    def test_what_waits_fails_with_the_link_and_is_never_sent(self) -> None:
        asked = [self.do(MAX_WRITES_IN_FLIGHT, name) for name in "abc"]
        self.link.up = False
        self.link.sent.pop()[1].errback(RedisUnavailable("lost"))
        self.queue.down()
        for one in asked:
            self.failureResultOf(one, RedisUnavailable)
        self.link.up = True
        self.assertEqual(self.link.sent, [])
        self.do(1, "d")
        self.assertEqual(self.sent(), ["d"])

    def test_what_is_sent_is_made_when_it_is_sent(self) -> None:
        made: list[str] = []
        self.do(MAX_WRITES_IN_FLIGHT, "a")

        def make() -> tuple[str]:
            made.append("b")
            return ("b",)

        self.queue.do(1, make)
        self.assertEqual(made, [])
        self.link.answer()
        self.assertEqual(made, ["b"])

    def test_a_usual_batch_is_one_part(self) -> None:
        batch = to(*["ben"] * 500)
        self.assertEqual([(writes, len(part)) for writes, part in self.queue.parts(batch)], [(500, 500)])

    def test_a_batch_to_large_rooms_is_parted(self) -> None:
        batch = [message("ann", "#r") for _ in range(100)]
        parts = list(self.queue.parts(batch))
        self.assertEqual([one for _, part in parts for one in part], batch)
        self.assertEqual({writes for writes, _ in parts}, {MAX_SCRIPT_WRITES})
        self.assertEqual(len(parts), 100 * ASSUMED_ROOM_SIZE // MAX_SCRIPT_WRITES)

    def test_how_large_a_room_is_is_learned(self) -> None:
        self.queue.learn([Stored(message("ann", "#r"), (("ben", 1),))])
        self.assertEqual(self.weights([message("ann", "#r") for _ in range(100)]), [200])

    def test_a_batch_of_many_bytes_is_parted(self) -> None:
        big = Raw(b'"%b"' % (b"x" * (MAX_SCRIPT_BYTES // 3)))
        batch = [message(msg=big) for _ in range(5)] + [
            message(attachments=(b"x" * MAX_SCRIPT_BYTES,)) for _ in range(2)
        ]
        self.assertEqual(self.weights(batch), [2, 2, 1, 1, 1])

    def weights(self, batch: Sequence[Message]) -> list[int]:
        return [writes for writes, _ in self.queue.parts(batch)]
