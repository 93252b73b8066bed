"""The programs and the page of examples/, as they stand there, against a real daemon."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

from msgspec import Raw
from twisted.internet import defer, protocol
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from kschat.chat.outbox import Event
from kschat.hooks.consumer import Delivered, Delivery, Later
from tests.e2e.test_library import example
from tests.front.browser import Browser
from tests.hooks.receivers import OTHER, SECRET, as_text, made_webhook
from tests.support import NODE_DIRECTORY, REPOSITORY, Daemon, require_chromium, require_node, token, within
from tests.support.python import directory, installed
from tests.support.waiting import real_reactor

EXAMPLES = REPOSITORY / "examples"


class LineClient(protocol.ProcessProtocol):
    """A program that prints lines, and takes them."""

    def __init__(self) -> None:
        self.said = ""
        self._waiting: list[tuple[str, defer.Deferred[None]]] = []
        self.ended: defer.Deferred[None] = defer.Deferred()
        self.running: IProcessTransport | None = None

    @classmethod
    def start(cls, test: unittest.TestCase, arguments: list[str], environ: dict[str, str]) -> LineClient:
        """One that runs until the test's end."""
        client = cls()
        environ = {**os.environ, **environ}
        client.running = real_reactor().spawnProcess(client, arguments[0], arguments, env=environ)
        test.addCleanup(client.end)
        return client

    def says(self, text: str) -> defer.Deferred[None]:
        """Fires once it has printed that."""
        waited: defer.Deferred[None] = defer.Deferred()
        self._waiting.append((text, waited))
        self._look()
        return within(waited, f"{text!r} to be printed", lambda: self.said)

    def type(self, line: str) -> None:
        """A line from the keyboard."""
        assert self.running is not None
        self.running.writeToChild(0, line.encode() + b"\n")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.said += data.decode()
        self._look()

    def _look(self) -> None:
        for one in list(self._waiting):
            if one[0] in self.said and one in self._waiting:
                self._waiting.remove(one)
                one[1].callback(None)

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)

    def end(self) -> defer.Deferred[None]:
        """End it."""
        if not self.ended.called:
            assert self.running is not None
            self.running.signalProcess("KILL")
        return self.ended


class ExamplesTests(unittest.TestCase):
    timeout = 120

    def node(self, daemon: Daemon, *arguments: str) -> LineClient:
        """chat.js, beside a node_modules with the client."""
        place = Path(self.mktemp()).absolute()
        (place / "node_modules").mkdir(parents=True)
        (place / "node_modules" / "socket.io-client").symlink_to(NODE_DIRECTORY / "node_modules" / "sio4")
        shutil.copy(EXAMPLES / "chat.js", place)
        return LineClient.start(self, [require_node(), str(place / "chat.js"), *arguments], {"KSCHAT_URL": daemon.url})

    def python(self, daemon: Daemon, *arguments: str) -> LineClient:
        """chat.py, with python-socketio 5."""
        installed(5)
        environ = {"KSCHAT_URL": daemon.url, "PYTHONPATH": str(directory(5))}
        return LineClient.start(self, [sys.executable, str(EXAMPLES / "chat.py"), *arguments], environ)

    async def test_node_and_python_write_to_each_other(self) -> None:
        require_node()
        daemon = await Daemon.start(self)
        alice = self.node(daemon, token("alice"), "alice", "bob")
        await alice.says("connected")
        alice.type("Hello, are you there?")
        await alice.says("sent")
        # He was not; he gets it now.
        bob = self.python(daemon, token("bob"), "bob", "alice")
        await bob.says("alice: Hello, are you there?")
        bob.type("Now I am")
        await alice.says("bob: Now I am")
        await bob.says("sent")
        self.assertEqual(daemon.faults, [])

    async def test_who_is_not_let_in_is_told(self) -> None:
        require_node()
        daemon = await Daemon.start(self)
        await self.node(daemon, "no token", "alice", "bob").says("refused: Authentication error")

    async def test_the_page(self) -> None:
        require_chromium()
        daemon = await Daemon.start(self, client_dist=NODE_DIRECTORY / "node_modules" / "sio4" / "dist", origins="null")
        browser = Browser.start(self, daemon)
        tabs = []
        for me, peer in (("alice", "bob"), ("bob", "alice")):
            given = urlencode({"token": token(me), "me": me, "peer": peer, "url": daemon.url})
            tab = await browser.open(me, f"{(EXAMPLES / 'chat.html').as_uri()}#{given}")
            await tab.see("#status", "connected")
            tabs.append(tab)
        await tabs[0].write("Hello")
        await tabs[0].see("li", "alice: Hello")
        await tabs[1].see("li", "alice: Hello")
        self.assertEqual(await tabs[0].complaints(), [])

    async def test_the_receiver_of_hooks_takes_what_is_signed_and_nothing_else_and_each_event_once(self) -> None:
        path = self.mktemp()
        await deferToThread(
            Path(path).write_text, f"# the new one\n{as_text(SECRET)}\n{as_text(OTHER).removeprefix('whsec_')}\n"
        )
        program = LineClient.start(self, [sys.executable, str(EXAMPLES / "hooks.py"), path, "0"], {})
        await program.says("waiting for events at")
        url = program.said.split()[-1]
        event = Event("msg_1", "user.connected", "ben", 1_700_000_000_000, Raw(b'{"user":"ben"}'))
        for secret, wall, outcome in (
            (b"x" * 24, time.time, Later(reason="status")),
            (SECRET, lambda: time.time() - 1000, Later(reason="status")),
            (SECRET, time.time, Delivered()),
            (OTHER, time.time, Delivered()),
        ):
            webhook, _ = made_webhook(url, secret, wall=wall)
            self.assertEqual(outcome, await webhook.deliver(Delivery(event)))
            await webhook.stop()
        await program.says('2023-11-14T22:13:20.000Z user.connected {"user": "ben"}')
        self.assertEqual(1, program.said.count("user.connected"))

    def test_the_program_of_the_library_is_that_of_its_page(self) -> None:
        """tests/e2e/test_library.py runs that one."""
        self.assertEqual((EXAMPLES / "rooms.py").read_text("utf-8"), example())

    def test_the_readme_names_each(self) -> None:
        text = (EXAMPLES / "README.md").read_text("utf-8")
        for path in EXAMPLES.iterdir():
            if path.is_file():
                self.assertIn(f"`{path.name}`" if path.suffix != ".md" else "# Examples", text)
