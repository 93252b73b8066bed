"""The bench of many users, on a real daemon and few of them: what it counts, not how long it takes."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase, TestCase

from bench.bindings import by_itself, measure, report
from bench.outage import Restart
from bench.peers import PEERS
from bench.peers.daemon import Daemon
from tests.support.needs import require_rabbitmq, require_redis
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.waiting import real_reactor


class RouterTests(TestCase):
    timeout = 120

    async def test_the_router_by_itself_binds_all(self) -> None:
        broker = await shared_rabbitmq()
        self.assertGreater(await by_itself(real_reactor(), broker.url, 20), 0)


class BindingsTests(SynchronousTestCase):
    """In the main thread, as it is run."""

    def test_all_are_bound_again_and_the_pair_is_served_meanwhile(self) -> None:
        require_rabbitmq()
        require_redis()
        peer = PEERS["cluster"]
        assert isinstance(peer, Daemon)
        with mock.patch.dict("os.environ"):
            bindings = measure(peer, users=20, rate=50, seconds=0.2, seed=1)
        self.assertEqual({"lost": 0, "repeated": 0, "out of order": 0, "refused": 0}, bindings.wrong())
        self.assertEqual((0, 0), bindings.unreached)
        moments = bindings.restart
        self.assertLess(moments.killed, moments.lost)
        self.assertLess(moments.lost, moments.accepts)
        self.assertLess(moments.accepts, moments.bound)
        self.assertTrue(bindings.during)

    def test_what_was_too_slow_or_lost_does_not_pass(self) -> None:
        for rate, bound, unreached, refused, held in (
            (2500.0, 10.0, (0, 0), 0, True),
            (1500.0, 10.0, (0, 0), 0, False),
            (2500.0, 20.0, (0, 0), 0, False),
            (2500.0, 10.0, (0, 1), 0, False),
            (2500.0, 10.0, (0, 0), 1, False),
        ):
            restart = Restart(killed=1.0, lost=1.1, accepts=3.0, bound=3.0 + bound)
            bindings = mock.Mock(restart=restart, joined=5.0, before=[0.001], during=[], unreached=unreached)
            bindings.wrong.return_value = {"refused": refused}
            with mock.patch("builtins.print"):
                self.assertEqual(held, report("peer", 20, rate, bindings))
