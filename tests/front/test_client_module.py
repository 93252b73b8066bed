"""The client module, static/kschat/: its types, and what it does on a real daemon."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support import NODE_DIRECTORY, Daemon, require_node, token, within
from tests.support.launch import REPOSITORY
from tests.support.needs import require


class ClientModule(TestCase):
    async def run_node(self, *arguments: str) -> str:
        running = getProcessOutputAndValue(require_node(), list(arguments), env=None)
        output, errors, status = await within(running, "node to end", lambda: "", 90)
        said = bytes(output + errors).decode(errors="replace")
        self.assertEqual(status, 0, said)
        return said

    async def test_it_does_on_a_real_daemon_what_its_page_says(self) -> None:
        daemon = await Daemon.start(self)
        tokens = [token(user, data={"id": user, "rooms": "*"}) for user in ("alice", "bob", "carol")]
        said = await self.run_node(str(NODE_DIRECTORY / "chat_live.mjs"), f"{daemon.url}/socket.io/", *tokens)
        self.assertIn("done", said)
        self.assertEqual(daemon.faults, [])

    async def test_its_types_are_right(self) -> None:
        compiler = Path(NODE_DIRECTORY) / "node_modules/typescript/bin/tsc"
        require("" if compiler.exists() else "typescript is not installed: run `make node`")
        await self.run_node(str(compiler), "--project", str(Path(REPOSITORY) / "tests/node/tsconfig.json"))

    async def test_its_tests_in_node_pass(self) -> None:
        tests = [str(NODE_DIRECTORY / name) for name in ("chat_test.mjs", "link_test.mjs")]
        said = await self.run_node("--test", *tests)
        self.assertIn("# fail 0", said)


class Documentation(SynchronousTestCase):
    def test_the_example_is_the_one_of_the_page(self) -> None:
        page = (Path(REPOSITORY) / "docs" / "page.md").read_text()
        example = (Path(REPOSITORY) / "examples" / "page.html").read_text()
        code = page.partition("```js\n")[2].partition("```")[0]
        within = example.partition('<script type="module">\n')[2].partition("  </script>")[0]
        self.assertEqual([line.strip() for line in within.splitlines()], [line.strip() for line in code.splitlines()])
        self.assertLessEqual(len(code.splitlines()), 30)

    def test_the_bounds_are_those_of_the_code(self) -> None:
        page = (Path(REPOSITORY) / "docs" / "page.md").read_text()
        bounded = " ".join(page.partition("## What is bounded")[2].split())
        limits = (Path(REPOSITORY) / "static" / "kschat" / "store.js").read_text()
        for name, value in re.findall(r"(\w+): ([\d_]+)", limits.partition("LIMITS = {")[2].partition("}")[0]):
            number = int(value)
            said = f"{number // 1_000_000} MB" if name.endswith("Bytes") else f"{number:,}"
            self.assertIn(said, bounded, name)
