"""The link to a real Redis that is killed, stopped, locked, full and away, and comes back."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat.backends.redis import Settings
from kschat.backends.redis.client.connection import Connection, RedisUnavailable, ResponseError, Subscriber
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.outage_log import OutageLog
from tests.support.redis import Redis, Saying, shared_redis
from tests.support.waiting import real_reactor, within


class Turns:
    """What befell a link."""

    def __init__(self) -> None:
        self.all: list[bool] = []
        self._waiting: list[tuple[bool, Deferred[None]]] = []

    def __call__(self, up: bool) -> None:
        self.all.append(up)
        fired = [one for one in self._waiting if one[0] is up]
        self._waiting = [one for one in self._waiting if one[0] is not up]
        for _, fires in fired:
            fires.callback(None)

    def next(self, up: bool) -> Deferred[None]:
        """Fires when it is up (or down) the next time."""
        fires: Deferred[None] = Deferred()
        self._waiting.append((up, fires))
        return within(fires, f"a link to be {'up' if up else 'down'}", lambda: str(self.all))


class ClientTestCase(TestCase):
    timeout = 120

    async def own_redis(self, config: str = "") -> Redis:
        """A server that this test may harm."""
        redis = Redis(config)
        self.addCleanup(redis.stop)
        await redis.start()
        return redis

    def link(
        self,
        url: str,
        make: Any = None,
        prepare: Callable[[Connection], Awaitable[object]] | None = None,
        **changes: Any,
    ) -> tuple[RedisClient, Turns]:
        """A link that was not started, and what befalls it."""
        turns = Turns()
        settings = Settings(**{"url": url, "patience": 1.0, "last_retry": 0.2, **changes})
        link = RedisClient(settings, real_reactor(), OutageLog(Logger(), name="the test"), make, prepare, turns)
        self.addCleanup(link.stop)
        return link, turns

    async def started(self, url: str, **changes: Any) -> tuple[RedisClient, Turns]:
        """A link that is up."""
        link, turns = self.link(url, **changes)
        up = turns.next(True)
        link.start()
        await up
        return link, turns

    async def refusal(self, link: RedisClient) -> str:
        """The one line that the log has of a link that can't be up, also after another try."""
        with capturedLogs() as events:
            link.start()
            await self.tried(link, 3)
        self.assertFalse(link.up)
        (text,) = [formatEvent(event) for event in events if "the test" in formatEvent(event)]
        self.assertNotIn("\n", text)
        return text

    async def tried(self, link: RedisClient, times: int) -> None:
        """Wait until it was tried so often to connect."""
        for _ in range(1000):
            if link.tries >= times:
                return
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"it was tried {link.tries} times only")


class RedisClientTests(ClientTestCase):
    """A link to one Redis."""

    async def test_commands_are_answered_in_their_order_as_redis_says_it(self) -> None:
        link, _ = await self.started((await shared_redis()).url)
        key = self.id()
        asked = [link.do("APPEND", key, b"0\xff"), link.do("GET", key), link.do("GET", key + "x"), link.do("TIME")]
        asked += [link.do("EVAL", "return {1, {'a', 2}}", 0)]
        length, text, nothing, time, nested = await gatherResults(asked)
        self.assertEqual((length, text, nothing, nested), (2, b"0\xff", None, [1, [b"a", 2]]))
        self.assertEqual([type(part) for part in time], [bytes, bytes])

    async def test_what_redis_refuses_fails_and_the_rest_does_not(self) -> None:
        link, _ = await self.started((await shared_redis()).url)
        with self.assertRaises(ResponseError):
            await link.do("NONSENSE")
        self.assertEqual(await link.do("PING"), b"PONG")

    async def test_the_database_and_the_user_of_the_url_are_taken(self) -> None:
        redis = await self.own_redis("user ann on >s%cret ~* +@all\nuser default off\n")
        link, _ = await self.started(f"redis://ann:s%25cret@127.0.0.1:{redis.port}/3")
        self.assertEqual(await link.do("ACL", "WHOAMI"), b"ann")
        self.assertIn(b" db=3 ", await link.do("CLIENT", "INFO"))

    async def test_while_it_is_down_a_command_fails_at_once_and_is_never_done(self) -> None:
        redis = await self.own_redis("appendonly yes\n")
        link, turns = await self.started(redis.url)
        with capturedLogs() as events:
            down = turns.next(False)
            redis.kill()
            await down
            self.failureResultOf(link.do("SET", "late", "1"), RedisUnavailable)
            up = turns.next(True)
            await redis.start()
            await up
        self.assertIsNone(await link.do("GET", "late"))
        lines = [formatEvent(event) for event in events if "the test" in formatEvent(event)]
        self.assertIn("is lost", lines[0])
        self.assertIn("connected to Redis at", lines[-1])
        self.assertIn("again", lines[-1])
        self.assertEqual(len(lines), len(set(lines)), "no reason is told twice")

    async def test_what_is_on_its_way_fails_when_redis_dies(self) -> None:
        redis = await self.own_redis()
        link, _ = await self.started(redis.url)
        redis.signal(signal.SIGSTOP)
        asked = [link.do("PING"), link.do("PING")]
        redis.kill()
        for one in asked:
            with self.assertRaises(RedisUnavailable):
                await within(one, "an answer", str)

    async def test_a_redis_that_stopped_is_noticed_whether_it_is_asked_or_not(self) -> None:
        redis = await self.own_redis()
        link, turns = await self.started(redis.url)
        for asked in (True, False):
            down = turns.next(False)
            redis.signal(signal.SIGSTOP)
            if asked:
                with self.assertRaises(RedisUnavailable):
                    await within(link.do("PING"), "an answer", str)
            await within(down, "the link to be down", str)
            self.assertIn("answered nothing for 1 seconds", link.why)
            up = turns.next(True)
            redis.signal(signal.SIGCONT)
            await up

    async def test_a_wrong_password_is_told_once_and_tried_again(self) -> None:
        redis = await self.own_redis("requirepass right\n")
        link, turns = self.link(f"redis://:wrong@127.0.0.1:{redis.port}/")
        self.assertIn("the user or the password is wrong", await self.refusal(link))
        self.assertNotIn(":wrong", link.why)
        up = turns.next(True)
        other, _ = await self.started(f"redis://:right@127.0.0.1:{redis.port}/")
        await other.do("CONFIG", "SET", "requirepass", "wrong")
        await up

    async def test_a_password_that_is_missing_or_one_too_many_is_told(self) -> None:
        redis = await self.own_redis("requirepass right\n")
        link, _ = self.link(redis.url)
        self.assertIn("it requires a password", await self.refusal(link))
        link, _ = self.link((await shared_redis()).url.replace("//", "//:secret@"))
        self.assertIn("Redis has none", await self.refusal(link))

    async def test_a_database_that_is_not_there_is_told(self) -> None:
        link, _ = self.link((await shared_redis()).url + "99")
        self.assertIn("DB index is out of range", await self.refusal(link))

    async def test_too_many_clients_are_told_and_it_comes_back_when_one_leaves(self) -> None:
        redis = await self.own_redis("maxclients 1\n")
        first, _ = await self.started(redis.url)
        second, turns = self.link(redis.url)
        self.assertIn("as many clients as it may have", await self.refusal(second))
        up = turns.next(True)
        await first.stop()
        await up

    async def test_nobody_there_is_told_once(self) -> None:
        redis = await self.own_redis()
        redis.kill()
        link, _ = self.link(redis.url)
        text = await self.refusal(link)
        self.assertIn(f"Redis at 127.0.0.1:{redis.port} can't be reached: Connection was refused", text)

    async def test_something_that_is_no_redis_is_told(self) -> None:
        class Other(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        port = real_reactor().listenTCP(0, Factory.forProtocol(Other), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        link, _ = self.link(f"redis://127.0.0.1:{port.getHost().port}")
        self.assertIn("can't be used", await self.refusal(link))

    async def test_a_redis_that_is_loading_its_data_is_told_and_waited_for(self) -> None:
        said = {"PING": b"-LOADING Redis is loading the dataset in memory\r\n"}
        port = real_reactor().listenTCP(0, Factory.forProtocol(lambda: Saying(said)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        link, turns = self.link(f"redis://127.0.0.1:{port.getHost().port}")
        self.assertIn("it is loading its data", await self.refusal(link))
        up = turns.next(True)
        said["PING"] = b"+PONG\r\n"
        await up

    async def test_something_that_never_answers_is_told(self) -> None:
        port = real_reactor().listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        link, _ = self.link(f"redis://127.0.0.1:{port.getHost().port}", patience=0.05)
        self.assertIn("it did not answer", await self.refusal(link))

    async def test_what_fails_in_preparing_is_told_and_tried_again(self) -> None:
        reasons: list[Exception] = [RedisUnavailable("not yet"), ResponseError("OOM command not allowed")]

        async def prepare(_: Connection) -> None:
            if reasons:
                raise reasons.pop()

        link, turns = self.link((await shared_redis()).url, prepare=prepare)
        up = turns.next(True)
        with capturedLogs() as events:
            link.start()
            await up
        lines = [formatEvent(event) for event in events if "the test" in formatEvent(event)]
        self.assertIn("its memory is full", lines[0])
        self.assertIn("not yet", lines[1])

    async def test_who_is_told_and_raises_ends_no_link(self) -> None:
        redis = await self.own_redis()
        turns = Turns()

        def turned(up: bool) -> None:
            turns(up)
            if len(turns.all) < 3:
                raise ZeroDivisionError("a bug of who listens")

        outages = OutageLog(Logger(), name="the test")
        link = RedisClient(Settings(url=redis.url, first_retry=0.01), real_reactor(), outages, turned=turned)
        self.addCleanup(link.stop)
        for life in (1, 2):
            up = turns.next(True)
            link.start() if life == 1 else link.abort("a test")
            await up
        await deferLater(real_reactor(), 0)
        self.assertEqual(turns.all, [True, False, True])
        self.assertEqual(await link.do("PING"), b"PONG")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    async def test_it_ends_whatever_it_is_doing(self) -> None:
        redis = await self.own_redis()
        link, _ = await self.started(redis.url)
        redis.signal(signal.SIGSTOP)
        asked = link.do("PING")
        await link.stop()
        self.failureResultOf(asked, RedisUnavailable)
        redis.kill()
        link, _ = self.link(redis.url)
        link.start()
        await self.tried(link, 2)
        await link.stop()


class SubscriberTests(ClientTestCase):
    """A link that is told what is published."""

    async def test_it_subscribes_anew_at_each_connection_and_hears_in_order(self) -> None:
        redis = await self.own_redis()
        heard: list[tuple[bytes, bytes]] = []
        fires: list[Deferred[None]] = [Deferred()]

        def arrived(channel: bytes, body: bytes) -> None:
            heard.append((channel, body))
            if body == b"end":
                fires[0].callback(None)

        async def prepare(connection: Connection) -> None:
            await connection.execute_command("SUBSCRIBE", "a", "b")

        subscriber, turns = await self.started(
            redis.url, make=lambda: Subscriber(real_reactor(), arrived), prepare=prepare
        )
        publisher, other = await self.started(redis.url)
        for round_ in range(2):
            heard.clear()
            fires[0] = Deferred()
            self.assertEqual(await publisher.do("PUBLISH", "a", b"1"), 1)
            self.assertEqual(await publisher.do("PUBLISH", "c", b"2"), 0)
            await subscriber.do("SUBSCRIBE", "c", "d")
            self.assertEqual(await publisher.do("PUBLISH", "c", b"\xff"), 1)
            self.assertEqual((await subscriber.do("PING"))[0], b"pong")
            await subscriber.do("UNSUBSCRIBE", "c", "d")
            await publisher.do("PUBLISH", "c", b"3")
            await publisher.do("PUBLISH", "b", b"end")
            await within(fires[0], "what was published", lambda: str(heard))
            self.assertEqual(heard, [(b"a", b"1"), (b"c", b"\xff"), (b"b", b"end")])
            if not round_:
                ups = gatherResults([turns.next(True), other.next(True)])
                await redis.restart()
                await ups

    async def test_a_redis_that_stopped_is_noticed(self) -> None:
        redis = await self.own_redis()

        async def prepare(connection: Connection) -> None:
            await connection.execute_command("SUBSCRIBE", "a")

        _, turns = await self.started(
            redis.url, make=lambda: Subscriber(real_reactor(), lambda *_: None), prepare=prepare
        )
        down = turns.next(False)
        redis.signal(signal.SIGSTOP)
        await down
        up = turns.next(True)
        redis.signal(signal.SIGCONT)
        await up
