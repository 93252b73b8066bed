"""What signals do, and the options of twistd."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kschat.process import IGNORED, CleanExit, ReloadSignal, options_of


class StoppableReactor(MemoryReactorClock):
    """Counts how often it was stopped."""

    stops = 0

    def stop(self) -> None:
        self.stops += 1

    def callFromThread(self, function: Callable[[], None]) -> None:
        function()


class TestCleanExit(SynchronousTestCase):
    """Signals stop the reactor; the second one hurries, and the third is the system's own."""

    def started(self) -> StoppableReactor:
        self.hurries = 0
        reactor = StoppableReactor()
        for number in (signal.SIGTERM, signal.SIGINT, *IGNORED):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        CleanExit(reactor, self.hurry).privilegedStartService()
        # A MemoryReactor keeps what callWhenRunning was told and calls it when it runs.
        for function, arguments, keywords in reactor.whenRunningHooks:
            function(*arguments, **keywords)
        return reactor

    def hurry(self) -> None:
        self.hurries += 1

    def test_ctrl_c_does_not_wait(self) -> None:
        reactor = self.started()
        signal.raise_signal(signal.SIGINT)
        self.assertEqual((reactor.stops, self.hurries), (1, 1))

    def test_the_first_signal_stops_the_reactor_the_second_hurries_and_the_third_is_not_caught(self) -> None:
        reactor = self.started()
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual((reactor.stops, self.hurries), (1, 0))
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual((reactor.stops, self.hurries), (1, 1))
        self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)


class TestSignal(SynchronousTestCase):
    def test_it_is_taken_where_it_was_ignored_and_left_to_whoever_handles_it(self) -> None:
        reactor: Any = mock.Mock()
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

        def reload() -> None:
            """Is not called."""

        def other(*_: object) -> None:
            """Somebody else's."""

        for before in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGHUP, before)
            ReloadSignal(reactor, reload).privilegedStartService()
            signal.raise_signal(signal.SIGHUP)
            reactor.callFromThread.assert_called_once_with(reload)
            reactor.reset_mock()
        signal.signal(signal.SIGHUP, other)
        ReloadSignal(reactor, reload).privilegedStartService()
        self.assertIs(signal.getsignal(signal.SIGHUP), other)


class TestOptionsOf(SynchronousTestCase):
    """twistd passes no options to a .tac file."""

    def test_they_are_those_of_the_process(self) -> None:
        for arguments in (
            ["-ny", "kschat.tac"],
            ["--nodaemon", "--python", "kschat.tac"],
            ["-n", "--python=kschat.tac"],
        ):
            options = options_of([*arguments, "--logfile", "kschat.log"])
            assert options is not None
            self.assertEqual((options["nodaemon"], options["logfile"]), (1, "kschat.log"))

    def test_options_that_act_at_once_do_not_act_again(self) -> None:
        options = options_of(["-y", "kschat.tac", "--reactor", "no such reactor", "--spew", "--debug"])
        assert options is not None
        self.assertTrue(options["debug"])

    def test_another_program_has_none(self) -> None:
        for arguments in ([], ["kschat"], ["-n", "kschat"], ["-y", "kschat.tac", "--no-such-option"]):
            self.assertIsNone(options_of(arguments))
