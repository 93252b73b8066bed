"""The node process with all clients, and what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from chaos.cast import Actor

SCRIPT = Path(__file__).with_name("actors.js")
MODULES = SCRIPT.parent.parent / "tests" / "node" / "node_modules"

#: Messages of one actor without an ack.
WINDOW = 8


class ActorsFailed(Exception):
    """The node process can't be started, or ended by itself."""


class Actors(ProcessProtocol):
    """All clients.

    Args:
        reactor: runs the process.
        noted: is called with each note (see ``actors.js``).
        turned: is called when some were.
    """

    def __init__(self, reactor: Any, noted: Callable[[list[Any]], None], turned: Callable[[], None]) -> None:
        self._reactor = reactor
        self._noted = noted
        self._turned = turned
        self._transport: Any = None
        self._rest = b""
        self._errors = bytearray()
        self._ending = False
        self.ended: Deferred[None] = Deferred()

    def start(self) -> None:
        """Start the process. Raises ActorsFailed where node or the clients are not there."""
        node = shutil.which("node")
        if node is None or not (MODULES / "sio4").is_dir():
            raise ActorsFailed("node and the npm clients are needed: make node")
        self._transport = self._reactor.spawnProcess(self, node, [node, str(SCRIPT)], env=None)

    def open(self, actor: Actor, url: str, token: str, seed: int) -> None:
        """Let an actor connect."""
        self.tell(
            "open",
            actor=actor.name,
            user=actor.user,
            version=actor.version,
            url=url,
            options=actor.client_options(token),
            targets=actor.targets,
            answers=actor.answers,
            recovers=actor.recovers,
            updates=actor.updates,
            window=WINDOW,
            pace=actor.pace,
            seed=seed,
        )

    def tell(self, do: str, **more: object) -> None:
        """One request of ``actors.js``."""
        self._transport.writeToChild(0, json.dumps({"do": do, **more}).encode() + b"\n")

    async def end(self) -> None:
        """End the process, and all connections with it."""
        self._ending = True
        if self._transport is not None and not self.ended.called:
            self._transport.closeStdin()
            await self.ended

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            for note in json.loads(line):
                self._noted(note)
        if lines:
            self._turned()

    def errReceived(self, data: bytes) -> None:
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        if not self._ending:
            self._noted(["odd", "node", self._errors.decode(errors="replace") or str(reason.value)])
            self._turned()
        self.ended.callback(None)
