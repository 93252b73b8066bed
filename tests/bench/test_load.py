"""The load against the echo, both as the processes they are."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.measure import Plan, loaded
from bench.peers import PEERS
from bench.process import cpu_seconds, rss_bytes
from bench.services import Services
from tests.support.launch import free_port


class LoadTests(SynchronousTestCase):
    def test_every_frame_comes_back_once_in_the_closed_loop(self) -> None:
        told = loaded(PEERS["echo"], Plan(clients=4, window=2, seconds=0.2, warmup=0.1), Services())
        self.assertTrue(told.exact, told.verdict)
        self.assertGreater(told.rate, 0)

    def test_the_open_loop_keeps_its_rate(self) -> None:
        told = loaded(PEERS["echo"], Plan(clients=4, seconds=0.5, warmup=0.1), Services(), rate=400)
        self.assertTrue(told.exact, told.verdict)
        self.assertApproximates(told.latency["samples"], 200, 100)
        self.assertGreaterEqual(told.latency["max"], told.latency["p50"])


class ProcessTests(SynchronousTestCase):
    def test_this_process_has_used_time_and_memory(self) -> None:
        pid = int(Path("/proc/self").readlink().name)
        self.assertGreater(cpu_seconds(pid), 0)
        self.assertGreater(rss_bytes(pid), 1_000_000)

    def test_a_free_port_is_a_port(self) -> None:
        self.assertIn(free_port(), range(1024, 65536))
