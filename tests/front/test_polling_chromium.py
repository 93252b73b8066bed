"""npm's clients in real Chromium, on a page of another origin: there XHR takes binary, and sends credentials.

In node these clients have no such XHR: packed binary, JSONP and CORS are used by browsers alone.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data, File

from tests.front.browser import Browser
from tests.support import NODE_DIRECTORY, Daemon, token
from tests.support.npm import VERSIONS
from tests.support.waiting import real_reactor

#: Sends each message to itself when it is connected; its value is what came back, and by which transport.
SCRIPT = """
new Promise((resolve, reject) => {
  const messages = [%(messages)s];
  const options = Object.assign({ forceNew: true, reconnection: false, query: "token=%(token)s" }, %(options)s);
  const socket = io("%(url)s/kschat", options);
  const came = [];
  const plain = (value) => (value instanceof ArrayBuffer ? { bytes: [...new Uint8Array(value)] } : value);
  socket.on("RESPRECEIVER", (body, ack) => {
    came.push(plain(body.MSG[0].msg));
    if (typeof ack === "function") ack();
    if (came.length < messages.length) return;
    const transport = socket.io.engine.transport;
    resolve({ came, transport: transport.name, script: Boolean(transport.script) });
    socket.disconnect();
  });
  socket.on("connect", () => {
    for (const msg of messages) {
      const answered = (answer) => answer.mid || reject(JSON.stringify(answer));
      socket.emit("Send", { uId: "u", pId: "u", msg, rno: 1, time: 0 }, answered);
    }
  });
  for (const event of ["connect_error", "error"]) {
    socket.on(event, (error) => reject(String((error && error.description) || error)));
  }
})
"""

ASCII: list[Any] = ["hi", "a\nb\\nc\\\\n\"'</script>", {"": [None, 1.5, {"_placeholder": True, "num": 0}]}, "x" * 3000]
BEYOND: list[Any] = ["é λ 漢字 😀", "\u2028\u2029\x1e"]
BYTES = [0, 1, 4, 30, 48, 58, 127, 128, 255]


class OtherOrigin(TestCase):
    timeout = 120

    async def begin(self, **settings: str) -> tuple[Daemon, Browser, str]:
        """A daemon, a browser, and where pages with npm's clients are."""
        root = Resource()
        for version in VERSIONS:
            root.putChild(
                f"sio{version}".encode(), File(str(NODE_DIRECTORY / "node_modules" / f"sio{version}" / "dist"))
            )
            html = f'<!doctype html><title>page</title><script src="/sio{version}/socket.io.js"></script>'
            root.putChild(f"page{version}".encode(), Data(html.encode(), "text/html; charset=utf-8"))
        root.putChild(b"favicon.ico", Data(b"", "image/x-icon"))
        port = real_reactor().listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        # Another name for the same machine, and so another site: cookies and credentials are a stranger's.
        origin = f"http://localhost:{port.getHost().port}"
        daemon = await Daemon.start(self, **{"origins": origin, **settings})
        return daemon, Browser.start(self, daemon), origin

    async def echo(
        self, daemon: Daemon, browser: Browser, origin: str, version: int, **options: object
    ) -> dict[str, Any]:
        """What came back to a client of ``version``."""
        tab = await browser.open(f"{version}{options}", f"{origin}/page{version}")
        texts = ASCII if version == 1 else ASCII + BEYOND
        messages = [*map(json.dumps, texts), f"new Uint8Array({json.dumps(BYTES)}).buffer"]
        script = SCRIPT % {
            "messages": ", ".join(messages),
            "token": token("u"),
            "options": json.dumps(options),
            "url": daemon.url,
        }
        said: dict[str, Any] = await tab.do("read", script=script)
        self.assertEqual(said.pop("came"), [*texts, {"bytes": BYTES}], (version, options))
        self.assertEqual(await tab.complaints(), [])
        return said

    async def test_every_version_polls(self) -> None:
        daemon, browser, origin = await self.begin()
        for version in VERSIONS:
            for credentials in (True, False):
                options: dict[str, object] = {"transports": ["polling"]}
                if version > 1:
                    options["withCredentials"] = credentials
                said = await self.echo(daemon, browser, origin, version, **options)
                self.assertEqual(said, {"transport": "polling", "script": False})
        await daemon.health_becomes(connections=0)

    async def test_every_version_that_can_polls_by_scripts_and_forms(self) -> None:
        daemon, browser, origin = await self.begin()
        for version in (1, 2, 3):
            said = await self.echo(daemon, browser, origin, version, transports=["polling"], forceJSONP=True)
            self.assertEqual(said, {"transport": "polling", "script": True})
        await daemon.health_becomes(connections=0)

    async def test_every_version_changes_to_websocket_by_default(self) -> None:
        daemon, browser, origin = await self.begin()
        for version in VERSIONS:
            await self.echo(daemon, browser, origin, version)
        await daemon.health_becomes(connections=0)

    async def test_a_page_that_is_not_named_can_not(self) -> None:
        daemon, browser, origin = await self.begin(origins="https://page.example")
        for version in VERSIONS:
            tab = await browser.open(f"{version}", f"{origin}/page{version}")
            script = SCRIPT % {"messages": '"x"', "token": token("u"), "options": "{}", "url": daemon.url}
            error = await tab.do("read", script=script.replace("reject(", "resolve("))
            self.assertIsInstance(error, str, (version, error))
        await daemon.health_becomes(connections=0)
