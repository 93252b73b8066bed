"""Builds the documentation as HTML in build/site: README.md, the pages of docs/, an API reference from docstrings.

    python tools/make_site.py       (or `make site`)

Needs the packages of the extra ``docs``, and no network. A warning of Sphinx's (a link to nowhere) is a failure.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"

#: Pages that are not in docs/, and their names in the site.
OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "bench/README.md": "bench.md",
    "examples/README.md": "examples.md",
    "LICENSE": "licence.md",
}

#: The parts of the navigation, and what each page is called there.
PARTS = {
    "Writing a client": ("guide", "clients", "page", "tokens", "api", "hooks", "asking", "commands", "examples"),
    "Running it": (
        *("install", "operations", "runbook", "admin", "configuration", "storage", "proxies"),
        *("containers", "cloud-foundry", "security", "metrics", "push"),
    ),
    "Coming and deciding": ("first-minute", "migration", "compatibility", "performance", "bench", "conformance"),
    "Inside": ("architecture", "testing", "library", "reference", "contributing", "reporting", "changes", "licence"),
}

#: What the API reference is of: what a program of one's own may stand on.
API = (
    ("A Socket.IO server for any application", ("kschat.server", "kschat.front.standalone")),
    ("The chat without a socket", ("kschat.chat.operations",)),
    ("A store of one's own", ("kschat.chat.interfaces", "kschat.backends.kinds", "kschat.backends.table")),
    ("Settings", ("kschat.settings", "kschat.settings.model")),
)

CONF = '''\
"""Sphinx's configuration, made by tools/make_site.py."""

from kschat import __version__

project, author, copyright = "kschat", "kschat contributors", "kschat contributors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "kschat"
html_static_path = []
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True}
# What zope.interface and Markdown in docstrings make of it is not worth a failure; a link to nowhere is.
suppress_warnings = ["docutils", "ref.python", "misc.highlighting_failure"]
'''


def pages(root: Path) -> dict[str, str]:
    """The site's pages in Markdown, by their names, their links made those of the site."""
    paths = {path: path.name for path in sorted((root / "docs").glob("*.md"))}
    paths |= {root / name: target for name, target in OTHERS.items()}
    names = {path.resolve(): name for path, name in paths.items()}
    found = {}
    for path, name in paths.items():
        text = path.read_text("utf-8")
        if path.suffix != ".md":
            text = f"# Licence\n\n```text\n{text}```\n"
        found[name] = _linked(text, path.parent, names)
    found["index.md"] += _navigation()
    found["reference.md"] = _api()
    return found


def _linked(text: str, directory: Path, names: dict[Path, str]) -> str:
    """``text`` of a page in ``directory`` with the site's links; where a link leads out of it, the label is left."""

    def link(found: re.Match[str]) -> str:
        image, label, path, anchor = found[1], found[2], found[3], found[4] or ""
        if not path or re.match(r"[a-z]+:", path):
            return found[0]
        target = (directory / path).resolve()
        if image:
            return f"![{label}]({target.name})"
        return f"[{label}]({names[target]}{anchor})" if target in names else label

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)]*)?\)", link, text)


def _navigation() -> str:
    """What gives the site its sidebar."""
    text = ""
    for part, names in PARTS.items():
        listed = "\n".join(names)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {part}\n\n{listed}\n```\n"
    return text


def _api() -> str:
    """The page of the API reference."""
    text = "# API reference\n\nWhat a program of your own may stand on, from the docstrings.\n"
    for title, modules in API:
        text += f"\n## {title}\n"
        for module in modules:
            text += f"\n### {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"
    return text


def main(directory: Path = BUILD) -> int:
    """Writes the sources into a directory, and has Sphinx make the site of them there; its status."""
    from sphinx.cmd.build import main as build

    sources, site = directory / "site-sources", directory / "site"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    for name, text in pages(ROOT).items():
        (sources / name).write_text(text, "utf-8")
    for pattern in ("*.png", "*.svg"):
        for image in (ROOT / "docs").glob(pattern):
            shutil.copy(image, sources)
    (sources / "conf.py").write_text(CONF, "utf-8")
    status = int(build(["-q", "-W", "--keep-going", "-b", "html", str(sources), str(site)]))
    if not status:
        print(f"the documentation is in {site / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
