"""The loop that keeps a connection: its table, its drawing, and each way through it, without any I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends import reconnect
from kschat.backends.reconnect import (
    TRANSITIONS,
    ReconnectingClient,
    ReconnectInput,
    ReconnectMachine,
    ReconnectState,
    RetryPolicy,
)

_MOVE = re.compile(r"(\w+) --(\w+)--> (\w+)")

#: Without chance.
POLICY = RetryPolicy(first=1.0, last=3.0, factor=2.0, spread=(1.0, 1.0))


class TableTests(SynchronousTestCase):
    """The table, and what the module says of it."""

    def test_the_drawing_shows_the_table(self) -> None:
        drawn = {
            (ReconnectState[before], ReconnectInput[what.upper()], ReconnectState[after])
            for before, what, after in _MOVE.findall(reconnect.__doc__ or "")
        }
        self.assertEqual(drawn, {(before, what, after) for (before, what), (after, _) in TRANSITIONS.items()})

    def test_from_each_state_it_can_be_stopped_and_comes_to_its_end(self) -> None:
        for state in ReconnectState:
            if state is ReconnectState.IDLE:
                continue
            machine = ReconnectMachine(Noted(), POLICY)
            machine.state = state
            machine.put(ReconnectInput.STOP)
            machine.put(ReconnectInput.LOST)
            self.assertIs(machine.state, ReconnectState.IDLE, state)
            machine.put(ReconnectInput.START)
            self.assertIs(machine.state, ReconnectState.CONNECTING)

    def test_each_input_means_something_somewhere(self) -> None:
        self.assertEqual({what for _, what in TRANSITIONS}, set(ReconnectInput))

    def test_what_means_nothing_changes_nothing(self) -> None:
        for state in ReconnectState:
            for what in ReconnectInput:
                if (state, what) not in TRANSITIONS:
                    actions = Noted()
                    machine = ReconnectMachine(actions, POLICY)
                    machine.state = state
                    machine.put(what)
                    self.assertEqual((machine.state, actions.all), (state, []))


class Noted:
    """Writes down what a machine asks for."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def connect(self) -> None:
        self.all.append("connect")

    def prepare(self) -> None:
        self.all.append("prepare")

    def announce_up(self) -> None:
        self.all.append("up")

    def announce_down(self) -> None:
        self.all.append("down")

    def announce_failure(self) -> None:
        self.all.append("failure")

    def wait(self, seconds: float) -> None:
        self.all.append(seconds)

    def cancel_wait(self) -> None:
        self.all.append("no wait")

    def end(self) -> None:
        self.all.append("end")

    def announce_end(self) -> None:
        self.all.append("ended")


class MachineTests(SynchronousTestCase):
    """Ways through the table."""

    def way(self, *inputs: ReconnectInput) -> list[object]:
        """What is asked for on it."""
        actions = Noted()
        machine = ReconnectMachine(actions, POLICY)
        for what in inputs:
            machine.put(what)
        return actions.all

    def test_waits_grow_up_to_the_longest_and_begin_again_once_it_was_up(self) -> None:
        one = ReconnectInput
        failed = [one.LOST, one.TIMER]
        asked = self.way(one.START, *failed * 3, one.CONNECTED, one.READY, one.LOST, one.TIMER, one.CONNECTED, one.LOST)
        self.assertEqual(
            [what for what in asked if isinstance(what, float)],
            [1.0, 2.0, 3.0, 1.0, 2.0],
        )

    def test_who_is_told_that_it_was_up_is_told_that_it_is_down(self) -> None:
        one = ReconnectInput
        for end in ([one.LOST], [one.STOP, one.LOST]):
            asked = self.way(one.START, one.CONNECTED, one.READY, *end)
            self.assertEqual(asked[:3], ["connect", "prepare", "up"])
            self.assertEqual(asked.count("down"), 1)

    def test_to_stop_is_answered_once_all_has_ended(self) -> None:
        one = ReconnectInput
        for begin in ([one.START], [one.START, one.CONNECTED], [one.START, one.CONNECTED, one.READY]):
            self.assertNotIn("ended", self.way(*begin, one.STOP))
            self.assertEqual(self.way(*begin, one.STOP, one.LOST)[-1], "ended")
        self.assertEqual(self.way(one.START, one.LOST, one.STOP)[-2:], ["no wait", "ended"])

    def test_one_that_is_stopped_by_who_is_told_does_not_go_on(self) -> None:
        class Stopping(Noted):
            def announce_down(self) -> None:
                machine.put(ReconnectInput.STOP)

        actions = Stopping()
        machine = ReconnectMachine(actions, POLICY)
        for what in (ReconnectInput.START, ReconnectInput.CONNECTED, ReconnectInput.READY, ReconnectInput.LOST):
            machine.put(what)
        self.assertIs(machine.state, ReconnectState.IDLE)
        self.assertEqual([what for what in actions.all if isinstance(what, float)], [])


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.ended = False
        self.gone: Deferred[None] = Deferred()
        self.why = ""

    def abort(self, why: str) -> None:
        self.why = why
        self.end()

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.gone.callback(None)


class Server:
    """A connector that does what a test says."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lines: list[Line] = []
        self.connecting: Deferred[None] = succeed(None)
        self.preparing: Deferred[None] = succeed(None)
        self.progress: Callable[[], object] = lambda: None
        self.raises = False

    async def connect(self) -> Line:
        await self.connecting
        self.lines.append(Line())
        return self.lines[-1]

    async def prepare(self, connection: Line, progress: Callable[[], object]) -> None:
        self.progress = progress
        await self.preparing

    def end(self, connection: Line) -> None:
        if self.raises:
            raise ZeroDivisionError
        connection.abort("in order")

    def give_up(self, connection: Line, error: BaseException) -> None:
        if self.raises:
            raise ZeroDivisionError
        connection.abort(type(error).__name__)

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if self.raises:
            raise ZeroDivisionError

    def on_up(self, connection: Line) -> None:
        self._tell("up")

    def on_down(self, connection: Line) -> None:
        self._tell("down")

    def on_failure(self, connection: Line | None, error: BaseException) -> None:
        self._tell(f"{connection and connection.why}: {type(error).__name__}")


class ClientTests(SynchronousTestCase):
    """On a clock that the test turns."""

    def setUp(self) -> None:
        self.server, self.clock = Server(), Clock()
        self.client: ReconnectingClient[Line] = ReconnectingClient(self.server, self.clock, POLICY, 5.0)

    def test_it_is_up_again_after_each_end(self) -> None:
        self.client.start()
        for _ in range(3):
            self.assertIs(self.client.connection, self.server.lines[-1])
            self.server.lines[-1].end()
            self.assertIsNone(self.client.connection)
            self.clock.advance(1.0)
        self.assertEqual(self.server.told, ["up", "down"] * 3 + ["up"])
        self.assertEqual(self.client.tries, 4)

    def test_what_can_t_be_connected_is_told_and_tried_again(self) -> None:
        self.server.connecting = Deferred()
        self.client.start()
        failing, self.server.connecting = self.server.connecting, succeed(None)
        failing.errback(ConnectionRefusedError())
        self.assertEqual(self.server.told, ["None: ConnectionRefusedError"])
        self.clock.advance(1.0)
        self.assertIsNotNone(self.client.connection)

    def test_what_can_t_be_prepared_is_ended_told_and_tried_again(self) -> None:
        self.server.preparing = Deferred()
        self.client.start()
        failing, self.server.preparing = self.server.preparing, succeed(None)
        failing.errback(ValueError())
        self.assertEqual(self.server.told, ["ValueError: ValueError"])
        self.clock.advance(1.0)
        self.assertIs(self.client.connection, self.server.lines[1])

    def test_one_that_ends_while_it_is_prepared_is_not_waited_for(self) -> None:
        self.server.preparing = Deferred()
        self.client.start()
        self.server.lines[0].end()
        self.assertEqual(self.server.told, [": CancelledError"])

    def test_one_that_answers_nothing_is_ended_and_one_that_answers_has_as_long_again(self) -> None:
        self.server.preparing = Deferred()
        self.client.start()
        self.clock.advance(4.0)
        self.server.progress()
        self.clock.advance(4.0)
        self.assertEqual(self.server.told, [])
        self.clock.advance(1.0)
        self.assertEqual(self.server.told, ["it did not answer: CancelledError"])
        self.server.progress()

    def test_who_is_told_and_raises_ends_nothing(self) -> None:
        self.server.raises = True
        self.client.start()
        self.server.lines[0].end()
        self.clock.advance(1.0)
        self.assertEqual(self.server.told, ["up", "down", "up"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_a_connector_that_can_t_give_up_or_end_a_connection_ends_nothing_either(self) -> None:
        self.server.raises = True
        self.server.preparing = Deferred()
        self.client.start()
        failing, self.server.preparing = self.server.preparing, succeed(None)
        failing.errback(ValueError())
        self.clock.advance(1.0)
        self.assertIs(self.client.connection, self.server.lines[1])
        self.successResultOf(self.client.stop())
        self.assertEqual([line.why for line in self.server.lines], ["an error that should not be"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_it_ends_whatever_it_is_doing(self) -> None:
        self.client.start()
        self.successResultOf(self.client.stop())
        self.assertEqual((self.server.told, self.server.lines[0].why), (["up", "down"], "in order"))
        for name in ("connecting", "preparing"):
            self.server.told.clear()
            setattr(self.server, name, Deferred())
            self.client.start()
            self.successResultOf(self.client.stop())
            self.assertNotIn("up", self.server.told)
            setattr(self.server, name, succeed(None))
        self.server.connecting = Deferred()
        self.client.start()
        self.server.connecting.errback(ConnectionRefusedError())
        self.successResultOf(self.client.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(self.client.state, ReconnectState.IDLE)

    def test_a_preparation_may_stop_the_client(self) -> None:
        """As ``kschat restored`` does. A real connection ends some time after it was aborted."""
        stopped: list[Deferred[None]] = []

        class Later(Line):
            def abort(self, why: str) -> None:
                self.why = why

        async def connect() -> Line:
            self.server.lines.append(Later())
            return self.server.lines[-1]

        async def prepare(connection: Line, progress: Callable[[], object]) -> None:
            stopped.append(self.client.stop())

        with patch.object(self.server, "connect", connect), patch.object(self.server, "prepare", prepare):
            self.client.start()
        self.assertNoResult(stopped[0])
        self.server.lines[0].end()
        self.successResultOf(stopped[0])
        self.assertNotIn("up", self.server.told)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_connection_that_comes_when_it_shall_end_is_ended(self) -> None:
        late: Deferred[None] = Deferred(lambda _: None)  # it can't be cancelled
        late.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self.server.connecting = late
        self.client.start()
        stopped = self.client.stop()
        self.successResultOf(stopped)
        self.assertEqual([line.ended for line in self.server.lines], [True])

    def test_one_that_was_not_started_is_stopped_at_once(self) -> None:
        self.successResultOf(self.client.stop())
