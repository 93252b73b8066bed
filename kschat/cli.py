"""The console command ``kschat``: makes tokens, checks a configuration, prints the table of settings.

It takes the daemon's own options and reads the same file and environment, so that what it says is true of the daemon.
"""

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TextIO

from twisted.python import usage

from kschat import __version__
from kschat.chat.clocks import WallClock
from kschat.chat.keys import KeysError
from kschat.chat.tokens import Issuer, Rooms
from kschat.config import ConfigError, describe, load, read_secret, settings_table
from kschat.options import Options

UNITS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

#: Ten years: a token that outlives everybody's memory of it is a mistake.
MAX_EXPIRES = 3653 * 86400


class TokenOptions(Options):
    """``kschat token``: the settings that name the secret, and whom the token is for."""

    synopsis = "--user ID [--expires 1h] [--rooms a,b] [settings]"
    longdesc = "Prints a token for one user, signed with the secret that the settings name (HS256)."
    optParameters: ClassVar[list[list[Any]]] = [
        ["user", "u", None, "The user's id: 1 to 128 characters, not beginning with #."],
        ["expires", "e", "1h", "How long it is good for: a number with s, m, h, d or w after it."],
        ["rooms", "r", "", "Rooms it lets join, separated by commas; * for all."],
    ]


class CheckOptions(Options):
    """``kschat check-config``."""

    synopsis = "[settings]"
    longdesc = "Checks the configuration that the daemon would have, and prints it as TOML with secrets masked."


class TableOptions(usage.Options):
    """``kschat settings-table``."""

    longdesc = "Prints all settings as a table in Markdown."


class CommandOptions(usage.Options):
    """The command and its subcommands."""

    synopsis = "kschat [--version] COMMAND [options]"
    subCommands: ClassVar[list[Any]] = [
        ["token", None, TokenOptions, "Make a token for a user."],
        ["check-config", None, CheckOptions, "Check the configuration and print it, secrets masked."],
        ["settings-table", None, TableOptions, "Print the settings as a table in Markdown."],
    ]
    longdesc = "The daemon itself is started by `twistd kschat`; see `twistd kschat --help`."

    def opt_version(self) -> None:
        """Show the version of kschat."""
        print(f"kschat {__version__}")
        raise SystemExit(0)


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
    return "*" if text.strip() == "*" else tuple(room.strip() for room in text.split(",") if room.strip())


def make_token(options: TokenOptions, environ: Mapping[str, str], wall: WallClock) -> str:
    """The token that ``options`` ask for. Raises ``ConfigError`` and ``UsageError``."""
    if options["user"] is None:
        raise usage.UsageError("--user is missing: whom is the token for?")
    config = load(options.given(), environ)
    if config.demo:
        raise ConfigError(
            "demo makes itself another secret at each start: take a token from its page, or name a secret"
        )
    secret = read_secret(config)
    if secret is None or "HS256" not in config.algorithms:
        raise ConfigError(
            "a token can be made with a shared secret and HS256 only: have its issuer make one for other keys"
        )
    try:
        return Issuer(secret, wall).issue(options["user"], seconds_of(options["expires"]), rooms_of(options["rooms"]))
    except KeysError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise usage.UsageError(f"--user: {options['user']!r} will not do: {error}") from None


def main(arguments: Sequence[str], environ: Mapping[str, str], wall: WallClock, output: TextIO, errors: TextIO) -> int:
    """Runs the command and returns its status: 0, or 1 after one sentence to ``errors``."""
    options = CommandOptions()
    try:
        options.parseOptions(list(arguments))
        chosen = getattr(options, "subOptions", None)
        if isinstance(chosen, TokenOptions):
            output.write(make_token(chosen, environ, wall) + "\n")
        elif isinstance(chosen, CheckOptions):
            output.write(describe(load(chosen.given(), environ)))
        elif isinstance(chosen, TableOptions):
            output.write(settings_table())
        else:
            output.write(f"{options}\n")
    except (ConfigError, usage.UsageError) as error:
        errors.write(f"kschat: {error}\n")
        return 1
    return 0


def run() -> None:
    """The console command."""
    sys.exit(main(sys.argv[1:], os.environ, time.time, sys.stdout, sys.stderr))
