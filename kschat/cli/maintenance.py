"""``kschat backup`` and ``kschat restored``: work on the store without the daemon.

Both read the daemon's settings, and only need ``store``: no key is required.
"""

import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, ClassVar

from twisted.python import usage

from kschat.backends import postgresql, redis
from kschat.backends.sqlite.backup import back_up, tell_restored
from kschat.backends.sqlite.database import SchemaVersions
from kschat.chat.interfaces import StoreUnavailable
from kschat.cli.definitions import DEFINITIONS
from kschat.cli.options import DefinedOptions, Options, line_of
from kschat.settings import SETTINGS
from kschat.settings.given import ConfigError
from kschat.settings.loading import gather

#: How much less than others a backup takes of the processor (``nice``).
NICE = 10


class BackupOptions(DefinedOptions):
    """``kschat backup``."""

    definition = DEFINITIONS["backup"]
    optFlags: ClassVar[list[list[Any]]] = definition.flags()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Accept COPY before the settings or after them."""
        given = list(options or ())
        # After the first that is none, no option is recognised.
        self._copies = list(itertools.takewhile(lambda argument: not argument.startswith("-"), given))
        super().parseOptions(given[len(self._copies) :])

    def parseArgs(self, *arguments: str) -> None:
        """Accept COPY."""
        copies = [*self._copies, *arguments]
        self["copy"] = copies[0] if copies else ""
        if len(copies) > 1 and "=" in copies[1]:
            super().parseArgs(*copies[1:])
        if len(copies) > 1:
            raise usage.UsageError(f"backup: there is one COPY, {copies[0]!r}: {copies[1]!r} is one too many")


class RestoredOptions(DefinedOptions):
    """``kschat restored``."""

    definition = DEFINITIONS["restored"]
    optFlags: ClassVar[list[list[Any]]] = definition.flags()


def backup(options: BackupOptions, environ: Mapping[str, str]) -> str:
    """Copy the store; returns a line that describes the copy. Raises ``ConfigError``."""
    copy = options["copy"]
    if not copy:
        raise ConfigError("backup: name the file that is to be written: kschat backup COPY")
    path = _path(options, environ, "back it up with its own tools, as docs/storage.md describes")
    os.nice(NICE)
    # So that what is not whole is removed.
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        copied = back_up(path, copy, SchemaVersions.shipped())
    except StoreUnavailable as error:
        raise ConfigError(f"backup: {error}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    line = f"{copy} holds {copied.messages:,} messages, {copied.size:,} bytes"
    return line_of(options, line, copy=copy, messages=copied.messages, bytes=copied.size)


#: Tells a Redis that it was restored; whether kschat has kept anything there. Raises StoreUnavailable and AddressError.
TellRedis = Callable[[redis.Settings], bool]


def restored(
    options: RestoredOptions, environ: Mapping[str, str], wall: Callable[[], float], tell_redis: TellRedis
) -> str:
    """Does it; the line that says so. Raises ``ConfigError``."""
    given = {name: str(one.value) for name, one in gather(SETTINGS, options.given(), environ).items()}
    if given["store"] == "redis":
        return _redis_restored(options, given, tell_redis)
    kind, _, argument = given["store"].partition(":")
    if kind == "postgresql":
        return _postgresql_restored(options, argument)
    path = _path(options, environ, "")
    try:
        base = tell_restored(path, SchemaVersions.shipped(), wall)
    except StoreUnavailable as error:
        raise ConfigError(f"restored: {error}") from None
    return line_of(options, f"{path} begins a new epoch; offsets continue beyond {base}", store=path, base=base)


def _redis_restored(options: Options, given: Mapping[str, str], tell_redis: TellRedis) -> str:
    if not given["redis"]:
        raise ConfigError("restored: name the Redis: --redis redis://host:6379/0")
    settings = redis.given_settings(given, given["redis"])
    try:
        kept = tell_redis(settings)
    except (StoreUnavailable, redis.AddressError) as error:
        raise ConfigError(f"restored: {error}") from None
    if not kept:
        raise ConfigError(f"restored: kschat has kept nothing there with the prefix {settings.prefix}")
    line = "Redis begins another generation; offsets continue beyond all earlier ones"
    return line_of(options, line, store="redis")


def _postgresql_restored(options: Options, argument: str) -> str:
    try:
        kept = postgresql.tell_restored(argument)
    except ValueError as error:
        raise ConfigError(f"store: {error}") from None
    except StoreUnavailable as error:
        raise ConfigError(f"restored: {error}") from None
    if not kept:
        raise ConfigError("restored: kschat has kept nothing in that database")
    line = "PostgreSQL begins another generation; offsets continue beyond all earlier ones"
    return line_of(options, line, store="postgresql")


def _path(options: Options, environ: Mapping[str, str], hint: str) -> str:
    """The file of the store."""
    store = str(gather(SETTINGS, options.given(), environ)["store"].value)
    kind, _, path = store.partition(":")
    if kind == "sqlite" and path:
        return path
    servers = {"redis": "Redis", "postgresql": "PostgreSQL"}
    reason = f"{servers[kind]} keeps the messages: {hint}" if kind in servers else f"the store {kind} keeps no file"
    raise ConfigError(f"store: {reason}")


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
