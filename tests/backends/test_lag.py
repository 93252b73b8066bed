"""How far behind a service is; SQLite and a real Redis, which are stopped for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from pika.exceptions import ChannelClosedByBroker, ConnectionClosed
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kschat.backends.amqp.measuring import Measuring
from kschat.backends.lag import Lag
from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.redis import RedisBus
from kschat.backends.redis.client.settings import Settings as RedisSettings
from kschat.backends.redis.store.copies import Copies
from kschat.chat.interfaces import IMeasured
from kschat.counters import Counters
from kschat.front.metrics import MEASURES
from tests.backends.redis_stores import StoreTestCase as RedisStoreTestCase
from tests.backends.turns import StoreTestCase as SqliteStoreTestCase
from tests.contracts.bus import Ears
from tests.contracts.made import message
from tests.support.waiting import real_reactor

#: Seconds for which a service stands still here: less than makes it count as lost.
STILL = 0.3


class LagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = Lag(self.clock)

    def test_nothing_is_known_before_the_first_answer_and_after_a_loss(self) -> None:
        self.assertIsNone(self.lag.seconds)
        asked = self.lag.ask()
        self.clock.advance(2)
        self.lag.answered(asked)
        self.assertEqual(self.lag.seconds, 2)
        self.lag.lost()
        self.assertIsNone(self.lag.seconds)
        self.assertFalse(self.lag.waits)

    def test_a_probe_that_is_not_answered_counts_for_as_long_as_it_waits(self) -> None:
        asked = self.lag.ask()
        self.clock.advance(5)
        self.lag.answered(asked)
        asked = self.lag.ask()
        self.clock.advance(3)
        self.assertEqual((self.lag.seconds, self.lag.waits), (5, True))
        self.clock.advance(4)
        self.assertEqual(self.lag.seconds, 7)
        self.lag.answered(asked)
        self.assertEqual((self.lag.seconds, self.lag.waits), (7, False))

    def test_an_answer_answers_the_probes_before_it(self) -> None:
        """A bus may lose a probe, and the next one shows that it works."""
        self.lag.ask()
        self.clock.advance(1)
        second = self.lag.ask()
        self.clock.advance(1)
        self.lag.answered(second)
        self.assertEqual((self.lag.seconds, self.lag.waits), (1, False))

    def test_an_early_answer_leaves_the_later_probe(self) -> None:
        first = self.lag.ask()
        self.clock.advance(1)
        self.lag.ask()
        self.lag.answered(first)
        self.clock.advance(3)
        self.assertEqual((self.lag.seconds, self.lag.waits), (3, True))

    def test_an_answer_of_before_a_loss_is_none(self) -> None:
        before = self.lag.ask()
        self.lag.lost()
        self.clock.advance(1)
        after = self.lag.ask()
        self.clock.advance(1)
        self.lag.answered(before)
        self.assertTrue(self.lag.waits)
        self.lag.answered(after)
        self.assertEqual(self.lag.seconds, 1)


class InProcessTests(SynchronousTestCase):
    def test_what_is_in_this_process_has_none(self) -> None:
        for part in (MemoryStore(10, 1000), MemoryRouter()):
            self.assertFalse(IMeasured.providedBy(part))


class SqliteTests(SqliteStoreTestCase):
    def test_the_writer_s_queue_is_timed(self) -> None:
        store = self.started()
        verifyObject(IMeasured, store)
        self.turns.result(store.leave("#nowhere", "nobody"))
        self.assertIsNone(store.lag)
        self.turns.advance(1)
        self.turns.turn_until(lambda: not store._lag.waits)
        self.assertEqual(store.lag, 0)
        freed = threading.Event()
        stuck = store._writer.between(lambda _: freed.wait(60))
        self.turns.advance(1)
        self.turns.advance(4)
        self.assertEqual(store.lag, 4)
        freed.set()
        self.turns.result(stuck)
        self.turns.turn_until(lambda: not store._lag.waits)
        self.assertEqual(store.lag, 4)

    def test_while_the_file_can_t_be_used_nothing_is_known(self) -> None:
        store = self.started()
        self.turns.result(store.leave("#nowhere", "nobody"))
        self.turns.advance(1)
        self.turns.turn_until(lambda: store.lag is not None)
        store.lost("the test says so")
        self.assertIsNone(store.lag)


class RedisTests(RedisStoreTestCase):
    async def test_the_connection_that_writes_is_timed(self) -> None:
        redis = await self.own_redis()
        store = await self.store(redis)
        verifyObject(IMeasured, store)
        await self.until(lambda: store.lag is not None, "an answer")
        self.assertEqual(store.measures, {})
        redis.signal(signal.SIGSTOP)
        await self.until(lambda: (store.lag or 0) > STILL, "the lag")
        redis.signal(signal.SIGCONT)
        await self.until(lambda: not store._client.lag.waits, "the answer")
        self.assertGreater(store.lag or 0, STILL)
        await self.until(lambda: 0 <= (store.lag or 0) < STILL, "a quick answer")
        redis.kill()
        await self.until(lambda: store.lag is None, "the loss")

    async def test_what_the_replicas_lack_is_told_where_they_are_waited_for(self) -> None:
        master = await self.own_redis("repl-diskless-sync-delay 0\nrepl-timeout 60\n")
        replica = await self.own_redis(f"replicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica")
        store = await self.store(master, wait=1)
        hasty = await self.store(master)

        def lacks() -> float:
            return store.measures.get("redis_replica_lag_bytes", -1)

        await store.append([message("ann", "ben")])
        await self.until(lambda: 0 <= lacks() < 1000, "a replica that is in step")
        replica.signal(signal.SIGSTOP)
        await hasty.append([message("ann", "ben", msg=b'"' + b"x" * 10_000 + b'"')])
        await self.until(lambda: lacks() > 10_000, "the replica to lack it")
        replica.signal(signal.SIGCONT)
        await self.until(lambda: 0 <= lacks() < 1000, "the replica to have it")
        self.assertIn("redis_replica_lag_bytes", dict(MEASURES))

    async def test_the_bus_is_timed_from_publishing_to_hearing(self) -> None:
        redis = await self.own_redis()
        settings = RedisSettings(url=redis.url, prefix=uuid4().hex, patience=2.0, last_retry=0.2)
        bus = RedisBus(settings, settings, real_reactor(), Counters())
        self.addCleanup(bus.stop)
        verifyObject(IMeasured, bus)
        bus.attach(Ears())
        bus.start()
        await self.until(lambda: bus.lag is not None, "an answer")
        redis.signal(signal.SIGSTOP)
        await self.until(lambda: (bus.lag or 0) > STILL, "the lag")
        redis.signal(signal.SIGCONT)
        await self.until(lambda: not bus._lag.waits, "the answer")
        self.assertGreater(bus.lag or 0, STILL)
        # Where what is published is not heard though both connections stand, it shows as well.
        bus._subscriptions.drop(bus._probes)
        await self.until(lambda: bus._lag.waits and (bus.lag or 0) > 2.5, "a bus that hears nothing")
        bus._subscriptions.add(bus._probes)
        await self.until(lambda: (bus.lag or 0) < STILL, "a bus that hears again")


class CopiesTests(SynchronousTestCase):
    def lacking(self, wanted: int, *replicas: int, offset: int = 1000) -> int | None:
        settings = RedisSettings(url="redis://localhost/", wait=wanted)
        role = [b"master", offset, [[b"127.0.0.1", b"1", b"%d" % one] for one in replicas]]
        return Copies(settings, Counters()).lacking(role)

    def test_the_last_of_those_that_are_waited_for_counts(self) -> None:
        self.assertEqual(self.lacking(1, 400, 990, 700), 10)
        self.assertEqual(self.lacking(2, 400, 990, 700), 300)
        self.assertEqual(self.lacking(1, 1001), 0)

    def test_a_replica_that_is_missing_has_nothing(self) -> None:
        self.assertEqual(self.lacking(2, 990), 1000)

    def test_of_a_replica_nothing_is_known(self) -> None:
        settings = RedisSettings(url="redis://localhost/", wait=1)
        self.assertIsNone(Copies(settings, Counters()).lacking([b"slave", b"127.0.0.1", 1, b"connected", 7]))


class MeasuringTests(SynchronousTestCase):
    """With a channel that answers when it is told to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.answers: list[Deferred[Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.opened = 0
        self.measuring = Measuring(self, lambda: "q", self.clock)  # type: ignore[arg-type]

    def channel(self) -> Deferred[Any]:
        self.opened += 1
        return succeed(self)

    def queue_declare(self, queue: str, passive: bool) -> Deferred[Any]:
        self.asked.append((queue, passive))
        self.answers.append(Deferred())
        return self.answers[-1]

    def test_it_only_looks_and_asks_one_thing_at_a_time(self) -> None:
        self.measuring.look()
        self.clock.advance(3)
        self.measuring.look()
        self.assertEqual((self.asked, self.measuring.lag.seconds), ([("q", True)], 3))
        self.answers[0].callback(SimpleNamespace(method=SimpleNamespace(message_count=5)))
        self.assertEqual((self.measuring.depth, self.measuring.lag.seconds), (5, 3))

    def test_after_a_closed_channel_it_asks_by_another(self) -> None:
        self.measuring.look()
        self.answers[0].errback(ChannelClosedByBroker(404, "NOT_FOUND"))
        self.assertEqual((self.measuring.depth, self.measuring.lag.waits), (None, False))
        self.measuring.look()
        self.assertEqual(self.opened, 2)

    def test_the_end_of_the_connection_is_no_fault_of_its_own(self) -> None:
        for error in (ConnectionClosed(320, "CONNECTION_FORCED"), ConnectionAborted()):
            self.setUp()
            self.measuring.look()
            self.answers[0].errback(error)
            self.assertEqual(self.flushLoggedErrors(), [])
            self.assertTrue(self.measuring.lag.waits)

    def test_a_bug_is_logged(self) -> None:
        failing: Callable[..., Deferred[Any]] = lambda *_, **__: fail(ZeroDivisionError())  # noqa: E731
        self.queue_declare = failing  # type: ignore[method-assign]
        self.measuring.look()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
