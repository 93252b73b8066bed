"""``OtelTracer``: spans by OpenTelemetry's SDK, sent to a collector by OTLP over HTTP.

The SDK gathers spans in a bounded queue and sends them from a thread of its own. A collector that is slow or down costs
spans, and nothing else. The SDK's own environment variables say what is not set here: headers
(``OTEL_EXPORTER_OTLP_HEADERS``), certificates, compression, the attributes of the resource.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, LogLevel

from kschat import __version__
from kschat.chat.clocks import WallClock
from kschat.counters import Counters
from kschat.outage_log import OutageLog
from kschat.tracing.settings import TracingSettings
from kschat.tracing.spans import Span

#: Spans that wait to be sent; the oldest of more are dropped.
MAX_WAITING: Final = 2048

#: Spans of one request, and seconds between two: fewer spans than are made in a turn take the thread no long time.
MAX_SENT: Final = 128
SEND_EVERY: Final = 5.0

#: Seconds that a request may take, with all tries.
SEND_TIMEOUT: Final = 5.0

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class OtelTracer:
    """See ``Tracer``. It is a backend of the daemon: ``start`` and ``stop``. Before and after there are no spans.

    Args:
        settings: where to, and how many.
        reactor: the real one.
        wall: the time of day.
        counters: count spans.
    """

    log = Logger()

    def __init__(self, settings: TracingSettings, *, reactor: Any, wall: WallClock, counters: Counters) -> None:
        self._settings = settings
        self._reactor = reactor
        self._wall = wall
        self._counters = counters
        self._outages = OutageLog(self.log, LogLevel.warn)
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._provider: TracerProvider | None = None
        self._processor: BatchSpanProcessor | None = None

    def start(self) -> None:
        """Start the thread that sends: here, since none survives twistd's fork."""
        # The SDK logs each failed request; ``_exported`` says once that the collector fails.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        settings = self._settings
        attributes = {
            "service.name": "kschat",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            "kschat.store": settings.store,
        }
        self._processor = BatchSpanProcessor(
            _Exporter(settings.url, self),
            max_queue_size=MAX_WAITING,
            schedule_delay_millis=SEND_EVERY * 1000,
            max_export_batch_size=MAX_SENT,
            export_timeout_millis=SEND_TIMEOUT * 1000,
        )
        self._provider = TracerProvider(
            sampler=ParentBased(_Sampler(settings.sample)),
            resource=Resource(attributes).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,  # the daemon stops it, in bounded time
        )
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("kschat", __version__)

    def stop(self) -> Deferred[None]:
        """Send what waits. Fires when that is done; the caller bounds the time, and no thread keeps the process."""
        provider, processor, self._provider = self._provider, self._processor, None
        self._tracer = trace.NoOpTracer()
        if provider is None or processor is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()

        def end() -> None:
            try:
                processor.force_flush()
                provider.shutdown()
            finally:
                self._reactor.callFromThread(ended.callback, None)

        threading.Thread(target=end, name="kschat traces", daemon=True).start()
        return ended

    # Tracer.

    def serve(self, name: str, headers: Mapping[str, str]) -> Span:
        """See ``Tracer``."""
        return self._begin(
            name, SpanKind.SERVER, _PROPAGATOR.extract(headers, Context()), {"http.request.method": "POST"}
        )

    def call(self, name: str, host: str) -> Span:
        """See ``Tracer``."""
        return self._begin(name, SpanKind.CLIENT, Context(), {"http.request.method": "POST", "server.address": host})

    def work(self, name: str, messages: int, parent: Span | None = None) -> Span:
        """See ``Tracer``."""
        context = parent.context if isinstance(parent, _OtelSpan) else Context()
        return self._begin(name, SpanKind.INTERNAL, context, {"kschat.messages": messages})

    def _begin(self, name: str, kind: SpanKind, context: Context, attributes: dict[str, str | int]) -> _OtelSpan:
        now = self._wall()
        span = self._tracer.start_span(name, context, kind, attributes, start_time=_nanoseconds(now))
        return _OtelSpan(span, self, began=self._reactor.seconds(), wall=now)

    def ended(self, span: trace.Span, began: float, wall: float) -> None:
        """End a span that began then, by both clocks."""
        if span.is_recording():
            self._counters.spans["ended"] += 1
        # The time of day may be set meanwhile.
        span.end(_nanoseconds(wall + self._reactor.seconds() - began))

    # On the thread that sends.

    def sent(self, count: int, why: str) -> None:
        """So many spans were sent; or not, for a reason."""
        self._reactor.callFromThread(self._exported, count, why)

    def _exported(self, count: int, why: str) -> None:
        self._counters.spans["failed" if why else "exported"] += count
        if why:
            self._outages.down("spans can't be sent to otel_endpoint, and are dropped: {reason}", why)
        else:
            self._outages.back("spans are sent to otel_endpoint again")


class _OtelSpan:
    """See ``Span``."""

    __slots__ = ("_began", "_span", "_tracer", "_wall", "context")

    def __init__(self, span: trace.Span, tracer: OtelTracer, *, began: float, wall: float) -> None:
        self._span = span
        self._tracer = tracer
        self._began = began
        self._wall = wall
        self.context = trace.set_span_in_context(span, Context())

    def headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        _PROPAGATOR.inject(found, self.context)
        return found

    def end(self, *, status: int | None = None, error: str = "") -> None:
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._tracer.ended(self._span, self._began, self._wall)


class _Sampler(Sampler):
    """Decides for spans without a parent: work was chosen already; of requests, by their trace."""

    def __init__(self, sample: float) -> None:
        self._requests = TraceIdRatioBased(sample)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *arguments: Any,
        **named: Any,
    ) -> SamplingResult:
        chosen = ALWAYS_ON if kind is SpanKind.INTERNAL else self._requests
        return chosen.should_sample(parent_context, trace_id, name, kind, *arguments, **named)

    def get_description(self) -> str:
        return f"kschat({self._requests.get_description()})"


class _Exporter(SpanExporter):
    """The SDK's exporter, which says what became of spans. It is called on a thread."""

    def __init__(self, url: str, tracer: OtelTracer) -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=SEND_TIMEOUT, session=self._session)
        self._tracer = tracer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._session.why = "it is closed"
        result = self._exporter.export(spans)
        self._tracer.sent(len(spans), "" if result is SpanExportResult.SUCCESS else self._session.why)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Session(requests.Session):
    """Remembers why the last request failed."""

    why = ""

    def request(self, *arguments: Any, **named: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **named)
        except requests.RequestException as error:
            self.why = _reason(error)
            raise
        self.why = f"it answered {response.status_code}"
        return response


def _reason(error: BaseException) -> str:
    """Why, in the fewest words: a text of these libraries is long, and another one for each request."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
