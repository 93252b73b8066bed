"""``Setting``: its name in each source, its parsing, its bounds, and its display.

Knows nothing of any particular setting (``model`` does) nor of files and environments.
"""

import json
import math
import re
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

import msgspec

from kschat.settings import hints

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Kind: TypeAlias = Literal["text", "flag", "whole", "number", "list"]

MASK = "(masked)"


def without_credentials(text: str) -> str:
    """``text`` without the user and the password of a URL in it."""
    return re.sub(r"(password=)[^&\s'\"]*", r"\1…", re.sub(r"(://)[^\s'\"]*@", r"\1…@", text))


class Unfit(ValueError):
    """A value that cannot be taken; its text ends a sentence that begins with it: "is not a number: write 25"."""


class About(msgspec.Struct, frozen=True):
    """What stands beside a field of ``Config``: its meaning, unit (``seconds``, ``bytes``) and inclusive bounds.

    ``live``: SIGHUP changes it in a daemon that runs.
    """

    doc: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    masked: bool = False
    live: bool = False


class Setting(msgspec.Struct, frozen=True):
    """One setting with its names in all three places. ``from_text`` and ``from_toml`` raise ``Unfit``."""

    name: str
    kind: Kind
    default: Value
    about: About

    @property
    def option(self) -> str:
        """Its name on the command line: ``--ping-interval``."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment: ``KSCHAT_PING_INTERVAL``."""
        return "KSCHAT_" + self.name.upper()

    def from_text(self, text: str) -> Value:
        """The value that ``text`` from the environment or the command line says. A list is separated by commas.

        White space around it is no part of it, but of a masked setting.
        """
        match self.kind:
            case "flag":
                word = text.strip().lower()
                if word not in hints.TRUE + hints.FALSE:
                    raise self._unfit(text)
                return word in hints.TRUE
            case "whole" | "number":
                try:
                    return self._bounded(int(text) if self.kind == "whole" else float(text))
                except OverflowError:
                    raise self._unfit(text) from None
                except ValueError as error:
                    raise error if isinstance(error, Unfit) else self._unfit(text) from None
            case "list":
                if hint := hints.listing(text):
                    raise Unfit(f"is not a list separated by commas: {hint}")
                return self._bounded(tuple(part.strip() for part in text.split(",") if part.strip()))
            case "text" if self.about.masked:
                return self._bounded(text)
            case "text":
                if hint := hints.quoted(text.strip()):
                    raise Unfit(f"stands in quotes: {hint}")
                return self._bounded(text.strip())

    def from_toml(self, value: object) -> Value:
        """The value as a TOML file holds it. A list may also be one text separated by commas."""
        if self.kind == "list" and isinstance(value, list) and all(isinstance(part, str) for part in value):
            return self._bounded(tuple(value))
        if self.kind in ("text", "list") and isinstance(value, str):
            return self.from_text(value)
        if self.kind == "flag" and isinstance(value, bool):
            return value
        # True is an int to Python, but `max_payload = true` is a slip of the pen.
        if self.kind == "whole" and isinstance(value, int) and not isinstance(value, bool):
            return self._bounded(value)
        if self.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            return self._bounded(float(value))
        raise self._unfit(value)

    def to_toml(self, value: Value) -> str:
        """``value`` in TOML's spelling; a masked setting shows only whether it was given, and a URL no password."""
        if self.about.masked and value:
            value = MASK
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            value = without_credentials(value)
            # A JSON string is a TOML string but for DEL, which TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, tuple):
            return "[" + ", ".join(self.to_toml(part) for part in value) + "]"
        return repr(value)

    def span(self) -> str:
        """The values it takes, for the documentation: ``0.001 to 86400 seconds``."""
        about = self.about
        if about.choices:
            return ", ".join(about.choices)
        if about.minimum is None or about.maximum is None:
            return {"flag": "true, false", "list": "list", "text": "text"}.get(self.kind, about.unit)
        return f"{about.minimum:.15g} to {about.maximum:.15g} {about.unit}".strip()

    def _unfit(self, value: object) -> Unfit:
        """That ``value`` is of another kind, and what was probably meant."""
        unit = f" of {self.about.unit}" if self.about.unit else ""
        reason = {
            "flag": "is neither true nor false",
            "whole": f"is not a whole number{unit}",
            "number": f"is not a number{unit}",
            "list": "is not a list of texts",
            "text": "is not a text",
        }[self.kind]
        return Unfit(hints.added(reason, self._hint(value)))

    def _hint(self, value: object) -> str:
        if self.kind == "flag" and isinstance(value, str | bool | int | float):
            return hints.flag(str(value))
        if self.kind in ("whole", "number") and isinstance(value, str | float) and str(value) not in ("nan", "inf"):
            hint = hints.number(str(value), self.about.unit, self.kind == "whole")
            return hint if not hint.startswith("write ") or self._takes(hint.removeprefix("write ")) else ""
        if self.about.masked:
            return ""
        if self.kind == "text" and isinstance(value, int | float) and not isinstance(value, bool):
            if self.name.endswith("listen"):
                return hints.endpoint(str(value))
            return f"write {self.to_toml(str(value))}"
        if self.kind == "text" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            return f"write {self.to_toml(value[0])}"
        return ""

    def _takes(self, number: str) -> bool:
        """Whether it is within the bounds."""
        try:
            self._bounded(float(number))
        except ValueError:
            return False
        return True

    def _bounded(self, value: Value) -> Value:
        about = self.about
        if isinstance(value, str):
            if about.choices and value not in about.choices:
                reason = f"is not one of: {', '.join(about.choices)}"
                raise Unfit(hints.added(reason, hints.choice(value, about.choices)))
        elif isinstance(value, tuple):
            if not value and self.default:
                raise Unfit("is an empty list")
            strange = [part for part in value if about.choices and part not in about.choices]
            if strange:
                reason = f"holds {strange[0]!r}, which is not one of: {', '.join(about.choices)}"
                raise Unfit(hints.added(reason, hints.choice(strange[0], about.choices)))
        else:
            if not math.isfinite(value):
                raise self._unfit(value)
            if about.minimum is not None and value < about.minimum:
                raise Unfit(f"is less than {about.minimum:.15g} {about.unit}".rstrip())
            if about.maximum is not None and value > about.maximum:
                reason = f"is more than {about.maximum:.15g} {about.unit}".rstrip()
                # Who knows Socket.IO's own options gives milliseconds.
                meant = value / 1000
                fits = about.unit == "seconds" and about.minimum is not None and about.minimum <= meant <= about.maximum
                raise Unfit(hints.added(reason, f"write {meant:.15g} if you mean milliseconds" if fits else ""))
        return value


def settings_of(struct: type[msgspec.Struct]) -> dict[str, Setting]:
    """The settings that the fields of ``struct`` declare as ``Annotated[type, About(…)] = default``, in order."""
    kinds: dict[Any, Kind] = {str: "text", bool: "flag", int: "whole", float: "number", tuple[str, ...]: "list"}
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        declared, about = get_args(hints[field.name])
        found[field.name] = Setting(field.name, kinds[declared], field.default, about)
    return found
