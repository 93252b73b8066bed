"""What the documentation shows of other files is what stands in them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.make_docs import PAGES, ROOT, filled, sources


class MakeDocs(SynchronousTestCase):
    def test_all_pages_are_up_to_date(self) -> None:
        for page in PAGES.glob("*.md"):
            text = page.read_text("utf-8")
            self.assertEqual(text, filled(text), f"{page.name}: run `make docs`")

    def test_every_proxy_s_configuration_is_shown_and_none_is_written_by_hand(self) -> None:
        page = (PAGES / "proxies.md").read_text("utf-8")
        shown = [Path(path).name for path in sources(page)]
        there = {path.name for path in (ROOT / "deploy").iterdir() if path.suffix in (".conf", ".cfg")}
        there.discard("logrotate.conf")
        self.assertEqual((sorted(shown), page.count("proxy_pass http")), (sorted(there), 2))

    def test_a_change_of_the_file_is_a_change_of_the_page(self) -> None:
        begin, end = "<!-- made by `make docs` from deploy/nginx.conf -->", "<!-- end of deploy/nginx.conf -->"
        page = filled(f"a\n{begin}\nold\n{end}\nb\n")
        self.assertNotIn("old", page)
        self.assertIn((ROOT / "deploy" / "nginx.conf").read_text("utf-8"), page)
        self.assertEqual(page, filled(page))
