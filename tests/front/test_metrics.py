"""``/metrics``, read by Prometheus' own parsers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_text
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from kschat.chat.hub import LIVE_SECONDS
from kschat.counters import SECONDS, SHOWN_SECONDS
from kschat.front.metrics import (
    COUNTS,
    HISTOGRAMS,
    KEPT,
    LABELLED,
    MEASURES,
    PAIRED,
    DaemonCollector,
    Metrics,
    process_gauges,
)
from tests.chat.house import House
from tests.contracts.made import message

Parse = Callable[[str], Iterable[Metric]]

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.counters = self.house.counters
        self.up = True
        collector = DaemonCollector(
            self.counters,
            gauges=lambda: {"sockets": ("Sockets in the chat.", self.house.hub.sockets)},
            parts=lambda: {"store": self.up},
            routing=lambda: self.house.hub.routing,
            lags=lambda: {"store": 0.25},
            measures=lambda: {name: 7.0 for name, _ in MEASURES},
        )
        self.resource = Metrics(collector, self.house.clock)

    def answer(self, accept: bytes = b"") -> tuple[bytes, bytes]:
        """The content type and the body."""
        request: Any = DummyRequest([b""])
        request.requestHeaders.setRawHeaders(b"accept", [accept])
        body = self.resource.render_GET(request)
        (content_type,) = request.responseHeaders.getRawHeaders(b"content-type")
        return content_type, body

    def samples(self, parse: Parse = of_text, accept: bytes = b"") -> dict[tuple[str, ...], float]:
        """What is told, by the name and the labels' values."""
        families = parse(self.answer(accept)[1].decode())
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    def test_what_grows_in_a_process_that_leaks_is_shown(self) -> None:
        clock = Clock()
        before = process_gauges(clock, [])
        for seconds in (1, 2):
            clock.callLater(seconds, lambda: None)
        kept = [object() for _ in range(10_000)]
        after = process_gauges(clock, kept)
        self.assertEqual([after[name][1] - before[name][1] for name in ("delayed_calls", "timers")], [2, 10_000])
        self.assertGreater(after["allocated_blocks"][1] - before["allocated_blocks"][1], 9_000)
        page = PAGE.read_text("utf-8")
        self.assertEqual([name for name in after if f"`kschat_{name}`" not in page], [])

    def test_each_series_that_the_documentation_names_is_there_from_the_start(self) -> None:
        told = self.samples()
        page = PAGE.read_text("utf-8")
        found = 0
        for _, name, label, _ in LABELLED:
            row = re.search(rf"^\| `{name}_total` \| `{label}`: ([\w, -]+) \|", page, re.MULTILINE)
            if row is not None:
                values = [str(code) for code in range(6)] if row[1] == "0 to 5" else row[1].split(", ")
                self.assertEqual({key[1] for key in told if key[0] == f"{name}_total"}, set(values), name)
                found += 1
        self.assertEqual(found, 20)

    def test_what_was_counted_is_told(self) -> None:
        ann, _ = self.house.guest("ann"), self.house.guest("ben")
        ann.send("ann", "ben", cid="c")
        ann.send("ann", "ben", cid="c")
        ann.send("somebody else", "ben")
        self.house.turn()
        told = self.samples()
        self.assertEqual(told["kschat_messages_acknowledged_total",], 2)
        self.assertEqual(told["kschat_messages_repeated_total",], 1)
        self.assertEqual(told["kschat_messages_written_total",], 1)
        self.assertEqual(told["kschat_refusals_total", "not_allowed"], 1)
        self.assertEqual(told["kschat_sockets",], 2)
        self.assertEqual(told["kschat_router_events_total", "tries"], 3)

    def test_deliveries_of_hooks_are_told_by_consumer_and_outcome(self) -> None:
        self.counters.hook_deliveries["webhook", "delivered"] += 2
        self.assertEqual(self.samples()["kschat_hook_deliveries_total", "webhook", "delivered"], 2)

    def test_every_counter_has_a_metric(self) -> None:
        shown = {attribute for table in (COUNTS, LABELLED, PAIRED, HISTOGRAMS) for attribute, *_ in table}
        self.assertEqual(shown, set(self.counters.__slots__))

    def test_every_metric_of_ours_stands_in_the_document(self) -> None:
        page = PAGE.read_text("utf-8")
        for name in {sample[0] for sample in self.samples()}:
            if name.startswith("kschat_"):
                self.assertIn(f"`{re.sub('_(count|sum|bucket)$', '', name)}", page)

    def test_each_step_of_the_pipeline_is_timed_for_itself(self) -> None:
        self.house.store.answers.held = self.house.router.answers.held = True
        self.house.guest("ann").send("ann", "ben")
        self.house.turn()
        self.house.clock.advance(2)
        self.house.store.answers.give(1)
        self.house.clock.advance(3)
        self.house.router.answers.give()
        told = self.samples()
        self.assertEqual(
            [told[f"kschat_batch_seconds_{kind}", step] for step in ("store", "route") for kind in ("count", "sum")],
            [1, 2, 1, 3],
        )

    def test_bounds_that_are_shown_are_bounds(self) -> None:
        self.assertLessEqual(set(SHOWN_SECONDS), set(SECONDS))

    def test_a_message_s_time_is_counted_until_its_ack_its_writing_and_its_delivery(self) -> None:
        ann, ben = self.house.guest("ann"), self.house.guest("ben")
        self.house.store.answers.held = self.house.router.answers.held = True
        ann.send("ann", "ben")
        ann.send("ann", "ben")
        self.house.turn()
        self.house.clock.advance(0.02)
        self.house.store.answers.give()
        self.house.clock.advance(0.02)
        self.house.router.answers.give()
        self.house.turn()
        told = self.samples()
        self.assertEqual(told["kschat_message_seconds_count", "acknowledged"], 2)
        self.assertAlmostEqual(told["kschat_message_seconds_sum", "acknowledged"], 0.08, places=5)
        self.assertEqual(told["kschat_message_seconds_bucket", "0.025", "acknowledged"], 0)
        self.assertEqual(told["kschat_message_seconds_bucket", "0.05", "acknowledged"], 2)
        self.assertEqual((told["kschat_batch_messages_count",], told["kschat_batch_messages_sum",]), (1, 2))
        self.assertEqual(told["kschat_message_seconds_count", "written"], 2)
        self.assertEqual(told["kschat_message_seconds_count", "delivered"], 0)
        self.house.clock.advance(KEPT)
        ben.session.confirmed(ben.line.pings[-1])
        told = self.samples()
        self.assertEqual(told["kschat_message_seconds_count", "delivered"], 2)
        self.assertEqual(told["kschat_message_seconds_bucket", "1.0", "delivered"], 0)
        self.assertEqual(told["kschat_message_seconds_bucket", "2.5", "delivered"], 2)

    def test_messages_that_waited_for_their_recipient_count_as_nobody_s_fault(self) -> None:
        self.house.guest("ann").send("ann", "ben")
        self.house.turn()
        self.house.clock.advance(LIVE_SECONDS + 1)
        ben = self.house.stranger().join({"token": self.house.token("ben")})
        self.house.turn()
        ben.session.confirmed(ben.line.pings[-1])
        told = self.samples()
        self.assertEqual(told["kschat_messages_delivered_total",], 1)
        self.assertEqual(told["kschat_message_seconds_count", "delivered"], 0)

    def test_parts_that_can_t_be_used_are_0(self) -> None:
        self.assertEqual(self.samples()["kschat_up", "store"], 1)
        self.up = False
        self.house.clock.advance(KEPT)
        self.assertEqual(self.samples()["kschat_up", "store"], 0)

    def test_how_far_parts_are_behind_is_told_where_it_is_known(self) -> None:
        told = self.samples()
        self.assertEqual(told["kschat_lag_seconds", "store"], 0.25)
        self.assertNotIn(("kschat_lag_seconds", "bus"), told)
        self.assertEqual({told[f"kschat_{name}",] for name, _ in MEASURES}, {7})
        collector = DaemonCollector(self.counters, gauges=dict, parts=dict, routing=dict)
        self.resource = Metrics(collector, self.house.clock)
        self.assertFalse({name for name, *_ in self.samples()} & {f"kschat_{name}" for name, _ in MEASURES})

    def test_the_process_is_told_of_as_well(self) -> None:
        self.assertGreater(self.samples()["process_resident_memory_bytes",], 0)

    def test_who_asks_for_openmetrics_gets_it(self) -> None:
        accept = b"application/openmetrics-text; version=1.0.0"
        content_type, body = self.answer(accept)
        self.assertTrue(content_type.startswith(b"application/openmetrics-text"), content_type)
        self.assertTrue(body.endswith(b"# EOF\n"))
        self.assertEqual(self.samples(of_openmetrics, accept)["kschat_up", "store"], 1)
        self.assertTrue(self.answer()[0].startswith(b"text/plain"))

    def test_a_text_is_made_once_a_second_at_most(self) -> None:
        made = []
        for accept in (b"", b"application/openmetrics-text", b"application/openmetrics-text; version=1.0.1", b"text/*"):
            self.counters.sent += 1
            made.append(self.answer(accept)[1])
        self.assertEqual(len(set(made)), 2)
        self.house.clock.advance(KEPT * 0.9)
        self.assertEqual(self.answer()[1], made[0])
        self.house.clock.advance(KEPT * 0.1)
        self.assertEqual(self.samples()["kschat_messages_acknowledged_total",], 4)

    def test_nothing_that_clients_say_becomes_a_label(self) -> None:
        guest = self.house.stranger()
        guest.join({"token": "a token of nobody's"}, namespace="/a namespace of mine")
        guest.join({"token": "a token of nobody's"})
        ann = self.house.guest("ann")
        ann.say("an event of mine", "x")
        ann.send("ann", "ben", message().mid)
        self.house.turn()
        self.assertNotIn(b"mine", self.answer()[1])
        self.assertNotIn(b"nobody", self.answer()[1])

    def test_two_daemons_in_one_process_have_figures_of_their_own(self) -> None:
        collector = DaemonCollector(House().counters, gauges=dict, parts=dict, routing=dict)
        other = Metrics(collector, self.house.clock)
        self.counters.sent = 7
        mine, self.resource = self.samples(), other
        self.assertEqual(
            (mine["kschat_messages_acknowledged_total",], self.samples()["kschat_messages_acknowledged_total",]), (7, 0)
        )
