"""Loads the configuration: a TOML file, the environment, the command line; a later source overrides an earlier one.

Knows no particular setting but those that hosting platforms set by variables of their own (``PORT``, ``VCAP_SERVICES``)
and those that a demo changes.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kschat.backends.kinds import Backends
from kschat.backends.table import BACKENDS
from kschat.settings.given import DEFAULTS, FROM_PORT, ConfigError, Given, fault_of, reason_of
from kschat.settings.model import SETTINGS, Config
from kschat.settings.services import KINDS, bound_services
from kschat.settings.setting import Setting, Unfit, without_credentials
from kschat.settings.validation import check

#: Variables that begin like settings but are for the tests and the benchmark, whose daemons inherit them, or
#: are set by Kubernetes beside a service named kschat (KSCHAT_PORT, KSCHAT_PORT_3000_TCP, KSCHAT_SERVICE_HOST).
FOREIGN_VARIABLES = ("KSCHAT_TESTS_", "KSCHAT_BENCH_", "KSCHAT_PORT", "KSCHAT_SERVICE_")

#: Variables that are for the commands which use the API: where it is, and the key.
COMMAND_VARIABLES = frozenset({"KSCHAT_API", "KSCHAT_API_KEY"})


def load(argv_values: Mapping[str, str], environ: Mapping[str, str], backends: Backends = BACKENDS) -> Config:
    """The configuration that the command line and the environment make.

    ``argv_values`` holds the text of each option that was given, by the name of its setting, and ``config`` (else
    ``KSCHAT_CONFIG``) names a TOML file; ``backends`` are those that may be chosen. Raises ``ConfigError``.
    """
    given = gather(SETTINGS, argv_values, environ)
    if given["demo"].value and given["listen"].origin in (DEFAULTS, FROM_PORT):
        there = given["listen"]
        given["listen"] = Given(f"{there.value}:interface=127.0.0.1", there.origin)
    if given["demo"].value and given["store"].origin == DEFAULTS:
        given["store"] = Given("memory", DEFAULTS)
    bound = [given[name] for name in ("amqp", "redis") if given[name].is_bound]
    if len(bound) == 2 and given["store"].origin == DEFAULTS:
        # A platform that binds services empties the disk of an app at each start.
        given["store"] = Given("redis", bound[1].origin)
    config = Config(**{name: there.value for name, there in given.items()})  # type: ignore[arg-type]
    check(config, SETTINGS, given, backends)
    return config


def masked_sources(argv_values: Mapping[str, str], environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The settings that may hold a secret and were given: the name of each, its value, and where that came from."""
    given = gather(SETTINGS, argv_values, environ)
    return [
        (name, str(there.value), there.origin)
        for name, there in given.items()
        if there.value and (SETTINGS[name].about.masked or without_credentials(str(there.value)) != str(there.value))
    ]


def gather(
    settings: Mapping[str, Setting], argv_values: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, Given]:
    """The value of every setting. ``argv_values`` is by the name of the setting. Raises ``ConfigError``."""
    given = {name: Given(setting.default, DEFAULTS) for name, setting in settings.items()}
    given |= _from_file(settings, argv_values, environ)
    named = _from_environ(settings, environ)
    # A service that is named by its setting is not looked for among the bound ones.
    kinds = tuple(one for one in KINDS if one.setting not in named.keys() | argv_values.keys())
    for name, (url, origin) in bound_services(environ, kinds).items():
        given[name] = msgspec.structs.replace(_read(settings[name], url, origin), is_bound=True)
    given |= named
    for name, text in argv_values.items():
        if name != "config":
            setting = _known(settings, name, name, "the command line")
            given[name] = _read(setting, text, f"the command line ({setting.option})")
    return given


def _from_file(
    settings: Mapping[str, Setting], argv_values: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, Given]:
    path, named = argv_values.get("config", ""), "the command line (--config)"
    if not path:
        path, named = environ.get("KSCHAT_CONFIG", ""), "the environment (KSCHAT_CONFIG)"
    if not path:
        return {}
    try:
        # Some editors begin a file with a mark of its encoding.
        text = Path(path).read_text("utf-8-sig")
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = f"{reason_of(error)}{_toml_hint(text, str(error))}"
        raise ConfigError(f"config: {path!r} from {named} is not a TOML file: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"config: {path!r} from {named} is not a TOML file: it is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"config: {path!r} from {named} cannot be read: {reason_of(error)}") from None
    origin = f"the file {path}"
    given = {}
    for name, value in table.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            raise ConfigError(
                f"[{name}] from {origin} is a section, and sections are not used: write each setting as a line of its "
                'own, without a heading, such as listen = "tcp:3000"'
            )
        setting = _known(settings, name, name, origin)
        try:
            given[name] = Given(setting.from_toml(value), origin)
        except Unfit as unfit:
            raise fault_of(setting, value, origin, str(unfit)) from None
    return given


def _toml_hint(text: str, error: str) -> str:
    """What is wrong in the line that an error of tomllib names, where it is one of the usual slips; or ""."""
    found = re.search(r"at line (\d+)", error)
    lines = text.splitlines()
    line = lines[int(found[1]) - 1].strip() if found and int(found[1]) <= len(lines) else ""
    name, equals, value = (part.strip() for part in line.partition("="))
    if equals and re.fullmatch(r"[\w-]+", name) and not value.startswith(('"', "'", "[", "{")):
        word = value.partition("#")[0].strip()
        if word.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f": write {name} = {'true' if word.lower() in ('true', 'yes', 'on') else 'false'}"
        return f': texts stand in quotes, {name} = "…"'
    if not equals and re.match(r"[\w-]+\s*:", line):
        return ": write name = value, not name: value"
    return ""


def _from_environ(settings: Mapping[str, Setting], environ: Mapping[str, str]) -> dict[str, Given]:
    given = {}
    port = environ.get("PORT", "")
    if port:
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
            raise fault_of(settings["listen"], port, FROM_PORT, "is not the number of a port")
        given["listen"] = Given(f"tcp:{int(port)}", FROM_PORT)
    for variable, text in environ.items():
        if (
            variable.startswith("KSCHAT_")
            and variable != "KSCHAT_CONFIG"
            and not variable.startswith(FOREIGN_VARIABLES)
            and variable not in COMMAND_VARIABLES
        ):
            name = variable.removeprefix("KSCHAT_").lower()
            setting = _known(settings, name, variable, "the environment")
            given[name] = _read(setting, text, f"the environment ({variable})")
    return given


def _read(setting: Setting, text: str, origin: str) -> Given:
    try:
        return Given(setting.from_text(text), origin)
    except Unfit as unfit:
        raise fault_of(setting, text, origin, str(unfit)) from None


def _known(settings: Mapping[str, Setting], name: str, spelled: str, origin: str) -> Setting:
    setting = settings.get(name)
    # A variable is written in capitals and only so: KSCHAT_demo is none.
    if setting is not None and spelled in (name, setting.variable):
        return setting
    near = difflib.get_close_matches(name.lower().replace("-", "_"), settings, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(f"{spelled} from {origin} is not a setting of kschat{hint}")
