"""Writes the generated parts of docs/: settings, commands, and the proxies' configurations of deploy/.

A page has two markers around each: ``<!-- made by `make docs` from PATH -->`` and ``<!-- end of PATH -->``. Also writes
the man pages and the completion in deploy/.
"""

import re
import sys
from pathlib import Path

from kschat.cli.manual import made_files, reference
from kschat.settings import settings_table

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs"

#: Sources that are not shown as they are.
MADE = {"kschat/settings/model.py": settings_table, "kschat/cli/definitions.py": reference}

BETWEEN = re.compile(
    r"(<!-- made by `make docs` from (?P<path>[\w./-]+) -->\n).*?(<!-- end of (?P=path) -->\n)", re.DOTALL
)


def filled(page: str) -> str:
    """``page`` with what belongs between its markers."""
    return BETWEEN.sub(lambda found: f"{found[1]}\n{_made_from(found['path'])}\n{found[3]}", page)


def sources(page: str) -> list[str]:
    """The files that ``page`` shows."""
    return [found["path"] for found in BETWEEN.finditer(page)]


def _made_from(path: str) -> str:
    if path in MADE:
        return MADE[path]()
    return f"```\n{(ROOT / path).read_text('utf-8')}```\n"


if __name__ == "__main__":
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(filled(page.read_text("utf-8")), "utf-8")
    for path, text in made_files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")
    sys.exit(0)
