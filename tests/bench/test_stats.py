"""Percentiles and medians."""

from twisted.trial.unittest import SynchronousTestCase

from bench.stats import Spread, percentile


class PercentileTests(SynchronousTestCase):
    def test_it_is_a_sample_that_so_many_do_not_exceed(self) -> None:
        hundred = [float(number) for number in range(1, 101)]
        self.assertEqual([percentile(hundred, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)], [1, 50, 99, 100, 100])

    def test_one_sample_is_every_percentile(self) -> None:
        self.assertEqual([percentile([7.0], share) for share in (0.0, 0.5, 1.0)], [7, 7, 7])

    def test_no_samples_have_none(self) -> None:
        self.assertRaises(ValueError, percentile, [], 0.5)


class SpreadTests(SynchronousTestCase):
    def test_it_shows_the_median_and_the_extremes(self) -> None:
        self.assertEqual(Spread.of([3000.0, 1000.0, 1200.0]).show(0), "1,200 (1,000..3,000)")
