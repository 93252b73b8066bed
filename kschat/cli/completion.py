"""Completion for bash, zsh and fish, made from the definitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kschat.cli.definition import Definition, Option
from kschat.cli.definitions import DEFINITIONS


def completion(shell: str) -> str:
    """The script for a shell, one of ``SHELLS``."""
    return _SCRIPTS[shell]()


def _options(definition: Definition) -> list[Option]:
    return [*definition.options, Option(name="help", text="Show the help.")]


def _choices(definition: Definition) -> list[str]:
    """What operands may be, where that is known."""
    return [choice for operand in definition.operands for choice in operand.choices]


def _is_switch(option: Option) -> bool:
    return not option.value


def _names(which: Callable[[Option], bool]) -> set[str]:
    """The names and letters, with their dashes, of some options of all commands."""
    found = {option for one in DEFINITIONS.values() for option in one.options if which(option)}
    return {f"--{option.name}" for option in found} | {f"-{option.short}" for option in found if option.short}


def _bash() -> str:
    """Words for each command, and what values of options are files."""
    cases = []
    for one in DEFINITIONS.values():
        words = [f"--{option.name}" for option in _options(one)] + _choices(one)
        cases.append(f"    {one.name}) words='{' '.join(words)}' ;;\n")
    files, values, switches = _names(lambda one: one.is_file), _names(lambda one: bool(one.value)), _names(_is_switch)
    # A letter that is a switch of another command may be followed by anything.
    files, values = files - switches, values - files - switches
    return f"""# Completion of kschat for bash, made by `make docs`: put it in /etc/bash_completion.d/.
_kschat() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=''
  COMPREPLY=()
  case $before in
    {" | ".join(sorted(files))})
      compopt -o default
      return
      ;;
    {" | ".join(sorted(values))})
      return
      ;;
  esac
  if ((COMP_CWORD == 1)); then
    words='{" ".join([*DEFINITIONS, "--help", "--version"])}'
  else
    case ${{COMP_WORDS[1]}} in
{"".join(f"  {line}" for line in cases)}    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ ${{COMP_WORDS[1]}} == backup && $word != -* ]]; then
    compopt -o default
  fi
}}
complete -F _kschat kschat
"""


def _zsh_text(text: str) -> str:
    """Within single quotes and brackets."""
    escaped = text.replace("\\", "\\\\").replace("'", "'\\''")
    for sign in "[]:":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


def _zsh_option(option: Option) -> str:
    value = ""
    if option.value:
        action = "_files" if option.is_file else f"({' '.join(option.choices)})" if option.choices else ""
        value = f":{_zsh_text(option.value)}:{action}"
    text = f"[{_zsh_text(option.text)}]{value}'"
    if not option.short:
        return f"'--{option.name}{'=' if option.value else ''}{text}"
    equals = "=" if option.value else ""
    letter = "+" if option.value else ""
    names = f"{{-{option.short}{letter},--{option.name}{equals}}}"
    return f"'(-{option.short} --{option.name})'{names}'{text}"


def _zsh() -> str:
    """A function for each command."""
    commands = "\n".join(f"    '{one.name}:{_zsh_text(one.summary)}'" for one in DEFINITIONS.values())
    cases = []
    for one in DEFINITIONS.values():
        lines = [_zsh_option(option) for option in _options(one)]
        for operand in one.operands:
            star = "*" if operand.many in ("*", "+") else ""
            colons = "::" if operand.many == "?" else ":"
            action = f"({' '.join(operand.choices)})" if operand.choices else "_files" if one.name == "backup" else ""
            lines.append(f"'{star}{colons}{_zsh_text(operand.name)}:{action}'")
        body = " \\\n        ".join(lines)
        cases.append(f"    {one.name})\n      _arguments -s \\\n        {body}\n      ;;\n")
    return f"""#compdef kschat
# Completion of kschat for zsh, made by `make docs`: put it as _kschat in a directory of $fpath.
_kschat() {{
  local -a commands
  commands=(
{commands}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{"".join(cases)}  esac
}}
_kschat "$@"
"""


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish() -> str:
    """A line for each command and option."""
    lines = [
        "# Completion of kschat for fish, made by `make docs`: put it in ~/.config/fish/completions/kschat.fish.",
        "complete -c kschat -f",
        "complete -c kschat -n __fish_use_subcommand -l version -d 'Show the version.'",
        "complete -c kschat -n __fish_use_subcommand -l help -d 'Show the help.'",
    ]
    lines += [
        f"complete -c kschat -n __fish_use_subcommand -a {one.name} -d {_fish_text(one.summary)}"
        for one in DEFINITIONS.values()
    ]
    for one in DEFINITIONS.values():
        there = f"complete -c kschat -n '__fish_seen_subcommand_from {one.name}'"
        for option in _options(one):
            letter = f" -s {option.short}" if option.short else ""
            value = "" if not option.value else " -r -F" if option.is_file else " -x"
            choices = f" -a {_fish_text(' '.join(option.choices))}" if option.choices else ""
            lines.append(f"{there} -l {option.name}{letter}{value}{choices} -d {_fish_text(option.text)}")
        if _choices(one):
            lines.append(f"{there} -a {_fish_text(' '.join(_choices(one)))}")
        if one.name == "backup":
            lines.append(f"{there} -F")
    return "\n".join(lines) + "\n"


_SCRIPTS: Final[Mapping[str, Callable[[], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

#: The shells that there is completion for.
SHELLS: Final = tuple(_SCRIPTS)
