"""Reading what a profiler saw."""

from twisted.trial.unittest import SynchronousTestCase

from bench.profile import shares


class SharesTests(SynchronousTestCase):
    def test_a_function_that_calls_itself_is_counted_once_a_sample(self) -> None:
        own, below, total = shares(["main;loop;loop 3", "main 1"])
        self.assertEqual((own["loop"], own["main"], below["loop"], below["main"], total), (3, 1, 3, 4, 4))
