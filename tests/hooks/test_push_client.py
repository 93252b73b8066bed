"""Pushes to a push service, by TLS: what it gets, what its answers mean, and where no connection is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.hooks.push_client import (
    MAX_ANSWER,
    MAX_TRIED,
    TTL,
    PublicEndpoint,
    PushClient,
    PushResult,
    PushSettings,
    Sent,
)
from kschat.hooks.push_hosts import is_public
from kschat.hooks.vapid import Vapid, VapidKey, new_key
from kschat.hooks.webpush import RECORD_BYTES
from kschat.http_client import MAX_RETRY_AFTER, retry_after
from tests.support.push import HOST, PushService, Subscriber, is_signed
from tests.support.waiting import real_reactor

NOW = 1_764_000_000.0


class PushTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.service = PushService(self)
        self.vapid = Vapid(VapidKey(new_key()), "mailto:ops@example.org", lambda: NOW)
        self.client = self.made()

    def made(self, **settings: Any) -> PushClient:
        defaults: dict[str, Any] = {"hosts": (f"{HOST}:{self.service.port}",), "private": True, "ca": self.service.ca}
        client = PushClient(
            PushSettings(**(defaults | settings)), vapid=self.vapid, reactor=real_reactor(), wall=lambda: NOW
        )
        self.addCleanup(client.stop)
        return client

    def browser(self, path: str = "one") -> Subscriber:
        return Subscriber(self.service.url(path))

    async def test_a_push_is_signed_and_only_its_browser_can_read_it(self) -> None:
        browser = self.browser()
        result = await self.client.push(browser.subscription, b"three messages wait")
        self.assertEqual(result, PushResult(Sent.DONE, HOST))
        (pushed,) = self.service.requests
        self.assertEqual(browser.text(pushed.body), b"three messages wait")
        self.assertNotIn(b"three", pushed.body)
        self.assertLessEqual(len(pushed.body), RECORD_BYTES)
        self.assertTrue(is_signed(pushed))
        headers = pushed.headers
        self.assertEqual(
            {name: headers[name] for name in ("content-encoding", "ttl", "urgency", "topic")},
            {"content-encoding": "aes128gcm", "ttl": str(TTL), "urgency": "normal", "topic": "kschat"},
        )
        self.assertIn(f"k={self.vapid.public_key}", headers["authorization"])

    async def test_a_connection_is_used_again(self) -> None:
        for _ in range(3):
            await self.client.push(self.browser().subscription, b"text")
        self.assertEqual(len(self.service.requests), 3)
        self.assertEqual(len({one.headers["authorization"] for one in self.service.requests}), 1)

    async def test_what_answers_mean(self) -> None:
        for status, headers, expected in (
            (200, {}, PushResult(Sent.DONE, HOST)),
            (202, {}, PushResult(Sent.DONE, HOST)),
            (404, {}, PushResult(Sent.GONE, HOST, "status 404")),
            (410, {}, PushResult(Sent.GONE, HOST, "status 410")),
            (429, {"retry-after": "120"}, PushResult(Sent.LATER, HOST, "status 429", 120.0)),
            (429, {}, PushResult(Sent.LATER, HOST, "status 429")),
            (503, {"retry-after": "Mon, 24 Nov 2025 16:00:30 GMT"}, PushResult(Sent.LATER, HOST, "status 503", 30.0)),
            (500, {}, PushResult(Sent.LATER, HOST, "status 500")),
            (400, {}, PushResult(Sent.REFUSED, HOST, "status 400")),
            (401, {}, PushResult(Sent.REFUSED, HOST, "status 401")),
            (403, {}, PushResult(Sent.REFUSED, HOST, "status 403")),
            (413, {}, PushResult(Sent.REFUSED, HOST, "status 413")),
        ):
            self.service.answers["one"] = (status, headers, b"in words")
            self.assertEqual(await self.client.push(self.browser().subscription, b"text"), expected)

    async def test_no_redirect_is_followed(self) -> None:
        for status in (301, 302, 303, 307, 308):
            self.service.answers["one"] = (status, {"location": self.service.url("two")}, b"")
            result = await self.client.push(self.browser().subscription, b"text")
            self.assertEqual(result, PushResult(Sent.REFUSED, HOST, f"status {status}"))
        self.assertEqual({one.path for one in self.service.requests}, {"one"})

    async def test_a_large_answer_is_not_read(self) -> None:
        self.service.answers["one"] = (201, {}, b"x" * (MAX_ANSWER + 1))
        result = await self.client.push(self.browser().subscription, b"text")
        self.assertEqual(result.sent, Sent.LATER)
        self.assertIn("larger than", result.why)
        # The pool has the connection back when the rest of this turn is done.
        await deferLater(real_reactor(), 0)

    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        client = self.made(ca="")
        result = await client.push(self.browser().subscription, b"text")
        self.assertEqual((result.sent, self.service.requests), (Sent.LATER, []))

    async def test_an_address_that_is_not_public_is_not_connected_to(self) -> None:
        client = self.made(private=False)
        result = await client.push(self.browser().subscription, b"text")
        self.assertEqual(result.sent, Sent.LATER)
        self.assertIn("not public", result.why)
        self.assertEqual(self.service.requests, [])

    async def test_a_host_that_is_not_named_any_more_is_not_connected_to(self) -> None:
        client = self.made(hosts=("push.example.org",))
        result = await client.push(self.browser().subscription, b"text")
        self.assertEqual(result.sent, Sent.REFUSED)
        self.assertEqual(self.service.requests, [])

    async def test_a_service_that_is_down_is_tried_again(self) -> None:
        await self.service.stop()
        result = await self.client.push(self.browser().subscription, b"text")
        self.assertEqual((result.sent, result.host, result.wait), (Sent.LATER, HOST, None))

    async def test_what_waits_for_an_answer_ends_with_the_client(self) -> None:
        self.service.answers["one"] = (0, {}, b"")
        pushing = self.client.push(self.browser().subscription, b"text")
        await self.service.arrived(1)
        await self.client.stop()
        with self.assertRaises(CancelledError):
            await pushing


class Resolver:
    """Knows some names."""

    def __init__(self, names: dict[str, Sequence[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, host: str, port: int = 0, *rest: Any, **named: Any) -> Any:
        self.asked.append(host)
        receiver.resolutionBegan(self)
        for one in self.names.get(host, ()):
            kind = IPv6Address if ":" in one else IPv4Address
            receiver.addressResolved(kind("TCP", one, port))
        receiver.resolutionComplete()
        return self


class EndpointTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.names: dict[str, Sequence[str]] = {}
        self.resolver = Resolver(self.names)
        self.reactor.nameResolver = self.resolver  # type: ignore[assignment]

    def connect(self, host: str = "push.example.org") -> Deferred[Any]:
        endpoint = PublicEndpoint(self.reactor, host, 443, allowed=is_public)
        return endpoint.connect(Factory.forProtocol(Protocol))

    def tried(self) -> list[str]:
        return [host for host, *_ in self.reactor.tcpClients]

    def refuse(self) -> None:
        *_, factory, _, _ = self.reactor.tcpClients[-1]
        factory.clientConnectionFailed(None, Failure(ConnectError(string="refused")))  # type: ignore[arg-type]

    def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(self) -> None:
        self.names["push.example.org"] = ["8.8.8.8"]
        self.connect()
        self.assertEqual((self.tried(), self.resolver.asked), (["8.8.8.8"], ["push.example.org"]))
        self.assertEqual(self.reactor.tcpClients[0][1], 443)

    def test_addresses_that_are_not_public_are_passed_over(self) -> None:
        self.names["push.example.org"] = ["127.0.0.1", "10.0.0.1", "::1", "2a00:1450::1"]
        self.connect()
        self.assertEqual(self.tried(), ["2a00:1450::1"])

    def test_a_name_with_no_other_is_not_connected_to(self) -> None:
        for addresses in (["127.0.0.1"], ["169.254.169.254", "fe80::1"], ["::ffff:127.0.0.1"]):
            self.names["push.example.org"] = addresses
            self.failureResultOf(self.connect(), ConnectError)
        self.assertEqual(self.tried(), [])

    def test_a_name_that_is_not_known_is_an_error(self) -> None:
        self.failureResultOf(self.connect("nowhere.example"), Exception)

    def test_the_next_address_is_tried_and_not_all(self) -> None:
        self.names["push.example.org"] = [f"8.8.8.{number}" for number in range(8)]
        connecting = self.connect()
        for _ in range(MAX_TRIED):
            self.assertNoResult(connecting)
            self.refuse()
        self.failureResultOf(connecting, ConnectError)
        self.assertEqual(self.tried(), ["8.8.8.0", "8.8.8.1", "8.8.8.2"])


class RetryAfterTests(SynchronousTestCase):
    """``http_client.retry_after``."""

    def test_seconds_and_dates_are_read_and_bounded(self) -> None:
        for text, expected in (
            ("0", 0.0),
            ("120", 120.0),
            (" 7 ", 7.0),
            ("9" * 400, MAX_RETRY_AFTER),
            ("Mon, 24 Nov 2025 16:00:30 GMT", 30.0),
            ("Mon, 24 Nov 2025 15:00:30 GMT", 0.0),
            ("Mon, 24 Nov 2035 16:00:30 GMT", MAX_RETRY_AFTER),
        ):
            self.assertEqual(retry_after({b"retry-after": [text.encode()]}, NOW), expected, text)

    def test_what_is_neither_says_nothing(self) -> None:
        none = ("", "soon", "-1", "1.5", "Mon", "Mon, 99 Foo 2025", "Sun Nov 6 x 1994", "a b c d e", "\u00e9", "١٢")
        for text in none:
            self.assertIsNone(retry_after({b"retry-after": [text.encode()]}, NOW), text)
        self.assertIsNone(retry_after({}, NOW))
