"""The documentation site: every page is in it, every link leads somewhere, and nothing is fetched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools import make_site

PATIENCE = 300


class TestPages(SynchronousTestCase):
    def setUp(self) -> None:
        self.pages = make_site.pages(make_site.ROOT)

    def test_each_page_is_in_the_navigation_once(self) -> None:
        listed = [f"{name}.md" for names in make_site.PARTS.values() for name in names]
        self.assertEqual(sorted([*listed, "index.md"]), sorted(self.pages))

    def test_links_are_those_of_the_site(self) -> None:
        for name, text in self.pages.items():
            for path in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s:]+)(?:#[^)]*)?\)", text):
                self.assertIn(path, self.pages, name)


class TestSite(SynchronousTestCase):
    def test_it_is_built_without_a_warning_and_loads_nothing_from_elsewhere(self) -> None:
        directory = Path(self.mktemp()).absolute()
        code = "import pathlib, sys; from tools import make_site; sys.exit(make_site.main(pathlib.Path(sys.argv[1])))"
        ended = subprocess.run(
            [sys.executable, "-c", code, str(directory)],
            cwd=make_site.ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        api = (directory / "site" / "reference.html").read_text("utf-8")
        for name in ("kschat.server.Server", "kschat.backends.kinds.StoreKind", "kschat.settings.load"):
            self.assertIn(f'id="{name}"', api)
        for path in (directory / "site").glob("*.html"):
            text = path.read_text("utf-8")
            self.assertEqual(re.findall(r'<(?:script|img)[^>]*src="https?:[^"]*"', text), [], path.name)
            self.assertEqual(re.findall(r'<link[^>]*stylesheet[^>]*href="https?:[^"]*"', text), [], path.name)
