"""Real Chromium, driven by lines of JSON through tests/node/page.js (which says what each verb does)."""

from __future__ import annotations

import json
import shutil
import tempfile
from typing import Any

from twisted.internet import defer, protocol
from twisted.internet.interfaces import IProcessTransport
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support import NODE_DIRECTORY, Daemon, require_chromium, require_node, within
from tests.support.waiting import PATIENCE, real_reactor


class Tab:
    """One tab. Selectors are playwright's: CSS, or such as ``role=button[name="Send"]``."""

    def __init__(self, browser: Browser, name: str) -> None:
        self._browser = browser
        self._name = name

    def do(self, verb: str, **fields: object) -> defer.Deferred[Any]:
        """One request of page.js."""
        return self._browser.ask(verb, tab=self._name, **fields)

    def see(self, selector: str, text: str | None = None) -> defer.Deferred[Any]:
        """The text of the first such element, as soon as it can be seen."""
        return self.do("wait", selector=selector, **({} if text is None else {"text": text}))

    async def write(self, text: str) -> None:
        """Writes a message as one does with a keyboard."""
        await self.do("fill", selector="#text", text=text)
        await self.do("press", selector="#text", key="Enter")

    async def messages(self) -> list[tuple[str, str]]:
        """The conversation as it is shown: (own or other, words)."""
        each = "(li) => [li.className.split(' ')[0], li.querySelector('.text').innerText]"
        script = f"[...document.querySelectorAll('#messages li')].map({each})"
        return [(side, words) for side, words in await self.do("read", script=script)]

    async def complaints(self, *, daemon_was_down: bool = False) -> list[str]:
        """What the console said: errors and warnings.

        Args:
            daemon_was_down: leave out the connections that were lost or refused while the test's daemon was down.
        """
        refused = ("WebSocket connection to", "net::ERR_CONNECTION_REFUSED") if daemon_was_down else ()
        return [text for text in await self.do("complaints") if not any(sign in text for sign in refused)]


class Browser(protocol.ProcessProtocol):
    """A Chromium of one test, with an empty profile; both go at its end."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._transport: IProcessTransport | None = None
        self._answers: dict[int, defer.Deferred[Any]] = {}
        self._requests = 0
        self._buffer = b""
        self._talk: list[str] = []
        self._ended: defer.Deferred[None] = defer.Deferred()

    @classmethod
    def start(cls, test: unittest.TestCase, daemon: Daemon) -> Browser:
        """Starts the driver; Chromium comes with the first tab. ``daemon`` is the one whose log an error shows."""
        chromium, node = require_chromium(), require_node()
        browser = cls(daemon)
        profile = tempfile.mkdtemp(prefix="kschat-tests-")
        test.addCleanup(shutil.rmtree, profile, ignore_errors=True)
        arguments = [node, str(NODE_DIRECTORY / "page.js"), chromium, profile]
        browser._transport = real_reactor().spawnProcess(browser, node, arguments, env=None)
        test.addCleanup(browser._end)
        return browser

    async def open(self, name: str, url: str, **fields: object) -> Tab:
        """A tab that has loaded ``url``."""
        tab = Tab(self, name)
        await tab.do("open", url=url, **fields)
        return tab

    async def opened_by(self, tab: Tab, selector: str, name: str) -> Tab:
        """The tab that a click opens."""
        await tab.do("click", selector=selector, opens=name)
        return Tab(self, name)

    def ask(self, verb: str, **fields: object) -> defer.Deferred[Any]:
        """One request; its answer."""
        self._requests += 1
        number = self._requests

        def forget(_: object) -> None:
            self._answers.pop(number, None)

        answer = self._answers[number] = defer.Deferred(forget)
        line = json.dumps({"id": number, "do": verb, "patience": PATIENCE * 900, **fields})
        self._talk.append(f"< {line[:500]}")
        assert self._transport is not None
        self._transport.writeToChild(0, line.encode() + b"\n")
        return within(answer, f"the answer to {line[:200]}", self._seen)

    def outReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._talk.append(f"> {line[:500].decode(errors='replace')}")
            said = json.loads(line)
            answer = self._answers.pop(said["id"], None)
            if answer is None:
                continue
            if "error" in said:
                answer.errback(AssertionError(f"{said['error']}\n{self._seen()}"))
            else:
                answer.callback(said["answer"])

    def errReceived(self, data: bytes) -> None:
        self._talk.append(f"! {data.decode(errors='replace')}")

    def processEnded(self, reason: Failure) -> None:
        for answer in list(self._answers.values()):
            answer.errback(AssertionError(f"the driver ended: {reason.value}\n{self._seen()}"))
        self._answers.clear()
        self._ended.callback(None)

    def _end(self) -> defer.Deferred[None]:
        assert self._transport is not None
        if not self._ended.called:
            self._transport.closeStdin()
        return within(self._ended, "Chromium to end", self._seen)

    def _seen(self) -> str:
        talk = "\n".join(self._talk[-40:])
        return f"--- the browser (< asked, > said):\n{talk}\n--- the daemon's log:\n{self._daemon.log[-8000:]}"
