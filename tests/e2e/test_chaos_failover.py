"""A short chaos of failovers: Redis's replica takes its master's place twice, and no message is missing anywhere."""

from __future__ import annotations

from twisted.trial import unittest

from chaos.failover import run
from chaos.options import Options
from tests.support import require_node
from tests.support.needs import require_rabbitmq, require_redis
from tests.support.waiting import real_reactor


class FailoverChaosTests(unittest.TestCase):
    """Real clients of two real daemons, on a real Redis with a replica and three Sentinels."""

    timeout = 300

    async def test_failovers_lose_nothing_and_repeat_nothing(self) -> None:
        require_node()
        require_rabbitmq()
        require_redis()
        said: list[str] = []
        options = Options(mode="failover", seed=3, faults=2)
        self.assertEqual([], await run(real_reactor(), options, said.append), "\n".join(said))
        (faults,) = [line for line in said if line.startswith("faults done")]
        for kind in ("ordered", "killed"):
            self.assertIn(kind, faults)
