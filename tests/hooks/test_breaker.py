"""``Breaker``, on a clock that the test turns."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.hooks.breaker import FAILURES, MAX_PAUSE, PAUSE, Breaker


class BreakerTests(SynchronousTestCase):
    """When a server is asked."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(self.clock.seconds)

    def open(self) -> None:
        for _ in range(FAILURES):
            self.assertTrue(self.breaker.allows())
            self.breaker.failed()

    def test_it_opens_after_so_many_failures_in_a_row(self) -> None:
        for _ in range(FAILURES - 1):
            self.breaker.failed()
        self.breaker.answered()
        for _ in range(FAILURES - 1):
            self.breaker.failed()
        self.assertEqual((True, False), (self.breaker.allows(), self.breaker.is_open))
        self.breaker.failed()
        self.assertEqual((False, True), (self.breaker.allows(), self.breaker.is_open))

    def test_after_the_pause_one_request_tries_and_an_answer_closes_it(self) -> None:
        self.open()
        self.clock.advance(PAUSE - 0.5)
        self.assertFalse(self.breaker.allows())
        self.clock.advance(0.5)
        self.assertTrue(self.breaker.allows())
        self.assertFalse(self.breaker.allows())
        self.assertTrue(self.breaker.is_open)
        self.breaker.answered()
        self.assertEqual((True, True, False), (self.breaker.allows(), self.breaker.allows(), self.breaker.is_open))

    def test_each_vain_try_doubles_the_pause_up_to_the_longest(self) -> None:
        self.open()
        pause = PAUSE
        for _ in range(8):
            self.clock.advance(pause - 0.5)
            self.assertFalse(self.breaker.allows())
            self.clock.advance(0.5)
            self.assertTrue(self.breaker.allows())
            self.breaker.failed()
            pause = min(2 * pause, MAX_PAUSE)
        self.assertEqual(MAX_PAUSE, pause)

    def test_failures_of_requests_from_before_change_nothing(self) -> None:
        self.open()
        for _ in range(10):
            self.breaker.failed()
        self.clock.advance(PAUSE)
        self.assertTrue(self.breaker.allows())

    def test_a_try_that_was_never_sent_makes_place_for_another(self) -> None:
        self.open()
        self.clock.advance(PAUSE)
        self.assertTrue(self.breaker.allows())
        self.breaker.not_sent()
        self.assertTrue(self.breaker.allows())
