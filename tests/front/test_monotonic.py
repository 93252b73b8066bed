"""A reactor waits by a clock that nobody can set."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock
from twisted.python import runtime
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.monotonic import use_monotonic_clock
from kschat.front.standalone import SocketIOService
from kschat.server import Server


class MonotonicTests(SynchronousTestCase):
    """Of reactors of Twisted's, which nobody runs."""

    def setUp(self) -> None:
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.removeAll)
        self.assertIs(self.reactor.seconds, runtime.seconds)
        # The wall's, as a reactor has it at first; here it can be set.
        self.now = 1_700_000_000.0
        wall = lambda: self.now  # noqa: E731
        self.patch(runtime, "seconds", wall)
        self.reactor.seconds = wall

    def turn(self) -> None:
        """Let what is due be done."""
        self.reactor.runUntilCurrent()

    def test_a_call_comes_in_the_next_turn_though_the_clock_was_set_back(self) -> None:
        use_monotonic_clock(self.reactor)
        called: list[str] = []
        self.reactor.callLater(0, called.append, "a")
        self.now -= 3600
        self.reactor.callLater(0, called.append, "b")
        self.turn()
        self.assertEqual(called, ["a", "b"])

    def test_what_waits_already_keeps_the_time_that_is_left(self) -> None:
        gone = self.reactor.callLater(3, self.fail)
        gone.cancel()
        called: list[str] = []
        late = self.reactor.callLater(1000, called.append, "late")
        self.reactor.callLater(0, called.append, "soon")
        use_monotonic_clock(self.reactor)
        self.assertLessEqual(late.getTime(), time.monotonic() + 1000)
        self.assertGreater(late.getTime(), time.monotonic())
        self.turn()
        self.assertEqual(called, ["soon"])
        late.reset(0)
        self.turn()
        self.assertEqual(called, ["soon", "late"])

    def test_a_clock_that_is_not_the_wall_s_stays(self) -> None:
        for clock in (MemoryReactorClock(), self.reactor):
            use_monotonic_clock(clock)
            before = clock.seconds
            use_monotonic_clock(clock)
            self.assertEqual(clock.seconds, before)
        self.assertIs(self.reactor.seconds, time.monotonic)

    def test_a_server_of_one_s_own_makes_its_reactor_so(self) -> None:
        SocketIOService("tcp:0:interface=127.0.0.1", Server(self.reactor), self.reactor)
        self.assertIs(self.reactor.seconds, time.monotonic)
