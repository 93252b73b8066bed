"""Spans over real HTTP: what a collector gets, and what becomes of the daemon when it does not take them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from kschat.api.http import ApiResource
from kschat.chat.interfaces import RouterUnavailable, StoreUnavailable
from kschat.counters import Counters
from kschat.front.endpoints import server_endpoint
from kschat.hooks.http import HookClient
from kschat.hooks.signing import Signer
from kschat.http_answers import HttpFault
from kschat.tracing import otel
from kschat.tracing.otel import OtelTracer
from kschat.tracing.pipeline import Tracing
from kschat.tracing.settings import TracingSettings, traces_url
from tests.api.test_http import KEY, READER, ApiTestCase
from tests.chat.house import House
from tests.hooks.receivers import SECRET, Inbox
from tests.support import REPOSITORY
from tests.support.collector import Collector, attributes
from tests.support.waiting import PATIENCE, real_reactor, repeated_until

#: A trace of somebody else's, recorded and not.
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
RECORDED = f"00-{TRACE}-{PARENT}-01"
UNRECORDED = f"00-{TRACE}-{PARENT}-00"


class TracerTestCase(TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.collector = Collector()
        await self.collector.start()
        self.addCleanup(self.collector.stop)
        self.counters = Counters()
        self.now = 1_700_000_000.5

    def made(self, sample: float = 1.0, url: str = "") -> OtelTracer:
        settings = TracingSettings(url=traces_url(url or self.collector.url), sample=sample, store="memory")
        tracer = OtelTracer(settings, reactor=real_reactor(), wall=lambda: self.now, counters=self.counters)
        self.addCleanup(tracer.stop)
        return tracer

    def started(self, sample: float = 1.0, url: str = "") -> OtelTracer:
        tracer = self.made(sample, url)
        tracer.start()
        return tracer

    async def until(self, true: Callable[[], bool], what: str) -> None:
        async def look() -> bool:
            await deferLater(real_reactor(), 0.02)
            return true()

        await repeated_until(look, bool, what)


class SpansTests(TracerTestCase):
    async def test_a_collector_gets_spans_with_their_resource(self) -> None:
        tracer = self.started()
        span = tracer.serve("api send", {})
        span.end(status=200)
        await tracer.stop()
        (found,) = self.collector.spans
        self.assertEqual((found.name, found.kind), ("api send", found.SPAN_KIND_SERVER))
        self.assertEqual(attributes(found), {"http.request.method": "POST", "http.response.status_code": 200})
        self.assertEqual(found.status.code, found.status.STATUS_CODE_UNSET)
        self.assertEqual(found.start_time_unix_nano, int(self.now * 1e9))
        self.assertGreaterEqual(found.end_time_unix_nano, found.start_time_unix_nano)
        (resource,) = self.collector.resources
        self.assertEqual((resource["service.name"], resource["kschat.store"]), ("kschat", "memory"))
        self.assertEqual(self.collector.headers["content-type"], "application/x-protobuf")
        self.assertEqual(self.counters.spans, {"ended": 1, "exported": 1})

    async def test_a_clock_that_is_set_back_makes_no_span_shorter_than_nothing(self) -> None:
        tracer = self.started()
        span = tracer.work("store", 1)
        self.now -= 3600
        span.end()
        await tracer.stop()
        (found,) = self.collector.spans
        self.assertGreaterEqual(found.end_time_unix_nano, found.start_time_unix_nano)

    async def test_a_caller_s_trace_goes_on_and_decides(self) -> None:
        tracer = self.started(sample=0.0)
        for said in (RECORDED, UNRECORDED, "nonsense", ""):
            tracer.serve("api send", {"traceparent": said} if said else {}).end(status=200)
        await tracer.stop()
        (found,) = self.collector.spans
        self.assertEqual((found.trace_id.hex(), found.parent_span_id.hex()), (TRACE, PARENT))

    async def test_requests_say_their_span_recorded_or_not(self) -> None:
        for sample, recorded in ((1.0, 1), (0.0, 0)):
            tracer = self.started(sample)
            span = tracer.call("webhook", "app.example.org")
            version, trace, own, said = span.headers()["traceparent"].split("-")
            span.end(status=500, error="500")
            await tracer.stop()
            self.assertEqual((version, int(said, 16) & 1), ("00", recorded))
            if sample:
                (found,) = self.collector.spans
                self.assertEqual((found.trace_id.hex(), found.span_id.hex()), (trace, own))
                self.assertEqual(found.status.code, found.status.STATUS_CODE_ERROR)
                self.assertEqual(attributes(found)["server.address"], "app.example.org")
        self.assertEqual(len(self.collector.spans), 1)

    async def test_before_the_start_and_after_the_end_there_are_none(self) -> None:
        tracer = self.made()
        tracer.work("store", 1).end()
        tracer.start()
        await tracer.stop()
        span = tracer.call("webhook", "h")
        self.assertEqual(dict(span.headers()), {})
        span.end(status=200)
        self.assertEqual((self.collector.spans, self.counters.spans), ([], {}))

    async def test_headers_of_a_provider_come_from_the_environment(self) -> None:
        self.patch_environment("OTEL_EXPORTER_OTLP_HEADERS", "x-key=sesame")
        self.patch_environment("OTEL_SERVICE_NAME", "chat of the east")
        tracer = self.started()
        tracer.work("store", 1).end()
        await tracer.stop()
        self.assertEqual(self.collector.headers["x-key"], "sesame")
        self.assertEqual(self.collector.resources[0]["service.name"], "chat of the east")

    def patch_environment(self, name: str, value: str) -> None:
        import os

        os.environ[name] = value
        self.addCleanup(os.environ.pop, name)

    async def test_spans_are_sent_while_the_daemon_runs(self) -> None:
        self.patch(otel, "SEND_EVERY", 0.05)
        tracer = self.started()
        tracer.work("store", 1).end()
        await self.until(lambda: bool(self.collector.spans), "a span")


class DownTests(TracerTestCase):
    """The collector takes nothing."""

    async def failed(self, count: int) -> None:
        await self.until(lambda: self.counters.spans["failed"] == count, "the failure")

    def lines(self, events: Any) -> list[str]:
        found = [formatEvent(event) for event in events if event.get("log_namespace", "").startswith("kschat.tracing")]
        return [line for line in found if line]

    async def test_one_that_is_down_is_told_once_and_when_it_is_back(self) -> None:
        self.patch(otel, "SEND_EVERY", 0.05)
        self.patch(otel, "SEND_TIMEOUT", 0.5)
        self.collector.status = 400
        tracer = self.started()
        with capturedLogs() as events:
            for count in range(1, 4):
                tracer.work("store", 1).end()
                await self.failed(count)
            self.collector.status = 200
            tracer.work("store", 1).end()
            await self.until(lambda: self.counters.spans["exported"] == 1, "the span")
        self.assertEqual(
            self.lines(events),
            [
                "spans can't be sent to otel_endpoint, and are dropped: it answered 400",
                "spans are sent to otel_endpoint again",
            ],
        )

    async def test_one_that_is_not_there_is_told_by_its_reason(self) -> None:
        self.patch(otel, "SEND_EVERY", 0.05)
        self.patch(otel, "SEND_TIMEOUT", 0.3)
        url = self.collector.url
        await self.collector.stop()
        tracer = self.started(url=url)
        with capturedLogs() as events:
            tracer.work("store", 1).end()
            await self.failed(1)
        (line,) = self.lines(events)
        self.assertTrue(line.endswith("dropped: connection refused"), line)

    async def test_one_that_hangs_holds_nobody_and_what_waits_is_bounded(self) -> None:
        self.patch(otel, "SEND_EVERY", 0.01)
        self.patch(otel, "MAX_WAITING", 20)
        self.patch(otel, "MAX_SENT", 10)
        self.collector.hangs = True
        tracer = self.started()
        tracer.work("store", 1).end()
        await self.until(lambda: bool(self.collector.requests), "the request that hangs")
        for _ in range(1000):
            tracer.work("store", 1).end()
        processor: Any = tracer._processor
        self.assertLessEqual(len(processor._batch_processor._queue), 20)
        # The daemon waits for as long as it wants to, and no thread keeps the process.
        waited: Deferred[None] = tracer.stop()
        with self.assertRaises(DeferredTimeout):
            await waited.addTimeout(0.1, real_reactor())


class PipelineTests(TracerTestCase):
    """Store and route of batches, in a chat in memory."""

    def house(self, sample: float) -> House:
        tracer = self.started()
        draws = iter([0.5] * 100)
        tracing = Tracing(tracer, sample=sample, random=lambda: next(draws), clock=real_reactor())
        self.tracer = tracer
        self.tracing = tracing
        return House()

    async def sent(self, sample: float = 1.0, **away: bool) -> House:
        house = self.house(sample)
        delivery: Any = house.delivery
        delivery._store = self.tracing.store(house.store)
        delivery._router = self.tracing.router(house.router)
        house.store.answers.away = away.get("store", False)
        house.router.answers.away = away.get("router", False)
        ann, _ = house.guest("ann"), house.guest("ben")
        ann.send("ann", "ben")
        ann.send("ann", "ben")
        house.turn()
        await self.tracer.stop()
        return house

    async def test_a_batch_is_a_trace_of_its_store_and_its_route(self) -> None:
        await self.sent()
        (stored,), (routed,) = self.collector.named("store"), self.collector.named("route")
        self.assertEqual((stored.trace_id, stored.span_id), (routed.trace_id, routed.parent_span_id))
        self.assertEqual(attributes(stored), {"kschat.messages": 2})
        self.assertEqual(attributes(routed), {"kschat.messages": 2})
        text = str(self.collector.requests)
        for private in ("ann", "ben", "message 1"):
            self.assertNotIn(private, text)

    async def test_of_others_nothing_is_made(self) -> None:
        house = await self.sent(sample=0.5)
        self.assertEqual((self.collector.spans, house.counters.sent), ([], 2))

    async def test_what_fails_is_told_by_its_kind(self) -> None:
        await self.sent(store=True)
        (stored,) = self.collector.spans
        self.assertEqual(attributes(stored)["error.type"], StoreUnavailable.__name__)

    async def test_what_is_not_routed_is_told_by_its_kind(self) -> None:
        await self.sent(router=True)
        (routed,) = self.collector.named("route")
        self.assertEqual(attributes(routed)["error.type"], RouterUnavailable.__name__)
        self.assertEqual(attributes(self.collector.named("store")[0]), {"kschat.messages": 2})


class ApiTests(TracerTestCase):
    """Calls of the HTTP API."""

    async def test_a_call_is_a_part_of_its_caller_s_trace(self) -> None:
        tracer = self.started(sample=0.0)
        api = ApiTestCase()
        api.setUp()
        api.resource = ApiResource(api.api, tracer=tracer)
        headers = {"traceparent": RECORDED, "tracestate": "vendor=7"}
        for name, body, key in (
            ("send", {"to": "ben", "msg": "a text of mine"}, KEY),
            ("send", {"to": 7}, KEY),
            ("send", {"to": "ben", "msg": "x"}, READER),
            ("send", {"to": "ben", "msg": "x"}, "nobody's key"),
        ):
            self.ask(api, name, body, key, headers)
        await tracer.stop()
        spans = self.collector.spans
        self.assertEqual(
            {(one.name, one.trace_id.hex(), one.parent_span_id.hex()) for one in spans}, {("api send", TRACE, PARENT)}
        )
        self.assertEqual(
            [(attributes(one)["http.response.status_code"], attributes(one).get("error.type")) for one in spans],
            [(200, None), (400, "invalid"), (403, "not-allowed")],
        )
        text = str(self.collector.requests)
        for private in ("ben", "mine", KEY, READER):
            self.assertNotIn(private, text)

    def ask(self, api: ApiTestCase, name: str, body: object, key: str, headers: dict[str, str]) -> None:
        from io import BytesIO

        import msgspec
        from twisted.web.test.requesthelper import DummyRequest

        request: Any = DummyRequest([])
        request.method, request.uri, request.channel = b"POST", b"/v1/" + name.encode(), object()
        request.requestHeaders.setRawHeaders(b"authorization", [b"Bearer " + key.encode()])
        for header, value in headers.items():
            request.requestHeaders.setRawHeaders(header, [value])
        request.content = BytesIO(msgspec.json.encode(body))
        api.resource.render(request)
        for _ in range(5):
            api.daemon.clock.advance(0)


class HookTests(TracerTestCase):
    """Requests to the operator's back end."""

    async def client(self, tracer: OtelTracer | None, url: str = "") -> HookClient:
        self.inbox = Inbox()
        port: Any = await server_endpoint(real_reactor(), "tcp:0:interface=127.0.0.1").listen(Site(self.inbox))
        self.addCleanup(port.stopListening)
        client = HookClient(
            url or f"http://127.0.0.1:{port.getHost().port}/a-secret-path",
            signer=Signer([SECRET]),
            reactor=real_reactor(),
            wall=time.time,
            timeout=PATIENCE,
            connections=1,
            max_body=1000,
            tracer=tracer,
            name="webhook",
        )
        self.addCleanup(client.stop)
        return client

    async def test_a_request_carries_its_span(self) -> None:
        tracer = self.started()
        client = await self.client(tracer)
        await client.post("msg_1", b'{"user":"ben"}')
        await tracer.stop()
        (found,) = self.collector.spans
        ((headers, _),) = self.inbox.posts
        self.assertEqual(headers["traceparent"].split("-")[1:3], [found.trace_id.hex(), found.span_id.hex()])
        self.assertEqual((found.name, found.kind), ("webhook", found.SPAN_KIND_CLIENT))
        self.assertEqual(
            attributes(found),
            {"http.request.method": "POST", "server.address": "127.0.0.1", "http.response.status_code": 204},
        )
        self.assertNotIn("secret", str(self.collector.requests))

    async def test_one_that_fails_is_told_by_its_kind(self) -> None:
        tracer = self.started()
        client = await self.client(tracer, "http://127.0.0.1:1/")
        with self.assertRaises(HttpFault):
            await client.post("msg_1", b"{}")
        await tracer.stop()
        self.assertEqual(attributes(self.collector.spans[0])["error.type"], "unreachable")

    async def test_without_a_tracer_it_carries_none(self) -> None:
        client = await self.client(None)
        await client.post("msg_1", b"{}")
        ((headers, _),) = self.inbox.posts
        self.assertNotIn("traceparent", headers)


class FreeTests(TestCase):
    """While it is off."""

    def test_opentelemetry_is_not_imported_and_the_pipeline_is_the_plain_one(self) -> None:
        program = (
            "import sys\n"
            "from twisted.internet.task import Clock\n"
            "from kschat.settings import load\n"
            "from kschat.tap import make_service\n"
            "from twisted.internet import reactor\n"
            "service = make_service(load({'store': 'memory', 'listen': 'tcp:0:interface=127.0.0.1'}, "
            "{'KSCHAT_SECRET': 'a secret of the tests, long enough for HS256'}), reactor)\n"
            "delivery = service._chat.context.delivery\n"
            "print(type(delivery._store).__name__, type(delivery._router).__name__)\n"
            "print([name for name in sys.modules if name.partition('.')[0] in "
            "('opentelemetry', 'google', 'requests', 'urllib3')])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.stdout, done.stderr), ("MemoryStore MemoryRouter\n[]\n", ""))

    def test_a_store_that_raises_or_fails_at_once_ends_its_span(self) -> None:
        ended: list[str] = []

        class Spans:
            def work(self, *_: object) -> Spans:
                return self

            def end(self, *, error: str = "", status: int | None = None) -> None:
                ended.append(error)

        tracer: Any = Spans()
        tracing = Tracing(tracer, sample=1.0, random=lambda: 0.0, clock=real_reactor())
        with self.assertRaises(ZeroDivisionError):
            tracing.append([], lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        tracing.append([], lambda: fail(StoreUnavailable("x"))).addErrback(lambda _: None)
        tracing.append([], lambda: succeed([]))
        self.assertEqual(ended, ["ZeroDivisionError", "StoreUnavailable", ""])
        return deferLater(real_reactor(), 0)  # type: ignore[return-value]
