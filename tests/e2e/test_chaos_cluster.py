"""A short chaos on a cluster: four faults of different kinds, and every count that must be 0 is."""

from __future__ import annotations

from twisted.trial import unittest

from chaos.cluster import run
from chaos.options import Options
from tests.profile import amount
from tests.support import require_node
from tests.support.needs import require_rabbitmq, require_redis
from tests.support.waiting import real_reactor


class ClusterChaosTests(unittest.TestCase):
    """Real clients that move between three real daemons, a real RabbitMQ and a real Redis."""

    timeout = 300

    async def test_faults_of_rabbitmq_redis_and_daemons_lose_nothing_and_repeat_nothing(self) -> None:
        require_node()
        require_rabbitmq()
        require_redis()
        said: list[str] = []
        options = Options(mode="cluster", seed=13, faults=amount(4, 3), stopped=amount(6, 2))
        self.assertEqual([], await run(real_reactor(), options, said.append), "\n".join(said))
        (faults,) = [line for line in said if line.startswith("faults done")]
        for name in ("Redis", "RabbitMQ", "daemon"):
            self.assertIn(name, faults)
