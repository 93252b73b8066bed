"""Some seeds of the simulation, and what it is believed for: it replays, it shrinks, it finds planted bugs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from simulate.mutants import MUTANTS, Patch, planted
from simulate.plans import FAULTS, Plan, make_plan
from simulate.shrinking import shrunk
from simulate.world import Result, play
from tests.profile import amount

#: Plans that once showed a fault of kschat, shrunk; ``python -m simulate --plan FILE`` plays one.
KEPT: Final = Path(__file__).parent / "kept"

#: A planted bug that is found at once, and its seed.
EASY: Final = ("pong-of-the-wrong-write", 5)


class SimulationTests(SynchronousTestCase):
    def setUp(self) -> None:
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def holds(self, seed: int) -> Result:
        """What became of a seed, in which all must be right."""
        result = play(make_plan(seed))
        # The log of what was wrong there is shown by ``python -m simulate --seed N --seeds 1``, shrunk.
        self.flushLoggedErrors()
        self.assertIsNone(result.violation, f"seed {seed}")
        return result

    def test_some_seeds(self) -> None:
        for seed in range(amount(150, 25)):
            self.holds(seed)

    def test_plans_that_once_failed(self) -> None:
        paths = sorted(KEPT.glob("*.json"))
        self.assertTrue(paths)
        for path in paths:
            result = play(msgspec.json.decode(path.read_bytes(), type=Plan))
            self.flushLoggedErrors()
            self.assertIsNone(result.violation, path.name)

    def test_the_same_seed_is_the_same_world_to_the_last_byte(self) -> None:
        for seed in (3, 12):
            first, second = self.holds(seed), self.holds(seed)
            self.assertEqual(first, second)
            self.assertNotEqual(first.digest, play(make_plan(seed + 1)).digest)

    def test_the_history_has_an_ok_for_each_message(self) -> None:
        result = play(make_plan(12), keep_history=True)
        self.flushLoggedErrors()
        sends = [one for one in result.operations if one["f"] == "send"]
        tried = {one["value"]["message"] for one in sends if one["type"] == "invoke"}
        self.assertEqual({one["value"]["message"] for one in sends if one["type"] == "ok"}, tried)
        self.assertTrue(tried)
        times = [one["time"] for one in result.operations]
        self.assertEqual(times, sorted(times))
        self.assertEqual({one["type"] for one in result.operations} - {"invoke", "ok", "fail", "info"}, set())

    def test_plans_are_read_back_as_they_were(self) -> None:
        for seed in range(50):
            plan = make_plan(seed)
            self.assertEqual(msgspec.json.decode(msgspec.json.encode(plan), type=Plan), plan)

    def test_each_kind_of_fault_comes_by_some_seed(self) -> None:
        kinds = {step.kind for seed in range(300) for step in make_plan(seed).steps}
        self.assertEqual([fault for fault in FAULTS if fault not in kinds], [])

    def test_a_failing_seed_is_shrunk_to_a_few_steps(self) -> None:
        name, seed = EASY
        with planted(name):
            plan = make_plan(seed)
            result = play(plan)
            self.assertIsNotNone(result.violation)
            small = shrunk(plan, lambda candidate: play(candidate).kind == result.kind, tries=100)
            again = play(small)
        self.flushLoggedErrors()
        self.assertEqual(again.kind, result.kind)
        self.assertLess(len(small.steps), 8, str(small))
        self.assertIsNone(play(small).violation)


class MutantTests(SynchronousTestCase):
    def test_each_can_be_planted_and_taken_out_again(self) -> None:
        for name, plant in MUTANTS.items():
            patch = Patch()
            plant(patch)
            self.assertTrue(patch.changes, name)
            patch.undo()
            self.assertEqual(patch.changes, 0, name)
            self.assertTrue(plant.__doc__, name)

    def test_there_are_ten_and_the_manual_has_them(self) -> None:
        self.assertGreaterEqual(len(MUTANTS), 10)
        text = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
        self.assertEqual([name for name in MUTANTS if f"`{name}`" not in text], [])
