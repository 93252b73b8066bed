"""What becomes of an event "undelivered": pushes to a user's browsers, by a push service on this machine."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat.backends.memory import MemoryStore
from kschat.chat.interfaces import Progress, StoreUnavailable
from kschat.chat.outbox import MAX_NOTE, Event
from kschat.chat.push import MAX_SUBSCRIPTIONS, PushSubscription
from kschat.counters import Counters
from kschat.hooks.consumer import Consumer, Delivered, Delivery, Later
from kschat.hooks.events import UNDELIVERED, UndeliveredData
from kschat.hooks.push import PushConsumer
from kschat.hooks.push_client import PushClient, PushSettings
from kschat.hooks.vapid import Vapid, VapidKey, new_key
from kschat.repeated_log import RepeatedLog
from tests.contracts.made import message
from tests.support.push import HOST, PushService, Subscriber
from tests.support.waiting import real_reactor

NOW = 1_764_000_000.0


def delivery(
    count: int = 3,
    *,
    more: bool = False,
    conversations: tuple[str, ...] = ("ben",),
    note: bytes = b"",
    attempts: int = 0,
) -> Delivery:
    """Messages wait for Ann."""
    data = UndeliveredData("ann", count, more, 1, "7" * 24, ("ben",), (), conversations)
    return Delivery(Event("msg_1", UNDELIVERED, "ann", 1, Raw(msgspec.json.encode(data))), attempts, note)


class AwayStore(MemoryStore):
    """Is there, or not."""

    away = False

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return fail(StoreUnavailable("away")) if self.away else super().subscriptions(user)

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return fail(StoreUnavailable("away")) if self.away else super().unsubscribe(user, endpoint)


class ConsumerTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.service = PushService(self)
        self.store = AwayStore(1000, 10**6)
        self.counters = Counters()
        self.consumer = self.made()
        # What waits for Ann when an event is made; see ``delivery``.
        self.successResultOf(self.store.append([message("ben", "ann", time=1)]))

    def made(self, **more: Any) -> PushConsumer:
        settings = PushSettings(hosts=(f"{HOST}:{self.service.port}",), private=True, ca=self.service.ca)
        vapid = Vapid(VapidKey(new_key()), "mailto:ops@example.org", lambda: NOW)
        client = PushClient(settings, vapid=vapid, reactor=real_reactor(), wall=lambda: NOW)
        consumer = PushConsumer(client, self.store, counters=self.counters, repeated=RepeatedLog(Clock()), **more)
        self.addCleanup(consumer.stop)
        return consumer

    async def browser(self, path: str) -> Subscriber:
        """A browser of Ann's."""
        browser = Subscriber(self.service.url(path))
        await self.store.subscribe("ann", browser.subscription, MAX_SUBSCRIPTIONS)
        return browser

    async def kept(self) -> list[str]:
        return [one.endpoint.rpartition("/")[2] for one in await self.store.subscriptions("ann")]

    async def test_it_is_a_consumer_of_that_event_alone(self) -> None:
        consumer: Consumer = self.consumer
        self.assertEqual((consumer.name, consumer.types), ("push", {"message.undelivered"}))

    async def test_each_browser_is_told_how_many_wait_and_nothing_of_what_they_say(self) -> None:
        one, two = await self.browser("one"), await self.browser("two")
        self.assertEqual(await self.consumer.deliver(delivery()), Delivered())
        first, second = self.service.requests
        self.assertEqual((first.path, second.path), ("one", "two"))
        for browser, pushed in ((one, first), (two, second)):
            self.assertEqual(browser.read(pushed.body), {"user": "ann", "count": 3, "peer": "ben"})
        self.assertEqual(self.counters.pushes, {"sent": 2})

    async def test_the_conversation_is_named_if_there_is_one(self) -> None:
        browser = await self.browser("one")
        for given, expected in (
            (delivery(1), {"count": 1, "peer": "ben"}),
            (delivery(2, conversations=("#team",)), {"count": 2, "peer": "#team"}),
            (delivery(100, more=True), {"count": 100, "more": True}),
            (delivery(conversations=("ben", "cem")), {"count": 3}),
            (delivery(conversations=("ben", "#team")), {"count": 3}),
        ):
            await self.consumer.deliver(given)
            self.assertEqual(browser.read(self.service.requests[-1].body), {"user": "ann", **expected})

    async def test_a_click_leads_where_the_setting_says(self) -> None:
        consumer = self.made(url="https://app.example.org/{user}?with={peer}#x")
        browser = await self.browser("one")
        await consumer.deliver(delivery(conversations=("#a/b&c",)))
        await consumer.deliver(delivery(conversations=("ben", "cem")))
        found = [browser.read(one.body)["url"] for one in self.service.requests]
        self.assertEqual(found, [f"https://app.example.org/ann?with={peer}#x" for peer in ("%23a%2Fb%26c", "")])

    async def test_the_longest_ids_fit(self) -> None:
        consumer = self.made(url="https://app.example.org/{user}?with={peer}")
        browser = await self.browser("one")
        await consumer.deliver(delivery(conversations=("\U0001f600" * 128,)))
        await consumer.deliver(delivery(conversations=("\x01" * 128,)))
        self.assertEqual([len(browser.read(one.body)["peer"]) for one in self.service.requests], [128, 128])

    async def test_a_browser_that_is_gone_is_forgotten(self) -> None:
        for path, status in (("one", 410), ("two", 201), ("three", 404)):
            await self.browser(path)
            self.service.answers[path] = (status, {}, b"")
        self.assertEqual(await self.consumer.deliver(delivery()), Delivered())
        self.assertEqual(await self.kept(), ["two"])
        self.assertEqual(self.counters.pushes, {"gone": 2, "sent": 1})

    async def test_only_those_who_have_it_not_are_tried_again_and_when_the_service_says(self) -> None:
        for path in ("one", "two", "three"):
            await self.browser(path)
        self.service.answers["two"] = (429, {"retry-after": "70"}, b"")
        self.service.answers["three"] = (503, {}, b"")
        later = await self.consumer.deliver(delivery())
        assert isinstance(later, Later)
        self.assertEqual((later.reason, later.wait, later.everything), ("push_service", 70.0, False))
        self.service.answers.clear()
        self.service.requests.clear()
        self.assertEqual(await self.consumer.deliver(delivery(note=later.note)), Delivered())
        self.assertEqual([one.path for one in self.service.requests], ["two", "three"])
        self.assertEqual(self.counters.pushes, {"sent": 3, "later": 2})

    async def test_a_note_of_all_browsers_fits(self) -> None:
        for number in range(MAX_SUBSCRIPTIONS):
            await self.browser(str(number))
        self.service.answers["0"] = (503, {}, b"")
        later = await self.consumer.deliver(delivery())
        assert isinstance(later, Later)
        self.assertLessEqual(len(later.note), MAX_NOTE)

    async def test_what_a_service_refuses_is_said_and_not_tried_again(self) -> None:
        await self.browser("one")
        self.service.answers["one"] = (403, {}, b"the key is wrong: https://push.example.org/secret")
        with capturedLogs() as events:
            self.assertEqual(await self.consumer.deliver(delivery()), Delivered())
        lines = [formatEvent(event) for event in events if event["log_namespace"].startswith("kschat")]
        self.assertEqual(lines, [f"a push was refused: {HOST}: status 403"])
        self.assertEqual((await self.kept(), self.counters.pushes), (["one"], {"refused": 1}))

    async def test_a_user_without_a_browser_is_no_fault(self) -> None:
        self.assertEqual(await self.consumer.deliver(delivery()), Delivered())
        self.assertEqual((self.service.requests, self.counters.pushes), ([], {}))

    async def test_while_the_store_is_away_it_is_tried_again(self) -> None:
        await self.browser("one")
        self.store.away = True
        later = await self.consumer.deliver(delivery(note=b"12345678"))
        self.assertEqual(later, Later(reason="store", note=b"12345678"))
        self.assertEqual(self.service.requests, [])

    async def test_what_was_delivered_meanwhile_is_not_pushed_though_newer_messages_wait(self) -> None:
        browser = await self.browser("one")
        await self.store.append([message("ben", "ann", time=1), message("cem", "ann", time=1)])
        self.service.answers["one"] = (503, {}, b"")
        await self.consumer.deliver(delivery(3, conversations=("ben", "cem")))
        self.service.answers.clear()
        # Another device gets two of three.
        await self.store.save_progress(Progress({"ann": 2}, {}))
        await self.consumer.deliver(delivery(3, conversations=("ben", "cem"), attempts=1))
        told = browser.read(self.service.requests[-1].body)
        self.assertEqual(told, {"user": "ann", "count": 1, "peer": "cem"})
        self.service.requests.clear()
        await self.store.append([message("dan", "ann", time=2)])
        for cursor in (3, 4):
            await self.store.save_progress(Progress({"ann": cursor}, {}))
            self.assertEqual(await self.consumer.deliver(delivery(3, attempts=2)), Delivered())
        self.assertEqual((self.service.requests, self.counters.pushes["delivered"]), ([], 2))

    async def test_a_store_that_cannot_forget_fails_no_push(self) -> None:
        await self.browser("one")
        await self.browser("two")
        self.service.answers["one"] = (410, {}, b"")
        take = self.service.take

        def away(request: Any) -> Any:
            self.store.away = True
            return take(request)

        self.service.take = away  # type: ignore[method-assign]
        self.assertEqual(await self.consumer.deliver(delivery()), Delivered())
        self.assertEqual(self.counters.pushes, {"gone": 1, "sent": 1})
