"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from kschat.notify import STATUS_SECONDS, NotifyService, ServiceManager, manager_of, watchdog_seconds
from tests.test_tap import PATIENCE, SECRET, ProcessTestCase


class ManagerTestCase(SynchronousTestCase):
    """Has a socket as systemd has it."""

    def listen(self, address: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.settimeout(PATIENCE)
        manager.bind(address)
        return manager


class Told(ManagerTestCase):
    def setUp(self) -> None:
        # The path of a socket has at most 107 bytes.
        self.addCleanup(os.chdir, os.getcwd())
        directory = Path(self.mktemp())
        directory.mkdir()
        os.chdir(directory)
        self.socket = self.listen("notify")
        self.socket.setblocking(False)
        self.clock = Clock()
        self.status = "Serving: 1 connections"
        self.running: list[Callable[[], None]] = []

    def service(self, **more: Any) -> NotifyService:
        service = NotifyService(
            ServiceManager("notify"),
            self.clock,
            status=lambda: self.status,
            when_running=self.running.append,
            **more,
        )
        service.startService()
        return service

    def heard(self) -> list[list[str]]:
        """The lines of each datagram since the last call."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return found

    def test_it_is_ready_once_the_reactor_runs(self) -> None:
        self.service()
        self.assertEqual(self.heard(), [])
        self.running[0]()
        self.assertEqual(self.heard(), [["READY=1", f"MAINPID={os.getpid()}", "STATUS=Serving: 1 connections"]])

    def test_one_that_was_stopped_before_that_never_is(self) -> None:
        service = self.service()
        service.stopService()
        self.heard()
        self.running[0]()
        self.assertEqual((self.heard(), self.clock.getDelayedCalls()), ([], []))

    def test_the_status_is_told_when_it_has_changed(self) -> None:
        self.service()
        self.running[0]()
        self.heard()
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [])
        self.status = "Serving: 2 connections; Redis can't be used"
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [[f"STATUS={self.status}"]])

    def test_the_watchdog_hears_of_it_twice_in_its_time(self) -> None:
        self.service(watchdog=2.0)
        self.running[0]()
        self.heard()
        self.clock.pump([0.5] * 8)
        self.assertEqual(self.heard(), [["WATCHDOG=1"]] * 4)

    def test_a_reload_is_told_when_it_begins_and_when_it_is_over_even_if_it_fails(self) -> None:
        service = self.service()
        self.running[0]()
        self.heard()
        self.clock.advance(1.5)
        during: list[Any] = []
        service.around(lambda: during.extend(self.heard()))
        self.assertEqual((during, self.heard()), ([["RELOADING=1", "MONOTONIC_USEC=1500000"]], [["READY=1"]]))
        self.assertRaises(ZeroDivisionError, service.around, lambda: 1 // 0)
        self.assertEqual(self.heard()[-1], ["READY=1"])

    def test_the_end_may_take_as_long_as_it_is_told_of_and_the_watchdog_hears_of_it_until_then(self) -> None:
        service = self.service(watchdog=20.0)
        self.running[0]()
        self.heard()
        self.status = "Closing: 1 connections"
        service.stopService()
        extension = "EXTEND_TIMEOUT_USEC=30000000"
        self.assertEqual(self.heard(), [["STOPPING=1", extension, f"STATUS={self.status}"]])
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [["WATCHDOG=1", extension]])
        service.ended()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_manager_that_does_not_read_is_waited_for_by_nobody_and_named_once(self) -> None:
        os.unlink("notify")
        with capturedLogs() as events:
            self.service(watchdog=2.0)
            self.running[0]()
            self.clock.pump([1.0] * 5)
        self.assertEqual(len(events), 1)


class Environment(ManagerTestCase):
    def test_without_a_socket_nobody_is_told(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            self.assertIsNone(manager_of(environ))

    def test_a_name_without_a_file(self) -> None:
        name = f"kschat-tests-{os.getpid()}"
        listening = self.listen(f"\0{name}")
        manager = manager_of({"NOTIFY_SOCKET": f"@{name}"})
        assert manager is not None
        manager.tell("READY=1", "STATUS=ä")
        self.assertEqual(listening.recv(100), "READY=1\nSTATUS=ä".encode())

    def test_the_watchdog_of_another_process_is_not_ours(self) -> None:
        self.assertEqual(watchdog_seconds({"WATCHDOG_USEC": "30000000"}, 7), 30)
        self.assertEqual(watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 7), 30)
        self.assertEqual(watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 7), 0)
        for text in ("", "-1", "many"):
            self.assertEqual(watchdog_seconds({"WATCHDOG_USEC": text}, 7), 0)


class Processes(ProcessTestCase, ManagerTestCase):
    def test_a_daemon_tells_of_its_whole_life(self) -> None:
        name = f"kschat-tests-{os.getpid()}-life"
        manager = self.listen(f"\0{name}")

        def until(line: str) -> list[str]:
            seen: list[str] = []
            while line not in seen:
                seen += manager.recv(65536).decode().split("\n")
            return seen

        daemon, _ = self.started(
            *("--listen", "tcp:0:interface=127.0.0.1", "--store", "memory"),
            KSCHAT_SECRET=SECRET,
            NOTIFY_SOCKET=f"@{name}",
            WATCHDOG_USEC="200000",
        )
        begin = until("READY=1")
        self.assertIn(f"MAINPID={daemon.pid}", begin)
        self.assertIn("STATUS=Serving: 0 connections, 0 users", begin)
        until("WATCHDOG=1")
        daemon.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        daemon.terminate()
        until("STOPPING=1")
        self.assertEqual(daemon.wait(PATIENCE), 0)
