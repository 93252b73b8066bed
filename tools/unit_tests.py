"""Prints the test modules that need no service (a process, Redis, RabbitMQ, Node.js, a browser), by what they import.

python -m twisted.trial $(python tools/unit_tests.py)
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: What stands for a process of its own, or for packages that `make test` installs.
SERVICES = ("subprocess", "tests.support", "tests.front.browser", "tests.e2e", "chaos.", "bench.", "soak.")

#: Helpers in tests.support that are none.
HARMLESS = ("tests.support.certificates", "tests.support.tokens", "tests.support.waiting")


def imported(path: Path) -> Iterator[str]:
    """The full names that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name: str) -> Path | None:
    """The module of ours that a full name is, or lies in."""
    parts = name.split(".")
    for count in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[:count]).with_suffix(".py")
        if count and path.is_file():
            return path
    return None


def needs_a_service(path: Path, seen: set[Path]) -> bool:
    """Whether a module of the tests, or one that it imports, has to do with a service."""
    if path in seen:
        return False
    seen.add(path)
    for name in imported(path):
        if name.startswith(HARMLESS):
            continue
        if name.startswith(SERVICES):
            return True
        if name.startswith("tests."):
            other = file_of(name)
            if other is not None and needs_a_service(other, seen):
                return True
    return False


def modules() -> list[str]:
    """The test modules without, by their full names."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    kept = [path for path in paths if "node_modules" not in path.parts and not needs_a_service(path, set())]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in kept]


if __name__ == "__main__":
    print("\n".join(modules()))
    sys.exit(0)
