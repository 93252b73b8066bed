"""Several daemons on one port: what each is told, which ports they share, and how the parent starts and ends them."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kschat.launch import Launch, adopted, held, make_plan, numbered
from kschat.notify import ServiceManager
from kschat.processes import (
    FIRST_DELAY,
    MAX_DELAY,
    STABLE,
    START_PATIENCE,
    WATCHDOG,
    Member,
    Notifications,
    Processes,
)
from kschat.settings import Config, ConfigError

SECRET = "a secret of the tests, long enough for HS256"
CLUSTER: dict[str, Any] = {
    "secret": SECRET,
    "store": "redis",
    "amqp": "amqp://localhost",
    "redis": "redis://localhost",
    "listen": "tcp:0:interface=127.0.0.1",
}


class FakeProcess:
    """A process that does nothing.

    Attributes:
        signals: that it was sent.
    """

    def __init__(self, pid: int, member: Member) -> None:
        self.pid: int | None = pid
        self.member = member
        self.signals: list[str] = []

    def signalProcess(self, signalID: int) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(signal.Signals(signalID).name.removeprefix("SIG"))

    def end(self, status: int = 0) -> None:
        """It ends."""
        self.pid = None
        self.member.processEnded(Failure(ProcessTerminated(status) if status else ProcessDone(0)))


class TestProcesses(SynchronousTestCase):
    """The parent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.started: list[FakeProcess] = []
        self.statuses: list[int] = []
        self.processes = Processes(self.clock, count=3, launch=self.launch, done=self.statuses.append)

    def launch(self, number: int, member: Member) -> FakeProcess:
        self.assertEqual(number, member.number)
        self.started.append(FakeProcess(len(self.started) + 100, member))
        return self.started[-1]

    def serve(self, *which: int) -> None:
        """Those that were started so say that they serve; all: none is named."""
        for one in [self.started[number] for number in which] or self.started:
            if one.pid is not None:
                self.processes.lives(one.member.number, True)

    def start(self) -> None:
        self.processes.start()
        self.serve()
        self.successResultOf(self.processes.ready)

    def test_it_is_ready_when_all_serve(self) -> None:
        self.processes.start()
        self.assertEqual([one.member.number for one in self.started], [0, 1, 2])
        self.serve(0, 1)
        self.processes.lives(2, False)
        self.assertNoResult(self.processes.ready)
        self.assertEqual(self.processes.status(), "Serving: 2 of 3 processes")
        self.serve(2)
        self.successResultOf(self.processes.ready)

    def test_one_that_ends_before_all_serve_ends_the_others(self) -> None:
        self.processes.start()
        self.serve(0)
        self.started[1].end(1)
        self.assertEqual([one.signals for one in self.started], [["TERM"], [], ["TERM"]])
        self.started[0].end()
        self.assertEqual(self.statuses, [])
        self.started[2].end()
        self.assertEqual(self.statuses, [1])
        self.assertEqual(len(self.started), 3)

    def test_one_that_ends_later_is_started_again_and_waits_longer_each_time(self) -> None:
        self.start()
        last = self.started[1]
        waited: list[float] = []
        delay = FIRST_DELAY
        while len(waited) < 9:
            last.end(1)
            self.clock.advance(delay - 0.01)
            count = len(self.started)
            self.clock.advance(0.02)
            self.assertEqual(len(self.started), count + 1)
            waited.append(delay)
            last, delay = self.started[-1], min(2 * delay, MAX_DELAY)
            self.assertEqual(last.member.number, 1)
        self.assertEqual(waited[:3] + waited[-2:], [0.5, 1, 2, 30, 30])
        # One that has served for long has failed for another reason.
        self.serve()
        self.clock.advance(STABLE + 1)
        last.end(1)
        self.clock.advance(FIRST_DELAY)
        self.assertEqual(self.started[-1].member.number, 1)
        self.assertIsNot(self.started[-1], last)

    def test_an_end_reaches_all_and_waits_for_all(self) -> None:
        self.start()
        self.started[0].end(1)
        self.processes.stop(signal.SIGTERM)
        self.assertEqual([one.signals for one in self.started], [[], ["TERM"], ["TERM"]])
        self.started[1].end()
        self.processes.stop(signal.SIGINT)
        self.assertEqual(self.started[2].signals, ["TERM", "INT"])
        self.assertEqual(self.statuses, [])
        self.started[2].end()
        self.assertEqual(self.statuses, [0])
        # The one that was about to be started again is not.
        self.clock.advance(MAX_DELAY)
        self.assertEqual(len(self.started), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_signals_are_passed_on_to_those_that_run(self) -> None:
        self.start()
        self.started[2].pid = None  # it has ended, and its end was not noticed yet
        self.processes.forward(signal.SIGHUP)
        self.assertEqual([one.signals for one in self.started], [["HUP"], ["HUP"], []])

    def test_one_that_starts_gets_a_signal_once_it_handles_it(self) -> None:
        self.start()
        self.started[1].end(1)
        self.processes.forward(signal.SIGHUP)
        self.clock.advance(FIRST_DELAY)
        for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGHUP):
            self.processes.forward(number)
        self.assertEqual(self.started[3].signals, [], "either would end it")
        self.serve(3)
        self.assertEqual(sorted(self.started[3].signals), ["HUP", "USR1"])
        self.processes.lives(1, True)
        self.assertEqual(len(self.started[3].signals), 2)
        # An end is for all, also before they serve.
        self.started[0].end(1)
        self.clock.advance(FIRST_DELAY)
        self.processes.stop(signal.SIGTERM)
        self.assertEqual(self.started[-1].signals, ["TERM"])

    def test_none_is_started_after_one_that_cannot_be(self) -> None:
        full = OSError(11, "Resource temporarily unavailable")
        with mock.patch.object(self.processes, "_launch", side_effect=full) as launch:
            self.processes.start()
        self.assertEqual((launch.call_count, self.statuses), (1, [1]))

    def roll(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.processes.roll())

    def test_they_are_restarted_one_by_one(self) -> None:
        self.start()
        rolled = self.roll()
        for number in range(3):
            ended = self.started[number]
            self.assertEqual([one.signals for one in self.started[:3]].count(["TERM"]), number + 1)
            self.assertEqual(len(self.started), 3 + number)
            ended.end()
            fresh = self.started[-1]
            self.assertEqual((fresh.member.number, len(self.started)), (number, 4 + number))
            self.assertNoResult(rolled)
            self.serve(-1)
        self.successResultOf(rolled)
        # Nothing is left to be done but to look after each.
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [WATCHDOG] * 3)

    def test_a_second_roll_and_one_before_the_start_do_nothing(self) -> None:
        self.processes.start()
        self.successResultOf(self.roll())
        self.serve()
        rolled = self.roll()
        self.successResultOf(self.roll())
        self.assertEqual([one.signals for one in self.started], [["TERM"], [], []])
        self.assertNoResult(rolled)

    def test_one_that_does_not_serve_again_leaves_the_others_as_they_are(self) -> None:
        for ends in (True, False):
            self.setUp()
            self.start()
            rolled = self.roll()
            self.started[0].end()
            if ends:
                self.started[-1].end(1)
            else:
                self.clock.advance(START_PATIENCE)
            self.successResultOf(rolled)
            self.assertNotIn("TERM", [*self.started[1].signals, *self.started[2].signals])
            # It is started again, as one that ends by itself is.
            self.clock.advance(FIRST_DELAY)
            self.assertEqual(len(self.started), 5 if ends else 4)

    def test_one_that_waits_for_its_start_is_started_by_a_roll(self) -> None:
        self.start()
        self.started[0].end(1)
        rolled = self.roll()
        self.assertEqual(len(self.started), 4)
        self.assertNoResult(rolled)
        self.clock.advance(FIRST_DELAY)
        self.assertEqual(len(self.started), 4)

    def test_one_that_is_told_to_end_before_it_serves_is_waited_for(self) -> None:
        self.start()
        self.started[0].end(1)
        self.clock.advance(FIRST_DELAY)
        rolled = self.roll()
        self.assertEqual(self.started[3].signals, ["TERM"])
        self.serve(3)
        self.assertEqual(len(self.started), 4)
        self.started[3].end()
        self.assertEqual(len(self.started), 5)
        self.assertNoResult(rolled)

    def test_an_end_in_a_roll_is_an_end(self) -> None:
        self.start()
        rolled = self.roll()
        self.processes.stop(signal.SIGTERM)
        for one in self.started:
            one.end()
        self.successResultOf(rolled)
        self.assertEqual((self.statuses, len(self.started)), ([0], 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_daemon_says_that_it_serves_and_that_it_lives(self) -> None:
        heard: list[bool] = []
        address = f"kschat-test-{os.getpid()}-{id(self)}"
        notifications = Notifications(address, heard.append)
        self.addCleanup(notifications.connectionLost, Failure(Exception()))
        notifications.doRead()
        manager = ServiceManager(f"@{address}")
        for report in ("STATUS=READY=1", "WATCHDOG=1", "", "READY=1\nMAINPID=7\nSTATUS=Serving"):
            manager.tell(report)
            notifications.doRead()
        self.assertEqual(heard, [False, False, False, True])
        # The address is not secret: reports of other users are ignored.
        manager.tell("READY=1")
        with mock.patch.object(os, "getuid", return_value=os.getuid() + 1):
            notifications.doRead()
        self.assertEqual(len(heard), 4)

    def test_one_that_does_not_answer_is_killed_and_started_again(self) -> None:
        self.start()
        for turn in range(3):
            self.clock.advance(WATCHDOG - 1)
            for number in (0, 2):
                self.processes.lives(number, False)
            self.assertEqual([one.signals for one in self.started if one.pid], [[], [], []])
            if turn < 2:
                self.processes.lives(1, False)
        self.clock.advance(1)
        self.assertEqual([one.signals for one in self.started], [[], ["KILL"], []])
        self.started[1].end(1)
        self.clock.advance(FIRST_DELAY)
        # Until it serves, it may be busy for longer.
        self.clock.advance(WATCHDOG - 2)
        self.assertEqual(self.started[3].signals, [])

    def test_one_that_cannot_be_started_is_tried_again(self) -> None:
        self.start()
        full = OSError(11, "Resource temporarily unavailable")
        self.started[1].end(1)
        with mock.patch.object(self.processes, "_launch", side_effect=full):
            self.clock.advance(FIRST_DELAY)
        self.assertEqual(len(self.started), 3)
        self.clock.advance(2 * FIRST_DELAY)
        self.assertEqual(len(self.started), 4)


class TestPlan(SynchronousTestCase):
    """What the processes share, and what each has of its own."""

    def plan(self, count: int = 2, **settings: Any) -> Any:
        plan = make_plan(Config(**{**CLUSTER, **settings}), Launch(count=count))
        self.addCleanup(plan.close)
        return plan

    def test_all_accept_from_one_socket(self) -> None:
        plan = self.plan(3)
        (one,) = plan.sockets
        self.assertEqual(one.getblocking(), False)
        for options in plan.options:
            self.assertEqual(options[0], "--listen=systemd:domain=INET:index=0")
        self.assertEqual((plan.environ["LISTEN_FDS"], plan.environ["LISTEN_FDNAMES"]), ("1", "listen"))
        socket.create_connection(one.getsockname(), 5).close()

    def test_the_api_is_shared_too(self) -> None:
        plan = self.plan(api_listen="tcp:0:interface=127.0.0.1", api_keys="keys.toml")
        self.assertIn("--api-listen=systemd:domain=INET:index=1", plan.options[1])
        self.assertEqual(plan.environ["LISTEN_FDS"], "2")

    def test_each_has_a_port_for_the_others_which_nobody_else_gets(self) -> None:
        plan = self.plan()
        ports = [int(one[-1].split(":")[1]) for one in plan.options]
        self.assertEqual(len(set(ports)), 2)
        self.assertTrue(all(one[-1].endswith(":interface=127.0.0.1") for one in plan.options))
        self.assertGreaterEqual(len(plan.environ["KSCHAT_PEER_SECRET"]), 32)
        for port in ports:
            self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port), 5)
            with closing(socket.socket()) as other:
                self.assertRaises(OSError, other.bind, ("127.0.0.1", port))
            # The process can listen there, and again after its end.
            for _ in range(2):
                held("peer_listen", f"tcp:{port}:interface=127.0.0.1").close()

    def test_ports_that_are_named_are_counted_up(self) -> None:
        plan = self.plan(
            peer_listen="tcp:13000:interface=10.0.0.3",
            peer_url="http://[fd00::12:34]:13000",
            peer_secret="x" * 32,
            ops_listen="tcp:port=9100:interface=127.0.0.1",
        )
        self.assertEqual(
            plan.options[1][:3],
            (
                "--peer-listen=tcp:13001:interface=10.0.0.3",
                "--peer-url=http://[fd00::12:34]:13001",
                "--ops-listen=tcp:port=9101:interface=127.0.0.1",
            ),
        )
        self.assertNotIn("KSCHAT_PEER_SECRET", plan.environ)
        self.assertEqual(numbered("ops_listen", "tcp:0:interface=127.0.0.1", 3), "tcp:0:interface=127.0.0.1")
        self.assertEqual(numbered("ops_listen", "ssl:9100:privateKey=1.pem", 1), "ssl:9101:privateKey=1.pem")
        six = r"tcp6:interface=\:\:1:port=9100"
        self.assertEqual(numbered("ops_listen", six, 2), r"tcp6:interface=\:\:1:port=9102")
        error = self.assertRaises(ConfigError, numbered, "ops_listen", "unix:/run/1", 1)
        self.assertIn("ops_listen: 'unix:/run/1' has no port", str(error))

    def test_a_proxy_s_header_is_read_by_each_process(self) -> None:
        plan = self.plan(listen="haproxy:tcp:0:interface=127.0.0.1")
        self.assertEqual(plan.options[0][0], "--listen=haproxy:systemd:domain=INET:index=0")
        with closing(socket.socket(socket.AF_INET6)) as one:
            self.assertEqual(adopted("tcp6:80", one, 0), "systemd:domain=INET6:index=0")

    def refusal(self, **settings: Any) -> str:
        config = Config(**{**CLUSTER, **settings})
        return str(self.assertRaises(ConfigError, make_plan, config, Launch(count=2)))

    def test_what_several_cannot_do_is_refused_in_a_sentence(self) -> None:
        alone = {"amqp": "", "redis": "", "store": "memory"}
        self.assertIn("processes: 2 processes act as one through RabbitMQ and Redis alone", self.refusal(**alone))
        self.assertIn("processes: a demo is one process", self.refusal(demo=True, secret=""))
        self.assertIn("control: several processes cannot share", self.refusal(control="x.control"))
        self.assertIn("let a proxy terminate TLS", self.refusal(listen="unix:x.sock"))
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            self.assertEqual(self.refusal(listen=busy), f"listen: cannot listen at {busy}: Address already in use")
            # What was opened before is closed again: trial would say so.
            self.refusal(api_listen=busy)

    def test_each_logs_to_a_file_of_its_own(self) -> None:
        command = Launch(count=2, logfile="log/kschat.log", arguments=("--max-batch=7",)).command(5, "--a", number=1)
        self.assertEqual(command[1:5], ["-P", "-m", "kschat.worker", "5"])
        self.assertIn("--logfile=log/kschat-1.log", command)
        self.assertEqual(command[-3:], ["kschat", "--max-batch=7", "--a"])
        self.assertIn("--logfile=k.log", Launch(count=1, logfile="k.log").command(0))
        self.assertNotIn("--logfile", " ".join(Launch(count=1).command(0)))
