"""A short chaos: kills and cuts, and every count that must be 0 is. ``make chaos`` runs the long one."""

from __future__ import annotations

from twisted.trial import unittest

from chaos.options import Options
from chaos.run import run
from tests.profile import amount
from tests.support import require_node
from tests.support.waiting import real_reactor


class ChaosTests(unittest.TestCase):
    """Real clients, a real daemon, real kills."""

    timeout = 180

    async def test_kills_and_many_cuts_lose_nothing_and_repeat_nothing(self) -> None:
        require_node()
        said: list[str] = []
        wrong = await run(real_reactor(), Options(seed=1, kills=amount(3, 1), faults=amount(25, 8)), said.append)
        self.assertEqual([], wrong, "\n".join(said))
        (faults,) = [line for line in said if line.startswith("faults done")]
        self.assertIn(f"{amount(3, 1)} kill", faults)

    async def test_cuts_lose_nothing_of_the_memory_store(self) -> None:
        require_node()
        said: list[str] = []
        wrong = await run(real_reactor(), Options(seed=2, kills=0, faults=amount(20, 6), memory=True), said.append)
        self.assertEqual([], wrong, "\n".join(said))
