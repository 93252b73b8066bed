"""The page in real Chromium, many steps in one browser: see tests/node/page."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.front.scenarios import SCENARIO, play
from tests.support import Daemon


class Views(TestCase):
    timeout = 2 * SCENARIO

    async def test_each_view_is_accessible_light_and_dark(self) -> None:
        demo = await Daemon.start(self, secret="", demo=True)
        guarded = await Daemon.start(self)
        await play(self, "views", [demo, guarded])
        self.assertEqual([*demo.faults, *guarded.faults], [])
