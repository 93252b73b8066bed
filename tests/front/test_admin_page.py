"""The admin page: how it is served, and its script in Node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from kschat.api.methods import METHODS
from kschat.assets import shipped
from kschat.front.admin_page import AdminPage
from kschat.front.metrics import KNOWN
from kschat.tap import QUEUES
from tests.front.serving import Served
from tests.front.test_browser_policy import policy
from tests.support import NODE_DIRECTORY, require_node, within

DIRECTORY: Final = Path(shipped("admin").path)


class Page(TestCase):
    def setUp(self) -> None:
        self.served = Served(self, admin=AdminPage(shipped("admin")))

    async def test_no_other_page_may_show_it_and_it_reaches_its_own_daemon_alone(self) -> None:
        code, headers, document = await self.served.get("/admin")
        self.assertEqual((200, "text/html; charset=utf-8"), (code, headers["content-type"]))
        parts = policy(headers["content-security-policy"].encode())
        for name in ("default-src", "frame-ancestors", "form-action", "base-uri"):
            self.assertEqual(["'none'"], parts[name])
        for kind in ("script", "style", "connect", "img"):
            self.assertEqual(["'self'"], parts[f"{kind}-src"])
        self.assertEqual("DENY", headers["x-frame-options"])
        self.assertEqual("same-origin", headers["cross-origin-opener-policy"])
        self.assertEqual(("no-referrer", "nosniff"), (headers["referrer-policy"], headers["x-content-type-options"]))
        self.assertIsNone(re.search(rb"<script>|<style|\son\w+=|\sstyle=|https?:", document))

    async def test_what_the_document_and_the_scripts_name_is_there(self) -> None:
        document = (await self.served.get("/admin")).body.decode()
        named = set(re.findall(r'(?:src|href)="admin/([^"]+)"', document))
        self.assertEqual({"admin.css", "icon.svg", "main.js"}, named)
        for path in DIRECTORY.glob("*.js"):
            named |= set(re.findall(r'from "\./([\w.]+)"', path.read_text("utf-8")))
        self.assertEqual({path.name for path in DIRECTORY.iterdir()} - {"index.html", "package.json"}, named)
        for name in named:
            self.assertEqual(200, (await self.served.get(f"/admin/{name}")).code, name)

    async def test_it_has_one_address(self) -> None:
        code, headers, _ = await self.served.get("/admin/")
        self.assertEqual((302, "../admin"), (code, headers["location"]))
        for path in ("index.html", "../setup.py", "%2e%2e/setup.py", ".hidden", "main.js/x", "nothing.js"):
            self.assertEqual(404, (await self.served.get(f"/admin/{path}")).code, path)
        self.assertEqual(405, (await self.served.get("/admin", method="POST")).code)

    async def test_the_key_can_be_in_no_address(self) -> None:
        # Not even where the script is not loaded, and the browser sends the form itself.
        (field,) = re.findall(rb'<input id="key"[^>]*>', (await self.served.get("/admin")).body)
        self.assertIn(b'type="password"', field)
        self.assertNotIn(b"name=", field)


class Script(TestCase):
    async def test_its_tests_in_node_pass(self) -> None:
        arguments = ["--test", str(NODE_DIRECTORY / "admin_test.mjs")]
        running = getProcessOutputAndValue(require_node(), arguments, env=None)
        output, errors, status = await within(running, "node to end", lambda: "", 90)
        self.assertEqual(status, 0, bytes(output + errors).decode(errors="replace"))

    def test_text_is_never_markup_and_the_key_is_kept_by_the_tab_alone(self) -> None:
        for path in DIRECTORY.glob("*.js"):
            text = path.read_text("utf-8")
            found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage", text)
            self.assertEqual([], found, path.name)

    def test_it_uses_operations_that_are_there_and_shows_what_is_counted(self) -> None:
        script = "".join(path.read_text("utf-8") for path in DIRECTORY.glob("*.js"))
        used = set(re.findall(r'(?:ask\(|operation: )"([\w/]+)"', script))
        self.assertEqual({"counts", "presence", "sockets", "online", "disconnect", "revoke", "notice"}, used)
        self.assertLess(used, set(METHODS))
        for name in QUEUES:
            self.assertIn(f'"{name}"' if name != "buffered_bytes" else name, script)
        for code in KNOWN["rejected"]:
            self.assertIn(f'"rejected/{code}":', script)
