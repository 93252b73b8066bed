"""What is done again and again goes on, whatever it raises."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.ticker import Ticker


class TickerTests(SynchronousTestCase):
    """On a clock that the test turns."""

    def test_a_tick_that_raises_is_logged_and_the_next_one_comes(self) -> None:
        clock, ticks = Clock(), list[float]()

        def tick() -> None:
            ticks.append(clock.seconds())
            raise ZeroDivisionError

        ticker = Ticker(clock, 2.0, tick, "it could not be done")
        ticker.start()
        clock.pump([1.0] * 4)
        self.assertEqual(ticks, [2.0, 4.0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        ticker.stop()
        ticker.stop()
        clock.advance(10)
        self.assertEqual(len(ticks), 2)

    def test_one_that_was_not_begun_can_be_stopped(self) -> None:
        Ticker(Clock(), 1.0, self.fail, "it could not be done").stop()
