"""The command line, made from ``config.SETTINGS``: for ``twistd kschat`` and for the command ``kschat``."""

from typing import Any, ClassVar

from twisted.python import usage

from kschat import __version__
from kschat.config import SETTINGS
from kschat.settings import Setting


def _parameter(setting: Setting) -> list[Any]:
    short = "l" if setting.name == "listen" else None
    default = setting.to_toml(setting.default)
    return [setting.option[2:], short, None, f"{setting.about.doc} [{setting.span()}; default: {default}]"]


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

    def postOptions(self) -> None:
        """Refuses a switch that is turned on and off at once."""
        for setting in SETTINGS.values():
            name = setting.option[2:]
            if setting.kind == "flag" and self[name] and self["no-" + name]:
                raise usage.UsageError(f"--{name} and --no-{name} were both given")

    def given(self) -> dict[str, str]:
        """The text of each option that was given, by the name of its setting, and ``config``: for ``config.load``."""
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
