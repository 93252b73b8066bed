"""The dashboard and the alerts of deploy/: each expression in a real Prometheus that scrapes a real daemon."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.metrics import MEASURES
from tests.support.needs import require_program
from tests.test_tap import PATIENCE, ROOT, SECRET, ProcessTestCase

RULES = ROOT / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"

#: A metric in an expression, and the braces behind it.
METRIC = re.compile(r"\b((?:kschat|process|python)_\w+|up)\b(?:\{([^}]*)\})?")


def dashboard() -> Any:
    """What Grafana would import."""
    return json.loads(DASHBOARD.read_text("utf-8"))


def shown() -> Iterator[str]:
    """The expressions of the dashboard, with Grafana's variables replaced."""
    found = dashboard()
    texts = [target["expr"] for panel in found["panels"] for target in panel["targets"]]
    texts += [one["expr"] for one in found["annotations"]["list"]]
    for text in texts:
        yield text.replace("$__rate_interval", "1m").replace("$instance", ".*")


def alerts() -> Iterator[str]:
    """The expressions of the alerts."""
    lines = RULES.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        _, found, rest = line.partition(" expr: ")
        if found:
            more = [one for one in lines[number + 1 : number + 3] if one.startswith(" " * 10)] if rest == ">-" else []
            yield " ".join(one.strip() for one in more) or rest


class Dashboard(SynchronousTestCase):
    """Grafana is not here; it would not draw what this finds."""

    def test_panels_have_titles_units_and_places_of_their_own(self) -> None:
        found = dashboard()
        panels = found["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        self.assertEqual(len({panel["title"] for panel in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
            self.assertTrue(all(target["legendFormat"] for target in panel["targets"]))
            references = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(set(references)), len(references))

    def test_it_names_no_datasource_of_ours(self) -> None:
        text = DASHBOARD.read_text("utf-8")
        self.assertEqual(set(re.findall(r'"uid": "([^"]*)"', text)), {"kschat", "${datasource}"})


class Prometheus(ProcessTestCase):
    """One daemon and one Prometheus, for all."""

    def port(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    def ask(self, path: str, **arguments: str) -> Any:
        """What Prometheus answers; with ``error``, where it can't."""
        query = urllib.parse.urlencode(arguments)
        try:
            with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}?{query}", timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return {"error": error.read().decode(), "result": []}
        except urllib.error.URLError as error:
            return {"error": str(error), "result": []}

    def test_every_expression_is_understood_and_every_series_in_it_is_there(self) -> None:
        promtool, prometheus = require_program("promtool"), require_program("prometheus")
        checked = subprocess.run(
            [promtool, "check", "rules", str(RULES)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertEqual(checked.returncode, 0, checked.stderr)
        # In relay mode a daemon has a router; it need not be there.
        daemon, url = self.started(
            *("--listen", "tcp:0:interface=127.0.0.1", "--store", "sqlite:chat.db"),
            KSCHAT_SECRET=SECRET,
        )
        target = url.split("//")[1].rstrip("/")
        config = self.directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 250ms, evaluation_interval: 250ms}\n"
            f"rule_files: [{json.dumps(str(RULES))}]\n"
            "scrape_configs:\n"
            f"  - {{job_name: kschat, static_configs: [{{targets: [{json.dumps(target)}]}}]}}\n"
        )
        port = self.port()
        self.prometheus = f"http://127.0.0.1:{port}"
        with (self.directory / "prometheus.log").open("w") as log:
            process = subprocess.Popen(
                [
                    prometheus,
                    f"--config.file={config.absolute()}",
                    f"--storage.tsdb.path={(self.directory / 'data').absolute()}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        # Two scrapes, which rate() needs, after the first probe of the store.
        scraped = 'count_over_time(kschat_lag_seconds{job="kschat"}[1m]) >= 2'
        self.eventually(lambda: self.ask("query", query=scraped)["result"])
        expressions = [*shown(), *alerts()]
        self.assertGreater(len(expressions), 50)
        for expression in expressions:
            answer = self.ask("query", query=expression)
            self.assertNotIn("error", answer, expression)
            names = METRIC.findall(expression)
            self.assertTrue(names, expression)
            for name, matchers in names:
                found = self.ask("query", query=f"count({name}{{{matchers}}})")
                # What only some events bring has its labels checked by the table in docs/metrics.md.
                if name not in LATER:
                    self.assertTrue(found["result"], f"{name}{{{matchers}}}")
        rules = self.ask("rules")["groups"][0]["rules"]
        self.assertEqual({rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")}, {})
        self.assertEqual([rule["name"] for rule in rules if rule["state"] != "inactive"], [])
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)


#: Series that begin with their first event, and those of services that this daemon does not use.
LATER = {"kschat_sockets_denied_total", *(f"kschat_{name}" for name, _ in MEASURES)}
