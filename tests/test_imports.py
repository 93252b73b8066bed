"""The house's order: imports point down only. Read from the source, since no test imports all of it."""

import ast
import importlib
import inspect
import re
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
        "kschat.log_text",
        "kschat.repeated_log",
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
        "kschat.budget",
        "kschat.counters",
        "kschat.log_text",
        "kschat.outage_log",
        "kschat.rates",
        "kschat.repeated_log",
        "kschat.wire",
    },
    "backends": {
        "msgspec",
        "zope.interface",
        "twisted",
        "OpenSSL",
        "pika",
        "psycopg",
        "txredisapi",
        "hiredis",
        "kschat.chat",
        "kschat.compat_tcp",
        "kschat.counters",
        "kschat.http_answers",
        "kschat.http_client",
        "kschat.outage_log",
        "kschat.repeated_log",
        "kschat.tls",
        "kschat.wire",
    },
    "hooks": {
        "msgspec",
        "jwt",
        "cryptography",
        "zope.interface",
        "twisted",
        "kschat.chat",
        "kschat.counters",
        "kschat.domains",
        "kschat.http_answers",
        "kschat.http_client",
        "kschat.outage_log",
        "kschat.repeated_log",
        "kschat.tracing.spans",
        "kschat.wire",
        "kschat.__version__",
    },
    "tracing": {
        "msgspec",
        "opentelemetry",
        "requests",
        "twisted",
        "zope.interface",
        "kschat.chat",
        "kschat.counters",
        "kschat.http_client",
        "kschat.outage_log",
        "kschat.__version__",
    },
    "api": {
        "msgspec",
        "twisted",
        "kschat.chat",
        "kschat.log_text",
        "kschat.tracing.spans",
        "kschat.unix_paths",
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
        "kschat.budget",
        "kschat.chat",
        "kschat.compat_tcp",
        "kschat.counters",
        "kschat.domains",
        "kschat.rates",
        "kschat.repeated_log",
        "kschat.server",
        "kschat.unix_paths",
        "kschat.wire",
        "kschat.__version__",
    },
    "settings": {
        "msgspec",
        "kschat.api.keys",
        "kschat.backends",
        "kschat.chat",
        "kschat.front.bindable",
        "kschat.front.clients",
        "kschat.front.origins",
        "kschat.hooks",
        "kschat.tracing.settings",
    },
    "cli": {
        "msgspec",
        "cryptography",
        "twisted",
        "kschat.log_text",
        "kschat.unix_paths",
        "kschat.api.keys",
        "kschat.api.problems",
        "kschat.api.types",
        "kschat.assets",
        "kschat.backends",
        "kschat.chat",
        "kschat.front",
        "kschat.hooks",
        "kschat.http_client",
        "kschat.launch",
        "kschat.processes",
        "kschat.settings",
        "kschat.__version__",
    },
}

#: Circles of imports within a floor that are there yet, each by its modules. It only gets shorter.
KNOWN_CIRCLES: set[frozenset[str]] = set()

#: Modules that touch privates of a library without being its compat module yet. It only gets shorter.
KNOWN_PRIVATES: set[str] = set()

#: Libraries whose privates compat modules alone may touch.
LIBRARIES = ("twisted", "autobahn", "pika", "psycopg", "txredisapi", "OpenSSL")

#: Names of a namedtuple that are public in spite of their underscore.
PUBLIC = {"_asdict", "_fields", "_make", "_replace"}

#: Floors whose functions take what is more than three parameters by name. (The others do so in part.)
BY_NAME = {"front", "server", "wire"}

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


def graph_of(floor: str) -> dict[str, set[str]]:
    """The modules of a floor, sub-packages included, and which of its others each imports; "" for those above."""
    root = PACKAGE / floor
    paths = root.rglob("*.py") if floor else root.glob("*.py")
    modules = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in paths}
    modules = {name: path for name, path in modules.items() if not name.endswith(".__init__")}
    graph = {}
    for module, path in modules.items():
        named = {name for full in imports(parsed(path)) for name in (full, full.rpartition(".")[0])}
        graph[module] = named & modules.keys() - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The groups of nodes that can be come to from each other; a node alone where it leads to itself."""
    reached: dict[str, set[str]] = {}
    for node in graph:
        found: set[str] = set()
        coming = [node]
        while coming:
            new = graph.get(coming.pop(), set()) - found
            found |= new
            coming += new
        reached[node] = found
    return {
        frozenset(other for other in found if node in reached.get(other, ()))
        for node, found in reached.items()
        if node in found
    }


def ancestors(module: str, name: str) -> tuple[type, ...]:
    """What a class of ours derives from. (Interfaces of zope are no classes.)"""
    return getattr(getattr(importlib.import_module(module), name), "__mro__", ())


def underscored(text: str) -> set[str]:
    """The names with one underscore in front that a source reads, sets or defines."""
    return set(re.findall(r"(?:\.|\bdef |\bclass )(_[a-zA-Z]\w*)", text))


def privates_of_libraries() -> set[str]:
    """Such names of all the libraries."""
    found: set[str] = set()
    for library in LIBRARIES:
        origin = Path(str(importlib.import_module(library).__file__))
        paths = origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin]
        for path in paths:
            if "test" not in path.parts:
                found |= underscored(path.read_text("utf-8", "replace"))
    return found - PUBLIC


def is_of_a_library(module: str) -> bool:
    """Whether a module is of one of ``LIBRARIES``."""
    return module.split(".")[0] in LIBRARIES


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
        """Imports for types alone included."""
        for floor in [*ALLOWED, ""]:
            found = circles(graph_of(floor))
            self.assertEqual(found - KNOWN_CIRCLES, set(), f"a circle in {floor or 'the modules above the floors'}")

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
        graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": {"e"}}
        self.assertEqual(circles(graph), {frozenset({"b", "c"}), frozenset({"e"})})
        self.assertEqual(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}), set())

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


class TestPrivates(SynchronousTestCase):
    """What a library keeps to itself is touched by the compat modules alone."""

    def modules(self) -> Iterator[tuple[str, Path]]:
        """Those that must not: the place of each, for a sentence, and its path."""
        for path in sorted(PACKAGE.rglob("*.py")):
            place = path.relative_to(PACKAGE).as_posix()
            if not path.name.startswith("compat") and place not in KNOWN_PRIVATES:
                yield place, path

    def test_no_private_name_is_imported(self):
        for place, path in self.modules():
            for name in imports(parsed(path)):
                private = is_of_a_library(name) and any(part.startswith("_") for part in name.split("."))
                self.assertFalse(private, f"{place} imports {name}")

    def test_no_private_name_is_read_or_set(self):
        privates = privates_of_libraries()
        self.assertGreater(len(privates), 1000)
        for place, path in self.modules():
            tree = parsed(path)
            methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr in privates - methods:
                    own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                    self.assertTrue(own, f"{place}: {ast.unparse(node)} in line {node.lineno}")

    def test_no_private_name_of_a_base_is_used_or_replaced(self):
        """A class of ours that derives from a library's has other names than that has."""
        looked_at = 0
        for place, path in self.modules():
            for found in parsed(path).body:
                if not isinstance(found, ast.ClassDef):
                    continue
                module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
                bases = [one for one in ancestors(module, found.name) if is_of_a_library(one.__module__)]
                if bases:
                    looked_at += 1
                    theirs = set().union(*(underscored(inspect.getsource(one)) for one in bases))
                    ours = underscored(ast.unparse(found)) & theirs - PUBLIC
                    self.assertEqual(ours, set(), f"{place}: {found.name} and what it derives from")
        self.assertGreater(looked_at, 5)
