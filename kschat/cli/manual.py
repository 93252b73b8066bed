"""Man pages, and the reference in docs/commands.md, made from the definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kschat import __version__
from kschat.cli.completion import SHELLS, completion
from kschat.cli.definition import Definition, option_text
from kschat.cli.definitions import DEFINITIONS, NO

_DONE = {0: "Done.", 1: "An option, an operand or a setting is wrong, or it failed; standard error has one sentence."}


def made_files() -> dict[str, str]:
    """All that is made from the definitions: the path in the checkout, and the text."""
    names = {"bash": "kschat.bash", "zsh": "_kschat", "fish": "kschat.fish"}
    files = {f"deploy/completion/{names[shell]}": completion(shell) for shell in SHELLS}
    files["deploy/man/kschat.1"] = _overview()
    for one in DEFINITIONS.values():
        files[f"deploy/man/kschat-{one.name}.1"] = page_of(one)
    return files


def page_of(definition: Definition) -> str:
    """The man page of a command."""
    lines = [
        _header(f"kschat-{definition.name}"),
        ".SH NAME",
        f"kschat-{definition.name} \\- {_roff(definition.summary[0].lower() + definition.summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B kschat {_roff(definition.name)}",
        _roff(definition.usage.removeprefix(f"kschat {definition.name}").strip()),
        ".SH DESCRIPTION",
        _roff(definition.text),
    ]
    for operand in definition.operands:
        if operand.text:
            lines += [".TP", f".I {_roff(operand.shown)}", _roff(operand.text)]
    for group in definition.groups:
        lines.append(f'.SH "{group.title.upper()}"')
        for option in group.options:
            lines += [".TP", f".B {_roff(option.shown.strip())}", _roff(option_text(option))]
    if definition.end:
        lines += [".PP", _roff(definition.end)]
    lines.append('.SH "EXIT STATUS"')
    for number, text in sorted(_statuses(definition).items()):
        lines += [".TP", f".B {number}", _roff(text)]
    if definition.examples:
        lines.append(".SH EXAMPLES")
        lines += [line for one in definition.examples for line in (".PP", ".EX", _roff(f"kschat {one}"), ".EE")]
    return "\n".join([*filter(None, lines), '.SH "SEE ALSO"', ".BR kschat (1)"]) + "\n"


def _overview() -> str:
    lines = [
        _header("kschat"),
        ".SH NAME",
        "kschat \\- commands for the chat server kschat",
        ".SH SYNOPSIS",
        ".B kschat",
        "COMMAND [options]",
        ".SH DESCRIPTION",
        _roff(
            "Each command has a page of its own, such as kschat-send(1), and --help. The daemon itself is started by "
            "`twistd kschat`."
        ),
        ".SH COMMANDS",
    ]
    for one in DEFINITIONS.values():
        lines += [".TP", f".BR kschat-{_roff(one.name)} (1)", _roff(one.summary)]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B KSCHAT_API",
        "URL of the API.",
        ".TP",
        ".B KSCHAT_API_KEY",
        "Key of the API.",
        ".TP",
        ".B KSCHAT_CONFIG",
        _roff("TOML file with the daemon's settings; each setting is also a variable, such as KSCHAT_STORE."),
        '.SH "EXIT STATUS"',
        "Each page lists them: 0 is success, 1 a mistake in the call, and the commands that use the API have others.",
    ]
    return "\n".join(lines) + "\n"


def _header(name: str) -> str:
    return f'.TH {name.upper().replace("-", chr(92) + "-")} 1 "" "kschat {__version__}" "User Commands"'


def _roff(text: str) -> str:
    """Text that roff shows as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _statuses(definition: Definition) -> dict[int, str]:
    rest = {number: f"{text[0].upper()}{text[1:]}." for number, text in definition.statuses.items()}
    return {**_DONE, **rest}


def reference() -> str:
    """All commands in Markdown."""
    return "\n".join(line for one in DEFINITIONS.values() for line in _section(one))


def _section(definition: Definition) -> Iterator[str]:
    yield f"### kschat {definition.name}"
    yield ""
    yield f"    {definition.usage}"
    yield ""
    yield _markdown(definition.text)
    yield ""
    rows = [(operand.shown, operand.text) for operand in definition.operands if operand.text]
    rows += [
        (option.shown.strip(), option_text(option))
        for group in definition.groups
        if group.title != "The API"
        for option in group.options
    ]
    if rows:
        yield "| | |"
        yield "| --- | --- |"
        for name, text in rows:
            yield f"| `{name.replace('|', chr(92) + '|')}` | {_markdown(text)} |"
        yield ""
    own = {number: text for number, text in definition.statuses.items() if number >= NO}
    for number, text in own.items():
        yield f"Exit status {number}: {text}."
        yield ""
    if definition.examples:
        for one in definition.examples:
            yield f"    kschat {one}"
        yield ""


def _markdown(text: str) -> str:
    options = re.sub(r"`[^`]*`|(?<!\w)--[a-z][a-z-]+", lambda found: f"`{found[0].strip('`')}`", text)
    return options.replace("|", "\\|").replace("<", "\\<")
