"""README.md alone, followed from top to bottom in one shell, with the real pip and npm, on a bare Debian."""

from __future__ import annotations

import re

from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support.bareroot import BareRoot
from tests.support.needs import allowed_skip
from tests.support.pages import Command, Shell, TooSlow, commands

#: What a reader can do with what README.md installed: the daemon serves npm's client, which sends with the token.
USE = """\
node -e '
const {{ io }} = require("socket.io-client");
const client = require("fs").readFileSync("node_modules/socket.io-client/dist/socket.io.min.js", "utf8");
const ended = (status, ...words) => {{ console.log(...words); process.exit(status); }};
fetch("http://127.0.0.1:3000/socket.io/socket.io.min.js").then((got) => got.text()).then((text) => {{
    if (text !== client) ended(1, "another client is served");
    const socket = io("http://127.0.0.1:3000/kschat", {{ auth: {{ token: "{token}" }} }});
    socket.on("connect_error", (error) => ended(1, error.message));
    socket.emit("Send", {{ uId: "alice", pId: "bob", msg: "Hello", rno: 1, time: 0 }}, (answer) => ended(0, answer));
}});'"""


class ReadmeTests(unittest.TestCase):
    """See ``BareRoot`` for what the test makes and needs. It is skipped, not failed, on a machine that lacks that."""

    timeout = 600

    async def test_it_can_be_followed_on_a_bare_machine(self) -> None:
        await deferToThread(self.follow)

    def follow(self) -> None:
        """All commands, and what has to hold after them."""
        root = BareRoot(self.mktemp())
        shell = root.shell()
        try:
            self.check_bare(shell)
            self.follow_in(root, shell)
        except AssertionError:
            # Of the page, or of the network?
            root.require_registries()
            raise
        finally:
            shell.end()

    def check_bare(self, shell: Shell) -> None:
        for absent in ("git", "gcc", "pip", "redis-server"):
            self.assertEqual(shell.run(Command(f"command -v {absent} || echo none")).strip(), "none", absent)
        self.assertEqual(shell.run(Command("ls -A /home /srv /tmp /usr/local/bin | grep -v :")).split(), [])
        self.assertEqual(shell.run(Command("ls -d .venv node_modules 2>/dev/null || echo none")).strip(), "none")

    def follow_in(self, root: BareRoot, shell: Shell) -> None:
        token = ""

        def used() -> None:
            self.assertIn("  mid: '", shell.run(Command(USE.format(token=token))))

        followed = list(commands((root.clone / "README.md").read_text("utf-8")))
        for command in followed:
            try:
                printed = shell.run(command, used if "twistd" in command.text else None)
            except TooSlow:
                allowed_skip(f"{command.text} takes too long" if re.match("make|npm", command.text) else "")
                raise
            if "kschat token" in command.text:
                token = printed.strip()
                self.assertRegex(token, r"^eyJ[\w.-]+$")
        self.assertTrue(token)
        self.assertIn("twistd", followed[-1].text)
        self.assertEqual(shell.run(Command("stat -c %a secret")).strip(), "600")
