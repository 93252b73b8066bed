"""What a command is: its options in groups, its operands, its exit statuses.

Parser, help, man pages, completion and docs/commands.md are all made from a ``Definition``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Columns of a help.
WIDTH: Final = 79


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        name: without its dashes.
        text: one or two sentences.
        short: its letter; "" for none.
        value: what its value is called; "" for a switch.
        default: of the value.
        choices: the values that there are; none: whatever is given.
        is_file: the value names a file.
        is_setting: it is a setting of the daemon, which is parsed with the others.
    """

    name: str
    text: str
    short: str = ""
    value: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()
    is_file: bool = False
    is_setting: bool = False

    @property
    def shown(self) -> str:
        """As the help shows it: ``-u, --user ID``."""
        letter = f"-{self.short}, " if self.short else "    "
        return f"{letter}--{self.name} {self.value}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Options that belong together, what matters first."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What stands without a dash. ``many``: how many there are: "" one, "?" one or none, "*" any, "+" one or more."""

    name: str
    text: str
    many: str = ""
    choices: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """As the synopsis shows it."""
        return {"": self.name, "?": f"[{self.name}]", "*": f"[{self.name}…]", "+": f"{self.name}…"}[self.many]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One command of ``kschat``.

    Attributes:
        name: of the command.
        summary: a sentence, for the list of commands.
        text: what it does.
        operands: in their order.
        groups: of options, what matters first.
        examples: command lines, without ``kschat``.
        statuses: exit statuses beside 0 and 1, and what each means.
        end: a sentence after the options.
        synopsis: of the options; made of them, unless given.
    """

    name: str
    summary: str
    text: str
    operands: tuple[Operand, ...] = ()
    groups: tuple[Group, ...] = ()
    examples: tuple[str, ...] = ()
    statuses: Mapping[int, str]
    end: str = ""
    synopsis: str = ""

    @property
    def usage(self) -> str:
        """How it is called."""
        rest = self.synopsis or " ".join([*(one.shown for one in self.operands), "[options]"])
        return f"kschat {self.name} {rest}"

    @property
    def options(self) -> Iterator[Option]:
        """All of its options."""
        for group in self.groups:
            yield from group.options

    def parameters(self) -> list[list[Any]]:
        """The options with values, for ``usage.Options``."""
        return [
            [one.name, one.short or None, one.default, one.text]
            for one in self.options
            if one.value and not one.is_setting
        ]

    def flags(self) -> list[list[Any]]:
        """The switches, for ``usage.Options``."""
        return [[one.name, one.short or None, one.text] for one in self.options if not one.value and not one.is_setting]

    def help(self) -> str:
        """What ``--help`` prints."""
        rows = [option.shown for option in self.options] + [operand.shown for operand in self.operands]
        width = max(map(len, [*rows, "    --help"])) + 4
        lines = [*_wrapped(f"Usage: {self.usage}", 7), "", *textwrap.wrap(self.text, WIDTH)]
        if any(one.text for one in self.operands):
            lines += ["", *(line for one in self.operands for line in _row(one.shown, one.text, width))]
        for group in self.groups:
            lines += ["", f"{group.title}:"]
            for option in group.options:
                lines += _row(option.shown, option_text(option), width)
        lines += _row("    --help", "This help.", width)
        if self.end:
            lines += ["", *textwrap.wrap(self.end, WIDTH)]
        shown = {0: "done", 1: "an option, operand or setting is wrong, or it failed", **self.statuses}
        lines += [
            "",
            "Exit status:",
            *(line for number in sorted(shown) for line in _row(f"{number}", shown[number], 5)),
        ]
        if self.examples:
            lines += ["", "Examples:", *(f"  kschat {one}" for one in self.examples)]
        return "\n".join(lines) + "\n"


def option_text(option: Option) -> str:
    """What an option does, with its default."""
    return f"{option.text} Default: {option.default}." if option.default else option.text


def _row(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)
