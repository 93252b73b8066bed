"""What writes is sent in order and in parts, without a Redis."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis import Settings
from kschat.backends.redis.client.connection import RedisUnavailable
from kschat.backends.redis.store.copies import Copies
from kschat.backends.redis.store.write_queue import (
    ASSUMED_ROOM_SIZE,
    MAX_SCRIPT_BYTES,
    MAX_SCRIPT_WRITES,
    MAX_WRITES_IN_FLIGHT,
    WriteQueue,
)
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message
from kschat.counters import Counters
from tests.contracts.made import message, to


class FakeClient:
    """A client whose answers the test gives."""

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

    def answer(self, answer: Any = None) -> None:
        """Answer the oldest, with its own name if with nothing else."""
        command, asked = self.sent.pop(0)
        asked.callback(command[0] if answer is None else answer)

    def abort(self, reason: str) -> None:
        """Lose the connection."""
        self.up = False
        self.why = reason

    def lose(self) -> None:
        """Let what was sent fail, as a lost connection does, in order."""
        self.up = False
        sent, self.sent = self.sent, []
        for _, answer in sent:
            answer.errback(RedisUnavailable(self.why))


class TestWriteQueue(SynchronousTestCase):
    """What is sent when."""

    def setUp(self) -> None:
        self.client = FakeClient()
        self.queue = WriteQueue(self.client)  # type: ignore[arg-type]

    def do(self, writes: int, name: str) -> Deferred[Any]:
        return self.queue.do(writes, lambda: (name,))

    def sent(self) -> list[str]:
        return [command[0] for command, _ in self.client.sent]

    def test_small_ones_are_sent_at_once(self) -> None:
        asked = [self.do(1, str(number)) for number in range(100)]
        self.assertEqual(len(self.client.sent), 100)
        for _ in range(100):
            self.client.answer()
        self.assertEqual([self.successResultOf(one) for one in asked], [str(number) for number in range(100)])

    def test_a_batch_that_is_done_leaves_nothing_for_the_garbage_collector(self) -> None:
        """Full collections under load took 20 ms each."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(10):
            done = self.queue.append(to("bob", "carol"), lambda messages: ("append",))
            self.client.answer()
            self.assertEqual(len(self.successResultOf(done)), 1)
            del done
        self.assertEqual(gc.collect(), 0)

    def test_large_ones_wait_and_small_ones_behind_them_too(self) -> None:
        large = MAX_WRITES_IN_FLIGHT // 2 + 1
        asked = [self.do(large, "a"), self.do(large, "b"), self.do(1, "c")]
        self.assertEqual(self.sent(), ["a"])
        self.client.answer()
        self.assertEqual(self.sent(), ["b", "c"])
        self.client.answer()
        self.client.answer()
        self.assertEqual([self.successResultOf(one) for one in asked], ["a", "b", "c"])

    def test_one_that_is_larger_than_all_that_may_be_is_sent_alone(self) -> None:
        self.do(1, "a")
        self.do(10 * MAX_WRITES_IN_FLIGHT, "b")
        self.assertEqual(self.sent(), ["a"])
        self.client.answer()
        self.assertEqual(self.sent(), ["b"])

    def test_what_waits_fails_with_the_link_and_is_never_sent(self) -> None:
        asked = [self.do(MAX_WRITES_IN_FLIGHT, name) for name in "abc"]
        self.client.up = False
        self.client.sent.pop()[1].errback(RedisUnavailable("lost"))
        self.queue.down()
        for one in asked:
            self.failureResultOf(one, RedisUnavailable)
        self.client.up = True
        self.assertEqual(self.client.sent, [])
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
        self.client.answer()
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

    def test_what_was_sent_behind_too_much_is_sent_again_behind_its_parts(self) -> None:
        self.queue.learn([Stored(message("ann", "#r"), (("ben", 1),))])
        batch = [message("ann", "#r") for _ in range(4)]
        mids = [one.mid for one in batch]
        kept = self.queue.append(batch, lambda part: ("append", self.queue.turn, *(one.mid for one in part)))
        joined = self.queue.do(1, lambda: ("join", self.queue.turn))
        later = self.queue.do(1, lambda: ("mark", self.queue.turn))
        first = [sent for sent, _ in self.client.sent]
        self.assertEqual([(sent[0], sent[1]) for sent in first], [("append", 1), ("join", 1), ("mark", 1)])
        answers, self.client.sent = [answer for _, answer in self.client.sent], []
        answers[0].callback([7, b"much", [b"#r", MAX_SCRIPT_WRITES // 2]])
        answers[1].callback(b"again")
        waiting = self.queue.do(1, lambda: ("note", self.queue.turn))
        self.assertEqual(self.client.sent, [], "not before all is answered")
        answers[2].callback(b"again")
        sent = []
        while self.client.sent:
            command, answer = self.client.sent.pop(0)
            sent.append(command)
            answer.callback([7, b"ok"])
        self.assertEqual(
            sent,
            [("append", 2, *mids[:2]), ("append", 2, *mids[2:]), ("join", 2), ("mark", 2), ("note", 2)],
        )
        parts = self.successResultOf(kept)
        self.assertEqual([part.messages for part in parts], [batch[:2], batch[2:]])
        for one in (joined, later, waiting):
            self.assertEqual(self.successResultOf(one), [7, b"ok"])


class WaitingTests(SynchronousTestCase):
    """What is sent when, where a copy must have it."""

    def setUp(self) -> None:
        self.client = FakeClient()
        self.counters = Counters()
        copies = Copies(Settings(url="redis://h", wait=1), self.counters)
        self.queue = WriteQueue(self.client, copies)  # type: ignore[arg-type]

    def do(self, name: str) -> Deferred[Any]:
        return self.queue.do(1, lambda: (name,))

    def sent(self) -> list[str]:
        return [command[0] for command, _ in self.client.sent]

    def test_each_is_answered_when_the_copy_has_it(self) -> None:
        asked = self.do("a")
        self.assertEqual(self.client.sent[1][0], ("WAIT", 1, 1000))
        self.client.answer()
        self.assertNoResult(asked)
        self.client.answer(1)
        self.assertEqual(self.successResultOf(asked), "a")
        self.assertEqual(self.counters.waits, {"enough": 1})

    def test_what_is_sent_behind_a_wait_shares_the_next(self) -> None:
        asked = [self.do(name) for name in "abc"]
        self.assertEqual(self.sent(), ["a", "WAIT", "b", "c"], "Redis does b and c together when it has waited")
        self.client.answer()
        self.client.answer(1)
        self.assertEqual(self.sent(), ["b", "c", "WAIT"])
        self.assertEqual([one.called for one in asked], [True, False, False])
        self.client.answer()
        self.client.answer()
        self.assertNoResult(asked[1])
        self.client.answer(1)
        self.assertEqual([self.successResultOf(one) for one in asked], list("abc"))
        self.assertEqual((self.sent(), self.counters.waits), ([], {"enough": 3}))

    def test_too_few_copies_refuse_what_waited_and_what_is_behind(self) -> None:
        asked = [self.do(name) for name in "abc"]
        self.client.answer()
        self.client.answer(0)
        self.client.lose()
        for one in asked:
            self.failureResultOf(one, RedisUnavailable)
        self.assertIn("only 0 of 1 replicas have what was written", self.client.why)
        self.assertEqual(self.counters.waits, {"too_few": 1, "unanswered": 2})
        self.client.up = True
        self.do("d")
        self.assertEqual(self.sent(), ["d", "WAIT"])

    def test_a_lost_connection_refuses_all_that_no_copy_is_known_to_have(self) -> None:
        asked = [self.do(name) for name in "abc"]
        self.client.answer()
        self.client.lose()
        for one in asked:
            self.failureResultOf(one, RedisUnavailable)
        self.assertEqual(self.counters.waits, {"unanswered": 3})

    def test_what_redis_refuses_is_refused_when_the_others_are_answered(self) -> None:
        asked = [self.do("a"), self.do("b")]
        self.client.sent.pop(0)[1].errback(ValueError("no"))
        self.client.answer(1)
        self.failureResultOf(asked[0], ValueError)
        self.client.answer()
        self.client.answer(1)
        self.assertEqual(self.successResultOf(asked[1]), "b")

    def test_what_is_asked_by_an_answer_waits_too(self) -> None:
        asked: list[Deferred[Any]] = []
        self.do("a").addCallback(lambda _: asked.append(self.do("b")))
        self.client.answer()
        self.client.answer(1)
        self.assertEqual(self.sent(), ["b", "WAIT"])
        self.client.answer()
        self.assertNoResult(asked[0])
        self.client.answer(1)
        self.assertEqual(self.successResultOf(asked[0]), "b")
