"""The house's order: imports point down only. Read from the source, since no test imports all of it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kschat"

#: What each floor may import, by the beginning of the full name, beside the standard library and itself.
ALLOWED = {
    "wire": {"msgspec"},
    "server": {
        "msgspec",
        "twisted.internet.defer",
        "twisted.internet.interfaces",
        "twisted.logger",
        "twisted.python.failure",
        "kschat.wire",
    },
    "chat": {
        "msgspec",
        "jwt",
        "cryptography",
        "zope.interface",
        "twisted.internet.defer",
        "twisted.internet.interfaces",
        "twisted.logger",
        "twisted.python.failure",
        "kschat.counters",
        "kschat.wire",
    },
    "backends": {
        "msgspec",
        "zope.interface",
        "twisted",
        "OpenSSL",
        "pika",
        "txredisapi",
        "hiredis",
        "kschat.chat",
        "kschat.counters",
        "kschat.wire",
    },
    "front": {
        "msgspec",
        "zope.interface",
        "twisted",
        "autobahn",
        "cryptography",
        "idna",
        "prometheus_client",
        "kschat.chat",
        "kschat.counters",
        "kschat.server",
        "kschat.wire",
        "kschat.__version__",
    },
    "settings": {"msgspec", "kschat.backends", "kschat.chat", "kschat.front.origins"},
    "cli": {
        "msgspec",
        "cryptography",
        "twisted",
        "kschat.assets",
        "kschat.backends",
        "kschat.chat",
        "kschat.front",
        "kschat.settings",
        "kschat.__version__",
    },
}

#: Floors without a circle of imports, those for types alone included. (The others have some yet.)
ACYCLIC = {"front", "server", "settings", "cli"}

#: Floors whose functions take what is more than three parameters by name. (The others do so in part.)
BY_NAME = {"front", "server"}

#: Functions that may import the reactor, inside of them: where a process begins.
BEGINNINGS = {("kschat/tap.py", "makeService"), ("kschat/cli/command.py", "run")}


def imports(tree: ast.AST) -> Iterator[str]:
    """The full names that ``tree`` imports: ``from a.b import c`` is ``a.b.c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), str(path))


def belongs(name: str, prefixes: set[str]) -> bool:
    """Whether ``name`` is, or lies in, one of the packages."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, from a node back to itself; empty where there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            found = walk(following, [*path, node])
            if found:
                return found
        done.add(node)
        return []

    return next(filter(None, (walk(node, []) for node in sorted(graph))), [])


class TestImports(SynchronousTestCase):
    """Imports point down only."""

    def test_each_floor_imports_only_what_it_stands_on(self):
        for floor, allowed in ALLOWED.items():
            files = list((PACKAGE / floor).rglob("*.py"))
            self.assertTrue(files)
            for path in files:
                for name in imports(parsed(path)):
                    known = (
                        belongs(name, allowed | {f"kschat.{floor}"}) or name.split(".")[0] in sys.stdlib_module_names
                    )
                    self.assertTrue(known, f"{path.relative_to(ROOT)} imports {name}, which is not below {floor}")

    def test_no_module_imports_itself_by_way_of_others_of_its_floor(self):
        for floor in ACYCLIC:
            modules = {path.stem: path for path in (PACKAGE / floor).glob("*.py") if path.stem != "__init__"}
            graph = {}
            for module, path in modules.items():
                within = [name.split(".")[2:] for name in imports(parsed(path)) if belongs(name, {f"kschat.{floor}"})]
                graph[module] = {name[0] for name in within if name and name[0] in modules}
            self.assertEqual(circle(graph), [], f"a circle in {floor}")

    def test_functions_with_more_than_three_parameters_take_the_others_by_name(self):
        for floor in BY_NAME:
            for path in (PACKAGE / floor).rglob("*.py"):
                for function in ast.walk(parsed(path)):
                    # Those in camelCase are Twisted's and Autobahn's.
                    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.islower():
                        given = [one.arg for one in function.args.posonlyargs + function.args.args]
                        positional = [name for name in given if name not in ("self", "cls")]
                        self.assertLessEqual(len(positional), 3, f"{path.relative_to(ROOT)}: {function.name}")

    def test_a_circle_would_be_found(self):
        self.assertEqual(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), ["b", "c", "b"])
        self.assertEqual(circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}), [])

    def test_the_counters_stand_on_nothing(self):
        for name in imports(parsed(PACKAGE / "counters.py")):
            self.assertIn(name.split(".")[0], sys.stdlib_module_names)

    def test_no_circle_of_imports_within_the_chat(self):
        # Those for types count as well: what needs another's type is not apart from it.
        places = {
            f"kschat.chat.{path.stem}": path for path in (PACKAGE / "chat").glob("*.py") if path.stem != "__init__"
        }
        below = {
            module: {name for name in places for one in imports(parsed(path)) if belongs(one, {name})}
            for module, path in places.items()
        }
        done: set[str] = set()

        def visit(module: str, path: tuple[str, ...]) -> None:
            self.assertNotIn(module, path, f"a circle: {' -> '.join((*path, module))}")
            if module not in done:
                for name in sorted(below[module]):
                    visit(name, (*path, module))
                done.add(module)

        for module in below:
            visit(module, ())

    def test_more_than_three_parameters_are_named_at_the_call_in_the_chat(self):
        for path in (PACKAGE / "chat").glob("*.py"):
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    names = [
                        one.arg for one in (*node.args.posonlyargs, *node.args.args) if one.arg not in ("self", "cls")
                    ]
                    self.assertLessEqual(len(names), 3, f"{path.name}: {node.name}")

    def test_every_package_is_a_floor(self):
        packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
        self.assertEqual(packages, set(ALLOWED))

    def test_only_the_beginning_of_a_process_imports_the_reactor(self):
        files = [*PACKAGE.rglob("*.py"), ROOT / "twisted" / "plugins" / "kschat_plugin.py", ROOT / "kschat.tac"]
        for path in files:
            found = parsed(path)
            place = path.relative_to(ROOT).as_posix()
            for function in ast.walk(found):
                if isinstance(function, ast.FunctionDef) and (place, function.name) in BEGINNINGS:
                    function.body = [ast.Pass()]
            for name in imports(found):
                self.assertFalse(name.startswith("twisted.internet.reactor"), f"{place} imports the reactor")

    def test_the_plugin_imports_the_service_maker_and_nothing_else(self):
        names = list(imports(parsed(ROOT / "twisted" / "plugins" / "kschat_plugin.py")))
        self.assertEqual(names, ["twisted.application.service.ServiceMaker"])

    def test_nothing_but_what_begins_a_process_imports_the_wiring(self):
        for path in PACKAGE.rglob("*.py"):
            if path.name != "tap.py":
                for name in imports(parsed(path)):
                    self.assertFalse(belongs(name, {"kschat.tap"}), f"{path.relative_to(ROOT)} imports {name}")

    def test_the_plugin_s_directories_are_no_packages(self):
        # With an __init__.py there, Twisted's own package would be hidden, or the plugin not be found.
        for directory in (ROOT / "twisted", ROOT / "twisted" / "plugins"):
            self.assertFalse((directory / "__init__.py").exists())
