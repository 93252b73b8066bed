"""README.md and the pages of docs/, followed from top to bottom in one shell, in a root that has nothing else."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.front.browser import Browser
from tests.support import NODE_DIRECTORY, REPOSITORY, Daemon, repeated_until, require_chromium, require_node, token
from tests.support.needs import require, require_rabbitmq, require_redis
from tests.support.pages import NPM, Command, Place, Shell, commands
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import Redis

#: In the order that a reader follows.
PAGES = (
    "README.md",
    "docs/tokens.md",
    "docs/guide.md",
    "docs/storage.md",
    "docs/operations.md",
    "docs/runbook.md",
    "docs/migration.md",
    "docs/cloud-foundry.md",
    "examples/README.md",
)


class PagesTests(unittest.TestCase):
    timeout = 600

    async def test_each_command_of_each_page_works_in_one_shell(self) -> None:
        require_node()
        require_rabbitmq()
        require_redis()
        for path in NPM.values():
            require("" if path.is_dir() else f"{path} is missing (`make node`)")
        broker = await shared_rabbitmq()
        redis = Redis()
        self.addCleanup(redis.stop)
        await redis.start()
        # A short path: the control socket beside the store has at most 107 bytes of it.
        directory = tempfile.mkdtemp(prefix="kschat-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        place = await deferToThread(Place, directory)
        place.ports |= {"5672": str(broker.port), "6379": str(redis.port)}
        shell = Shell(place)
        self.addCleanup(shell.end)
        await deferToThread(self.follow, place, shell)

    def follow(self, place: Place, shell: Shell) -> None:
        """All pages, one after the other."""
        ran = 0
        for name in PAGES:
            for command in commands((place.clone / name).read_text("utf-8")):
                try:
                    shell.run(command)
                except AssertionError as error:
                    raise AssertionError(f"{name}: {error}") from None
                ran += 1
        self.assertGreater(ran, 50)
        for secret in ("secret", "private.pem"):
            self.assertEqual(stat.S_IMODE((place.clone / secret).stat().st_mode), 0o600, secret)
        self.assert_the_unit_starts_what_is_there(place)
        # What the page tells whoever comes without a token.
        template = (place.clone / "templates/index.html").read_text("utf-8")
        (told,) = re.findall(r"<code[^>]*>(\S+kschat token [^<]*)</code>", template)
        self.assertRegex(shell.run(Command(told)).strip(), r"^eyJ[\w.-]+$")

    def assert_the_unit_starts_what_is_there(self, place: Place) -> None:
        """``systemctl`` did nothing: what its unit names is there all the same."""
        unit = (place.root / "etc/systemd/system/kschat.service").read_text("utf-8")
        for key in ("ExecStart", "LoadCredential", "WorkingDirectory", "Documentation"):
            (value,) = re.findall(rf"(?m)^{key}=(.*)$", unit)
            (path,) = re.findall(r"/(?:opt|etc)[\w./-]*", value)
            self.assertTrue(Path(f"{place.root}{path}").exists(), f"{key}={value}")


class SnippetTests(unittest.TestCase):
    """The few lines of README.md that send and receive, in two tabs of a real Chromium."""

    timeout = 120

    async def test_it_sends_and_receives(self) -> None:
        require_chromium()
        dist = NODE_DIRECTORY / "node_modules" / "sio4" / "dist"
        daemon = await Daemon.start(self, client_dist=dist, origins="null")
        browser = Browser.start(self, daemon)
        (snippet,) = re.findall(r"(?ms)^```html\n(.*?)^```", (REPOSITORY / "README.md").read_text("utf-8"))
        self.assertLess(len(snippet.splitlines()), 8)
        tabs = []
        for me, peer in (("alice", "bob"), ("bob", "alice")):
            text = snippet.replace("http://127.0.0.1:3000", daemon.url).replace("TOKEN", token(me))
            text = text.replace('uId: "alice", pId: "bob"', f'uId: "{me}", pId: "{peer}"')
            said = "<script>said = []; console.log = (...words) => said.push(words.map(String).join(' '));</script>"
            tabs.append(await browser.open(me, written(f"{self.mktemp()}.html", said + text)))

        async def heard() -> list[list[str]]:
            return [await tab.do("read", script="said") for tab in tabs]

        got = await repeated_until(heard, lambda both: all(len(one) == 2 for one in both), "both to be heard")
        self.assertIn("bob Hello", got[0])
        self.assertIn("alice Hello", got[1])


def written(name: str, text: str) -> str:
    """The URL of a new file."""
    path = Path(name).absolute()
    path.write_text(text, "utf-8")
    return path.as_uri()


class ReadmeTests(unittest.SynchronousTestCase):
    """What README.md is to be: read in half a minute."""

    def test_it_is_short(self) -> None:
        self.assertLess(len((REPOSITORY / "README.md").read_text("utf-8").splitlines()), 90)

    def test_all_that_it_names_is_there(self) -> None:
        for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
            text = page.read_text("utf-8")
            for link in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
                path, anchor = link
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{page.name}: {path}")
                if anchor:
                    headings = re.findall(r"(?m)^#+ (.*)$", target.read_text("utf-8"))
                    self.assertIn(anchor, [slug(heading) for heading in headings], f"{page.name}: {link}")


def slug(heading: str) -> str:
    """The anchor that Markdown's readers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
