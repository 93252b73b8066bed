"""``chaos.disk``: a program's syncs wait while its disk is slow, and only then."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial import unittest

from chaos.disk import SlowDisk
from tests.support.needs import require_program
from tests.support.waiting import real_reactor, within

#: Each line that it reads is a function of ``os`` to sync by. It says when it begins, and when that is done.
PROGRAM = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    for line in sys.stdin:
        print("begins", flush=True)
        getattr(os, line.strip())(file.fileno())
        print("done", flush=True)
"""

#: Longer than any test.
LONG = 1_000_000


class Syncing(ProcessProtocol):
    """The program; ``said`` gets its lines."""

    transport: Any

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ended: Deferred[None] = Deferred()
        self._waits: list[tuple[int, Deferred[None]]] = []
        self._rest = ""

    def ask(self, function: str) -> None:
        """Let it sync."""
        self.transport.write(function.encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        self.said += lines
        for wait in [wait for wait in self._waits if len(self.said) >= wait[0]]:
            self._waits.remove(wait)
            wait[1].callback(None)

    async def lines(self, count: int) -> list[str]:
        """What it has said, once that is so many lines."""
        if len(self.said) < count:
            wait: tuple[int, Deferred[None]] = (count, Deferred())
            self._waits.append(wait)
            await within(wait[1], f"{count} lines of the program", lambda: str(self.said))
        return self.said

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class SlowDiskTests(unittest.TestCase):
    def setUp(self) -> None:
        require_program("cc")
        self.disk = SlowDisk(real_reactor())
        self.addCleanup(self.disk.remove)
        self.program = Syncing()
        environ = {**os.environ, **self.disk.environ}
        argv = [sys.executable, "-c", PROGRAM, self.mktemp()]
        real_reactor().spawnProcess(self.program, sys.executable, argv, env=environ)
        self.addCleanup(self.end)

    async def end(self) -> None:
        self.disk.mend()
        self.program.transport.closeStdin()
        await within(self.program.ended, "the end of the program", lambda: str(self.program.said))

    async def test_a_sync_ends_once_the_disk_is_mended(self) -> None:
        for number, function in enumerate(("fsync", "fdatasync")):
            self.disk.slow(LONG, LONG)
            self.program.ask(function)
            said = ["begins", "done"] * number + ["begins"]
            self.assertEqual(await self.program.lines(len(said)), said)
            self.disk.mend()
            self.assertEqual(await self.program.lines(len(said) + 1), [*said, "done"])

    async def test_it_takes_the_milliseconds_longer_until_its_time_is_over(self) -> None:
        self.disk.slow(20, LONG)
        self.program.ask("fsync")
        self.assertEqual(await self.program.lines(2), ["begins", "done"])
        # The time of this one is over at once.
        self.disk.slow(LONG, 0)
        self.program.ask("fsync")
        self.assertEqual((await self.program.lines(4))[2:], ["begins", "done"])
