"""What the chaos takes for a fault is what Twisted writes of one."""

from __future__ import annotations

import io

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chaos.daemon import Daemon
from chaos.signs import is_fault


class SignsTests(SynchronousTestCase):
    def written(self, level: str, failure: bool = False) -> list[str]:
        """The lines that twistd's own observer writes."""
        output = io.StringIO()
        log = Logger(namespace="kschat", observer=textFileLogObserver(output))
        if failure:
            try:
                raise RuntimeError("a fault of ours")
            except RuntimeError:
                log.failure("it went wrong", Failure())
        else:
            log.emit(LogLevel.lookupByName(level), "it went wrong")
        return output.getvalue().splitlines()

    def heard(self, lines: list[str]) -> list[str]:
        """The faults that the chaos counts."""
        daemon = Daemon(Clock(), 1, "secret", {})
        for line in lines:
            daemon.heard(line.encode() + b"\n")
        return daemon.faults

    def test_a_critical_line_is_one(self) -> None:
        (line,) = self.written("critical")
        self.assertTrue(is_fault(line))
        self.assertEqual(self.heard([line]), [line])

    def test_a_failure_is_one(self) -> None:
        self.assertNotEqual(self.heard(self.written("critical", failure=True)), [])

    def test_what_a_fault_of_a_service_brings_about_is_none(self) -> None:
        for level in ("debug", "info", "warn", "error"):
            self.assertEqual(self.heard(self.written(level)), [])
