"""The command line, made from ``settings.SETTINGS``: for ``twistd kschat`` and for the command ``kschat``."""

import difflib
import getopt
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec
from twisted.python import usage

from kschat import __version__
from kschat.cli.definition import Definition
from kschat.settings import SETTINGS
from kschat.settings.setting import Setting
from kschat.settings.table import meaning


def _parameter(setting: Setting) -> list[Any]:
    short = "l" if setting.name == "listen" else None
    default = setting.to_toml(setting.default)
    return [setting.option[2:], short, None, f"{meaning(setting)} [{setting.span()}; default: {default}]"]


def _flags(setting: Setting) -> list[list[Any]]:
    default = "on" if setting.default else "off"
    return [
        [setting.option[2:], None, f"{setting.about.doc} [default: {default}]"],
        ["no-" + setting.option[2:], None, f"The opposite of {setting.option}."],
    ]


class Options(usage.Options):
    """An option for each setting, and ``--config``. What was not given is absent: weaker sources show through."""

    longdesc = (
        "Every option is also a key of the TOML file (ping_interval) and a variable of the environment "
        "(KSCHAT_PING_INTERVAL). The command line wins over the environment, and that over the file."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", None, "TOML file with settings (else the variable KSCHAT_CONFIG names one)."],
        *(_parameter(setting) for setting in SETTINGS.values() if setting.kind != "flag"),
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        flag for setting in SETTINGS.values() if setting.kind == "flag" for flag in _flags(setting)
    ]

    def opt_version(self) -> None:
        """Show the version of kschat."""
        print(f"kschat {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Reads the command line. Raises UsageError: one sentence, with what was probably meant."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise usage.UsageError(meant(str(error), self.longOpt)) from None

    def parseArgs(self, *surplus: str) -> None:
        """There is nothing but options."""
        if surplus:
            name, equals, value = surplus[0].partition("=")
            near = f"--{name.replace('_', '-')} {value}" if equals and name.replace("-", "_") in SETTINGS else ""
            hint = f"write {near}" if near else "a setting is given as --name VALUE"
            raise usage.UsageError(f"{surplus[0]!r} is no option: {hint}")

    def postOptions(self) -> None:
        """Refuses a switch that is turned on and off at once."""
        for setting in SETTINGS.values():
            name = setting.option[2:]
            if setting.kind == "flag" and self[name] and self["no-" + name]:
                raise usage.UsageError(f"--{name} and --no-{name} were both given")

    def given(self) -> dict[str, str]:
        """The text of each option that was given, by the name of its setting, and ``config``: for ``settings.load``."""
        given = {}
        for name, setting in SETTINGS.items():
            option = setting.option[2:]
            if setting.kind == "flag":
                if self[option] or self["no-" + option]:
                    given[name] = "true" if self[option] else "false"
            elif self[option] is not None:
                given[name] = self[option]
        if self["config"] is not None:
            given["config"] = self["config"]
        return given

    def arguments(self) -> tuple[str, ...]:
        """The same as arguments of another command line."""
        said = []
        for name, value in self.given().items():
            setting = SETTINGS.get(name)
            if setting is not None and setting.kind == "flag":
                said.append(setting.option if value == "true" else f"--no-{setting.option[2:]}")
            else:
                said.append(f"--{name.replace('_', '-')}={value}")
        return tuple(said)


class DaemonOptions(Options):
    """The options of ``twistd kschat``. A wrong one ends the process with a sentence and status 1."""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """As above. To an error that it is told twistd would print the whole help first."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            sys.stderr.write(f"kschat: {error} (`twistd kschat --help` lists all)\n")
            raise SystemExit(1) from None


class CommandHelp(usage.Options):
    """The help of one command.

    Attributes:
        definition: of the command.
    """

    definition: ClassVar[Definition]
    synopsis = ""

    def getSynopsis(self) -> str:
        """Empty: the help has it."""
        return ""

    def getUsage(self, width: int | None = None) -> str:
        """What ``--help`` prints."""
        return self.definition.help()

    def permuted(self, arguments: Sequence[str]) -> list[str]:
        """The same with all options first, wherever they stand. Raises UsageError."""
        try:
            options, operands = getopt.gnu_getopt(list(arguments), self.shortOpt, list(self.longOpt))
        except getopt.GetoptError as error:
            raise usage.UsageError(meant(str(error), self.longOpt)) from None
        found: list[str] = []
        for name, value in options:
            takes = f"{name[2:]}=" in self.longOpt if name.startswith("--") else f"{name[1:]}:" in self.shortOpt
            if not takes:
                found.append(name)
            elif name.startswith("--"):
                found.append(f"{name}={value}")
            else:
                found += (name, value)
        return [*found, "--", *operands]


class DefinedOptions(CommandHelp, Options):
    """The options of one command, and all settings."""


def line_of(options: usage.Options, line: str, **fields: object) -> str:
    """The line that a command prints; with ``--json`` the fields as JSON."""
    return f"{msgspec.json.encode(fields).decode() if options['json'] else line}\n"


def meant(error: str, known: Iterable[str]) -> str:
    """The text of a UsageError, with the option that was probably meant where it names one that is not there."""
    found = re.fullmatch(r"option --([\w-]+) not recognized", error)
    if found is None:
        return error
    near = difflib.get_close_matches(found[1].replace("_", "-"), [name.rstrip("=") for name in known], n=1)
    return f"{error} (did you mean --{near[0]}?)" if near else error
