"""How the Redis store reads its log for hooks, without a Redis; and with one, a log that is broken or full."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
from twisted.internet.defer import succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis.store.outbox import FIRST_BATCHES, MAX_BATCHES, RedisOutbox
from kschat.chat.outbox import MAX_LOG, MAX_PLACES, Commit
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import to
from tests.support.redis import shared_redis

pack = msgspec.msgpack.encode


class PageTests(SynchronousTestCase):
    """What one page holds."""

    def setUp(self) -> None:
        self.log: list[Any] = []
        self.asked: list[int] = []
        self.outbox = RedisOutbox(SimpleNamespace(prefix="p:", ask=self.ask))  # type: ignore[arg-type]

    def ask(self, *command: Any) -> Any:
        self.asked.append(command[-1])
        return succeed(self.log[: command[-1]])

    def batches(self, count: int, members: int) -> None:
        """Batches of one message to a room of so many members each."""
        places = pack([part for number in range(members) for part in (f"user {number}", 1)])
        described = pack([1, 0, "0a0b0c0d", "ann", "#r", 0])
        self.log = [(b"%d-0" % number, [b"m", described, b"p", places]) for number in range(1, count + 1)]

    def test_a_page_ends_when_it_has_many_places_and_the_next_one_has_fewer_batches(self) -> None:
        self.batches(FIRST_BATCHES, MAX_PLACES // 4)
        page = self.successResultOf(self.outbox.log("99", 200))
        self.assertEqual((4, "4-0"), (len(page.messages), page.upto))
        self.successResultOf(self.outbox.log("99", 200))
        self.assertEqual([FIRST_BATCHES, FIRST_BATCHES // 2], self.asked)

    def test_small_batches_are_read_together(self) -> None:
        self.batches(MAX_BATCHES, 1)
        for _ in range(5):
            self.successResultOf(self.outbox.log("99", 200))
        self.assertEqual([16, 32, 64, 128, 128], self.asked)

    def test_nothing_is_there(self) -> None:
        page = self.successResultOf(self.outbox.log("0", 200))
        self.assertEqual(((), None), (tuple(page.messages), page.upto))


class LogTests(StoreTestCase):
    """On a real Redis."""

    async def test_a_batch_that_can_not_be_read_holds_up_nothing_and_the_log_says_so(self) -> None:
        store = await self.store(await shared_redis(), hooks=True)
        outbox: Any = store.outbox
        self.assertTrue(await outbox.acquire("me", 60))
        (first,) = await store.append(to("ben"))
        for fields in (("m", b"\xc1"), ("m", pack([1, 0, "0a0b0c0d", "ann", "#r", 0])), ("x", b"y")):
            await store._client.ask("XADD", f"{store._client.prefix}x:hook:log", "*", *fields)
        (last,) = await store.append(to("cem"))
        with capturedLogs() as events:
            page = await outbox.log(await outbox.end(), 100)
        self.assertEqual([one.mid for one in page.messages], [first.message.mid, last.message.mid])
        lines = [formatEvent(one) for one in events]
        self.assertEqual(lines, ["a batch in the log of hooks can't be read: its messages cause no events"] * 3)
        await outbox.commit("me", Commit(log=page.upto))
        self.assertIsNone((await outbox.log(await outbox.end(), 100)).upto)

    async def test_messages_that_are_not_logged_since_the_log_is_full_are_stored_and_counted_once(self) -> None:
        store = await self.store(await shared_redis(), hooks=True)
        outbox: Any = store.outbox
        log = f"{store._client.prefix}x:hook:log"
        fill = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'm', ARGV[2]) end"
        await store._client.ask("EVAL", fill, 1, log, MAX_LOG, pack([]))
        for one in await store.append(to("ben", "cem")):
            self.assertTrue(one.places)
        self.assertEqual(await store._client.ask("XLEN", log), MAX_LOG)
        self.assertEqual([(await outbox.backlog()).lost for _ in range(2)], [2, 0])
