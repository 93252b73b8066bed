"""The console command ``kschat``: its subcommands; runs daemons, makes and revokes tokens, checks a configuration.

It accepts the daemon's options and reads the same file and environment, so that its output holds for the daemon.
"""

import difflib
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, TextIO, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python import usage
from twisted.python.failure import Failure

from kschat import __version__, processes
from kschat.backends import redis
from kschat.chat.clocks import WallClock
from kschat.chat.keys import KeysError
from kschat.chat.revocation import Revocation
from kschat.chat.tokens import Issuer, Rooms
from kschat.cli import api_commands
from kschat.cli.api_client import ApiFailure
from kschat.cli.api_commands import API_COMMANDS, ApiOptions, Call, Tools, options_of
from kschat.cli.completion import SHELLS, completion
from kschat.cli.connect import Finding, try_all
from kschat.cli.definitions import DEFINITIONS, NO
from kschat.cli.inspecting import inspect, text_of
from kschat.cli.maintenance import BackupOptions, RestoredOptions, TellRedis, backup, restored
from kschat.cli.migrate import MigrateOptions, RunReactor, migrate_store
from kschat.cli.options import CommandHelp, DefinedOptions, line_of
from kschat.cli.push_key import PushKeyOptions, push_key
from kschat.cli.revoke import RevokeInRedis, RevokeOptions, revoke
from kschat.cli.warnings import warnings_of
from kschat.front.monotonic import use_monotonic_clock
from kschat.launch import MAX_PROCESSES, Launch
from kschat.log_text import shown
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


#: What people call the daemon's start.
STARTS = frozenset({"start", "serve", "server", "daemon", "up", "launch"})


class TokenOptions(DefinedOptions):
    """``kschat token``: the settings that name the secret, and whom the token is for; or a token to inspect.

    Attributes:
        inspected: the token; None where one is to be made.
    """

    definition = DEFINITIONS["token"]
    optParameters: ClassVar[list[list[Any]]] = definition.parameters()
    optFlags: ClassVar[list[list[Any]]] = definition.flags()
    inspected: str | None = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Accept options before what is inspected, or after it."""
        super().parseOptions(self.permuted(options or ()))

    def parseArgs(self, *operands: str) -> None:
        """Nothing, or ``inspect TOKEN``."""
        if operands and operands[0] == "inspect":
            if len(operands) != 2:
                raise usage.UsageError("token inspect: give one token, or - to read it from standard input")
            self.inspected = operands[1]
            return
        if operands and "=" not in operands[0]:
            raise usage.UsageError(f"{operands[0]!r} is no option: write --user {operands[0]}")
        super().parseArgs(*operands)


class CheckOptions(DefinedOptions):
    """``kschat check-config``."""

    definition = DEFINITIONS["check-config"]
    optFlags: ClassVar[list[list[Any]]] = definition.flags()


class RunOptions(DefinedOptions):
    """``kschat run``."""

    definition = DEFINITIONS["run"]
    optParameters: ClassVar[list[list[Any]]] = definition.parameters()

    def launch(self) -> Launch:
        """How many daemons, and what they are told. Raises UsageError."""
        text = self["processes"].strip()
        count = len(os.sched_getaffinity(0)) if text == "auto" else int(text) if text.isdecimal() else 0
        if not 1 <= count <= MAX_PROCESSES:
            raise usage.UsageError(f"--processes: {text!r} is neither a number from 1 to {MAX_PROCESSES} nor auto")
        return Launch(count=count, logfile=self["logfile"] or "", arguments=self.arguments())


class TableOptions(CommandHelp):
    """``kschat settings-table``."""

    definition = DEFINITIONS["settings-table"]


class CompletionOptions(CommandHelp):
    """``kschat completion``."""

    definition = DEFINITIONS["completion"]

    def parseArgs(self, *shells: str) -> None:
        """The shell."""
        if len(shells) != 1 or shells[0] not in SHELLS:
            raise usage.UsageError(f"completion: name the shell: {', '.join(SHELLS)}")
        self["shell"] = shells[0]


#: Of the commands that do not use the API.
LOCAL: Mapping[str, type[usage.Options]] = {
    "run": RunOptions,
    "revoke": RevokeOptions,
    "token": TokenOptions,
    "push-key": PushKeyOptions,
    "backup": BackupOptions,
    "restored": RestoredOptions,
    "migrate-store": MigrateOptions,
    "check-config": CheckOptions,
    "settings-table": TableOptions,
    "completion": CompletionOptions,
}


class CommandOptions(usage.Options):
    """The command and its subcommands."""

    synopsis = "kschat [--version] COMMAND [options]"
    subCommands: ClassVar[list[Any]] = [
        [one.name, None, LOCAL.get(one.name) or options_of(one), one.summary] for one in DEFINITIONS.values()
    ]
    longdesc = "The daemon itself is started by `kschat run` or `twistd kschat`; see `twistd kschat --help`."

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
            return f"there is no command {command[1]!r}: the daemon is started by `kschat run` or `twistd kschat`"
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
        rooms, moderates = rooms_of(options["rooms"]), rooms_of(options["moderates"])
        return issuer.issue(
            options["user"],
            seconds_of(options["expires"]),
            rooms,
            to=to,
            name=options["name"],
            moderates=moderates,
        )
    except KeysError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise usage.UsageError(f"--user: {options['user']!r} will not do: {error}") from None


#: Opens what a configuration names. Prints nothing.
Connect = Callable[[Config], Sequence[Finding]]

#: Runs daemons until they have ended; their exit status. Raises ConfigError.
RunDaemons = Callable[[Config, Launch], int]


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    wall: WallClock,
    *,
    output: TextIO,
    errors: TextIO,
    connect: Connect,
    run_daemons: RunDaemons,
    tell_redis: TellRedis,
    revoke_in_redis: RevokeInRedis,
    run_reactor: RunReactor,
    tools: Tools,
) -> int:
    """Runs the command.

    Args:
        connect: for ``check-config --connect``.
        run_daemons: for ``run``.
        tell_redis: for ``restored``.
        revoke_in_redis: for ``revoke``.
        run_reactor: for ``migrate-store``.
        tools: for commands that use the API, and for what is read from standard input.

    Returns:
        Its status: 0; 1 after one sentence to ``errors``; 1 where a part could not be used (``--connect``); or what the
        command's definition says.
    """
    options = CommandOptions()
    try:
        options.parseOptions(list(arguments))
        chosen = getattr(options, "subOptions", None)
        if isinstance(chosen, ApiOptions):
            call = Call(chosen, environ, output=output, errors=errors, tools=tools)
            return API_COMMANDS[chosen.definition.name](call)
        if isinstance(chosen, RunOptions):
            return run_daemons(load(chosen.given(), environ), chosen.launch())
        if isinstance(chosen, MigrateOptions):
            return migrate_store(
                chosen, environ, output=output, errors=errors, monotonic=tools.monotonic, run_reactor=run_reactor
            )
        if isinstance(chosen, TokenOptions) and chosen.inspected is not None:
            text = tools.standard_input.read() if chosen.inspected == "-" else chosen.inspected
            found = inspect(text, chosen.given(), environ, wall)
            output.write(line_of(chosen, text_of(found, wall()), **msgspec.structs.asdict(found)))
            return 0 if found.accepted is not False else NO
        if isinstance(chosen, TokenOptions):
            token = make_token(chosen, environ, wall)
            output.write(line_of(chosen, token, token=token))
        elif isinstance(chosen, CheckOptions):
            config = load(chosen.given(), environ)
            errors.write("".join(f"kschat: warning: {one}\n" for one in warnings_of(config, chosen.given(), environ)))
            if chosen["connect"]:
                findings = connect(config)
                lines = "\n".join(map(str, findings))
                output.write(line_of(chosen, lines, findings=findings))
                return 0 if all(finding.ok for finding in findings) else 1
            text = describe(config)
            output.write(line_of(chosen, text.removesuffix("\n"), **tomllib.loads(text)))
        elif isinstance(chosen, TableOptions):
            output.write(settings_table())
        elif isinstance(chosen, PushKeyOptions):
            output.write(push_key(chosen))
        elif isinstance(chosen, BackupOptions):
            output.write(backup(chosen, environ))
        elif isinstance(chosen, RestoredOptions):
            output.write(restored(chosen, environ, wall, tell_redis))
        elif isinstance(chosen, RevokeOptions):
            output.write(revoke(chosen, environ, wall, revoke_in_redis))
        elif isinstance(chosen, CompletionOptions):
            output.write(completion(chosen["shell"]))
        else:
            output.write(f"{options}\n")
    except (ConfigError, usage.UsageError) as error:
        errors.write(f"kschat: {error}\n")
        return 1
    except ApiFailure as failure:
        errors.write(f"kschat: {shown(str(failure))}\n")
        return failure.status
    return 0


def run() -> None:
    """The console command."""
    # For what asks services.
    from twisted.internet import reactor

    use_monotonic_clock(reactor)

    def connect(config: Config) -> Sequence[Finding]:
        return in_reactor(reactor, lambda: try_all(config, reactor))

    def run_daemons(config: Config, launch: Launch) -> int:
        if launch.count == 1:
            command = launch.command(0)
            os.execv(command[0], command)
        return processes.run(config, launch, os.environ, reactor)

    def tell_redis(settings: redis.Settings) -> bool:
        return in_reactor(reactor, lambda: redis.restored(settings, reactor))

    def revoke_in_redis(
        store: redis.Settings | None, bus: redis.Settings, revocation: Revocation, now: int
    ) -> int | None:
        return in_reactor(reactor, lambda: redis.revoke(store, bus, reactor, revocation=revocation, now=now))

    def run_reactor(begin: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        return in_reactor(reactor, lambda: begin(reactor))

    tools = Tools(
        connect=api_commands.connect,
        wall=time.time,
        monotonic=time.monotonic,
        sleep=time.sleep,
        standard_input=sys.stdin,
    )
    try:
        status = main(
            sys.argv[1:],
            os.environ,
            time.time,
            output=sys.stdout,
            errors=sys.stderr,
            connect=connect,
            run_daemons=run_daemons,
            tell_redis=tell_redis,
            revoke_in_redis=revoke_in_redis,
            run_reactor=run_reactor,
            tools=tools,
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        # As a shell says it of a program that SIGINT ended.
        status = 130
    except BrokenPipeError:
        # The reader has read enough, as `head` does. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


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
