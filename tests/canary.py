"""Whether libraries still have what of their privates is used: one sentence where a name is gone.

A ``compat`` module holds what touches a library's privates; its test names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple


class Private(NamedTuple):
    """A name of a library that is not public.

    Attributes:
        owner: makes, or is, what has it: a class, a module, an object that is set up.
        name: it.
        library: the distribution that it belongs to.
        needed: by whom, and what for.
    """

    owner: Callable[[], Any]
    name: str
    library: str
    needed: str


def gone(private: Private, owner: Any = None) -> str:
    """A sentence where the name is gone, else "". ``owner``: looked at in the place of its own."""
    found = private.owner() if owner is None else owner
    if hasattr(found, private.name):
        return ""
    of = found.__name__ if hasattr(found, "__name__") else type(found).__name__
    installed = version(private.library)
    return f"{private.library} {installed}: {of} has no {private.name} any more, which {private.needed}"


class Without:
    """A copy of something that lacks one name."""

    def __init__(self, of: Any, name: str) -> None:
        self._of = of
        self._name = name
        self.__name__ = getattr(of, "__name__", type(of).__name__)

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._of, name)


class Canary:
    """What each test of a compat module does. Beside it, derive from ``SynchronousTestCase``.

    Attributes:
        module: the compat module.
        names: what it touches.
    """

    module: Any
    names: Sequence[Private] = ()
    # Of the test case.
    fail: Any
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any

    def test_each_name_is_there(self) -> None:
        for private in self.names:
            sentence = gone(private)
            if sentence:
                self.fail(sentence)

    def test_of_each_that_is_gone_one_sentence_says_so(self) -> None:
        for private in self.names:
            sentence = gone(private, Without(private.owner(), private.name))
            self.assertIn(f"has no {private.name} any more", sentence)
            self.assertNotIn("\n", sentence)

    def test_no_name_is_forgotten(self) -> None:
        """Whatever the module writes with an underscore is in the list."""
        lines = [line for line in Path(self.module.__file__).read_text().splitlines() if "import " not in line]
        written = set(re.findall(r"""(?:\.|def |")(_[a-zA-Z]\w*)""", "\n".join(lines)))
        listed = {private.name for private in self.names if private.name.startswith("_")}
        self.assertEqual({name for name in written if not name.endswith("__")} - listed, set())
