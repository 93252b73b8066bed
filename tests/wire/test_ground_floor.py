"""What the wire stands on, and what its map says."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import kschat.wire

MODULES = sorted(Path(kschat.wire.__file__).parent.glob("*.py"))

#: Of the standard library, but input and output, or a clock.
NOT_PURE = {
    "asyncio",
    "http",
    "io",
    "logging",
    "os",
    "sched",
    "select",
    "socket",
    "socketserver",
    "ssl",
    "threading",
    "time",
}


def imported(module: Path) -> Iterator[str]:
    """The full names of the modules that ``module`` imports."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level
            yield node.module


class GroundFloorTests(SynchronousTestCase):
    """The package as a whole."""

    def test_it_imports_itself_msgspec_and_the_pure_part_of_the_standard_library(self) -> None:
        allowed = (set(sys.stdlib_module_names) - NOT_PURE) | {"msgspec"}
        for module in MODULES:
            for name in imported(module):
                inside = name == "kschat.wire" or name.startswith("kschat.wire.")
                self.assertTrue(inside or name.partition(".")[0] in allowed, f"{module.name} imports {name}")

    def test_its_map_names_every_module(self) -> None:
        assert kschat.wire.__doc__ is not None
        for module in MODULES:
            if module.stem != "__init__":
                self.assertIn(f"- ``{module.stem}``", kschat.wire.__doc__)
