"""The clock is set under real daemons, with real clients in full talk; more often by ``python -m chaos --clock``."""

from __future__ import annotations

from twisted.trial import unittest

from chaos.clock import run
from chaos.options import Options
from tests.support import require_node
from tests.support.needs import require_faketime, require_rabbitmq, require_redis
from tests.support.waiting import real_reactor


class ClockTests(unittest.TestCase):
    """An hour forwards, back, and another hour back; for the third step a part is away where there is one."""

    timeout = 180

    async def steps(self, kind: str, count: int = 3) -> None:
        require_node()
        require_faketime()
        said: list[str] = []
        options = Options(mode="clock", steps=count, kinds=(kind,))
        self.assertEqual([], await run(real_reactor(), options, said.append), "\n".join(said))

    async def test_a_daemon_in_memory_goes_on(self) -> None:
        await self.steps("memory")

    async def test_a_daemon_on_sqlite_goes_on(self) -> None:
        await self.steps("sqlite")

    async def test_daemons_of_relay_mode_go_on(self) -> None:
        require_rabbitmq()
        await self.steps("relay")

    async def test_daemons_of_a_cluster_go_on(self) -> None:
        require_rabbitmq()
        require_redis()
        # The sixth is without Redis.
        await self.steps("cluster", 6)
