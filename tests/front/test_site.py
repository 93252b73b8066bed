"""What stands beside ``/socket.io/``: whether the daemon is ready, and where requests are looked for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.front.daemon import Daemon


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
