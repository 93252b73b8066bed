"""What stands beside ``/socket.io/``: whether the daemon is ready, and where requests are looked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as CollectorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.static import Data

from kschat.front.metrics import Metrics
from kschat.front.site import STUCK_SECONDS, Health, Live, Ready, make_root
from tests.front.daemon import V4, Daemon, handshake
from tests.front.pollers import request


class Collector(CollectorBase):
    """Has nothing to tell."""

    def collect(self) -> Iterator[Metric]:
        return iter(())


class Readiness(SynchronousTestCase):
    def test_a_part_that_is_not_there_is_named_so_and_nothing_waits_for_it(self) -> None:
        daemon = Daemon()
        for store_up, status, state, word in ((True, 200, "ready", "up"), (False, 503, "degraded", "down")):
            daemon.store_up = store_up
            response = daemon.request(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(
                (response.status, response.json), (status, {"status": state, "router": "up", "store": word})
            )
        daemon.store_up = None
        response = daemon.request(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((response.status, response.json), (200, {"status": "ready", "router": "up", "store": "none"}))


class Liveness(SynchronousTestCase):
    def test_it_is_slow_to_say_no(self) -> None:
        daemon, times = Daemon(), [0.0, STUCK_SECONDS - 1, STUCK_SECONDS]
        daemon.site.resource.putChild(b"livez", Live(lambda: times.pop(0)))
        for status, word in ((200, "live"), (200, "live"), (503, "stuck")):
            response = daemon.request(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual((response.status, response.json), (status, {"status": word}))


class Spelling(SynchronousTestCase):
    def test_what_proxies_keep_to_themselves_is_at_its_own_path_alone(self) -> None:
        other = Data(b"", "")
        root = make_root(
            page=other,
            static=other,
            ops={"healthz": Health(dict), "readyz": Ready(dict, bool), "metrics": Metrics(Collector(), Clock())},
        )
        daemon = Daemon()
        daemon.site.resource = root
        for path in ("/healthz", "/readyz", "/metrics"):
            for spelling, status in ((path, 200), (path + "/", 404), (path + "/x", 404), ("/" + path, 404)):
                response = daemon.request(f"GET {spelling} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertEqual(response.status, status, spelling)


class Answers(SynchronousTestCase):
    def test_nothing_tells_what_serves_it(self) -> None:
        daemon = Daemon()
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n", handshake(V4)):
            wire = daemon.connect()
            wire.arrive(data)
            head = bytes(wire.taken).partition(b"\r\n\r\n")[0].lower()
            self.assertTrue(head.startswith(b"http/1.1 "))
            self.assertNotIn(b"server:", head)


class BasePath(SynchronousTestCase):
    def status(self, daemon: Daemon, path: str) -> int:
        return daemon.request(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).status

    def test_everything_is_below_it_and_nothing_beside(self) -> None:
        paths = ("/", "/static", "/healthz", "/readyz", "/socket.io/socket.io.js")
        for base in ("/chat", "/a/b-c/d.e"):
            daemon = Daemon(base_path=base)
            for path in paths:
                self.assertEqual((self.status(daemon, base + path), self.status(daemon, path)), (200, 404), path)
            self.assertEqual(self.status(daemon, base + base + "/healthz"), 404)

    def test_sessions_are_below_it(self) -> None:
        daemon = Daemon(base_path="/chat")
        for path in (b"/chat/socket.io/", b"/chat/socket.io", b"//chat/socket.io/"):
            for data in (handshake(V4), request("GET", "EIO=4&transport=polling")):
                wire = daemon.connect()
                wire.arrive(data.replace(b"/socket.io/", path))
                self.assertRegex(bytes(wire.taken), b"^HTTP/1.1 (101|200) ", path)

    def test_its_page_is_sought_with_a_slash(self) -> None:
        for base, location in (("/chat", "chat/?uid=1&token=x"), ("/a/b", "b/?uid=1&token=x")):
            response = Daemon(base_path=base).request(f"GET {base}?uid=1&token=x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertEqual((response.status, response.headers["location"]), (302, location))
