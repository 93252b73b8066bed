"""Memory that is free is given back to the system."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.free_memory import (
    GROWTH,
    MAX_PERIOD,
    MAX_RESIDENT,
    PERIOD,
    SLOW,
    SLOW_PERIOD,
    FreeMemory,
    resident,
    trimmer,
)


class FreeMemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.size = 70_000_000
        self.free = 0
        self.trims = 0
        self.takes = 0.0
        self.clients = 1000
        self.service = FreeMemory(self.clock, self.trim, lambda: self.clients, lambda: self.size)
        self.service.startService()

    def trim(self) -> None:
        self.trims += 1
        self.clock.rightNow += self.takes
        self.size -= self.free
        self.free = 0

    def test_a_daemon_that_has_not_grown_is_left_alone(self) -> None:
        self.clock.pump([PERIOD] * 10)
        self.assertEqual(self.trims, 0)

    def test_what_was_freed_is_given_back(self) -> None:
        self.size += GROWTH
        self.free = GROWTH
        self.clock.advance(PERIOD)
        self.assertEqual((self.trims, self.size), (1, 70_000_000))
        self.clock.pump([PERIOD] * 10)
        self.assertEqual(self.trims, 1)

    def test_while_nothing_is_free_it_looks_less_often_and_never_ceases(self) -> None:
        self.size += GROWTH
        self.clock.pump([PERIOD] * 60)
        self.assertLess(self.trims, 60 / MAX_PERIOD + 3)
        self.free = GROWTH
        self.clock.pump([PERIOD] * int(MAX_PERIOD))
        self.assertEqual(self.size, 70_000_000)

    def test_where_the_call_is_slow_and_useless_it_is_seldom_made(self) -> None:
        self.size += GROWTH
        self.takes = SLOW * 2
        self.clock.pump([PERIOD] * int(2 * SLOW_PERIOD))
        self.assertEqual(self.trims, 2)

    def test_it_is_made_earlier_when_many_clients_have_left(self) -> None:
        self.size += GROWTH
        self.takes = SLOW * 2
        self.clock.pump([PERIOD] * 10)
        self.assertEqual(self.trims, 1)
        self.clients = 900
        self.clock.pump([PERIOD] * 10)
        self.assertEqual(self.trims, 1)
        self.clients, self.free = 700, GROWTH
        self.clock.pump([PERIOD] * 3)
        self.assertEqual(self.size, 70_000_000)

    def test_a_large_process_is_left_alone_until_it_is_smaller(self) -> None:
        self.size = MAX_RESIDENT + 1
        self.clock.pump([PERIOD] * 10)
        self.assertEqual(self.trims, 0)
        self.size = MAX_RESIDENT
        self.clock.advance(PERIOD)
        self.assertEqual(self.trims, 1)

    def test_it_ends(self) -> None:
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_on_this_machine(self) -> None:
        trim = trimmer()
        self.assertGreater(resident(), 1_000_000)
        if trim is not None:
            trim()
