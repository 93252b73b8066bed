"""``/metrics``: the daemon's counters in Prometheus' format.

Names, kinds and labels follow Prometheus' conventions ("Metric and label naming"): a counter ends in ``_total``, times
are in seconds. Label values come from a fixed set; nothing that a client sends becomes a label.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from http import HTTPStatus
from math import inf
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request

from kschat import __version__
from kschat.chat.bus import BusEvent
from kschat.chat.interfaces import RouterEvent
from kschat.chat.message import DELETE, EDIT, REACT, Error
from kschat.counters import COUNTED_LEVELS, Counters, Histogram
from kschat.wire.errors import Reason

#: Of ``Counters``: the attribute, the metric, what it is.
COUNTS: Final = (
    ("sent", "kschat_messages_acknowledged", "Messages that were acknowledged to their senders."),
    ("repeated", "kschat_messages_repeated", "Those of them whose cid was known: stored before."),
    ("delivered", "kschat_messages_written", "Messages written to a socket, each socket counted."),
    ("confirmed", "kschat_messages_delivered", "Messages that a client confirmed."),
    ("unrouted", "kschat_messages_unrouted", "Messages that were stored, and could not be routed at once."),
    ("ingested", "kschat_messages_ingested", "Messages of the tutorial's server that were taken into the store here."),
    ("not_ingested", "kschat_messages_not_ingested", "Those that were lost, since too many waited for the store."),
    (
        "commands_sent",
        "kschat_cluster_commands_sent",
        "Commands for other daemons, each user counted.",
    ),
    (
        "commands_dropped",
        "kschat_cluster_commands_dropped",
        "Those of them that were dropped: too many, or no Redis.",
    ),
    ("commands_received", "kschat_cluster_commands_received", "Commands of other daemons."),
    ("blocked", "kschat_messages_blocked", "Messages that were not kept: their recipients block their senders."),
    ("revoked", "kschat_sockets_revoked", "Sockets that were disconnected because their tokens were revoked."),
    ("ask_cached", "kschat_ask_cached", "Questions to the back end that were answered from the cache."),
    ("batches", "kschat_batches", "Batches that passed through the pipeline."),
    ("queued", "kschat_handshakes_queued", "Handshakes that waited, since there were too many at once."),
    ("forgotten", "kschat_messages_forgotten", "Messages that the full store in memory deleted, delivered or not."),
    (
        "cursors_dropped",
        "kschat_cursors_dropped",
        "Cursors and the like that were dropped, since the store was down: messages are delivered again.",
    ),
    ("handed_on", "kschat_handed_on", "Requests and WebSockets that another daemon's session was given."),
    (
        "turned_away",
        "kschat_connections_turned_away",
        "Connections closed, and requests refused, because there were too many.",
    ),
)

#: Of ``Counters``: the attribute, the metric, its label, what it is.
LABELLED: Final = (
    ("refused", "kschat_refusals", "error", "Requests of clients that were answered with an ER code."),
    ("denied", "kschat_sockets_denied", "reason", "Sockets that were rejected."),
    ("limited", "kschat_limited", "limit", "What was refused because of a limit of a rate, by limit."),
    ("logged", "kschat_log_events", "level", "Warnings and faults in the log, by level: warn, error, critical."),
    ("tokens", "kschat_token_events", "event", "Of live sockets' tokens: expiring, renewed, refused, expired."),
    ("updates", "kschat_updates", "kind", "Edits, deletions and reactions that were stored."),
    ("key_fetches", "kschat_key_fetches", "result", "Fetches of the keys at jwks_url: fetched, failed."),
    ("pushes", "kschat_pushes", "result", "Web Push notifications: sent, gone, later, refused, delivered."),
    (
        "ask_questions",
        "kschat_ask_questions",
        "question",
        "Questions sent to the back end: join, write, send.",
    ),
    ("ask_answers", "kschat_ask_answers", "answer", "Its answers: allowed, refused, changed."),
    ("ask_silent", "kschat_ask_silent", "reason", "Questions without an answer, for which the default held."),
    (
        "full",
        "kschat_full",
        "bound",
        "What was refused, since a bound was reached: connections, polling sessions, handshakes, messages.",
    ),
    (
        "evicted",
        "kschat_evicted",
        "bound",
        "Connections and sessions that were ended when a bound was reached: they had not joined, or held the most.",
    ),
    ("closed", "kschat_sessions_closed", "reason", "Sessions that were closed."),
    ("rejected", "kschat_handshakes_rejected", "code", "HTTP requests for a session that were refused, by code."),
    ("router_events", "kschat_router_state_changes", "state", "Of the router: up, down, cancelled."),
    ("waits", "kschat_redis_waits", "result", "Writes whose copies were waited for: enough, too_few, unanswered."),
    (
        "http_refused",
        "kschat_http_refused",
        "reason",
        "HTTP requests that were refused before they were looked at, by status, or cut as too slow (timeout).",
    ),
    ("api_calls", "kschat_api_calls", "outcome", "Calls of the HTTP API."),
    ("spans", "kschat_spans", "result", "Spans of OpenTelemetry: ended; exported, or failed to be."),
    ("bus_events", "kschat_bus_state_changes", "state", "Of the bus: up, down."),
    ("hook_events", "kschat_hook_events", "type", "Events that were made for hooks."),
    (
        "hook_dropped",
        "kschat_hook_dropped",
        "reason",
        "Events of hooks that were dropped: full, age, log, marks, refused.",
    ),
)


#: The known values of those labels. Their series exist from the start: rate() does not see the first event of a series
#: that begins with it.
KNOWN: Final[Mapping[str, tuple[object, ...]]] = {
    "refused": tuple(error for error in Error if error is not Error.DONE),
    "closed": tuple(reason.text for reason in Reason),
    "full": (
        "connections",
        "connections_per_address",
        "polls",
        "polls_per_address",
        "handshakes",
        "buffered",
        "updates",
        "copies",
        "held",
    ),
    "evicted": ("connections", "connections_per_address", "polls", "polls_per_address", "buffered"),
    "limited": (
        "socket_events",
        "socket_bytes",
        "user_events",
        "user_bytes",
        "user_sends",
        "user_copies",
        "user_joins",
        "user_sockets",
        "address_handshakes",
        "address_joins",
        "address_failed_tokens",
        "cluster_sends",
        "typing",
    ),
    "tokens": ("expiring", "renewed", "refused", "expired"),
    "logged": COUNTED_LEVELS,
    "updates": (EDIT, DELETE, REACT),
    "key_fetches": ("fetched", "failed"),
    "pushes": ("sent", "gone", "later", "refused", "delivered"),
    "ask_questions": ("join", "write", "send"),
    "ask_answers": ("allowed", "refused", "changed"),
    "ask_silent": (
        "timeout",
        "unreachable",
        "tls",
        "too_large",
        "broken",
        "status",
        "invalid",
        "open",
        "busy",
        "user",
        "stopped",
    ),
    "rejected": tuple(range(6)),
    "router_events": tuple(event.name.lower() for event in RouterEvent),
    "bus_events": tuple(event.name.lower() for event in BusEvent),
    "waits": ("enough", "too_few", "unanswered"),
    "http_refused": ("timeout", "400", "403", "413", "429"),
    "api_calls": (
        "done",
        "invalid",
        "unauthorized",
        "not-allowed",
        "not-found",
        "no-message",
        "method",
        "full",
        "too-large",
        "too-many",
        "busy",
        "no-store",
        "no-broker",
        "going-down",
        "internal",
    ),
    "spans": ("ended", "exported", "failed"),
    "hook_dropped": ("full", "age", "log", "joins", "marks", "refused"),
}

#: Of ``Counters``: the attribute, the metric, its two labels, what it is.
PAIRED: Final = (
    (
        "hook_deliveries",
        "kschat_hook_deliveries",
        ("consumer", "outcome"),
        "Tries to deliver an event of hooks.",
    ),
)

#: Of ``Counters``: the attribute, the metric, its label or "", what it is.
HISTOGRAMS: Final = (
    ("batch_seconds", "kschat_batch_seconds", "step", "Time that batches took to be stored, and to be routed."),
    ("batch_messages", "kschat_batch_messages", "", "Messages of a batch."),
    (
        "message_seconds",
        "kschat_message_seconds",
        "until",
        "Time from a message's arrival until it was acknowledged, written to a socket, and delivered.",
    ),
    ("ask_seconds", "kschat_ask_seconds", "", "Time until a question to the back end was answered, or given up."),
    ("turn_seconds", "kschat_turn_seconds", "", "Time of the reactor's turns, in which everybody else waits."),
)

#: Of ``IMeasured.measures``: the metric without its ``kschat_``, what it is.
MEASURES: Final = (
    ("router_queue_messages", "Messages in this daemon's queue at RabbitMQ that were not sent to it yet."),
    ("redis_replica_lag_bytes", "Bytes of Redis's data that the replicas of redis_wait have not confirmed."),
)


def process_gauges(clock: IReactorTime, timers: Sized) -> dict[str, tuple[str, float]]:
    """What grows in a process that leaks: timed calls, timers and objects.

    Args:
        clock: the reactor.
        timers: of connections and sessions, which share one timed call.
    """
    return {
        "delayed_calls": ("Timed calls that wait in the reactor.", len(clock.getDelayedCalls())),
        "timers": ("Timers of connections and sessions.", len(timers)),
        # Cheap, unlike a count of the objects: Python knows how many blocks each of its pools has given out.
        "allocated_blocks": ("Blocks of memory of Python's objects.", sys.getallocatedblocks()),
    }


class DaemonCollector(Collector):
    """Reads the figures of one daemon when they are asked for.

    Args:
        counters: what was counted.
        gauges: what there is now, by the metric's name without its ``kschat_``.
        parts: whether each part can be used; None for a part that the daemon does not have, which has no figure.
        routing: what the router counts.
        lags: by how many seconds each part is behind, if that is known.
        measures: what parts measure beside it: see ``MEASURES``.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        gauges: Callable[[], Mapping[str, tuple[str, float]]],
        parts: Callable[[], Mapping[str, bool | None]],
        routing: Callable[[], Mapping[str, int]],
        lags: Callable[[], Mapping[str, float]] = dict,
        measures: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._counters = counters
        self._gauges = gauges
        self._parts = parts
        self._routing = routing
        self._lags = lags
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        """All metrics, in no order that matters."""
        counters = self._counters
        for attribute, name, text in COUNTS:
            yield CounterMetricFamily(name, text, value=getattr(counters, attribute))
        for attribute, name, label, text in LABELLED:
            family = CounterMetricFamily(name, text, labels=[label])
            found = dict.fromkeys(KNOWN.get(attribute, ()), 0) | getattr(counters, attribute)
            for value, count in found.items():
                family.add_metric([_shown(value)], count)
            yield family
        for attribute, name, labels, text in PAIRED:
            family = CounterMetricFamily(name, text, labels=labels)
            for values, count in getattr(counters, attribute).items():
                family.add_metric(values, count)
            yield family
        events = CounterMetricFamily("kschat_router_events", "What the router counts.", labels=["event"])
        for event, count in self._routing().items():
            events.add_metric([event], count)
        yield events
        for attribute, name, label, text in HISTOGRAMS:
            yield _histogram(name, text, label=label, found=getattr(counters, attribute))
        for name, (text, value) in self._gauges().items():
            yield GaugeMetricFamily(f"kschat_{name}", text, value=value)
        up = GaugeMetricFamily("kschat_up", "Whether a part can be used: 1, or 0.", labels=["part"])
        for part, usable in self._parts().items():
            if usable is not None:
                up.add_metric([part], float(usable))
        yield up
        lag = GaugeMetricFamily(
            "kschat_lag_seconds", "How long a part takes to answer, or has not answered.", labels=["part"]
        )
        for part, seconds in self._lags().items():
            lag.add_metric([part], seconds)
        yield lag
        measures = self._measures()
        for name, text in MEASURES:
            if name in measures:
                yield GaugeMetricFamily(f"kschat_{name}", text, value=measures[name])
        build = GaugeMetricFamily(
            "kschat_build_info", "The version of kschat; the value is always 1.", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build


def _histogram(
    name: str, text: str, *, label: str, found: Histogram | Mapping[str, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=[label] if label else None)
    for value, histogram in {"": found}.items() if isinstance(found, Histogram) else found.items():
        total, buckets = 0, []
        for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
            total += count
            if bound in histogram.shown or bound == inf:
                buckets.append((floatToGoString(bound), total))
        family.add_metric([value] if label else [], buckets, histogram.sum)
    return family


def _shown(value: object) -> str:
    """A label's value: an ER code by its name, all else as it is counted."""
    return value.name.lower() if isinstance(value, Error) else str(value)


#: Seconds for which a text is given out again. Making one takes some milliseconds, during which nobody is served.
KEPT: Final = 1.0


class Metrics(Resource):
    """``/metrics``, made once a second at most.

    Args:
        collector: of the daemon; beside it stand the figures of the process, of Python and of its garbage collection.
        clock: the reactor.
    """

    # No leaf: a proxy that keeps ``/metrics`` to itself does not know of ``/metrics/``.
    isLeaf = False

    def __init__(self, collector: Collector, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        # By the two content types: when each text was made, and the text.
        self._made: dict[str, tuple[float, bytes]] = {}
        # One of its own: the library's is the whole process's, and a process may hold two daemons.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render_GET(self, request: Request) -> bytes:
        """The text form, or OpenMetrics where it is asked for."""
        # Not the library's choice: it puts the version that a client asks for into the content type, so that a client
        # could ask for another text each time.
        kinds = [one.partition(b";")[0].strip() for one in (request.getHeader(b"accept") or b"").split(b",")]
        is_open = b"application/openmetrics-text" in kinds
        content_type = openmetrics.CONTENT_TYPE_LATEST if is_open else exposition.CONTENT_TYPE_PLAIN_0_0_4
        request.setResponseCode(HTTPStatus.OK)
        request.setHeader(b"content-type", content_type.encode())
        request.setHeader(b"cache-control", b"no-store")
        now = self._clock.seconds()
        made, text = self._made.get(content_type, (-KEPT, b""))
        if now - made >= KEPT:
            generate: Any = openmetrics.generate_latest if is_open else exposition.generate_latest
            text = bytes(generate(self._registry))
            self._made[content_type] = (now, text)
        return text
