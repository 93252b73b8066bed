"""A value and its source, and the error sentence for an invalid one."""

import msgspec

from kschat.settings.setting import Setting, Value, without_credentials

DEFAULTS = "the defaults"
FROM_PORT = "the environment (PORT)"

#: Characters of a value that a sentence shows.
MAX_SHOWN = 200


class ConfigError(Exception):
    """The configuration cannot be used; its text is one sentence naming the setting and where its value came from."""


class Given(msgspec.Struct, frozen=True):
    """A value, and where it came from.

    Attributes:
        value: of the setting.
        origin: the words that say where it came from.
        is_bound: whether a platform gave it, for a service that is bound to the app.
    """

    value: Value
    origin: str
    is_bound: bool = False

    def spelled(self, setting: Setting, text: str) -> str:
        """How ``text`` would be given to another ``setting`` at the same place: ``--algorithms RS256``."""
        if self.origin.startswith("the file "):
            return f"{setting.name} = {setting.to_toml((text,) if setting.kind == 'list' else text)}"
        return f"{setting.variable}={text}" if "KSCHAT_" in self.origin else f"{setting.option} {text}"

    def fault(self, setting: Setting, reason: str) -> ConfigError:
        """The error that this value of ``setting`` is: ``reason`` ends the sentence ("is not a number")."""
        return fault_of(setting, self.value, self.origin, reason)


def fault_of(setting: Setting, value: object, origin: str, reason: str) -> ConfigError:
    """The error that a ``value`` of ``setting`` is: ``reason`` ends the sentence. Shows no password of a URL."""
    shown = "the value" if setting.about.masked else repr(",".join(value) if isinstance(value, tuple) else value)
    # A URL that was given to the wrong setting.
    shown = without_credentials(shown)
    if len(shown) > MAX_SHOWN:
        shown = shown[:MAX_SHOWN] + "…"
    return ConfigError(f"{setting.name}: {shown} from {origin} {reason}")


def reason_of(error: Exception) -> str:
    """The system's words for ``error``, on one line."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
