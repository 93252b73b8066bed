"""The report: what it compares, and what it does without a peer."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.beside import Rounds, beside_node
from bench.measure import Loaded, Plan
from bench.peers import PEERS
from bench.peers.base import Running
from bench.report import Results, run, text
from bench.services import Services
from bench.spawn import PeerError


def loaded(rate: float = 100.0, cpu: float = 10.0, p99: float = 1.0, load_busy: float = 0.1) -> Loaded:
    """The figures of one load."""
    counts = {"acked": 1, "lost": 0, "repeated": 0, "disordered": 0, "refused": 0, "faults": []}
    return Loaded(
        rate=rate, cpu_us=cpu, load_us=5.0, busy=0.5, load_busy=load_busy, others=0.0, services={"rabbitmq": 10.0},
        latency={"p50": p99 / 2, "p99": p99}, lag={"p99": 0.1}, exact=True, verdict=counts,
    )  # fmt: skip


class Absent:
    """A peer that lacks a program, or does not start."""

    name = "absent"
    load = ()
    chats = True

    def __init__(self, lacks: str = "") -> None:
        self._lacks = lacks

    def missing(self) -> str:
        return self._lacks

    def start(self, directory: Path, secret: str, services: Services) -> Running:
        raise PeerError("it does not serve\nTraceback\nImportError: why")


class BesideTests(SynchronousTestCase):
    def test_ratios_are_of_the_same_rounds(self) -> None:
        node = Rounds([loaded(100), loaded(50)], [loaded(p99=2.0), loaded(p99=4.0)])
        relay = Rounds([loaded(200, cpu=5), loaded(150, cpu=5)], [loaded(p99=1.0), loaded(p99=8.0)])
        _, _, row = beside_node({"node": node, "relay": relay, "echo": Rounds()}).splitlines()
        cells = row.split("  ")
        self.assertEqual("relay", cells[0])
        self.assertIn("2.50 (2.00..3.00)", row)
        self.assertIn("1.25 (0.50..2.00)", row)
        self.assertIn("0.50 (0.50..0.50)", row)
        self.assertIn("0.75 (0.75..0.75)", row)

    def test_without_the_tutorials_server_there_is_no_such_table(self) -> None:
        self.assertEqual("", beside_node({"relay": Rounds()}))


class RunTests(SynchronousTestCase):
    def measured(self, peer: Absent) -> tuple[str, bool, bool]:
        said: list[str] = []
        plan = Plan(clients=2, window=1, seconds=0.1, warmup=0.05, rate=100)
        results = run([peer, PEERS["echo"]], plan, 1, Services(), said.append)
        self.assertEqual({"echo"}, results.measured.keys())
        return text(results, plan, 1, [0.001]), bool(results.lacking), bool(results.failed)

    def test_a_peer_that_lacks_a_program_is_left_out_and_said_so(self) -> None:
        report, lacking, failed = self.measured(Absent("node is not installed"))
        self.assertIn("absent: left out: node is not installed", report)
        self.assertEqual((True, False), (lacking, failed))

    def test_a_peer_that_does_not_start_is_left_out_and_said_so(self) -> None:
        report, lacking, failed = self.measured(Absent())
        self.assertIn("absent: left out: it does not serve ImportError: why", report)
        self.assertEqual((False, True), (lacking, failed))

    def test_a_load_at_its_end_is_said(self) -> None:
        self.assertIn("THE LOAD HAD NO MORE", _report(0.95))
        self.assertNotIn("THE LOAD HAD NO MORE", _report(0.5))


def _report(load_busy: float) -> str:
    found = Results({"memory": Rounds([loaded(load_busy=load_busy)], [loaded()])})
    return text(found, Plan(), 1, [0.001])
