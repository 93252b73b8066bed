"""The commands of a page, as somebody runs them who follows it from top to bottom in one shell.

A block that is fenced as ``sh`` holds commands, each of which must succeed; one fenced as ``console`` holds commands
after ``$ `` and, below each, lines that it must print (``…`` stands for anything). A command with the comment
``# Ctrl-C ends it`` is let run until it serves, or has printed those lines, and then interrupted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tests.support.launch import free_port
from tests.support.needs import NODE_DIRECTORY, REPOSITORY

#: Seconds that one command may take.
PATIENCE: Final = 120

FENCE: Final = re.compile(r"(?ms)^```(sh|sh as-root|console)\n(.*?)^```$")
ENDLESS: Final = re.compile(r"\s*# Ctrl-C ends it$", re.MULTILINE)

#: Ports that pages name, and nobody but a test has reason to change.
PORTS: Final = ("3000", "3001", "5672", "6379", "9100")

#: npm's packages, by what pages ask npm for, where the checkout has them for its own tests.
NPM: Final = {
    "socket.io-client": NODE_DIRECTORY / "node_modules" / "sio4",
    "socket.io-client-2@npm:socket.io-client@2.5.0": NODE_DIRECTORY / "node_modules" / "sio2",
    "jsonwebtoken": REPOSITORY / "bench" / "peers" / "node" / "node_modules" / "jsonwebtoken",
}


class Command(msgspec.Struct, frozen=True):
    """One command of a page.

    Attributes:
        text: what is typed; several lines, where it holds a document for a file.
        printed: lines that it prints, among others.
        endless: whether it runs until it is interrupted.
        as_root: whether it changes the machine.
    """

    text: str
    printed: tuple[str, ...] = ()
    endless: bool = False
    as_root: bool = False


def commands(page: str) -> Iterator[Command]:
    """The commands of a page, in order."""
    for kind, block in FENCE.findall(page):
        if kind == "console":
            for part in re.split(r"(?m)^\$ ", block)[1:]:
                text, *printed = part.rstrip("\n").split("\n")
                yield _command(text, tuple(printed), False)
        else:
            for text in _split(block):
                yield _command(text, (), kind == "sh as-root")


def _command(text: str, printed: tuple[str, ...], as_root: bool) -> Command:
    return Command(ENDLESS.sub("", text), printed, ENDLESS.search(text) is not None, as_root)


def _split(block: str) -> Iterator[str]:
    """Commands of a block: a line each, but for documents (``<<'END'``), loops, and lines that go on."""
    lines: list[str] = []
    until: str | None = None
    for line in block.splitlines():
        if not lines and not line.strip():
            continue
        lines.append(line)
        if until is not None:
            if line != until:
                continue
        elif (document := re.search(r"<<'(\w+)'", line)) is not None:
            until = document[1]
            continue
        elif re.match(r"(for|while|if)\b", line):
            until = "fi" if line.startswith("if") else "done"
            continue
        elif line.endswith("\\"):
            continue
        yield "\n".join(lines)
        lines, until = [], None


class Place:
    """A clean clone in a directory of its own, and one shell in it, whose PATH has the system's programs alone.

    What would come over the network comes from this checkout instead: a virtual environment is born with the packages
    that pip would fetch, and npm links those that the tests have. Programs that would change the machine do nothing.
    """

    def __init__(self, directory: str) -> None:
        self.root = root = Path(directory).absolute()
        self.clone = root / "kschat"
        self._programs = root / "bin"
        self._home = root / "home"
        for path in (self._programs, self._home, root / "opt", root / "etc" / "systemd" / "system"):
            path.mkdir(parents=True)
        self._clone()
        self._write("python3", _PYTHON.format(real=sys.executable, seed=Path(__file__).with_name("seed.py")))
        self._write("npm", _NPM.format(links=" ".join(f"{name}={path}" for name, path in NPM.items())))
        for name in ("useradd", "systemctl", "journalctl", "cf"):
            self._write(name, "#!/bin/sh\nexit 0\n")

    def _clone(self) -> None:
        git = ["git", "clone", "--quiet", "--shared", str(REPOSITORY), str(self.clone)]
        subprocess.run(git, check=True, timeout=PATIENCE)
        # A clone has what was committed; the tests are of what is there.
        listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
            source = REPOSITORY / name
            if name and source.is_file():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.clone / name)
        self.ports = {port: str(free_port()) for port in PORTS}

    def _write(self, name: str, text: str) -> None:
        path = self._programs / name
        path.write_text(text)
        path.chmod(0o755)

    def adapted(self, text: str) -> str:
        """A command, with ports that are free here, and the directories of the system below the root."""
        return re.sub(r"(?<![\w.])/(opt|etc)/", rf"{self.root}/\1/", self._with_ports(text))

    def _with_ports(self, text: str) -> str:
        if re.match(r"(\w+=\S+ )*(make run|\S+/(twistd|kschat run) )", text):
            text = f"PORT=3000 {text}"
        return re.sub(rf"(?<![\w.])({'|'.join(self.ports)})(?![\w.])", lambda found: self.ports[found[1]], text)

    @property
    def command(self) -> list[str]:
        """The shell."""
        return ["bash", "--noprofile", "--norc"]

    @property
    def environment(self) -> Mapping[str, str]:
        """The shell's: nothing of whoever runs the tests."""
        return {
            "HOME": str(self._home),
            "PATH": f"{self._programs}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }


class TooSlow(AssertionError):
    """A command took longer than ``PATIENCE``."""


class Shell:
    """One bash, which is told a command at a time and keeps its variables, jobs and directory."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said = ""
        self._process = subprocess.Popen(
            place.command,
            cwd=place.clone,
            env=place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._news = threading.Condition()
        self._output = bytearray()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._count = 0
        # Jobs in groups of their own, so that an interrupt reaches all of a command and not the shell.
        self._type("set -m")

    def run(self, command: Command, meanwhile: Callable[[], object] | None = None) -> str:
        """What a command printed. AssertionError where it fails, or does not print what the page says.

        Args:
            meanwhile: called while a command runs that is ended by an interrupt.
        """
        text = self.place.adapted(command.text)
        self._count += 1
        begin = len(self._output)
        if not command.endless:
            self._type(f"{text}\nprintf '\\n<%s>%s\\n' {self._count} $?")
            status, printed = self._until(rf"\n<{self._count}>(\d+)\n", begin, text)
            self._check(status[1] == "0", text, printed)
            self._check_printed(command, printed)
            return printed
        self._type(f"{{ {text}\nprintf '\\n<{self._count} ended>\\n'\n}} & printf '<{self._count} %s>\\n' $!")
        (number, _) = self._until(rf"<{self._count} (\d+)>\n", begin, text)
        signs = [_pattern(self.place.adapted(line)) for line in command.printed] or ["serving on http"]
        for sign in signs:
            found, printed = self._until(rf"{sign}|<{self._count} ended>", begin, text)
            self._check(not found[0].endswith(" ended>"), text, printed)
        count = self._count
        if meanwhile is not None:
            meanwhile()
        # By the shell, to which the number may mean another process than out here.
        self._type(f"kill -INT -{number[1]}; wait {number[1]}; printf '\\n<{count}>%s\\n' $?")
        _, printed = self._until(rf"\n<{count}>(\d+)\n", begin, text)
        return printed

    def end(self) -> None:
        """End it, and what it left running."""
        for pid in re.findall(r"(?m)^\d+$", "\n".join(p.read_text() for p in self.place.clone.glob("*.pid"))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _type(self, text: str) -> None:
        assert self._process.stdin is not None
        # Of a shell that has ended, ``_until`` tells.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 65536):
            with self._news:
                self._output += data
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _until(self, pattern: str, begin: int, text: str) -> tuple[re.Match[str], str]:
        """Wait until what was printed since ``begin`` holds the pattern."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while True:
                printed = self._output[begin:].decode(errors="replace")
                found = re.search(pattern, printed)
                if found is not None:
                    return found, printed[: found.start()]
                if self._ended:
                    raise AssertionError(f"the shell has ended\n$ {text}\n{self._output.decode(errors='replace')}")
                if not self._news.wait(end - time.monotonic()):
                    raise TooSlow(f"waited in vain for {pattern!r}\n$ {text}\n{printed}")

    def _check_printed(self, command: Command, printed: str) -> None:
        pattern = r"(?s).*".join(["", *(_pattern(self.place.adapted(line)) for line in command.printed), ""])
        pattern = pattern.replace("(?s)", "")
        self._check(re.search(pattern, printed, re.DOTALL) is not None, command.text, f"{printed}\n(not: {pattern})")

    def _check(self, holds: bool, text: str, printed: str) -> None:
        if not holds:
            raise AssertionError(f"$ {text}\n{printed}")


def _pattern(line: str) -> str:
    """A regular expression for a line in which ``…`` stands for anything."""
    return r"[^\n]*".join(re.escape(part) for part in line.split("…"))


#: ``python3``: as it is, but that a virtual environment is born with packages.
_PYTHON: Final = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    {real} -m venv --without-pip "$3" && exec {real} {seed} "$3"
fi
exec {real} "$@"
"""

#: ``npm install [--prefix DIRECTORY] [--no-save] PACKAGE…``: links what is there. Without a package there is nothing to
#: install, as package.json says (``tests.e2e.test_cloud_foundry`` asks the real npm).
_NPM: Final = """#!/bin/sh
[ "$1" = install ] || {{ echo "this npm only installs" >&2; exit 1; }}
shift
place=.
[ "$1" = --prefix ] && {{ place=$2; shift 2; }}
[ "$1" = --no-save ] && shift
for package in "$@"; do
    found=
    for link in {links}; do
        [ "${{link%%=*}}" = "$package" ] && found=${{link#*=}}
    done
    [ -n "$found" ] || {{ echo "no such package here: $package" >&2; exit 1; }}
    mkdir -p "$place/node_modules"
    rm -rf "$place/node_modules/${{package%%@*}}"
    ln -s "$found" "$place/node_modules/${{package%%@*}}" || exit 1
done
"""
