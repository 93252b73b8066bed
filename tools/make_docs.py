"""Writes the table of settings into docs/configuration.md, between its two markers."""

import sys
from pathlib import Path

from kschat.config import settings_table

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
BEGIN = "<!-- settings: made by `make docs` from kschat/config.py -->\n"
END = "<!-- end of settings -->\n"


def with_table(page: str, table: str) -> str:
    """``page`` with ``table`` between the markers. Raises ValueError if it has no markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the page has no markers to put the table between")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), settings_table()), "utf-8")
    sys.exit(0)
