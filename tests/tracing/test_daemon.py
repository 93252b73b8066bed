"""A daemon that sends spans, from its start to its end."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import spans_of
from tests.test_tap import PATIENCE, SECRET, ProcessTestCase

KEY = "k" * 32
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collects(BaseHTTPRequestHandler):
    """A collector on a thread: this process waits for the daemon.

    Attributes:
        found: what was sent.
        hangs: if set, nothing is answered before it.
    """

    found: ClassVar[list[Any]]
    hangs: ClassVar[threading.Event | None] = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.found.append(ExportTraceServiceRequest.FromString(body))
        if self.hangs is not None:
            self.hangs.wait(PATIENCE)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Nowhere."""


class DaemonTests(ProcessTestCase):
    def collector(self, hangs: threading.Event | None = None) -> str:
        """The URL of one."""
        self.handler: Any = type("Handler", (Collects,), {"found": [], "hangs": hangs})
        server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def serving(self, endpoint: str) -> tuple[Any, str]:
        """A daemon, and the URL of its API."""
        keys = self.directory / "keys.toml"
        keys.write_text(f'[all]\nkey = "{KEY}"\nscopes = ["*"]\n')
        keys.chmod(0o600)
        daemon, _ = self.started(
            *("--listen", "tcp:0:interface=127.0.0.1", "--store", "memory"),
            *("--api-listen", "tcp:0:interface=127.0.0.1", "--api-keys", str(keys.absolute())),
            *("--otel-endpoint", endpoint, "--otel-sample", "1"),
            KSCHAT_SECRET=SECRET,
        )
        (url,) = re.findall(r"serving back ends on (http://\S+)", "".join(self.before))
        return daemon, url

    def send(self, url: str) -> None:
        """A message, as a part of a trace."""
        request = urllib.request.Request(
            f"{url.rstrip('/')}/v1/send",
            json.dumps({"from": "ann", "to": "ben", "msg": "a text of mine"}).encode(),
            {"authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)

    def test_a_message_by_the_api_is_seen_on_its_whole_way(self) -> None:
        daemon, url = self.serving(self.collector())
        self.send(url)
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)
        spans = spans_of(self.handler.found)
        self.assertEqual({one.name for one in spans}, {"api send", "store", "route"})
        self.assertEqual({one.trace_id.hex() for one in spans if one.name == "api send"}, {TRACE})
        text = str(self.handler.found)
        for private in ("ann", "ben", "mine", KEY, SECRET):
            self.assertNotIn(private, text)

    def test_a_collector_that_hangs_does_not_keep_the_daemon(self) -> None:
        freed = threading.Event()
        daemon, url = self.serving(self.collector(freed))
        self.addCleanup(freed.set)
        self.send(url)
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)
        self.assertIn("spans were still not sent after 2.0 seconds", daemon.stdout.read())
