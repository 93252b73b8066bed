"""The atomic operations in Redis: Lua scripts, run by their hashes.

``store/``, ``bus/`` and ``archive/`` hold one file per command. Its name ends in the number of keys, and the header
comment describes input and output. ``includes/`` holds shared parts, included by ``-- @include "name"``. In the place
of a line ``-- @slot "outbox"`` stands nothing or, if that is asked for, a file in ``slots/``: for the script ``append``
that is ``append.outbox.lua``. The only key is the prefix of all names, so the scripts do not work on Redis Cluster.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from kschat.backends.redis.client.connection import ResponseError

#: Sends a command, as ``execute_command`` of a connection.
Do: TypeAlias = Callable[..., Deferred[Any]]

_INCLUDE: Final = re.compile(r'^-- @include "(\w+)"\n', re.MULTILINE)
_SLOT: Final = re.compile(r'^-- @slot "(\w+)"\n', re.MULTILINE)
_FLAGS: Final = re.compile(r"^-- Flags: ([\w-]+)$", re.MULTILINE)


class Script:
    """One script.

    Attributes:
        text: in Lua, with what it includes.
        hash: by which Redis knows it.
        keys: how many keys it takes.
    """

    __slots__ = ("hash", "keys", "text")

    def __init__(self, text: bytes, keys: int) -> None:
        self.text = text
        self.hash = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self.keys = keys


class Scripts:
    """The scripts of one folder.

    Args:
        folder: ``store``, ``bus`` or ``archive``.
        slots: those that are filled.
    """

    def __init__(self, folder: str, slots: Collection[str] = ()) -> None:
        self._scripts = dict(_read(folder, slots))

    def __iter__(self) -> Iterator[str]:
        return iter(self._scripts)

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]

    def items(self) -> Iterable[tuple[str, Script]]:
        """All, with their names."""
        return self._scripts.items()

    def load(self, do: Do) -> Deferred[Any]:
        """Send all to Redis. Fails as ``do`` does."""
        loading = [do("SCRIPT", "LOAD", script.text) for script in self._scripts.values()]
        return gatherResults(loading, consumeErrors=True).addErrback(_first)

    def command(self, name: str, prefix: str | bytes, *arguments: str | bytes | int) -> tuple[str | bytes | int, ...]:
        """The command that runs a script that was loaded."""
        script = self._scripts[name]
        return ("EVALSHA", script.hash, script.keys, prefix, *arguments)

    def run(self, do: Do, name: str, prefix: str | bytes, *arguments: str | bytes | int) -> Deferred[Any]:
        """Run a script, which is sent if Redis does not know it. Fails as ``do`` does."""
        script = self._scripts[name]

        def unknown(failure: Failure) -> Any:
            # Redis forgets its scripts when it restarts.
            if failure.check(ResponseError) is None or not str(failure.value).startswith("NOSCRIPT"):
                return failure
            return do("EVAL", script.text, script.keys, prefix, *arguments)

        return do(*self.command(name, prefix, *arguments)).addErrback(unknown)


def _first(failure: Failure) -> Failure:
    failure.trap(FirstError)
    first: Failure = failure.value.subFailure  # type: ignore[union-attr] # it is a FirstError
    return first


def _read(folder: str, slots: Collection[str]) -> Iterator[tuple[str, Script]]:
    here = files(__name__)
    for file in sorted((here / folder).iterdir(), key=lambda file: file.name):
        name, _, keys = file.name.removesuffix(".lua").rpartition("-")
        text = file.read_text("utf-8")
        # With a line like this Redis sees beforehand whether it may run, and so never ends one in its midst.
        flags = _FLAGS.search(text)
        head = f"#!lua flags={flags[1]}\n" if flags else "#!lua\n"
        body = head + "".join(_included(text, here / "includes", set())) + _INCLUDE.sub("", text)
        body = _SLOT.sub(partial(_filled, folder=here / "slots", name=name, slots=slots), body)
        yield name, Script(body.encode(), int(keys))


def _filled(slot: re.Match[str], folder: Traversable, name: str, slots: Collection[str]) -> str:
    """What stands in the place of a slot in the script of this name."""
    return (folder / f"{name}.{slot[1]}.lua").read_text("utf-8") if slot[1] in slots else ""


def _included(text: str, folder: Traversable, done: set[str]) -> Iterator[str]:
    """What a text includes, each once, behind what it includes itself."""
    for name in _INCLUDE.findall(text):
        if name not in done:
            done.add(name)
            included = (folder / f"{name}.lua").read_text("utf-8")
            yield from _included(included, folder, done)
            yield _INCLUDE.sub("", included)
