"""The tutorial's server (bench/peers/node) as a subprocess on RabbitMQ, for one test."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.threads import deferToThread
from twisted.trial import unittest
from twisted.web.client import Agent, readBody

from bench.peers import tutorial
from bench.spawn import spawn
from tests.support.launch import free_port
from tests.support.needs import require
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE, real_reactor, repeated_until


class TutorialServer:
    """The server as it is run: where it is, and how many sockets have their queue."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    @classmethod
    async def start(cls, test: unittest.TestCase, amqp: str, *, confirm: bool = False) -> TutorialServer:
        """A server that serves, until the test's end. SkipTest where Node or its packages are missing."""
        require(tutorial.lacking())
        place = tempfile.TemporaryDirectory(prefix="kschat-tests-")
        test.addCleanup(place.cleanup)
        port = free_port()
        environ = tutorial.environment(port, SECRET, amqp, confirm=confirm)
        log = Path(place.name) / "log"
        process = await deferToThread(spawn, tutorial.command(), log, tutorial.READY, environ)
        server = cls(port, process)
        test.addCleanup(server.stop)
        return server

    @property
    def url(self) -> str:
        """Where its clients connect to."""
        return f"http://127.0.0.1:{self.port}/kschat"

    async def bound(self, count: int) -> None:
        """Waits until so many sockets have their queue: the tutorial lets them in before."""

        async def ask() -> int:
            agent = Agent(real_reactor(), connectTimeout=PATIENCE)
            response = await agent.request(b"GET", f"http://127.0.0.1:{self.port}/healthz".encode())
            return _count(await readBody(response))

        await repeated_until(ask, lambda found: found == count, f"{count} sockets of the tutorial's server to be bound")

    @property
    def lives(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def stop(self) -> defer.Deferred[Any]:
        """Ends it; once it has ended: nothing."""
        self._process.terminate()
        return deferToThread(self._process.wait, PATIENCE)


def _count(body: bytes) -> int:
    return int(json.loads(body)["bound"])
