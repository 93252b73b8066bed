"""``kschat migrate-store``: moves all of a store into another one, while no daemon uses either."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, TextIO

import msgspec
from twisted.python import usage

from kschat.backends.archive import Section
from kschat.backends.kinds import MakeArchive, StoreKind
from kschat.backends.moving import Differs, SectionResult, move
from kschat.backends.table import BACKENDS
from kschat.chat.interfaces import StoreUnavailable
from kschat.cli.definitions import DEFINITIONS, NO, TRY_AGAIN
from kschat.cli.options import DefinedOptions, line_of
from kschat.settings import SETTINGS, ConfigError
from kschat.settings.loading import gather

#: Seconds between two lines on how far it is.
LINE_INTERVAL: Final = 2.0


class RunReactor(Protocol):
    """Runs the reactor for a coroutine, and returns what that returns. Once in a process."""

    def __call__(self, begin: Callable[[Any], Coroutine[Any, Any, Any]], /) -> Any: ...


class MigrateOptions(DefinedOptions):
    """``kschat migrate-store``."""

    definition = DEFINITIONS["migrate-store"]
    optFlags: ClassVar[list[list[Any]]] = definition.flags()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Accept options wherever they stand."""
        super().parseOptions(self.permuted(options or ()))

    def parseArgs(self, *operands: str) -> None:
        """FROM and TO."""
        if len(operands) != 2:
            raise usage.UsageError("migrate-store: name both stores: kschat migrate-store FROM TO")
        self["from"], self["to"] = operands


class _Ends(msgspec.Struct, frozen=True):
    """Both stores: the kind and the argument of each, and what reads and fills them."""

    source: tuple[StoreKind, str]
    reads: MakeArchive
    target: tuple[StoreKind, str]
    fills: MakeArchive


def migrate_store(
    options: MigrateOptions,
    environ: Mapping[str, str],
    *,
    output: TextIO,
    errors: TextIO,
    monotonic: Callable[[], float],
    run_reactor: RunReactor,
) -> int:
    """Do it; the exit status. Raises ``ConfigError``."""
    given = {name: str(one.value) for name, one in gather(SETTINGS, options.given(), environ).items()}
    ends = _ends(options["from"], options["to"])
    begun = False
    # The section of the last line, what is done there, and when that line was written.
    last: tuple[str, Section | None, float] = ("", None, 0.0)

    def report(what: str, section: Section, count: int) -> None:
        nonlocal begun, last
        begun = True
        if last[:2] != (what, section) or monotonic() - last[2] >= LINE_INTERVAL:
            last = (what, section, monotonic())
            errors.write(f"{section.value}: {count:,} {what}\n")
            errors.flush()

    async def migrate(reactor: Any) -> Mapping[Section, SectionResult]:
        source = ends.reads(given, ends.source[1], reactor)
        try:
            target = ends.fills(given, ends.target[1], reactor)
            try:
                return await move(source, target, report, drop_events=bool(options["drop-events"]))
            finally:
                await target.close()
        finally:
            await source.close()

    try:
        found: Mapping[Section, SectionResult] = run_reactor(migrate)
    except ValueError as error:
        raise ConfigError(f"migrate-store: {error}") from None
    except Differs as error:
        errors.write(f"kschat: migrate-store: {error}: daemons refuse the target\n")
        return NO
    except StoreUnavailable as error:
        if not begun:
            raise ConfigError(f"migrate-store: {error}") from None
        errors.write(f"kschat: migrate-store: {error} (the same command goes on from here)\n")
        return TRY_AGAIN
    moved = ", ".join(f"{one.count:,} {section.value}" for section, one in found.items())
    line = f"moved, and compared by their checksums: {moved}"
    output.write(line_of(options, line, sections={section.value: one for section, one in found.items()}))
    return 0


def _ends(source: str, target: str) -> _Ends:
    """The stores of two values of the setting ``store``. Raises ConfigError."""
    if source == target:
        raise ConfigError("migrate-store: FROM and TO are the same store")
    of, into = _kind("FROM", source), _kind("TO", target)
    if of[0].reads is None:
        raise ConfigError(f"migrate-store: nothing can be moved from the store {of[0].name}")
    if into[0].fills is None:
        able = " or ".join(kind.example for kind in BACKENDS.stores if kind.fills is not None)
        raise ConfigError(f"migrate-store: nothing can be moved to the store {into[0].name}: write {able}")
    return _Ends(of, of[0].reads, into, into[0].fills)


def _kind(which: str, text: str) -> tuple[StoreKind, str]:
    try:
        kind, argument = BACKENDS.store(text)
        kind.check(argument)
    except ValueError as error:
        raise ConfigError(f"migrate-store: {which} {error}") from None
    return kind, argument
