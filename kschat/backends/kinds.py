"""How a backend describes itself to the code that chooses, checks and creates it: settings, daemon, command line.

To add a store, write a module that implements ``IStore`` and exports a ``StoreKind``, and add a line to ``table``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from kschat.chat.clocks import WallClock
from kschat.chat.interfaces import IStore
from kschat.counters import Counters


class UnknownStore(ValueError):
    """A text names no store. The error's own text completes a sentence: "is not a store: write memory, …"."""


class MakeStore(Protocol):
    """Makes a store, which does not begin before it is started.

    Args:
        config: the daemon's configuration, of which it reads what its backend's settings are.
        argument: what follows the store's name; "" for nothing.
        reactor: the real one.
        wall: the time of day.
        counters: of the daemon, for what a store counts.

    Raises:
        AddressError: the configuration can't be used.
    """

    def __call__(self, config: Any, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> IStore: ...


class CheckArgument(Protocol):
    """Looks at what follows a store's name. Raises ValueError, whose text ends a sentence."""

    def __call__(self, argument: str, /) -> None: ...


class Look(Protocol):
    """Looks, on this machine alone and changing nothing, whether a daemon that starts now could use it.

    Returns:
        What was found, for a line that says that all is well.

    Raises:
        StoreUnavailable: it could not; the text is one sentence.
    """

    def __call__(self, argument: str, /) -> str: ...


class Probe(Protocol):
    """Tries whether a daemon that starts now could use it, also on other machines, and changes nothing.

    Args:
        config: the daemon's configuration.
        argument: what follows the store's name.
        reactor: the real one.

    Returns:
        What was found, for a line that says that all is well. Fails with an error whose text is one sentence.
    """

    def __call__(self, config: Any, argument: str, reactor: Any, /) -> Awaitable[str]: ...


def _no_files(argument: str) -> Sequence[Path]:
    """Messages are elsewhere."""
    return ()


def _anything(argument: str) -> None:
    """Whatever it is will do."""


class MakeArchive(Protocol):
    """Makes what reads, or fills, a store as a whole, while no daemon uses it.

    Args:
        given: the values of all settings, as text, by name.
        argument: what follows the store's name.
        reactor: the real one.

    Raises:
        ValueError: the settings can't be used; the text is one sentence.
        StoreUnavailable: there is no store, or a daemon uses it; the text is one sentence.
    """

    def __call__(self, given: Mapping[str, str], argument: str, reactor: Any, /) -> Any: ...


class StoreKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of store.

    Attributes:
        name: what the setting ``store`` begins with, or is.
        argument: what follows after a colon, as the documentation writes it: ``PATH``; "" for nothing.
        example: a value of the setting that works.
        shared: whether several daemons may use it at once. Those need a router between them, and a router such a store.
        keeps: whether a message outlives its delivery.
        hooks: whether it keeps what events for a back end are made from (``IStore.outbox``).
        needs: settings that have to be given too, each with the end of the sentence that asks for it.
        settings: those that mean something with this store alone, or with few.
        make: makes one.
        check: looks at the argument.
        files: the files in which messages are kept, given the argument.
        look: looks whether it could be used, where this machine alone can tell; None where it can't.
        probe: tries whether it could be used, where it is a server of the store's own; None where it is none, or one
            that another setting names.
        reads: makes an ``ArchiveReader``; None where nothing can be moved from it.
        fills: makes an ``ArchiveWriter``; None where nothing can be moved to it.
    """

    name: str
    argument: str = ""
    example: str
    shared: bool
    keeps: bool
    hooks: bool = True
    needs: Mapping[str, str] = {}
    settings: tuple[str, ...] = ()
    make: MakeStore
    check: CheckArgument = _anything
    files: Callable[[str], Sequence[Path]] = _no_files
    look: Look | None = None
    probe: Probe | None = None
    reads: MakeArchive | None = None
    fills: MakeArchive | None = None


class Backends(msgspec.Struct, frozen=True):
    """The backends that there are.

    Attributes:
        stores: each kind once.
    """

    stores: tuple[StoreKind, ...]

    def with_store(self, kind: StoreKind) -> Backends:
        """These and another one."""
        return Backends((*self.stores, kind))

    def store(self, text: str) -> tuple[StoreKind, str]:
        """The kind that a value of the setting ``store`` names, and its argument.

        Raises:
            UnknownStore: there is none.
        """
        name, colon, argument = text.partition(":")
        for kind in self.stores:
            if kind.name == name and bool(kind.argument) == bool(colon) == bool(argument):
                return kind, argument
        examples = sorted(self.stores, key=lambda kind: bool(kind.argument))
        raise UnknownStore(f"is not a store: write {_listed([kind.example for kind in examples])}")

    @property
    def examples(self) -> dict[str, str]:
        """A value of the setting ``store`` for each kind, by its name."""
        return {kind.name: kind.example for kind in self.stores}


def _listed(names: list[str]) -> str:
    return " or ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])
