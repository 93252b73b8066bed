"""Plays the scenarios of tests/node/page in real Chromium: many steps of several people in one browser."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet import defer, protocol
from twisted.internet.interfaces import IProcessTransport
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support import NODE_DIRECTORY, Daemon, require_chromium, require_node, within
from tests.support.waiting import PATIENCE, real_reactor

#: Does what a scenario asks for, and answers it.
Helper = Callable[[Mapping[str, Any]], Awaitable[object]]

#: How long a whole scenario may take, in seconds: a bound for when it hangs.
SCENARIO: Final = 8 * PATIENCE


class _Player(protocol.ProcessProtocol):
    """The process of one scenario."""

    def __init__(self, helpers: Mapping[str, Helper], log: Callable[[], str]) -> None:
        self._helpers = helpers
        self._log = log
        self._buffer = b""
        self._talk: list[str] = []
        self.ended: defer.Deferred[None] = defer.Deferred()
        self.result: defer.Deferred[Mapping[str, Any]] = defer.Deferred()
        self.transport: IProcessTransport

    def outReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._talk.append(line.decode(errors="replace"))
            said = json.loads(line)
            if "ask" in said:
                defer.ensureDeferred(self._help(said)).addErrback(self._fail)
            elif "step" not in said:
                self._settle(said)

    async def _help(self, said: Mapping[str, Any]) -> None:
        try:
            answer: dict[str, Any] = {"answer": await self._helpers[said["ask"]](said)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the scenario says at which step it was
            answer = {"error": repr(error)}
        self.transport.writeToChild(0, json.dumps({"id": said["id"], **answer}).encode() + b"\n")

    def _settle(self, said: Mapping[str, Any]) -> None:
        if self.result.called:
            return
        if "failed" in said:
            seen = "\n".join(said.get("seen", ()))
            self._fail(Failure(AssertionError(f"{said['failed']}: {said['error']}\n{seen}\n{self.seen()}")))
        else:
            self.result.callback(said)

    def _fail(self, failure: Failure) -> None:
        if not self.result.called:
            self.result.errback(failure)

    def errReceived(self, data: bytes) -> None:
        self._talk.append(f"! {data.decode(errors='replace')}")

    def processEnded(self, reason: Failure) -> None:
        self._fail(Failure(AssertionError(f"the scenario ended: {reason.value}\n{self.seen()}")))
        self.ended.callback(None)

    def seen(self) -> str:
        talk = "\n".join(line[:2000] for line in self._talk[-40:])
        return f"--- the scenario:\n{talk}\n--- the daemons' log:\n{self._log()[-6000:]}"


def _made(path: str) -> str:
    """A new directory; its whole path."""
    Path(path).mkdir(parents=True)
    return str(Path(path).absolute())


async def play(
    test: unittest.TestCase,
    scenario: str,
    daemons: Sequence[Daemon],
    *,
    helpers: Mapping[str, Helper] | None = None,
    **config: object,
) -> Mapping[str, Any]:
    """Plays a scenario to its end; AssertionError says which step failed, and what the browser shows.

    Args:
        test: it ends the process, should it be left.
        scenario: the name of a file in tests/node/page.
        daemons: whose log an error shows. Scenarios may ask to ``kill``, ``stop`` and ``restart`` one (``which``), and
            for its ``log``.
        helpers: what else it may ask for.
        config: what it is told, beside the daemons' URLs.

    Returns:
        What it said at its end: its ``steps``, and more.
    """
    chromium, node = require_chromium(), require_node()
    shots = _made(test.mktemp())

    def daemon(said: Mapping[str, Any]) -> Daemon:
        which: int = said.get("which", 0)
        return daemons[which]

    async def kill(said: Mapping[str, Any]) -> None:
        await daemon(said).kill()

    async def stop(said: Mapping[str, Any]) -> None:
        await daemon(said).stop()

    async def restart(said: Mapping[str, Any]) -> None:
        await daemon(said).restart()

    async def log(said: Mapping[str, Any]) -> str:
        return daemon(said).log

    known: dict[str, Helper] = {"kill": kill, "stop": stop, "restart": restart, "log": log, **(helpers or {})}
    player = _Player(known, lambda: "\n".join(one.log[-3000:] for one in daemons))
    told = {
        "chromium": chromium,
        "patience": PATIENCE * 900,
        "urls": [one.url for one in daemons],
        "url": daemons[0].url,
        "shots": shots,
        **config,
    }
    arguments = [node, str(NODE_DIRECTORY / "page" / "play.js"), scenario, json.dumps(told)]
    player.transport = real_reactor().spawnProcess(player, node, arguments, env=None)

    def end() -> defer.Deferred[None]:
        if not player.ended.called:
            player.transport.closeStdin()
        return within(player.ended, "Chromium to end", player.seen)

    test.addCleanup(end)
    return await within(player.result, f"the scenario {scenario}", player.seen, SCENARIO)
