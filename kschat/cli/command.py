"""The console command ``kschat``: makes and revokes tokens, checks a configuration, backs up the store.

It accepts the daemon's options and reads the same file and environment, so that its output holds for the daemon.
"""

import difflib
import os
import re
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, TextIO, TypeVar

from twisted.internet.defer import Deferred
from twisted.python import usage
from twisted.python.failure import Failure

from kschat import __version__
from kschat.backends import redis
from kschat.chat.clocks import WallClock
from kschat.chat.keys import KeysError
from kschat.chat.revocation import Revocation
from kschat.chat.tokens import Issuer, Rooms
from kschat.cli.connect import Finding, try_all
from kschat.cli.maintenance import BackupOptions, RestoredOptions, TellRedis, backup, restored
from kschat.cli.options import Options, short_help
from kschat.cli.revoke import RevokeInRedis, RevokeOptions, revoke
from kschat.cli.warnings import warnings_of
from kschat.front.monotonic import use_monotonic_clock
from kschat.settings import (
    SETTINGS,
    Config,
    ConfigError,
    claim_rules,
    describe,
    load,
    read_secret,
    settings_table,
)

T = TypeVar("T")

UNITS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

#: Ten years: a token that outlives everybody's memory of it is a mistake.
MAX_EXPIRES = 3653 * 86400


SETTINGS_TOO = (
    "Every setting of the daemon is taken too, on the command line, in the environment and in the file: "
    "`twistd kschat --help` lists them."
)

#: What people call the daemon's start.
STARTS = frozenset({"run", "start", "serve", "server", "daemon", "up", "launch"})


class TokenOptions(Options):
    """``kschat token``: the settings that name the secret, and whom the token is for."""

    synopsis = "--user ID [--expires 1h] [--rooms a,b] [--to c,d] [--name N] [settings]"
    longdesc = "Prints a token for one user, signed with the secret that the settings name (HS256)."
    optParameters: ClassVar[list[list[Any]]] = [
        ["user", "u", None, "The user's id: 1 to 128 characters, not beginning with #."],
        ["expires", "e", "1h", "How long it is good for: a number with s, m, h, d or w after it."],
        ["rooms", "r", "", "Rooms it lets join, separated by commas; * for all."],
        ["to", "t", None, "Users it lets write to, separated by commas; * in one is any characters. Default: all."],
        ["name", "n", None, "The name that is shown to whom the user writes."],
    ]

    def getSynopsis(self) -> str:
        """Stands in the help already."""
        return ""

    def parseArgs(self, *surplus: str) -> None:
        """There is nothing but options."""
        if surplus and "=" not in surplus[0]:
            raise usage.UsageError(f"{surplus[0]!r} is no option: write --user {surplus[0]}")
        super().parseArgs(*surplus)

    def getUsage(self, width: int | None = None) -> str:
        """What ``--help`` prints: its own options, and where the secret is named."""
        rows = [
            ("-u, --user ID", self.optParameters[0][3]),
            ("-e, --expires TIME", f"{self.optParameters[1][3]} Default: {self.optParameters[1][2]}."),
            ("-r, --rooms A,B", self.optParameters[2][3]),
            ("-t, --to A,B", self.optParameters[3][3]),
            ("-n, --name NAME", self.optParameters[4][3]),
            ("    --secret-file FILE", SETTINGS["secret_file"].about.doc),
            ("-c, --config FILE", "TOML file with the daemon's settings."),
            ("    --help", "This help."),
        ]
        return short_help(f"kschat token {self.synopsis}", self.longdesc, rows, SETTINGS_TOO)


class CheckOptions(Options):
    """``kschat check-config``."""

    synopsis = "[settings]"
    longdesc = (
        "Checks the configuration that the daemon would use, and prints it as TOML with secrets masked; with "
        "--connect, opens the parts that it names instead, and prints a line for each."
    )
    optFlags: ClassVar[list[list[Any]]] = [
        ["connect", None, "Open the store, RabbitMQ, Redis, the ports, key files and certificates."],
    ]

    def getSynopsis(self) -> str:
        """Stands in the help already."""
        return ""

    def getUsage(self, width: int | None = None) -> str:
        """What ``--help`` prints: its own options."""
        rows = [
            ("    --connect", f"{self.optFlags[0][2]} The status is 1 if the daemon could not use one of them."),
            ("-c, --config FILE", "TOML file with the daemon's settings."),
            ("    --help", "This help."),
        ]
        return short_help("kschat check-config [--connect] [settings]", self.longdesc, rows, SETTINGS_TOO)


class TableOptions(usage.Options):
    """``kschat settings-table``."""

    longdesc = "Prints all settings as a table in Markdown."


class CommandOptions(usage.Options):
    """The command and its subcommands."""

    synopsis = "kschat [--version] COMMAND [options]"
    subCommands: ClassVar[list[Any]] = [
        ["token", None, TokenOptions, "Make a token for a user."],
        ["revoke", None, RevokeOptions, "Revoke tokens: of a user, by id, or by when they were issued."],
        ["check-config", None, CheckOptions, "Check the configuration and print it, secrets masked."],
        ["settings-table", None, TableOptions, "Print the settings as a table in Markdown."],
        ["backup", None, BackupOptions, "Copy the SQLite store while the daemon runs."],
        ["restored", None, RestoredOptions, "Report that the store was restored to an older state."],
    ]
    longdesc = "The daemon itself is started by `twistd kschat`; see `twistd kschat --help`."

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Reads the command line. Raises UsageError: one sentence, with what was probably meant."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise usage.UsageError(_meant(str(error))) from None

    def opt_version(self) -> None:
        """Show the version of kschat."""
        print(f"kschat {__version__}")
        raise SystemExit(0)


def _meant(error: str) -> str:
    """The text of a UsageError of the command itself, with what was probably meant."""
    if (option := re.fullmatch(r"option --([\w-]+) not recognized", error)) and option[1].replace("-", "_") in SETTINGS:
        return f"--{option[1]} is a setting of the daemon, which is started by `twistd kschat --{option[1]} …`"
    if (command := re.fullmatch(r"Unknown command: (\S+)", error)) is not None:
        if command[1] in STARTS:
            return f"there is no command {command[1]!r}: the daemon is started by `twistd kschat`"
        names = [name for name, *_ in CommandOptions.subCommands]
        near = difflib.get_close_matches(command[1], names, n=1)
        return f"there is no command {command[1]!r}: " + (f"did you mean {near[0]}?" if near else f"{', '.join(names)}")
    return error


def seconds_of(text: str) -> int:
    """The seconds that ``90``, ``90s``, ``15m``, ``1h``, ``7d`` or ``2w`` say; ten years at most. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,12})([smhdw]?)", text.strip())
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_EXPIRES:
        raise usage.UsageError(
            f"--expires: {text!r} is not a time such as 90s, 15m, 1h, 7d or 2w, of ten years at most"
        )
    return seconds


def rooms_of(text: str) -> Rooms:
    """The rooms in ``a,b``, or all of them for ``*``."""
    return "*" if text.strip() == "*" else names_of(text)


def names_of(text: str) -> tuple[str, ...]:
    """The names in ``a,b``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def make_token(options: TokenOptions, environ: Mapping[str, str], wall: WallClock) -> str:
    """The token that ``options`` ask for. Raises ``ConfigError`` and ``UsageError``."""
    if options["user"] is None:
        raise usage.UsageError("--user is missing: whom is the token for?")
    config = load(options.given(), environ)
    if config.demo:
        raise ConfigError("demo makes a new secret at each start: take a token from its page, or name a secret")
    secret = read_secret(config)
    if secret is None or "HS256" not in config.algorithms:
        raise ConfigError(
            "a token can be made with a shared secret and HS256 only: have its issuer make one for other keys"
        )
    try:
        issuer = Issuer(secret, wall, claim_rules(config))
        to = None if options["to"] is None else names_of(options["to"])
        rooms, name = rooms_of(options["rooms"]), options["name"]
        return issuer.issue(options["user"], seconds_of(options["expires"]), rooms, to=to, name=name)
    except KeysError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise usage.UsageError(f"--user: {options['user']!r} will not do: {error}") from None


#: Opens what a configuration names. Prints nothing.
Connect = Callable[[Config], Sequence[Finding]]


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    wall: WallClock,
    output: TextIO,
    errors: TextIO,
    connect: Connect,
    tell_redis: TellRedis,
    revoke_in_redis: RevokeInRedis,
) -> int:
    """Runs the command.

    Args:
        connect: for ``check-config --connect``.
        tell_redis: for ``restored``.
        revoke_in_redis: for ``revoke``.

    Returns:
        Its status: 0; 1 after one sentence to ``errors``; or 1 where a part could not be used (``--connect``).
    """
    options = CommandOptions()
    try:
        options.parseOptions(list(arguments))
        chosen = getattr(options, "subOptions", None)
        if isinstance(chosen, TokenOptions):
            output.write(make_token(chosen, environ, wall) + "\n")
        elif isinstance(chosen, CheckOptions):
            config = load(chosen.given(), environ)
            errors.write("".join(f"kschat: warning: {one}\n" for one in warnings_of(config, chosen.given(), environ)))
            if chosen["connect"]:
                findings = connect(config)
                output.write("".join(f"{finding}\n" for finding in findings))
                return 0 if all(finding.ok for finding in findings) else 1
            output.write(describe(config))
        elif isinstance(chosen, TableOptions):
            output.write(settings_table())
        elif isinstance(chosen, BackupOptions):
            output.write(backup(chosen, environ))
        elif isinstance(chosen, RestoredOptions):
            output.write(restored(chosen, environ, wall, tell_redis))
        elif isinstance(chosen, RevokeOptions):
            output.write(revoke(chosen, environ, wall, revoke_in_redis))
        else:
            output.write(f"{options}\n")
    except (ConfigError, usage.UsageError) as error:
        errors.write(f"kschat: {error}\n")
        return 1
    return 0


def run() -> None:
    """The console command."""
    # For what asks services.
    from twisted.internet import reactor

    use_monotonic_clock(reactor)

    def connect(config: Config) -> Sequence[Finding]:
        return in_reactor(reactor, lambda: try_all(config, reactor))

    def tell_redis(settings: redis.Settings) -> bool:
        return in_reactor(reactor, lambda: redis.restored(settings, reactor))

    def revoke_in_redis(
        store: redis.Settings | None, bus: redis.Settings, revocation: Revocation, now: int
    ) -> int | None:
        return in_reactor(reactor, lambda: redis.revoke(store, bus, reactor, revocation=revocation, now=now))

    tools = (connect, tell_redis, revoke_in_redis)
    sys.exit(main(sys.argv[1:], os.environ, time.time, sys.stdout, sys.stderr, *tools))


def in_reactor(reactor: Any, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine returns, for which the reactor runs; it can't be run again after that."""
    results: list[T | Failure] = []

    def start() -> None:
        ended = Deferred.fromCoroutine(begin()).addBoth(results.append)
        ended.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    if not results:
        raise SystemExit(1)  # a signal ended it before
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
